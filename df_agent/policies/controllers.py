"""Following plans: by their path or at their own pace, by the actions that were planned, or by learned models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from df_planners.tracking import arc_lengths, follow_waypoints, pd_action, planned_place, track_path

from df_agent.policies.controller import Controller
from df_agent.policies.local_control import LocalPolicyController
from df_agent.policies.state import Array, BoolArray, IntArray, PolicyState


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


CONTROLLERS: dict[str, type[Controller]] = {
    "path": PathController,
    "waypoints": WaypointController,
    "inverse_dynamics": InverseDynamicsController,
    "planned_states": PlannedStatesController,
    "actions": ActionController,
    "local_policy": LocalPolicyController,
}
