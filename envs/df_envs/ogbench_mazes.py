"""OGBench's point mazes as goal-conditioned environments, and the walks that its datasets are made of.

The point moves by up to 0.2 per axis and step, without inertia; cells are 4 wide. An episode ends within 1 of the goal,
or after 1000 steps. The package itself is an extra: `pip install -e ".[ogbench]"`.

OGBench draws starts, goals and exits of teleports from numpy's global generator; here each environment lends it one of
its own for as long as it is in use, so that a seed repeats an episode and nothing else is disturbed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from df_envs.copying import CopiedWithState
from df_envs.geometry import crosses_wall, geodesic_to_disc
from df_envs.maps import OGBENCH, OGBENCH_KINDS, Cell, maze_of, wall_boxes
from df_envs.names import OGBENCH_IDS as OGBENCH_IDS
from df_envs.routes import cells_towards

Array = NDArray[np.float64]

TASKS = 5  # of each maze, numbered from 1
STRIDE = 0.2  # the most a step moves the point along an axis
GOAL_RADIUS = 1.0
NEAREST_CENTRE = 0.5  # the point's centre never is nearer to a wall than 0.64 in the data; its radius is 0.7
STITCH_CELLS = 4  # from start to goal of a walk of the stitch sets
ACTION_NOISE = 0.5  # of the published sets
NEIGHBOURS = ((-1, 0), (0, -1), (1, 0), (0, 1))  # the order in which OGBench's oracle looks at them


@dataclass(frozen=True)
class Walks:
    """Of what a published dataset consists: so many walks of so many steps."""

    walks: int
    steps: int


def published_walks(env_id: str) -> Walks:
    """Return how many walks of how many steps OGBench's dataset of this name has."""
    _, maze, kind = env_id.removeprefix("df_envs:").split("-")
    if kind == "stitch":
        return Walks(5000, 200)
    return Walks(500, 2000) if maze == "giant" else Walks(1000, 1000)


class _Seeded(CopiedWithState):
    """One of OGBench's mazes whose chance is its own, with observations as a GoalEnv's."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        place = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.observation_space = gym.spaces.Dict({"observation": place, "achieved_goal": place, "desired_goal": place})
        self._chance = np.random.RandomState()  # from entropy, until a seed is given

    @property
    def maze(self) -> Any:
        """OGBench's own environment."""
        return self.env.unwrapped

    def _act(self, action: Any) -> tuple[Array, Any, bool, bool, dict[str, Any]]:
        # Only teleports leave something to chance in a step, and lending it costs more than the step.
        with nullcontext() if self.maze._teleport_info is None else self._own_chance():
            taken: Any = self.env.step(action)
        return taken  # type: ignore[no-any-return]

    @contextmanager
    def _own_chance(self) -> Iterator[None]:
        others = np.random.get_state()  # noqa: NPY002
        np.random.set_state(self._chance.get_state())  # noqa: NPY002
        try:
            yield
        finally:
            self._chance.set_state(np.random.get_state())  # noqa: NPY002
            np.random.set_state(others)  # noqa: NPY002

    def _seed(self, seed: int | None) -> None:
        if seed is not None:
            self._chance = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))
            self.env.action_space.seed(seed)  # OGBench takes a few random steps while it resets

    def _observed(self, place: Any) -> dict[str, Array]:
        place = np.asarray(place, dtype=np.float64)
        return {
            "observation": place.copy(),
            "achieved_goal": place.copy(),
            "desired_goal": np.array(self.maze.cur_goal_xy, dtype=np.float64),
        }


class GoalMaze(_Seeded):
    """A maze with OGBench's tasks.

    Args:
        env: one of OGBench's mazes.
        task: which of its five tasks every episode has; None draws one for each.
    """

    def __init__(self, env: gym.Env[Any, Any], task: int | None = None) -> None:
        super().__init__(env)
        if task is not None and not 1 <= task <= TASKS:
            raise ValueError(f"task must be 1 to {TASKS}, or None for one drawn in each episode, got {task}")
        self.task = task

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode; options are OGBench's: task_id or task_info."""
        self._seed(seed)
        asked = dict(options or {})
        if self.task is not None and "task_info" not in asked:
            asked.setdefault("task_id", self.task)
        with self._own_chance():
            place, info = self.env.reset(seed=seed, options=asked)
        distance = float(np.linalg.norm(place - info["goal"]))
        return self._observed(place), {**info, "success": distance <= GOAL_RADIUS, "task": self.maze.cur_task_id}

    def references(self) -> dict[str, Any]:
        """Return what results are measured against; there is no bound where ways lead through teleports."""
        name = f"{OGBENCH}-{self.maze._maze_type}"
        return {
            "lower_bound_steps": None if "teleport" in name else partial(shortest_steps, name),
            "crosses_wall": partial(crosses_wall, name, radius=NEAREST_CENTRE),
            "walls": wall_boxes(name),
            "goal_radius": GOAL_RADIUS,
            "control_period": self.maze.dt,
        }

    def compute_reward(self, achieved: Array, desired: Array, info: Any) -> Array:
        """Return 1 for places (..., 2) within the radius of their goals, 0 for others."""
        return np.asarray(np.linalg.norm(np.asarray(achieved) - desired, axis=-1) <= GOAL_RADIUS, np.float64)

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        """Act once."""
        place, reward, terminated, truncated, info = self._act(action)
        return self._observed(place), reward, terminated, truncated, {**info, "success": bool(info["success"])}


class WalkMaze(_Seeded):
    """The walks that a dataset of OGBench's consists of; an episode is one of them.

    "navigate": from goal to goal, which are cells that are no hallways; "stitch": to a cell four cells away, to stay.

    Args:
        env: one of OGBench's mazes that goes on at the goal.
        kind: "navigate" or "stitch".
    """

    def __init__(self, env: gym.Env[Any, Any], kind: str) -> None:
        super().__init__(env)
        if kind not in OGBENCH_KINDS:
            raise ValueError(f"kind must be one of {', '.join(OGBENCH_KINDS)}, got {kind!r}")
        self.kind = kind

    @cached_property
    def _cells(self) -> list[Cell]:
        return [(int(i), int(j)) for i, j in np.argwhere(self.maze.maze_map == 0)]

    @cached_property
    def _goal_cells(self) -> list[Cell]:
        def hallway(i: int, j: int) -> bool:
            free = self.maze.maze_map == 0
            along = (free[i - 1, j] and free[i + 1, j], free[i, j - 1] and free[i, j + 1])
            shut = (not free[i - 1, j] and not free[i + 1, j], not free[i, j - 1] and not free[i, j + 1])
            return bool((along[0] and shut[1]) or (along[1] and shut[0]))

        return [cell for cell in self._cells if not hallway(*cell)]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin a walk from a cell drawn at random."""
        self._seed(seed)
        with self._own_chance():
            start, goals = self._drawn(self._cells), self._goal_cells
            if self.kind == "stitch":
                away = cells_towards(self.maze.maze_map, start)
                goals = [cell for cell in self._cells if away[cell] == STITCH_CELLS] or [start]
            task = {"init_ij": start, "goal_ij": self._drawn(goals)}
            place, info = self.env.reset(seed=seed, options={"task_info": task})
        return self._observed(place), info

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        """Act once; whoever has arrived in a navigate walk gets another goal."""
        place, reward, terminated, truncated, info = self._act(action)
        if info["success"] and self.kind == "navigate":
            with self._own_chance():
                self.maze.set_goal(self._drawn(self._goal_cells))
        return self._observed(place), reward, terminated, truncated, {**info, "success": bool(info["success"])}

    def _drawn(self, cells: list[Cell]) -> Cell:
        return cells[np.random.randint(len(cells))]  # noqa: NPY002 - see _own_chance


class Wanderer:
    """The demonstrator of OGBench's sets: straight to the middle of the next cell on the way, with noise.

    Args:
        env_id: "pointmaze-giant-navigate", say; the map comes from it.
        action_noise: standard deviation, before the action is clipped.
        seed: of the noise.
        to_goal: whether it steers to the goal itself in the goal's cell. In the sets it does not, and relies on the
            noise to get there.
    """

    def __init__(self, env_id: str, action_noise: float = ACTION_NOISE, seed: int = 0, to_goal: bool = False) -> None:
        self.maze, self.action_noise, self.to_goal = maze_of(env_id), action_noise, to_goal
        self._map = np.array([[mark == "#" for mark in row] for row in self.maze.rows], dtype=np.int64)
        self._ways: dict[Cell, NDArray[np.int64]] = {}
        self._random = np.random.default_rng(seed)

    def next_cell(self, cell: Cell, goal: Cell) -> Cell:
        """Return the neighbour that is nearest to the goal, or the cell itself where none is nearer."""
        if goal not in self._ways:
            self._ways[goal] = cells_towards(self._map, goal)
        away, best = self._ways[goal], cell
        for down, right in NEIGHBOURS:
            beside = (cell[0] + down, cell[1] + right)
            if self._map[beside] == 0 and away[beside] < away[best]:
                best = beside
        return best

    def predict(
        self,
        observation: dict[str, Array] | Array,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Array, Any]:
        """Return actions (B, 2) or (2,); `deterministic` leaves the noise out."""
        if not isinstance(observation, dict):
            raise TypeError("the demonstrator needs observations as a GoalEnv's")
        places, goals = (np.atleast_2d(observation[key]) for key in ("achieved_goal", "desired_goal"))
        targets = np.empty_like(places)
        for row, (place, goal) in enumerate(zip(places.tolist(), goals.tolist(), strict=True)):
            here, there = self.maze.cell_at(*place), self.maze.cell_at(*goal)
            arrived = self.to_goal and here == there
            targets[row] = goal if arrived else self.maze.centre(self.next_cell(here, there))
        way = targets - places
        actions = way / (np.linalg.norm(way, axis=1, keepdims=True) + 1e-6)
        if not deterministic:
            actions = actions + self._random.normal(0.0, self.action_noise, actions.shape)
        actions = np.clip(actions, -1.0, 1.0)
        return (actions[0] if observation["achieved_goal"].ndim == 1 else actions), state


def shortest_steps(env_id: str, starts: Array, goals: Array) -> Array:
    """Return control steps (N,) that no policy can undercut from starts to within the goals' radius, both (N, 2).

    The step is limited per axis, so it is the max-norm way around the corners; see `geodesic_to_disc`.
    """
    maze = maze_of(env_id)
    length = geodesic_to_disc(maze.name, np.asarray(starts)[:, :2], np.asarray(goals), GOAL_RADIUS)
    return np.asarray(length / STRIDE)


def how_to_install() -> str:
    """Return how OGBench is installed, or that it cannot be: labmaze, which it needs, has no build for Python 3.13."""
    if sys.version_info >= (3, 13):
        return "it has no build for this Python; take 3.11 or 3.12 and pip install 'df-agent[ogbench]'"
    return "pip install 'df-agent[ogbench]'"


def _inner(maze: str, **options: Any) -> gym.Env[Any, Any]:
    try:
        import ogbench  # noqa: F401 - registers its environments
    except ImportError as error:
        raise ImportError(f"pointmaze-{maze} needs OGBench: {how_to_install()} ({error})") from error
    return gym.make(f"pointmaze-{maze}-v0", disable_env_checker=True, **options)


def make_goal_maze(maze: str, task: int | None = None, render_mode: str | None = None) -> GoalMaze:
    """Make a maze with its tasks; raises ImportError, saying what to install, without OGBench."""
    # Time limits are this environment's own, by its registration.
    return GoalMaze(_inner(maze, max_episode_steps=-1, render_mode=render_mode or "rgb_array"), task)


def make_walk_maze(env_id: str) -> gym.Env[Any, Any]:
    """Make the walks of a dataset's name, "pointmaze-giant-stitch", each as long as in the published set."""
    _, maze, kind = env_id.removeprefix("df_envs:").split("-")
    inner = _inner(maze, max_episode_steps=-1, terminate_at_goal=False)
    return gym.wrappers.TimeLimit(WalkMaze(inner, kind), published_walks(env_id).steps)
