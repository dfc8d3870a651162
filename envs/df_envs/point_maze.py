"""The maze environments: D4RL's protocol on Gymnasium-Robotics' physics, and the endless walk for collecting.

What D4RL v1 does and Gymnasium-Robotics' PointMaze-v3 does not is settled here, once: success within 0.5 of
the goal (not 0.45), a start in any free cell, the goal's too, with +-0.1 noise and a velocity drawn from
N(0, 0.1^2) (not +-0.25, at rest, away from the goal), a fixed goal at a cell's centre.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from df_envs.maps import maze_of
from df_envs.physics import TIME_STEP, Physics

Observation = dict[str, Any]


class PointMazeEnv(gym.Env[Observation, NDArray[np.float32]]):
    """A ball driven by forces through a maze to a goal.

    Observation: {"observation": (4,) x, y [m], vx, vy [m/s]; "achieved_goal", "desired_goal": (2,) x, y [m]}.
    Action: (2,) force along x and y in [-1, 1]. Reward: 1.0 within `success_radius` of the goal, else 0.0.
    Never terminates; the time limit comes from the registration.

    Args:
        maze: "umaze", "medium" or "large".
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
        maze: str = "large",
        *,
        random_goal: bool = False,
        goal_noise: float = 0.1,
        start_noise: float = 0.1,
        start_speed: float = 0.1,
        success_radius: float = 0.5,
        render_mode: str | None = None,
        width: int = 480,
        height: int = 480,
    ) -> None:
        self.maze = maze_of(maze)
        self.random_goal = random_goal
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
        self.set_goal(np.array(self.maze.centre(self.maze.goal_cell)))

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

        # From straight above, so that no wall hides the ball; x to the right, y up.
        size = max(self.maze.width, self.maze.height)
        view = {"lookat": np.zeros(3), "distance": 1.25 * size, "elevation": -90.0, "azimuth": 90.0}
        return MujocoRenderer(self.physics.model, self.physics.data, view, self.width, self.height)

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
        return np.array(self.maze.centre(self.maze.goal_cell))

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


class WalkEnv(PointMazeEnv):
    """The endless walk that demonstrations are cut from, with the numbers of Minari's PointMaze sets.

    Reaching the goal (within 0.45) ends the episode with `truncated`, and the next `reset()` without a seed
    leaves the ball as it is and draws a goal that is not yet reached. So consecutive episodes share their
    boundary observation, and the first observation of each already shows its own goal.
    """

    def __init__(self, maze: str = "large", *, render_mode: str | None = None) -> None:
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
        """With a seed or options: begin a new walk. Without: a new goal, from where the ball is."""
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
