"""One line of JSON per evaluated episode: all that metrics, tables and pictures are made from."""

from __future__ import annotations

import gzip
import io
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from df_agent.files import replace_file


@dataclass
class PlanRecord:
    """One plan of one episode.

    Attributes:
        call: number of the planning call in its rollout; the plans made in one call share it.
        step: control step at which the plan was made.
        seconds: wall time of the whole call [s].
        batch: number of environments planned for in the call.
        executed: False if the policy went on with an earlier plan instead.
        path: (H, Dg) planned positions in goal space, the present first; empty if paths were not kept.
    """

    call: int
    step: int
    seconds: float
    batch: int
    executed: bool = True
    path: list[list[float]] = field(default_factory=list)


@dataclass
class EpisodeRecord:
    """What happened in one episode.

    Attributes:
        env: gymnasium id.
        policy: name of the policy.
        episode: index in its rollout.
        seed: seed of the environment's reset, derived from the rollout's seed and `episode`.
        max_episode_steps: limit L of the episode [control steps].
        length: control steps taken.
        start: (Do,) first observation; what is not known of it is NaN, as in `goal` and `path`.
        goal: (Dg,) first desired goal.
        success: reached the goal at any time.
        time_to_goal: control steps until success was first true; 0 if the start is inside, L if never.
        at_goal_at_end: success at the last step.
        episode_reward: sum of rewards.
        first_reach: steps taken before the first step with success; L if there was none.
        episode_reward_if_stay: rewards before that step, and 1 for it and every later one up to L.
        plans: plans made, in order.
        path: (length + 1, Dg) achieved goals; empty if paths were not kept.
        num_envs: episodes that ran beside each other.
        policy_seconds, env_seconds, wall_seconds: this episode's share of the time spent in `predict`, in
            the environments' `step`, and altogether [s].
        policy_seconds_to_goal: its share of the time in `predict` until the goal; all of it if never [s].
    """

    env: str
    policy: str
    episode: int
    seed: int
    max_episode_steps: int
    length: int
    start: list[float]
    goal: list[float]
    success: bool
    time_to_goal: int
    at_goal_at_end: bool
    episode_reward: float
    first_reach: int
    episode_reward_if_stay: float
    plans: list[PlanRecord] = field(default_factory=list)
    path: list[list[float]] = field(default_factory=list)
    num_envs: int = 1
    policy_seconds: float = 0.0
    env_seconds: float = 0.0
    wall_seconds: float = 0.0
    policy_seconds_to_goal: float = 0.0

    @property
    def plans_to_goal(self) -> list[PlanRecord]:
        """Plans made before the goal was first reached; all of them if never."""
        return [plan for plan in self.plans if plan.step < self.time_to_goal]

    def to_json(self) -> str:
        """Return the record as one line of JSON; NaN among its places, which JSON has not, as null."""
        return json.dumps(_places(asdict(self), _null), allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> EpisodeRecord:
        """Read a record back; raises ValueError naming fields that are missing or unknown.

        A field with a default may be missing, so that what is measured later can be added without losing older records.
        """
        raw: dict[str, Any] = json.loads(line)
        known = {f.name for f in fields(cls)}
        needed = {f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING}
        missing, unknown = sorted(needed - raw.keys()), sorted(raw.keys() - known)
        if missing or unknown:
            raise ValueError(f"not an episode record: missing fields {missing}, unknown fields {unknown}")
        raw = _places(raw, _nan)
        raw["plans"] = [PlanRecord(**plan) for plan in raw["plans"]]
        return cls(**raw)


def gzipped(content: bytes) -> bytes:
    """Return the content compressed, without time and file name: the same content gives the same bytes."""
    out = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=0) as file:
        file.write(content)
    return out.getvalue()


def stored_file(path: str | Path) -> Path:
    """Return `path`, or `path`.gz where only the compressed file exists."""
    path = Path(path)
    compressed = path.with_name(path.name + ".gz")
    return compressed if compressed.exists() and not path.exists() else path


def read_text(path: str | Path) -> str:
    """Return a text file's content; `path` may be compressed, or name a file that exists as `path`.gz only."""
    path = stored_file(path)
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()


def _places(raw: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """Change, in a record and its plans, the numbers that say where things are."""
    for part in (raw, *raw["plans"]):
        part.update({key: change(part[key]) for key in ("start", "goal", "path") if key in part})
    return raw


def _null(values: Any) -> Any:
    if isinstance(values, list):
        return [_null(value) for value in values]
    return None if math.isnan(values) else values


def _nan(values: Any) -> Any:
    if isinstance(values, list):
        return [_nan(value) for value in values]
    return math.nan if values is None else values


def write_records(path: str | Path, records: Iterable[EpisodeRecord]) -> Path:
    """Write records to a JSONL file, whole or not at all; compressed if its name ends in .gz."""
    path = Path(path)
    content = "".join(record.to_json() + "\n" for record in records).encode()
    replace_file(path, gzipped(content) if path.suffix == ".gz" else content)
    return path


def read_records(path: str | Path) -> list[EpisodeRecord]:
    """Read a JSONL file of records, plain or .gz; raises ValueError with the number of a line that is not one."""
    records = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        try:
            records.append(EpisodeRecord.from_json(line))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
    return records
