"""Following plans: which action a plan asks for now, when it has to be made anew, and what is left of it.

A controller remembers nothing itself; what it notes goes into the `PolicyState` that it returns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from df_planners.feasibility import MotionLimits
from df_planners.tracking import arc_lengths, follow_waypoints, pd_action, planned_place, point_at, track_path

from df_agent.policies.config import MPCConfig, PolicyConfig
from df_agent.policies.state import Array, BoolArray, IntArray, PolicyState

FEW_STEPS = 5  # in which the robot may be off a new plan, which began where it was
NEARBY = 20.0  # control steps to the goal, within which an agent that was there stays
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


class PathController(Controller):
    """Follows a plan's path as fast as the actuators can, whatever the plan's own pace."""

    own_pace = False

    def act(self, state: PolicyState, values: Array) -> tuple[Array, PolicyState]:
        """Return actions by pure pursuit; see `track_path`."""
        position, velocity = self.motion(state, values)
        return self.track(state, position, velocity)

    def track(self, state: PolicyState, position: Array, velocity: Array) -> tuple[Array, PolicyState]:
        """Return the actions that follow the path, and the state with what is done of it."""
        path, tracker = self.path(state), self.config.tracker
        actions, progress, off_path = track_path(path, position, velocity, state.progress, tracker)
        return actions, replace(state, progress=progress, off_path=off_path)


class WaypointController(PathController):
    """Follows a plan's positions at its own pace, as Diffusion Forcing v1.5 does."""

    own_pace = True

    def act(self, state: PolicyState, values: Array) -> tuple[Array, PolicyState]:
        """Return actions towards the next planned position; see `follow_waypoints`."""
        position, velocity = self.motion(state, values)
        state = self.track(state, position, velocity)[1]
        skip, tracker = self.robot.frame_skip, self.config.tracker
        return follow_waypoints(self.path(state), position, velocity, state.age, skip, tracker), state


class InverseDynamicsController(PathController):
    """Follows a plan's positions at its own pace, by the actions that lead to them in the data."""

    own_pace = needs_inverse_dynamics = True

    def act(self, state: PolicyState, values: Array) -> tuple[Array, PolicyState]:
        """Return the actions that the inverse model takes for the next displacement."""
        assert self.robot.inverse_dynamics is not None
        position, velocity = self.motion(state, values)
        state, skip = self.track(state, position, velocity)[1], self.robot.frame_skip
        displacement = planned_place(self.path(state), state.age + skip, skip) - position
        return self.robot.inverse_dynamics(state.history[:, -1], displacement), state


class PlannedStatesController(Controller):
    """Steers to the next planned position and velocity, one frame per control step, and holds the last position.

    Diffuser's controller in Maze2D (Janner et al. 2022).
    """

    needs_velocities = True

    def act(self, state: PolicyState, values: Array) -> tuple[Array, PolicyState]:
        """Return actions by proportional-derivative control."""
        position, velocity = self.motion(state, values)
        g = position.shape[1]
        following = state.age + 1 < state.length
        waypoint = state.frames[np.arange(len(values)), np.minimum(state.age + 1, state.length - 1)]
        target_velocity = np.where(following[:, None], waypoint[:, g : 2 * g], 0.0)
        return pd_action(position, velocity, waypoint[:, :g], target_velocity, self.config.tracker), state

    def done(self, state: PolicyState, path: Array) -> Array:
        """Return the arc length, (B,), up to the frame that is due now."""
        arc = arc_lengths(path)
        return np.asarray(arc[np.arange(len(arc)), np.minimum(state.age, arc.shape[1] - 1)])

    def frames_left(self, state: PolicyState, rows: IntArray) -> IntArray:
        """Return how many frames, (n,), come after the one that is due now."""
        return np.asarray(state.length[rows] - state.age[rows])


class ActionController(Controller):
    """Executes the actions that were planned, whatever they do."""

    executes_actions = True

    def act(self, state: PolicyState, values: Array) -> tuple[Array, PolicyState]:
        """Return the action that was planned for this step; the last one is held."""
        step = np.clip(state.age, 0, np.maximum(state.action_count - 1, 0))
        actions = state.actions[np.arange(len(step)), step]
        return np.clip(actions, *self.robot.action_limits), state

    def ended(self, state: PolicyState) -> BoolArray:
        """Return the rows, (B,), whose actions are used up, or old enough."""
        steps = np.maximum(state.action_count, 1)
        if self.config.open_loop_horizon is not None:
            steps = np.minimum(self.config.open_loop_horizon, steps)
        return np.asarray(state.age >= steps)

    def stuck(self, state: PolicyState, rows: IntArray) -> BoolArray:
        """No row: what the actions do is not looked at."""
        return np.zeros(len(rows), dtype=bool)


class LocalPolicyController(Controller):
    """Goes for the places of a plan, each some steps ahead, and for the goal once it is near, by the local policy.

    What it is asked for is quick; where that does not bring it nearer to the goal for a while, it is stuck: what it is
    asked for becomes slower, as the plans do, and then it leaves its way, see `Progress`.
    """

    config: PolicyConfig
    own_pace = needs_local_policy = True

    def act(self, state: PolicyState, values: Array) -> tuple[Array, PolicyState]:
        """Return the local policy's actions, and the state with how it gets on towards the goal."""
        r, c, b = self.robot, self.config.local_policy, len(values)
        assert r.local_policy is not None
        assert r.steps_to is not None
        onward = planned_place(self.path(state), state.age + c.reach, r.frame_skip)
        both = r.steps_to(np.tile(state.values, (2, 1)), np.concatenate([state.goal, onward]))
        steps, place, onward_steps = both[:b], state.goal, both[b:]
        ahead = steps > c.reach
        place, needed = np.where(ahead[:, None], onward, place), np.where(ahead, onward_steps, steps)
        progress = state.progress_to_goal.noted(steps, state.history[:, -1, r.channels(state.goal)])
        asked = c.pace * state.shortcut_penalty * needed
        stays = (progress.near_for > c.hold) & (steps <= NEARBY)
        asked = np.where(stays, np.maximum(asked, c.hold), asked)
        away = progress.detour_left > 0
        back = away & np.isfinite(progress.detour_place).all(1)
        if back.any():
            place = np.where(back[:, None], progress.detour_place, place)
            asked = np.where(back, progress.detour_left, asked)
        actions = r.local_policy(state.values, place, np.maximum(asked, 1))
        if (away & ~back).any():
            actions = np.where((away & ~back)[:, None], progress.detour_action, actions)
        return actions, replace(state, progress_to_goal=progress)

    def ended(self, state: PolicyState) -> BoolArray:
        """Return the rows, (B,), whose plan is old enough, or that are stuck."""
        horizon, patience = self.config.open_loop_horizon, self.config.patience
        old = np.zeros(len(state.age), bool) if horizon is None else state.age >= horizon
        return np.asarray(old if patience is None else old | (state.progress_to_goal.stalled >= patience))

    def stuck(self, state: PolicyState, rows: IntArray) -> BoolArray:
        """Return which of `rows`, (n,), have not come nearer to their goal for a while."""
        patience = np.inf if self.config.patience is None else self.config.patience
        return np.asarray(state.progress_to_goal.stalled[rows] >= patience)

    def off_the_way(self, state: PolicyState, rows: IntArray) -> PolicyState:
        """Let `rows`, (n,), begin a detour, those that were stuck often enough."""
        seeds = np.stack([state.seed[rows], state.plans[rows]], 1)
        detour, limits = self.config.local_policy.detour, self.robot.action_limits
        return replace(state, progress_to_goal=state.progress_to_goal.off_the_way(rows, detour, limits, seeds))


CONTROLLERS: dict[str, type[Controller]] = {
    "path": PathController,
    "waypoints": WaypointController,
    "inverse_dynamics": InverseDynamicsController,
    "planned_states": PlannedStatesController,
    "actions": ActionController,
    "local_policy": LocalPolicyController,
}
