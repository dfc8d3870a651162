"""The agent in its maze: Gymnasium-Robotics' PointMaze in MuJoCo, without the files and wrappers around it.

The body, joints, motors and contact settings are read from Gymnasium-Robotics' own `point.xml`; the walls are
added here and compiled from a string, so that no temporary file is left behind. One step is 0.01 s. The
velocity is clipped to +-5 m/s per axis *before* it is integrated, as there; one step of full force adds up to
about 0.23 m/s on top, which is why the agent moves up to 0.0523 m per axis in a step.
"""

from __future__ import annotations

import copy
import importlib.util
import xml.etree.ElementTree as ET
from functools import cache
from pathlib import Path
from typing import Any

import mujoco

from df_envs.maps import Maze, maze_of

TIME_STEP = 0.01
AGENT_RADIUS = 0.1
MAX_SPEED = 5.0
WALL_HEIGHT = 0.4


def _asset() -> Path:
    # Located without importing the package, whose import registers some hundred environments.
    spec = importlib.util.find_spec("gymnasium_robotics")
    if spec is None or spec.origin is None:
        raise ImportError("The maze environments need gymnasium-robotics: pip install 'gymnasium-robotics>=1.4.2'")
    return Path(spec.origin).parent / "envs" / "assets" / "point" / "point.xml"


@cache
def maze_xml(name: str) -> str:
    """The MuJoCo model of a maze: the point's own file, one box per wall cell, and a marker at the goal."""
    maze = maze_of(name)
    root = ET.parse(_asset()).getroot()
    world = root.find(".//worldbody")
    assert world is not None
    half = WALL_HEIGHT / 2
    for row in range(maze.height):
        for column in range(maze.width):
            if not maze.is_free((row, column)):
                x, y = maze.centre((row, column))
                ET.SubElement(
                    world,
                    "geom",
                    name=f"block_{row}_{column}",
                    type="box",
                    pos=f"{x} {y} {half}",
                    size=f"0.5 0.5 {half}",
                    contype="1",
                    conaffinity="1",
                    rgba="0.7 0.5 0.3 1.0",
                )
    ET.SubElement(world, "site", name="target", type="sphere", pos=f"0 0 {half}", size="0.2", rgba="1 0 0 0.7")
    return ET.tostring(root, encoding="unicode")


@cache
def _compiled(name: str) -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(maze_xml(name))


class Physics:
    """One agent in one maze."""

    def __init__(self, maze: Maze) -> None:
        self.model = copy.copy(_compiled(maze.name))  # its own, but a tenth of the time that compiling takes
        self.data = mujoco.MjData(self.model)
        self._look_up()

    def _look_up(self) -> None:
        # The views stay valid as long as the data lives; looking them up costs more than a step.
        self._qpos, self._qvel, self._ctrl = self.data.qpos, self.data.qvel, self.data.ctrl

    def __getstate__(self) -> dict[str, Any]:
        # A copy of a view is an array of its own, which the copied simulation would neither read nor write.
        return {"model": self.model, "data": self.data}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.model, self.data = state["model"], state["data"]
        self._look_up()

    def set_state(self, x: float, y: float, vx: float, vy: float) -> None:
        """Put the agent at a position [m] with a velocity [m/s], all else as in a fresh simulation."""
        mujoco.mj_resetData(self.model, self.data)
        self._qpos[0], self._qpos[1], self._qvel[0], self._qvel[1] = x, y, vx, vy
        mujoco.mj_forward(self.model, self.data)

    def step(self, force_x: float, force_y: float) -> tuple[float, float, float, float]:
        """Apply a force, each axis in [-1, 1], for one step; return x, y, vx, vy."""
        qvel = self._qvel
        vx, vy = qvel[0], qvel[1]
        if vx > MAX_SPEED or vx < -MAX_SPEED:
            qvel[0] = MAX_SPEED if vx > 0 else -MAX_SPEED
        if vy > MAX_SPEED or vy < -MAX_SPEED:
            qvel[1] = MAX_SPEED if vy > 0 else -MAX_SPEED
        self._ctrl[0], self._ctrl[1] = force_x, force_y
        mujoco.mj_step(self.model, self.data)
        x, y = self._qpos.tolist()
        vx, vy = qvel.tolist()
        return x, y, vx, vy
