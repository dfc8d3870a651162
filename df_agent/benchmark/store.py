"""The rows of a comparison on disk: appended as episodes end, never mixed with rows of another making.

    FOLDER/rows/ENV/POLICY/run.json         what the rows were made with
                           seed0.jsonl      an episode per line
                           timing.jsonl     the same, run one at a time
                           error.txt        why rows are missing; gone when they are there

Another training run of a policy is a policy of its own here, "diffuser@1".
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from df_agent.evaluation.episode_batch import Progress
from df_agent.evaluation.records import EpisodeRecord, read_records, write_records
from df_agent.evaluation.rollout import rollout
from df_agent.files import TEMPORARY, json_bytes, naming, remove_leftovers, replace_file, temporary_name
from df_agent.migrations import policy_entry
from df_agent.training.run_folder import differences, lock_folder
from df_agent.types import Policy

RUN_FILE, TIMING_FILE, ERROR_FILE = "run.json", "timing.jsonl", "error.txt"


class StoreError(ValueError):
    """The rows there were made with something else."""


class PolicyStore:
    """The rows of one policy in one environment.

    Args:
        folder: where they are; nothing is written before the first row.
        env_id: gymnasium id.
        policy: its name.
    """

    def __init__(self, folder: Path, env_id: str, policy: str) -> None:
        self.env_id, self.policy = env_id, policy
        self.folder = folder / "rows" / file_name(env_id) / policy

    @property
    def empty(self) -> bool:
        """Whether there are no rows at all."""
        return not any(path.stat().st_size for path in self.folder.glob("*.jsonl"))

    def run(self) -> dict[str, Any]:
        """Return what the rows were made with: {"identity", "about", "timed"}; empty if none was begun."""
        path = self.folder / RUN_FILE
        if not path.exists():
            return {}
        run = json.loads(path.read_text())
        return {**run, "identity": policy_entry(run["identity"])}

    def changes(self, identity: Mapping[str, Any]) -> list[str]:
        """Return in what the rows there differ in making from `identity`; nothing if there are no rows."""
        return [] if self.empty else differences(self.run()["identity"], json.loads(json_bytes(identity)))

    def begin(self, identity: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Say what the rows are made with, before the first is.

        Args:
            identity: what their content follows from.
            about: what else a reader may want to know.

        Raises:
            StoreError: there are rows made with something else.
        """
        changes = self.changes(identity)
        if changes:
            raise StoreError(f"{self.folder}: {'; '.join(changes[:8])}")
        if self.empty:  # a file about rows that were never made is replaced
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_file(self.folder / RUN_FILE, json_bytes({"identity": identity, "about": about}))

    def restore(
        self, run: Mapping[str, Any], records: Mapping[int, Sequence[EpisodeRecord]], timing: Sequence[EpisodeRecord]
    ) -> None:
        """Begin with rows that were kept elsewhere.

        Args:
            run: what they were made with, as `run` gives it.
            records: seed -> episodes.
            timing: the episodes that were run one at a time.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(self.folder / RUN_FILE, json_bytes(run))
        files = {f"seed{seed}.jsonl": rows for seed, rows in records.items()} | {TIMING_FILE: timing}
        for name, rows in files.items():
            write_records(self.folder / name, rows)

    def adopt(self, identity: Mapping[str, Any]) -> None:
        """Go on under another identity; what the rows so far were made with stays on record."""
        if self.changes(identity):
            run = self.run()
            earlier = [*run.get("earlier", []), run["identity"]]
            replace_file(self.folder / RUN_FILE, json_bytes({**run, "identity": identity, "earlier": earlier}))

    @property
    def error(self) -> str | None:
        """Why rows are missing that were asked for; None if none are, or nobody knows."""
        path = self.folder / ERROR_FILE
        return path.read_text() if path.exists() else None

    @error.setter
    def error(self, text: str | None) -> None:
        if text is None:
            (self.folder / ERROR_FILE).unlink(missing_ok=True)
        elif self.folder.exists():
            replace_file(self.folder / ERROR_FILE, text.encode())

    def seeds(self) -> list[int]:
        """Return the seeds of which there are rows."""
        return sorted(int(path.stem.removeprefix("seed")) for path in self.folder.glob("seed*.jsonl"))

    def rows(self, seed: int) -> list[EpisodeRecord]:
        """Return the episodes of a seed, in order."""
        return _read(self.folder / f"seed{seed}.jsonl")

    def all_rows(self) -> list[EpisodeRecord]:
        """Return the episodes of all seeds, seed after seed."""
        return [record for seed in self.seeds() for record in self.rows(seed)]

    def seed_of_starts(self) -> dict[int, int]:
        """Return the reset seed of every episode -> the seed of its rollout."""
        return {record.seed: seed for seed in self.seeds() for record in self.rows(seed)}

    def timing(self) -> list[EpisodeRecord]:
        """Return the episodes that were run one at a time."""
        return _read(self.folder / TIMING_FILE)

    def waves(self, seed: int, episodes: int, num_envs: int) -> dict[range, set[int]]:
        """Return the waves that have to be run and which of their episodes are missing.

        Which episodes run side by side follows from `num_envs` alone, since it can change the last digits of what a
        network returns: a wave that was interrupted is run again as a whole, and what was missing of it is added.
        """
        missing = set(range(episodes)) - {record.episode for record in self.rows(seed)}
        every = [range(first, min(first + num_envs, episodes)) for first in range(0, episodes, num_envs)]
        return {wave: missing.intersection(wave) for wave in every if missing.intersection(wave)}

    def keep_path(self, seed: int, traced: EpisodeRecord) -> bool:
        """Add the path of an episode that was run again to its row, if it went as that did; return whether.

        It did as far as a row without a path can tell: time to goal, times of plans and rewards.
        Whether a plan was followed does not count, as rows from CSV do not say it.
        """
        rows = self.rows(seed)
        for row in rows:
            if row.episode == traced.episode and _outcome(row) == _outcome(traced):
                row.path = traced.path
                write_records(self.folder / f"seed{seed}.jsonl", rows)
                return True
        return False

    def untimed(self, episodes: int) -> list[int]:
        """Return the numbers of the episodes that are still to be run one at a time."""
        return sorted(set(range(episodes)) - {record.episode for record in self.timing()})

    def drop(self) -> None:
        """Delete the rows, all at once."""
        if self.folder.exists():
            gone = temporary_name(self.folder)
            os.replace(self.folder, gone)
            shutil.rmtree(gone)

    def drop_timing(self) -> None:
        """Delete the episodes that were run one at a time."""
        (self.folder / TIMING_FILE).unlink(missing_ok=True)

    def complete(
        self,
        policy: Policy,
        *,
        seeds: Sequence[int],
        episodes: int,
        timing_episodes: int,
        num_envs: int,
        about: Mapping[str, Any] | None = None,
        watch: Callable[[str], Callable[[Progress], None] | None] = lambda label: None,
        **options: Any,
    ) -> None:
        """Run all that is missing: the episodes of every seed, and those that are run one at a time.

        Args:
            policy, num_envs, about: see `fill` and `time`.
            seeds: of the rollouts; the latencies are of the first.
            episodes: of each seed.
            timing_episodes: run one at a time.
            watch: told what is run, returns what hears of its progress.
            **options: `max_steps` and `goal_spec`, see `rollout`.
        """
        for seed in seeds:
            heard = watch(f"seed {seed}")
            self.fill(policy, seed=seed, episodes=episodes, num_envs=num_envs, on_progress=heard, **options)
        heard = watch("latencies")
        self.time(policy, seed=seeds[0], episodes=timing_episodes, about=about, on_progress=heard, **options)

    def fill(self, policy: Policy, *, seed: int, episodes: int, num_envs: int, **options: Any) -> None:
        """Run the episodes that are missing; see `rollout` for the errors.

        Args:
            policy, seed: see there.
            episodes: how many there are to be.
            num_envs: episodes that run side by side, see `waves`.
            **options: of `rollout`: `max_steps`, `goal_spec` and `on_progress`.
        """
        path = self.folder / f"seed{seed}.jsonl"
        for wave, lacking in self.waves(seed, episodes, num_envs).items():
            self._run(policy, path, wave, lacking, seed=seed, **options)

    def time(
        self, policy: Policy, *, seed: int, episodes: int, about: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        """Run episodes one at a time, for the latencies, as far as that was not done yet; otherwise as `fill`.

        How they were measured, `about`, is kept beside `begin`'s.
        """
        lacking = self.untimed(episodes)
        if lacking and about is not None:
            replace_file(self.folder / RUN_FILE, json_bytes({**self.run(), "timed": about}))
        if lacking:  # the first call of a policy allocates and builds kernels
            warm_up = {**options, "max_steps": 1, "on_progress": None}
            rollout(policy, self.env_id, episodes=1, seed=seed, num_envs=1, **warm_up)
        for episode in lacking:
            wave = range(episode, episode + 1)
            self._run(policy, self.folder / TIMING_FILE, wave, {episode}, seed=seed, keep_paths=False, **options)

    def _run(self, policy: Policy, path: Path, wave: range, lacking: set[int], **options: Any) -> None:
        _drop_torn_line(path)
        with path.open("a") as file:

            @naming(path)
            def append(record: EpisodeRecord) -> None:
                if record.episode in lacking:
                    file.write(record.to_json() + "\n")
                    file.flush()
                    os.fsync(file.fileno())

            rollout(
                policy,
                self.env_id,
                episodes=len(wave),
                first_episode=wave.start,
                num_envs=len(wave),
                policy_name=self.policy,
                on_record=append,
                **options,
            )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a comparison's folder; raises RunError if another process does."""
    folder.mkdir(parents=True, exist_ok=True)
    with lock_folder(folder, f"another process is comparing in {folder}; wait for it, or choose another output_dir"):
        remove_leftovers(folder)
        yield


def stored(folder: Path, env_id: str) -> list[str]:
    """Return the names of the policies that have rows in an environment."""
    found = (folder / "rows" / file_name(env_id)).glob(f"*/{RUN_FILE}")
    names = sorted(path.parent.name for path in found if not path.parent.name.startswith(TEMPORARY))
    return [name for name in names if not PolicyStore(folder, env_id, name).empty]


def of_code(change: str) -> bool:
    """Whether one of `PolicyStore.changes` is of code or versions, not of options or weights."""
    return change.startswith(("code.", "versions."))


def file_name(env_id: str) -> str:
    """Return an environment's id as part of a file's name."""
    return env_id.replace("/", "_").replace(":", "_")


def _outcome(record: EpisodeRecord) -> tuple[object, ...]:
    """Return what a row tells of how an episode went, without its path and the time it took."""
    plans = tuple(plan.step for plan in record.plans)
    rewards = tuple(round(value, 3) for value in (record.episode_reward, record.episode_reward_if_stay))
    reached = (record.success, record.time_to_goal, record.first_reach, record.at_goal_at_end, record.length)
    return (record.seed, *reached, *rewards, plans)


def _read(path: Path) -> list[EpisodeRecord]:
    if not path.exists():
        return []
    _drop_torn_line(path)
    return sorted(read_records(path), key=lambda record: record.episode)


def _drop_torn_line(path: Path) -> None:
    """Take away the end of a file behind its last whole line: the process that wrote it was killed in the middle."""
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
