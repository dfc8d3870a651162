"""What every controller can do: say which action a plan asks for now, when it has to be made anew, what is left of it.

A controller remembers nothing itself; what it notes goes into the `PolicyState` that it returns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from df_planners.feasibility import MotionLimits
from df_planners.tracking import arc_lengths, point_at

from df_agent.policies.config import MPCConfig
from df_agent.policies.state import Array, BoolArray, IntArray, PolicyState

FEW_STEPS = 5  # in which the robot may be off a new plan, which began where it was
SLOW = 0.1  # of the data's speed, below which a plan leads nowhere


@dataclass(frozen=True)
class Robot:
    """What a controller is told of the robot.

    Attributes:
        goal_channels: where the position that goals are about lies in a modelled observation; None for the leading
            channels, behind which its velocity follows, if it is observed at all.
        frame_skip: control steps between two frames of a plan.
        velocity_indices: where the whole observation holds the velocities of these; empty if nowhere.
        limits: how the data moves; None where nothing is known of it, so that no plan is said to lead nowhere.
        action_limits: smallest and largest actions, (Da,) each or one for all.
        inverse_dynamics: actions (B, Da) that lead, within a frame, from observations (B, Do) by (B, G); None without.
        local_policy: actions (B, Da) that lead from whole observations (B, Dv) to goal channels (B, G) in (B,) control
            steps; None without.
        steps_to: the control steps, (B,), that the data takes from whole observations (B, Dv) to goal channels (B, G)
            where it is quick; None without.
        top_level: noise level of an observation that is missing.
    """

    goal_channels: tuple[int, ...] | None = None
    frame_skip: int = 1
    velocity_indices: tuple[int, ...] = ()
    limits: MotionLimits | None = None
    action_limits: tuple[Array, Array] = (np.array(-np.inf), np.array(np.inf))
    inverse_dynamics: Callable[[Array, Array], Array] | None = None
    local_policy: Callable[[Array, Array, Array], Array] | None = None
    steps_to: Callable[[Array, Array], Array] | None = None
    top_level: int = 1

    def channels(self, goals: Array) -> list[int]:
        """Return the goal channels, given goals (B, G)."""
        return list(range(goals.shape[1])) if self.goal_channels is None else list(self.goal_channels)


class Controller(ABC):
    """Follows the plans in a `PolicyState`, each row its own.

    Args:
        config: when to plan again, and gains.
        robot: what is followed with.

    Attributes:
        own_pace: it follows a plan at the plan's own pace. That begins anew with each plan, so a new one is always
            taken.
        executes_actions: it executes the actions that were planned.
        needs_velocities: plans must hold the velocities of the goal channels behind these, for every control step.
        needs_inverse_dynamics: it acts by an inverse model.
        needs_local_policy: it acts by a learned local policy.
    """

    own_pace: ClassVar[bool] = True
    executes_actions: ClassVar[bool] = False
    needs_velocities: ClassVar[bool] = False
    needs_inverse_dynamics: ClassVar[bool] = False
    needs_local_policy: ClassVar[bool] = False

    def __init__(self, config: MPCConfig, robot: Robot) -> None:
        self.config, self.robot = config, robot

    @abstractmethod
    def act(self, state: PolicyState, values: Array) -> tuple[Array, PolicyState]:
        """Return the actions (B, Da) that the plans ask for now, and the state that says how far they are done.

        "How far" is `progress` and `off_path`, by which plans end and prove to lead nowhere; `PathController.track`
        keeps them. Actions should be clipped to `robot.action_limits`.

        Args:
            state: that holds the observation already.
            values: (B, Do) the whole observation, for velocities.
        """

    def path(self, state: PolicyState) -> Array:
        """Return the planned positions, (B, H, G)."""
        channels = self.robot.channels(state.goal)
        if channels == list(range(state.frames.shape[2])):
            return state.frames
        if not state.frames.shape[2]:  # before the first plan
            return np.zeros((*state.frames.shape[:2], len(channels)))
        return np.asarray(state.frames[..., channels])

    def done(self, state: PolicyState, path: Array) -> Array:
        """Return the arc length, (B,), of the path that is done."""
        return state.progress

    def ended(self, state: PolicyState) -> BoolArray:
        """Return the rows, (B,), whose plan is due to be made anew, was left, or leads nowhere."""
        c = self.config
        ended = (state.off_path > c.deviation) & (state.age >= FEW_STEPS)
        if c.open_loop_horizon is None and c.patience is None:
            return np.asarray(ended)
        path = self.path(state)
        left = arc_lengths(path)[:, -1] - self.done(state, path)
        if c.open_loop_horizon is not None:
            ended |= (state.age >= c.open_loop_horizon) & ~(state.settled & (left <= c.hold_distance))
        if c.patience is not None:
            ended |= (state.age >= c.patience) & (left > c.hold_distance) & self.stuck(state, np.arange(len(left)))
        return np.asarray(ended)

    def stuck(self, state: PolicyState, rows: IntArray) -> BoolArray:
        """Return which of `rows`, (n,), were led off their plan, or nowhere since it was last looked at."""
        if self.robot.limits is None:
            return np.zeros(len(rows), dtype=bool)
        moved = state.progress[rows] - state.progress_at_plan[rows]
        slow = moved < SLOW * self.robot.limits.fastest * state.age[rows]
        return np.asarray((state.off_path[rows] > self.config.deviation) | slow)

    def time_left(self, state: PolicyState, rows: IntArray) -> Array:
        """Return the control steps, (n,), that the rest of these rows' paths takes at the data's speed."""
        assert self.robot.limits is not None
        path = self.path(state)[rows]
        arc = arc_lengths(path)
        segment = (np.abs(np.diff(path, axis=1)) / self.robot.limits.speed).max(-1)
        length = np.maximum(np.diff(arc, axis=1), 1e-9)
        ahead = np.clip((arc[:, 1:] - state.progress[rows, None]) / length, 0, 1)
        return np.asarray((segment * ahead).sum(1))

    def off_the_way(self, state: PolicyState, rows: IntArray) -> PolicyState:
        """Return what is remembered once `rows`, (n,), have proved stuck; most controllers only follow the new plan."""
        return state

    def frames_left(self, state: PolicyState, rows: IntArray) -> IntArray:
        """Return how many frames, (n,), of these rows' plans still lie ahead."""
        arc = arc_lengths(self.path(state)[rows])  # the robot runs ahead of the plan's pace, or lags behind it
        ahead = (arc >= state.progress[rows, None]) & (np.arange(arc.shape[1]) < state.length[rows, None])
        return np.asarray(ahead.sum(1))

    def foresees(self, state: PolicyState) -> bool:
        """Return whether a path says all of what will be observed along it."""
        return not self.executes_actions and state.history.shape[2] == len(self.robot.channels(state.goal))

    def ahead(self, state: PolicyState, rows: IntArray, lead: int) -> Array:
        """Observations, (n, lead, Do), of the next control steps if each row goes on along its path as fast as now."""
        channels = self.robot.channels(state.goal)
        here, before = (state.history[rows, k][:, channels] for k in (-1, -2))
        path, progress = self.path(state)[rows], state.progress[rows]
        arc, speed = arc_lengths(path), np.linalg.norm(here - before, axis=1)
        off = here - point_at(path, arc, progress)
        places = [point_at(path, arc, progress + k * speed) + off for k in range(1, lead + 1)]
        ahead = np.repeat(state.history[rows, -1:], lead, axis=1)
        ahead[..., channels] = np.stack(places, 1)
        return np.asarray(ahead)

    def motion(self, state: PolicyState, values: Array) -> tuple[Array, Array]:
        """Return positions, (B, G), in the goal's channels and their velocities per second."""
        channels, r = self.robot.channels(state.goal), self.robot
        position = state.history[:, -1, channels]
        if r.goal_channels is None:
            g = len(channels)
            velocity = values[:, g : 2 * g]
            return position, velocity if velocity.shape[1] == g else np.zeros_like(position)
        velocity = (position - state.history[:, -2, channels]) / self.config.control_period
        if r.velocity_indices:
            given = values[:, list(r.velocity_indices)]
            missing = np.isnan(given) | (state.level[:, -1:] == r.top_level)
            velocity = np.where(missing, velocity, given)
        return position, velocity
