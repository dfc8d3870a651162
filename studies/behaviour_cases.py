"""What is recorded by `behaviour.py`: every agent that ships, every policy's file, every option of the agent.

Plain data in the names of before the rebuilding; `behaviour_recorder.Tree` translates them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

AGENTS = ("diffusion_forcing", "diffusion_forcing_v15", "goal_guidance", "best_of_n", "full_sequence", "pixels")


@dataclass(frozen=True)
class Case:
    """A policy in an environment, and what is asked of it.

    Attributes:
        group: under which it is listed.
        name: what tells it from the others of its group.
        policy: file in df_configs/policy.
        env: gymnasium id.
        make: what is changed of the policy's options in its file; of our agent, options of PolicyConfig.
        steps: control steps.
        num_envs: environments side by side.
        checkpoint: instead of the file's; "made:" and a name of `MODELS` is a model without training.
        costs: (name, arguments) of each cost.
        sensors: "" for good ones; "missing" (some observations are NaN), "noise" (they say how bad they are) or
            "flat" (one array, with the goal behind the rest).
        shove: how far the last row is shoved aside [position units]; 0 where a simulator must find it in free space.
        goals: whether goals move; what is solved for one goal raises if they do.
        untrained: replace the weights by random ones.
    """

    group: str
    name: str
    policy: str
    env: str
    make: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 70
    num_envs: int = 3
    checkpoint: str = ""
    costs: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    sensors: str = ""
    shove: float = 0.9
    goals: bool = True
    untrained: bool = False

    @property
    def title(self) -> str:
        """Group and name."""
        return f"{self.group}: {self.name}"

    @property
    def request(self) -> dict[str, Any]:
        """What the recorder is sent."""
        return {**asdict(self), "agent": self.agent}

    @property
    def agent(self) -> bool:
        """Whether `make` holds options of our agent."""
        return self.policy in AGENTS


MAZES = ("umaze", "medium", "large")
OGBENCH = tuple(
    f"{maze}-{kind}" for maze in ("medium", "large", "giant", "teleport") for kind in ("navigate", "stitch")
)
FETCH = ("FetchReach-v4", "FetchPush-v4", "FetchPickAndPlace-v4")


def shipped() -> Iterator[Case]:
    """Every agent that ships, as it is, in every environment that it is for."""
    for maze in MAZES:
        for family in ("maze2d", "multi2d"):
            yield Case("agents", f"{family}-{maze}", "diffusion_forcing", f"{family}-{maze}", steps=120)
    for name in OGBENCH:
        steps = 60 if "giant" in name else 90
        yield Case("agents", name, "diffusion_forcing", f"pointmaze-{name}", steps=steps, num_envs=2, shove=2.5)
    for env in FETCH:
        yield Case("agents", env, "diffusion_forcing", env, steps=40, shove=0.1)
    for maze in MAZES[:2]:
        for family in ("maze2d", "multi2d"):
            for policy, steps in (("pixels", 100), ("pixels_cem", 40)):
                env = f"{family}-{maze}-pixels"
                yield Case("agents", f"{env}, {policy}", policy, env, steps=steps)


def baselines() -> Iterator[Case]:
    """Every other file of df_configs/policy, wherever it works with what ships, and their options."""

    def case(policy: str, env: str, name: str = "", steps: int = 70, **more: Any) -> Case:
        return Case("baselines", f"{policy}, {env}{name and ', '}{name}", policy, env, steps=steps, **more)

    for maze in MAZES:
        for policy in ("gcbc", "gciql", "random", "oracle", "tracker_map"):
            yield case(policy, f"maze2d-{maze}")
        for policy in ("mppi", "mppi_map", "cem", "cem_map"):
            yield case(policy, f"maze2d-{maze}", steps=24, shove=0.0)
        yield case("time_optimal", f"maze2d-{maze}", goals=False, shove=0.0)
    for maze in MAZES[:2]:
        yield case("sac_her", f"maze2d-{maze}")
    for policy in ("gcbc", "gciql", "oracle", "tracker_map", "random"):
        yield case(policy, "multi2d-medium")
    for execute in (1, 4):
        yield case("gcbc", "maze2d-medium", f"execute {execute}", make={"execute": execute})
    for options in ({"control_cost": 0.01, "temperature": 0.1}, {"iterations": 2, "samples": 32, "sigma": 0.5}):
        yield case("mppi", "multi2d-umaze", str(options), steps=20, shove=0.0, make={"planner": options})
    for options in ({"keep": 0.4, "least_sigma": 0.3}, {"action_limit": 0.5, "horizon": 20, "smoothing": 0.0}):
        yield case("cem_map", "multi2d-umaze", str(options), steps=20, shove=0.0, make={"planner": options})
    yield case("mppi_map", "multi2d-medium", "replan_every 1", steps=12, shove=0.0, make={"replan_every": 1})
    yield case("tracker_map", "multi2d-large", "slow", make={"tracker": {"lookahead": 0.3, "action_limit": 0.3}})
    yield from diffusers(case)
    for env in FETCH:
        yield case("demonstrator", env, steps=40, shove=0.0)
        yield case("random", env, steps=20, shove=0.1)
    for name in ("medium-navigate", "large-stitch", "giant-navigate", "teleport-navigate"):
        yield case("wanderer", f"pointmaze-{name}", num_envs=2, shove=0.0)
    yield case("random", "maze2d-umaze-pixels", steps=10)


def diffusers(case: Callable[..., Case]) -> Iterator[Case]:
    """Diffuser in all its ways; ancestral sampling takes hundreds of passes, so these have few environments."""
    for maze in MAZES[1:]:
        yield case("diffuser_ddim", f"maze2d-{maze}", steps=120)
        for policy in ("diffuser", "diffuser_tracker"):
            yield case(policy, f"maze2d-{maze}", steps=20, num_envs=2)
    for policy in ("diffuser_replan", "diffuser_shrinking"):
        yield case(policy, "multi2d-medium", steps=60, num_envs=2)
        yield case(policy, "maze2d-large", steps=52, num_envs=1)
    ways: dict[str, Mapping[str, Any]] = {
        "waypoints": {"controller": "waypoints"},
        "waypoints again": {"controller": "waypoints", "replan_every": 20, "longest": 64, "shortest": 16},
        "fixed": {"horizon": "fixed", "replan_every": 15},
        "once": {"replan_every": None},
        "shortest": {"longest": 96, "shortest": 64, "replan_every": 10},
        "tracker": {"tracker": {"position_gain": 5.0, "velocity_gain": 0.5, "lookahead": 0.5}, "hold_distance": 2.0},
    }
    for name, make in ways.items():
        yield case("diffuser_ddim", "multi2d-medium", name, make=make)
