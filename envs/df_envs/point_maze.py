"""The maze environments: D4RL's protocol on Gymnasium-Robotics' physics, and the endless one for collecting.

What D4RL v1 does and Gymnasium-Robotics' PointMaze-v3 does not is settled here, once: success within 0.5 of
the goal (not 0.45), a start in any free cell, the goal's too, with +-0.1 noise and a velocity drawn from
N(0, 0.1^2) (not +-0.25, at rest, away from the goal), a fixed goal at a cell's centre.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from df_envs.geometry import crosses_wall
from df_envs.maps import wall_boxes
from df_envs.oracle import SUCCESS_RADIUS, lower_bound_steps, oracle_steps
from df_envs.own_mazes import MazeLike, as_maze, know
from df_envs.physics import AGENT_RADIUS, TIME_STEP, Physics
from df_envs.time_optimal import time_optimal_steps

Observation = dict[str, Any]

# D4RL's returns that count as 0 and 100. Its physics was another, so scores compare among our own rows only.
SCORE_REFERENCES = {"umaze": (23.85, 161.86), "medium": (13.13, 277.39), "large": (6.7, 273.99)}
# How deep [m] the agent may be in a wall before a plan counts as running into it. MuJoCo's contacts are soft: of 300
# windows of the data, each as long as a training window, 13 to 15 % are in a wall without this tolerance and still 6 to
# 8 % with it, so a model of the data is not to be expected at 0.
WALL_TOLERANCE = 0.01


class PointMazeEnv(gym.Env[Observation, NDArray[np.float32]]):
    """A ball, the agent, driven by forces through a maze to a goal.

    Observation: {"observation": (4,) x, y [m], vx, vy [m/s]; "achieved_goal", "desired_goal": (2,) x, y [m]}.
    Action: (2,) force along x and y in [-1, 1]. Reward: 1.0 within `success_radius` of the goal, else 0.0.
    Never terminates; the time limit comes from the registration.

    Args:
        maze: "umaze", "medium" or "large"; or a maze of one's own, its rows or a file, see `own_mazes`.
        random_goal: draw the goal among all free cells instead of the maze's fixed one.
        goal_noise: half width of the uniform noise on a drawn goal, per axis [m].
        start_noise: half width of the uniform noise on the start, per axis [m].
        start_speed: standard deviation of the start's velocity, per axis [m/s].
        success_radius: distance to the goal that counts as there [m].
        render_mode: None, "human", "rgb_array" or "depth_array" (through MuJoCo, which needs OpenGL).
        width, height: size of a rendered frame [pixels].
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  (gymnasium declares it so)
        "render_modes": ["human", "rgb_array", "depth_array"],
        "render_fps": round(1 / TIME_STEP),
    }

    def __init__(
        self,
        maze: MazeLike = "large",
        *,
        random_goal: bool = False,
        goal_noise: float = 0.1,
        start_noise: float = 0.1,
        start_speed: float = 0.1,
        success_radius: float = SUCCESS_RADIUS,
        render_mode: str | None = None,
        width: int = 480,
        height: int = 480,
    ) -> None:
        self.maze = as_maze(maze)
        self.random_goal = random_goal
        centre = self.maze.centre(self.maze.free_cells[0]) if random_goal else self.maze.goal
        self.goal_noise, self.start_noise, self.start_speed = goal_noise, start_noise, start_speed
        self.success_radius = success_radius
        self.render_mode = render_mode
        self.width, self.height = width, height
        self.physics = Physics(self.maze)
        self.observation_space = spaces.Dict(
            {
                "observation": spaces.Box(-np.inf, np.inf, (4,), np.float64),
                "achieved_goal": spaces.Box(-np.inf, np.inf, (2,), np.float64),
                "desired_goal": spaces.Box(-np.inf, np.inf, (2,), np.float64),
            }
        )
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._renderer: Any = None
        self.set_goal(np.array(centre))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: seeds the start and the goal.
            options: {"state": (4,) or (2,) exact x, y[, vx, vy], at rest if without velocity; "goal": (2,)
                exact x, y}, each optional. The draws are made all the same, so the generator moves alike.
        """
        super().reset(seed=seed)
        given = _checked_options(options)
        self.set_goal(self._draw_goal())
        state = self._draw_start()
        if "goal" in given:
            self.set_goal(self._inside("goal", given["goal"]))
        if "state" in given:
            state = self._inside("state", given["state"])
        self.physics.set_state(*(float(value) for value in state))
        observation, success = self._observe(*(float(value) for value in state))
        return observation, {"success": success}

    def step(self, action: NDArray[np.floating[Any]]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Apply a force for 0.01 s; values beyond the action space are clipped, NaN is an error."""
        forces = action.tolist() if isinstance(action, np.ndarray) else list(action)
        if len(forces) != 2 or math.isnan(forces[0]) or math.isnan(forces[1]):
            raise ValueError(f"The action must be two forces, none of them NaN; got {action!r}")
        force_x, force_y = forces
        state = self.physics.step(min(max(force_x, -1.0), 1.0), min(max(force_y, -1.0), 1.0))
        observation, success = self._observe(*state)
        return observation, float(success), False, False, {"success": success}

    def compute_reward(
        self, achieved_goal: NDArray[np.float64], desired_goal: NDArray[np.float64], info: Any
    ) -> NDArray[np.float64]:
        """Rewards of achieved positions (..., 2) for desired ones (..., 2): (...) of 0.0 and 1.0."""
        offset = np.asarray(achieved_goal) - np.asarray(desired_goal)
        dx, dy = offset[..., 0], offset[..., 1]
        # The same arithmetic as in `_observe`, so that the two agree to the last bit.
        return np.asarray(dx * dx + dy * dy <= self.success_radius**2, dtype=np.float64)

    def compute_terminated(
        self, achieved_goal: NDArray[np.float64], desired_goal: NDArray[np.float64], info: Any
    ) -> bool:
        """False: the task never terminates."""
        return False

    def compute_truncated(
        self, achieved_goal: NDArray[np.float64], desired_goal: NDArray[np.float64], info: Any
    ) -> bool:
        """False: the time limit is gymnasium's wrapper's."""
        return False

    def references(self) -> dict[str, Any]:
        """Return what results here are measured against, which the policies are not told.

        Returns:
            oracle_steps, lower_bound_steps, time_optimal_steps: (starts (N, 4), goals (N, 2)) -> (N,) control steps.
            crosses_wall: paths (N, H, 2) -> (N,) booleans.
            walls: (M, 4) boxes xmin, ymin, xmax, ymax [m]. goal_radius [m]. control_period [s].
            score_references: returns that count as 0 and 100, in episodes of score_limit control steps.
        """
        name, fixed = self.maze.name, not self.random_goal
        solved = fixed and name in SCORE_REFERENCES
        return {
            "oracle_steps": partial(oracle_steps, name),
            "lower_bound_steps": partial(lower_bound_steps, name),
            "time_optimal_steps": partial(time_optimal_steps, f"maze2d-{name}") if solved else None,
            "crosses_wall": partial(crosses_wall, name, radius=AGENT_RADIUS - WALL_TOLERANCE),
            "walls": wall_boxes(name),
            "goal_radius": self.success_radius,
            "score_references": SCORE_REFERENCES.get(name) if fixed else None,
            "score_limit": self.maze.max_episode_steps,
            "control_period": TIME_STEP,
        }

    def set_goal(self, goal: NDArray[np.float64]) -> None:
        """Move the goal, (2,) x, y in metres."""
        self.goal = np.array(goal, dtype=np.float64)
        self._goal_x, self._goal_y = self.goal.tolist()
        self.physics.model.site("target").pos[:2] = self.goal

    def render(self) -> Any:
        """Draw with MuJoCo as `render_mode` says."""
        if self.render_mode is None:
            gym.logger.warn("render() was called without a render_mode: pass one to gym.make")
            return None
        try:
            if self._renderer is None:
                self._renderer = self._open_renderer()
            return self._renderer.render(self.render_mode)
        except (mujoco.FatalError, ImportError, AttributeError) as error:
            raise RuntimeError(
                f"MuJoCo could not open an OpenGL context ({error}). Without a display set MUJOCO_GL=egl or "
                "MUJOCO_GL=osmesa before Python starts."
            ) from error

    def _open_renderer(self) -> Any:
        from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer

        # From straight above, so that no wall hides the agent; x to the right, y up.
        size = max(self.maze.width, self.maze.height)
        view = {"lookat": np.zeros(3), "distance": 1.25 * size, "elevation": -90.0, "azimuth": 90.0}
        return MujocoRenderer(self.physics.model, self.physics.data, view, self.width, self.height)

    def __getstate__(self) -> dict[str, Any]:
        # A copy opens a window of its own, and in a process of its own it may have to learn of the user's maze.
        return {**vars(self), "_renderer": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        know(self.maze)

    def close(self) -> None:
        """Free the window or the off-screen buffer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _observe(self, x: float, y: float, vx: float, vy: float) -> tuple[Observation, bool]:
        observation = np.array((x, y, vx, vy))
        dx, dy = x - self._goal_x, y - self._goal_y
        success = dx * dx + dy * dy <= self.success_radius**2
        return {
            "observation": observation,
            "achieved_goal": observation[:2].copy(),
            "desired_goal": self.goal.copy(),
        }, success

    def _noisy_centre(self, cell: tuple[int, int], noise: float) -> NDArray[np.float64]:
        return np.array(self.maze.centre(cell)) + self.np_random.uniform(-noise, noise, 2)

    def _random_cell(self) -> tuple[int, int]:
        return self.maze.free_cells[int(self.np_random.integers(len(self.maze.free_cells)))]

    def _draw_goal(self) -> NDArray[np.float64]:
        if self.random_goal:
            return self._noisy_centre(self._random_cell(), self.goal_noise)
        return np.array(self.maze.goal)

    def _draw_start(self) -> NDArray[np.float64]:
        position = self._noisy_centre(self._random_cell(), self.start_noise)
        return np.concatenate([position, self.np_random.normal(0.0, self.start_speed, 2)])

    def _inside(self, what: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        cell = self.maze.cell_at(*values[:2].tolist())
        if not self.maze.is_free(cell):
            raise ValueError(
                f"reset option {what!r}: {values[:2]} lies in cell {cell}, which is a wall of {self.maze.name} "
                f"or outside of it"
            )
        return values


def make_maze(maze: MazeLike | None = None, **options: Any) -> gym.Env[Observation, NDArray[np.float32]]:
    """Make what `gym.make("maze2d", maze=...)` asks for, with the maze's own episode limit.

    `max_episode_steps` of `gym.make` can shorten an episode; to lengthen it, say it to `register_maze`.

    Args:
        maze: as for `as_maze`.
        options: of `PointMazeEnv`.
    """
    if maze is None:
        raise ValueError("say which maze: its rows, a file of them, or a name, as in maze='my_maze.txt'")
    env = PointMazeEnv(maze, **options)
    return gym.wrappers.TimeLimit(env, env.maze.max_episode_steps)


class WalkEnv(PointMazeEnv):
    """The endless trajectory that demonstrations are cut from, with the numbers of Minari's PointMaze sets.

    Reaching the goal (within 0.45) ends the episode with `truncated`, and the next `reset()` without a seed
    leaves the agent as it is and draws a goal that is not yet reached. So consecutive episodes share their
    boundary observation, and the first observation of each already shows its own goal.
    """

    def __init__(self, maze: MazeLike = "large", *, render_mode: str | None = None) -> None:
        super().__init__(
            maze,
            random_goal=True,
            goal_noise=0.25,
            start_noise=0.25,
            start_speed=0.0,
            success_radius=0.45,
            render_mode=render_mode,
        )
        self._last_state: tuple[float, ...] | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """With a seed or options: begin elsewhere. Without: a new goal, from where the agent is."""
        if seed is not None or options is not None or self._last_state is None:
            observation, info = super().reset(seed=seed, options=options)
            self._last_state = tuple(observation["observation"].tolist())
            if options is not None and "goal" in options:
                return observation, info
        else:
            self.set_goal(self._draw_goal())
        while (observed := self._observe(*self._last_state))[1]:
            self.set_goal(self._draw_goal())
        return observed[0], {"success": False}

    def step(self, action: NDArray[np.floating[Any]]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """As the maze's step, truncated on arrival."""
        observation, reward, terminated, _, info = super().step(action)
        self._last_state = tuple(observation["observation"].tolist())
        return observation, reward, terminated, info["success"], info


def _checked_options(options: dict[str, Any] | None) -> dict[str, NDArray[np.float64]]:
    given: dict[str, NDArray[np.float64]] = {}
    for key, value in (options or {}).items():
        if key not in ("state", "goal"):
            raise ValueError(f"Unknown reset option {key!r}; there are 'state' (x, y, vx, vy) and 'goal' (x, y)")
        array = np.asarray(value, dtype=np.float64)
        shapes = ((2,), (4,)) if key == "state" else ((2,),)
        if array.shape not in shapes or not np.isfinite(array).all():
            raise ValueError(f"reset option {key!r} must be finite with shape {shapes}, got {value!r}")
        if key == "state" and array.shape == (2,):
            array = np.concatenate([array, np.zeros(2)])
        given[key] = array
    return given
