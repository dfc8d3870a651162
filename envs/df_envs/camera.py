"""Pictures as observations: a camera on a MuJoCo environment, and mazes that are seen and not felt.

The mazes are drawn from straight above, without perspective, so that no wall hides the agent, and the agent larger than
it is, so that it covers several pixels. Markers of goals are not drawn: they jump when the goal changes, which no model
can foresee.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from df_envs.maps import Maze
from df_envs.own_mazes import MazeLike
from df_envs.point_maze import PointMazeEnv
from df_envs.rendering import opengl_backend

Frame = NDArray[np.uint8]
CLOSER = 0.6  # share of a robot's own camera's distance: small pictures need a closer look
DRAWN_RADIUS = 0.28  # radius of the agent as it is drawn [m]; it is 0.1


@dataclass(frozen=True)
class View:
    """Where a free camera stands.

    Attributes:
        lookat: (3,) what it looks at [m].
        distance: from there [m].
        azimuth, elevation: from where [degrees].
        extent: height of the picture [m] of a camera without perspective; None for one with.
        sites: the sites that are drawn, by name, with their radius [m]; no others are.
    """

    lookat: tuple[float, float, float] = (0.0, 0.0, 0.0)
    distance: float = 10.0
    azimuth: float = 90.0
    elevation: float = -90.0
    extent: float | None = None
    sites: Mapping[str, float] = field(default_factory=dict)


class Camera:
    """A camera on a simulation, drawing off-screen.

    Args:
        model, data: MuJoCo's.
        view: where it stands.
        size: height and width of its square pictures [pixels].

    Raises:
        RuntimeError: nothing here can draw; says what to install.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, view: View, size: int) -> None:
        self.data = data
        self._sites = {mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, n): r for n, r in view.sites.items()}
        self._renderer = open_renderer(model, size)
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FREE
        self._camera.lookat[:] = view.lookat
        self._camera.distance, self._camera.azimuth, self._camera.elevation = (
            view.distance,
            view.azimuth,
            view.elevation,
        )
        if view.extent is not None:
            model.vis.global_.orthographic, model.vis.global_.fovy = 1, view.extent
        self._options = mujoco.MjvOption()
        if not self._sites:
            self._options.sitegroup[:] = 0
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._renderer.scene.flags[flag] = 0

    def frame(self) -> Frame:
        """Return what it sees now, (size, size, 3)."""
        self._renderer.update_scene(self.data, self._camera, self._options)
        scene = self._renderer.scene
        for geom in scene.geoms[: scene.ngeom] if self._sites else ():
            if geom.objtype == mujoco.mjtObj.mjOBJ_SITE:
                geom.size[:] = self._sites.get(geom.objid, 0.0)
        drawn: Frame = self._renderer.render()
        return drawn

    def close(self) -> None:
        """Free what it draws with."""
        self._renderer.close()


def open_renderer(model: mujoco.MjModel, size: int) -> mujoco.Renderer:
    """Return MuJoCo's off-screen renderer for square pictures; raises RuntimeError where there is none."""
    backend = opengl_backend()
    importlib.reload(mujoco.gl_context)  # it chose when it was first imported, which may have been too early
    try:
        return mujoco.Renderer(model, size, size)
    except (mujoco.FatalError, ImportError, AttributeError, RuntimeError) as error:
        tried = f"MUJOCO_GL={backend} does not work" if backend else "neither EGL nor OSMesa works"
        raise RuntimeError(
            f"MuJoCo cannot draw pictures here: {tried} ({error}). On Debian and Ubuntu install libegl1 (or "
            "libosmesa6) and start again."
        ) from error


def maze_view(maze: Maze) -> View:
    """Return the view of a whole maze from straight above."""
    return View(extent=float(max(maze.width, maze.height)), sites={"particle_site": DRAWN_RADIUS})


def view_of(env: gym.Env[Any, Any]) -> View:
    """Return where a camera on an environment stands: above the mazes, otherwise where it has its own.

    Raises:
        ValueError: the environment is no MuJoCo simulation.
    """
    inner: Any = env.unwrapped
    if isinstance(inner, PointMazeEnv):
        return maze_view(inner.maze)
    if not hasattr(inner, "model") or not hasattr(inner, "data"):
        raise ValueError(f"{env.spec and env.spec.id} is no MuJoCo simulation, which is what the camera can look at")
    renderer: Any = getattr(inner, "mujoco_renderer", None)
    own = dict(getattr(renderer, "default_cam_config", None) or {})
    given = {key: own[key] for key in ("distance", "azimuth", "elevation") if key in own}
    given["distance"] = CLOSER * given.get("distance", View.distance)
    if "lookat" in own:
        given["lookat"] = tuple(float(value) for value in own["lookat"])
    return View(**given)


def camera_on(env: gym.Env[Any, Any], size: int, view: View | None = None) -> Camera:
    """Return a camera on an environment, standing where `view_of` says unless told otherwise."""
    view = view or view_of(env)
    inner: Any = env.unwrapped
    simulation = inner.physics if isinstance(inner, PointMazeEnv) else inner
    return Camera(simulation.model, simulation.data, view, size)


class Filmed(gym.Wrapper[dict[str, Any], Any, Any, Any]):
    """An environment with a camera that takes a picture every so many control steps.

    The observation gains "pixels" (size, size, 3) uint8, the latest picture; the first is taken at the reset.

    Args:
        env: a MuJoCo environment with dict observations.
        size: height and width of the pictures.
        every: control steps from one picture to the next.
        view: where the camera stands; by default as `view_of` says.
    """

    def __init__(self, env: gym.Env[Any, Any], size: int = 64, every: int = 1, view: View | None = None) -> None:
        super().__init__(env)
        if every < 1 or size < 1:
            raise ValueError(f"size and every must be at least 1, got {size=}, {every=}")
        self.size, self.every, self._view = size, every, view
        space: Any = env.observation_space
        frame = spaces.Box(0, 255, (size, size, 3), np.uint8)
        self.observation_space = spaces.Dict({**space.spaces, "pixels": frame})
        self._camera: Camera | None = None
        self._step, self._frame = 0, np.zeros((size, size, 3), np.uint8)

    @property
    def camera(self) -> Camera:
        """The camera, opened when it is first needed."""
        if self._camera is None:
            self._camera = camera_on(self.env, self.size, self._view)
        return self._camera

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode, with a picture."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._step, self._frame = 0, self.camera.frame()
        return {**observation, "pixels": self._frame}, info

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        """Act once."""
        observation, *rest = self.env.step(action)
        self._step += 1
        if self._step % self.every == 0:
            self._frame = self.camera.frame()
        return {**observation, "pixels": self._frame}, *rest  # type: ignore[return-value]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_camera": None}  # a copy opens one of its own

    def close(self) -> None:
        """Free the camera and the environment."""
        if self._camera is not None:
            self._camera.close()
            self._camera = None
        super().close()


class Endless(gym.Wrapper[dict[str, Any], Any, Any, Any]):
    """An environment that goes on where it stands when an episode of it is over, until `limit` steps have been made.

    For `walk2d-*`, whose reset without a seed draws a new goal and leaves the agent where it is. `reset` begins
    elsewhere.
    """

    def __init__(self, env: gym.Env[Any, Any], limit: int) -> None:
        super().__init__(env)
        self.limit, self._step = limit, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin a new trajectory."""
        self._step = 0
        if seed is None:
            seed = int(self.env.unwrapped.np_random.integers(2**31))
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        """Act once, and turn to the next goal where this one is reached."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._step += 1
        if terminated or truncated:
            observation, _ = self.env.reset()
        return observation, reward, False, self._step >= self.limit, info


class PixelMaze(gym.Wrapper[dict[str, Any], Any, Any, Any]):
    """A maze of which only pictures are seen, the goal among them.

    Observation: {"observation": (size, size, 3) uint8, the latest picture; "achieved_goal": the same;
    "desired_goal": (size, size, 3) uint8, the agent at the goal}. Where agent and goal are is in info["state"] (4,),
    info["achieved_goal"] (2,) and info["desired_goal"] (2,), for records and pictures; a policy gets none of it.

    Args:
        env: the maze.
        size: height and width of the pictures.
        every: control steps from one picture to the next.
    """

    def __init__(self, env: gym.Env[Any, Any], size: int = 64, every: int = 5) -> None:
        super().__init__(Filmed(env, size, every))
        frame = spaces.Box(0, 255, (size, size, 3), np.uint8)
        self.observation_space = spaces.Dict(dict.fromkeys(("observation", "achieved_goal", "desired_goal"), frame))
        self._goal = np.zeros((size, size, 3), np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode; see the maze for the options."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._goal = self._picture_of_goal(observation)
        return self._seen(observation), {**info, **_places(observation)}

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        """Act once."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._seen(observation), reward, terminated, truncated, {**info, **_places(observation)}

    def references(self) -> dict[str, Any]:
        """Return the maze's, but for its walls as obstacles: agents plan in vectors of pictures here, not in places."""
        return {**self.env.get_wrapper_attr("references")(), "crosses_wall": None}

    def _seen(self, observation: dict[str, Any]) -> dict[str, Any]:
        pixels = observation["pixels"]
        return {"observation": pixels.copy(), "achieved_goal": pixels.copy(), "desired_goal": self._goal.copy()}

    def _picture_of_goal(self, observation: dict[str, Any]) -> Frame:
        maze, filmed = self.env.unwrapped, self.env
        assert isinstance(maze, PointMazeEnv)
        assert isinstance(filmed, Filmed)
        x, y = observation["desired_goal"].tolist()
        maze.physics.set_state(x, y, 0.0, 0.0)
        picture = filmed.camera.frame()
        x, y, vx, vy = observation["observation"].tolist()
        maze.physics.set_state(x, y, vx, vy)
        return picture


class Held(gym.Wrapper[dict[str, Any], Any, Any, Any]):
    """An environment in which an action is held for `every` control steps, as from one picture to the next."""

    def __init__(self, env: gym.Env[Any, Any], every: int = 5) -> None:
        super().__init__(env)
        self.every = every

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        """Act until the next picture, or the episode's end; rewards add up."""
        total = 0.0
        for _ in range(self.every):
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(np.asarray(reward).item())  # arrays of one element too
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, info


def _places(observation: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "state": observation["observation"],
        "achieved_goal": observation["achieved_goal"],
        "desired_goal": observation["desired_goal"],
    }


def make_pixel_maze(
    maze: MazeLike, *, size: int = 64, every: int = 5, **options: Any
) -> gym.Env[dict[str, Any], NDArray[np.float32]]:
    """Return a maze of which only pictures are seen; the options are the maze's own."""
    return PixelMaze(PointMazeEnv(maze, **options), size, every)
