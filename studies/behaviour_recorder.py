"""Records what agents do, in the tree of the code it is started for; `behaviour.py` starts one in each tree.

It reads requests from its input, one JSON object a line, and answers each with one. All that differs between the code
before and after a refactoring is in `Tree`; cases come in the names of before.
"""

from __future__ import annotations

import copy
import gc
import importlib
import importlib.util
import inspect
import json
import os
import sys
import time
import traceback
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[Any]
SEED = 7  # of the policies' noise
FIRST_RESET = 1000  # seed of the first environment's reset; the others follow it
JITTER = 5e-7  # a goal that moves by less than 1e-6 is the same goal to most
DRIFT = 7e-7  # per control step: two of them are more than that, one is not
DRIFTING = 10  # control steps
SHOVED = 7  # control steps; an agent may be off a new plan for 5
MODEL = "made:"  # before the name of a checkpoint that `make_model` wrote


class Tree:
    """The code of one tree: all that is called otherwise after the refactoring is found here.

    Args:
        root: of the tree, whose packages are on the path.
        models: folder of the checkpoints that `make_model` wrote.
    """

    def __init__(self, root: Path, models: Path) -> None:
        self.root, self.models = root.resolve(), models
        if self._own("df_agent") is None:
            raise ImportError(f"df_agent of {root} is not the first on the path: {sys.path}")
        self._own("df_envs") or self._own("envs")  # registers the environments
        policies = self._own("df_agent.cli.policies") or self._own("policies")
        if policies is None:
            raise ImportError(f"{root} has no policies, neither df_agent.cli.policies nor scripts/policies.py")
        self.policies: Any = policies
        self.migrations: Any = self._own("df_agent.migrations")
        self.costs: Any = self._own("df_agent.policies.costs") or self._own("df_agent.guidance")

    def _own(self, name: str) -> ModuleType | None:
        """Return a module of this tree; None where the name is unknown, or another tree's that is installed."""
        try:
            spec = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            return None
        inside = spec is not None and spec.origin and Path(spec.origin).resolve().is_relative_to(self.root)
        return importlib.import_module(name) if inside else None

    def _renamed(self, table: str, value: Any) -> Any:
        """Return what is given in the names of before in this tree's."""
        change = getattr(self.migrations, table, None)
        return value if change is None else change(value)

    def policy(self, case: Mapping[str, Any]) -> Any:
        """Make the policy of a case."""
        make = dict(case["make"])
        if case["agent"]:  # options of PolicyConfig, which the migrations are of
            make = self._renamed("policy_options", make)
        elif self.migrations is not None:
            make = self._baseline_options(make)
        before = "make" in self.policies.described(case["policy"])
        changes: dict[str, Any] = {"make" if before else "policy": make}
        if name := case["checkpoint"]:
            made = name.startswith(MODEL)
            changes["checkpoint"] = str(self.models / name.removeprefix(MODEL)) if made else name
        if "device" in self.policies.described(case["policy"]):
            changes["device"] = "cpu"
        config = self.policies.policy_config(case["policy"], case["env"], precision="fp32", changes=changes)
        costs = [self._cost(name, options) for name, options in case["costs"]]
        policy = self.policies.make_policy(config, **({"costs": costs} if costs else {}))
        for reset in ("reset_seed", "set_random_seed"):
            if hasattr(policy, reset):
                getattr(policy, reset)(SEED)
                break
        if case["untrained"]:
            sanity: Any = self._own("studies.sanity")
            sanity.randomize_weights(policy, 0) if sanity else policy.randomize_weights(0)
        return policy

    @staticmethod
    def _baseline_options(make: dict[str, Any]) -> dict[str, Any]:
        """Return the options of a baseline, which no file holds, in this tree's names."""
        names = {"replan_every": "open_loop_horizon"}
        out = {names.get(name, name): value for name, value in make.items()}
        if isinstance(out.get("planner"), Mapping):  # of a shooting planner
            out["options"] = out.pop("planner")
        if out.get("controller") == "waypoints":
            out["controller"] = "planned_states"
        return out

    def _cost(self, name: str, options: Mapping[str, Any]) -> Any:
        """Return a cost; its scale is called "steps" before and "weight" after."""
        kind, given = getattr(self.costs, name), dict(options)
        if "weight" in inspect.signature(kind).parameters:
            given["weight"] = given.pop("steps")
        return kind(**given)

    def make_model(self, name: str, config: dict[str, Any]) -> None:
        """Write the checkpoint of an untrained model, for what no shipped one can do. Only asked of before."""
        build: Any = importlib.import_module("df_agent.build")
        checkpoint: Any = importlib.import_module("df_agent.checkpoint")
        torch.manual_seed(zlib.crc32(name.encode()))
        model = build.build_model(config)
        for parameter in model.parameters():
            if parameter.ndim > 1 and not parameter.any():  # a layer of zeros would plan nothing at all
                torch.nn.init.normal_(parameter, std=0.2)
        checkpoint.save_checkpoint(self.models / name, model.state_dict(), config)


class Events:
    """What happens to the observations of an episode besides what the environment does: all that a loop can get wrong.

    Row 0's goal jumps. Row 1 begins a new episode. The last row's goal trembles by less than anyone should mind, later
    drifts away in such steps, and then the row is shoved aside.

    Args:
        case: "steps", "num_envs", "sensors" and "shove" of it are used.
        first: observation after the reset.
    """

    def __init__(self, case: Mapping[str, Any], first: Mapping[str, Array]) -> None:
        self.case, self.steps = case, int(case["steps"])
        shares = {"tremble": 0.12, "jump": 0.3, "drift": 0.42, "anew": 0.6, "shove": 0.72, "blind": 0.2}
        self.at = {name: max(1, round(share * self.steps)) for name, share in shares.items()}
        self.last = int(case["num_envs"]) - 1
        self.pictures = np.asarray(first["desired_goal"]).dtype == np.uint8
        place = first["observation"] if self.pictures else first["achieved_goal"]
        self.elsewhere = np.array(place[min(1, self.last)])  # a place where one can be: where another row began

    def during(self, name: str, length: int, t: int) -> bool:
        """Return whether an event of so many control steps is on."""
        return self.at[name] <= t < self.at[name] + length

    def starts(self, ended: Array, t: int) -> Array:
        """Return which rows, (B,), begin an episode, given those whose environment did."""
        starts = np.array(ended, bool) | (t == 0)
        starts[min(1, self.last)] |= t == self.at["anew"]
        return starts

    def observed(self, observation: Mapping[str, Array], t: int) -> Any:
        """Return what the policy is handed at control step `t`."""
        seen = {key: np.array(value) for key, value in observation.items()}
        goal, values = seen["desired_goal"], seen["observation"]
        if self.case["goals"]:
            self._move(goal, t)
        if self.during("shove", SHOVED, t):
            values[self.last] = values[0] if self.pictures else values[self.last] + self._push(values)
        return seen if self.pictures else self._sensed(seen, t)

    def _move(self, goal: Array, t: int) -> None:
        """Move the goals (B, G), or change their pictures, in place."""
        if t >= self.at["jump"]:
            goal[0] = self.elsewhere
        if self.pictures:
            if self.during("tremble", 5, t):
                goal[self.last, 0, 0, 0] ^= 1
            return
        if self.during("tremble", 1, t):
            goal[self.last] += JITTER
        goal[self.last] += DRIFT * np.clip(t - self.at["drift"], 0, DRIFTING)

    def _push(self, values: Array) -> Array:
        """Return what a shove adds to the last row, (Do,); the place comes first in all observations."""
        return np.where(np.arange(values.shape[1]) < 2, self.case["shove"], 0.0)

    def _sensed(self, seen: dict[str, Array], t: int) -> Any:
        """Return the observation as bad sensors, or an environment that is no GoalEnv, give it."""
        rows = len(seen["observation"])
        if self.case["sensors"] == "missing" and self.during("blind", self.steps // 3, t):
            seen["observation"][(t // 3) % rows] = np.nan
        if self.case["sensors"] == "noise":
            rough = np.where(self.during("blind", self.steps // 3, t), np.inf, 0.3)
            seen["noise"] = np.where(np.arange(rows) == self.last, rough, 0.05 * np.arange(rows))
        if self.case["sensors"] == "flat":
            return np.concatenate([seen["observation"], seen["desired_goal"]], -1)
        return seen


class Watcher:
    """Notes the plans that a policy tells of, and the seconds that noting takes."""

    def __init__(self) -> None:
        self.now, self.seconds = 0, 0.0
        self._noted: dict[str, list[Array]] = {}

    def __call__(self, event: Any) -> None:
        """Note a plan; frames and actions behind its end are nobody's."""
        began = time.process_time()
        plan, rows = event.plan, np.array(event.rows)
        executed = np.ones(len(rows), bool) if event.executed is None else np.array(event.executed)
        for name, values in (("steps", np.full(len(rows), self.now)), ("rows", rows), ("executed", executed)):
            self._noted.setdefault(name, []).append(values)
        self._note("frames", plan.observations, plan.lengths)
        if plan.actions is not None:
            self._note("actions", plan.actions, plan.action_lengths)
        self.seconds += time.process_time() - began

    def _note(self, name: str, values: Array, lengths: Array | None) -> None:
        lengths = np.full(len(values), values.shape[1]) if lengths is None else np.array(lengths)
        valid = [without_repeats(row[:length]) for row, length in zip(values, lengths, strict=True)]
        self._noted.setdefault(f"{name}: lengths", []).append(np.array([len(row) for row in valid]))
        self._noted.setdefault(name, []).append(np.concatenate(valid))

    def arrays(self) -> dict[str, Array]:
        """Return all that was noted, plan behind plan."""
        return {f"plans: {name}": np.concatenate(parts) for name, parts in self._noted.items()}


def without_repeats(frames: Array) -> Array:
    """Return frames (H, D) without those at the end that repeat the one before, which say nothing more."""
    changes = np.flatnonzero((frames[1:] != frames[:-1]).any(axis=1))
    return np.array(frames[: changes[-1] + 2 if len(changes) else 1])


def timed(call: Callable[..., Any], watcher: Watcher, *arguments: Any) -> tuple[Any, Any, float]:
    """Return what `predict` does, and its processor time [s], which other programs on the machine change least."""
    began, watched = time.process_time(), watcher.seconds
    actions, state = call(*arguments, deterministic=True)
    return actions, state, time.process_time() - began - (watcher.seconds - watched)


def first_row(observation: Any) -> Any:
    """Return an observation's first row without the leading axis."""
    if isinstance(observation, dict):
        return {key: value[0] for key, value in observation.items()}
    return observation[0]


@contextmanager
def no_threads() -> Iterator[None]:
    """Let a pool of threads do its work when it is asked, so that planning in the background repeats."""
    usual = ThreadPoolExecutor.submit

    def submit(self: Any, call: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(call(*arguments, **named))
        return future

    setattr(ThreadPoolExecutor, "submit", submit)  # noqa: B010 - mypy takes no assignment to a method
    try:
        yield
    finally:
        setattr(ThreadPoolExecutor, "submit", usual)  # noqa: B010


def checksum(observation: Mapping[str, Array]) -> int:
    """Return a number that tells observations apart."""
    return zlib.crc32(b"".join(np.ascontiguousarray(observation[key]).tobytes() for key in sorted(observation)))


def record(policy: Any, env: gym.vector.VectorEnv[Any, Any, Any], case: Mapping[str, Any]) -> tuple[Any, float]:
    """Return what the policy does in an episode with events, as named arrays, and the seconds it takes to say so."""
    watcher = Watcher()
    if hasattr(policy, "on_plan"):
        policy.on_plan = watcher
    seeds: Any = [FIRST_RESET + k for k in range(case["num_envs"])]
    observation, _ = env.reset(seed=seeds)
    events = Events(case, observation)
    state, kept, total, actions, seen = None, None, 0.0, [], []
    ended = begun = np.zeros(len(seeds), bool)
    for t in range(case["steps"]):
        watcher.now = t
        given, starts = events.observed(observation, t), events.starts(begun, t)
        if t == events.at["jump"]:
            kept = (copy.deepcopy(given), state, starts)
        action, state, seconds = timed(policy.predict, watcher, given, state, starts)
        total += seconds
        actions.append(np.array(action))
        seen.append(checksum(observation))
        observation, _, terminated, truncated, _ = env.step(action)
        # A vector environment begins an episode in the step after the one that ended the last.
        begun, ended = ended, terminated | truncated
    watcher.now = case["steps"]
    assert kept is not None
    again, _, _ = timed(policy.predict, watcher, *kept)  # a state that was kept is as it was
    alone, lone, _ = timed(policy.predict, watcher, first_row(given), None, None)
    alone_then, _, _ = timed(policy.predict, watcher, first_row(given), lone, None)
    arrays = {"actions": np.stack(actions), "asked again": again, "alone": np.stack([alone, alone_then])}
    return {**arrays, "observed": np.array(seen), **watcher.arrays()}, total


class Recorder:
    """Answers requests; an environment is kept until another is asked for.

    Args:
        tree: whose code it is.
    """

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._made: tuple[Any, gym.vector.VectorEnv[Any, Any, Any]] | None = None

    def _env(self, env_id: str, num_envs: int) -> gym.vector.VectorEnv[Any, Any, Any]:
        if self._made is not None and self._made[0] == (env_id, num_envs):
            return self._made[1]
        if self._made is not None:
            self._made[1].close()
        env = gym.make_vec(env_id, num_envs=num_envs, vectorization_mode="sync")
        self._made = (env_id, num_envs), env
        return env

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return {"seconds": s}, and write the arrays to the file that is named; or {"error": what went wrong}."""
        try:
            if "model" in request:
                self.tree.make_model(request["model"], request["config"])
                return {"seconds": 0.0}
            case = request["case"]
            policy = self.tree.policy(case)
            gc.collect()
            with no_threads():
                arrays, seconds = record(policy, self._env(case["env"], case["num_envs"]), case)
            np.savez(request["output"], **arrays)
        except Exception as error:
            traceback.print_exc()
            line = (str(error).strip() or "no message").splitlines()[-1]
            return {"error": f"{type(error).__name__}: {line}"}
        return {"seconds": seconds}


def main() -> None:
    """Answer until the input ends: `python behaviour_recorder.py ROOT MODELS`."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed goes to the log
    torch.set_num_threads(1)
    recorder = Recorder(Tree(Path(sys.argv[1]), Path(sys.argv[2])))
    for line in sys.stdin:
        print(json.dumps(recorder.answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
