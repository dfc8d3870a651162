"""How the agent follows its plans: what to do now, how far along it is, and when a plan has had its time."""

from __future__ import annotations

import numpy as np
import torch
from df_planners.controllers import arc_lengths, follow_waypoints, planned_place, point_at, track_path
from df_planners.shortest_feasible import MotionLimits
from numpy.typing import NDArray

from df_agent.data.samplers.inverse_dynamics import displacement_scale
from df_agent.data.tokens import Tokenizer
from df_agent.agent_model import AgentModel
from df_agent.policies.config import PolicyConfig
from df_agent.policies.state import Array, PolicyState

FEW_STEPS = 5  # in which the robot may be off a new plan, which began where it was
SLOW = 0.1  # of the data's speed, below which a plan leads nowhere


class Follower:
    """Follows the plans in a `PolicyState`, each row its own, and remembers nothing itself.

    Args:
        model: the model, for controller="inverse_dynamics" its inverse model.
        tokenizer: its tokenizer.
        limits: how the data moves.
        action_limits: smallest and largest actions in the data, (Da,) each.
        config: how to act.
    """

    def __init__(
        self,
        model: AgentModel,
        tokenizer: Tokenizer,
        limits: MotionLimits,
        action_limits: tuple[Array, Array],
        config: PolicyConfig,
    ) -> None:
        self.model, self.tokenizer, self.limits = model, tokenizer, limits
        self.action_limits, self.config = action_limits, config
        self.channels = list(tokenizer.config.goal_channels)

    def act(self, state: PolicyState, values: Array) -> Array:
        """Return the actions (B, Da) that the plans ask for now, and note in the state how far they are done.

        Args:
            state: that holds the observation already.
            values: (B, Do) the observation, for velocities.
        """
        if self.config.controller == "actions":
            step = np.clip(state.age, 0, np.maximum(state.planned - 1, 0))
            return np.clip(state.actions[np.arange(len(step)), step], *self.action_limits)
        position, velocity = self.motion(state, values)
        actions, progress, off_path = track_path(state.path, position, velocity, state.progress, self.config.tracker)
        state.progress, state.off_path = progress, off_path
        skip = self.tokenizer.config.frame_skip
        if self.config.controller == "inverse_dynamics":
            actions = self._towards(state, planned_place(state.path, state.age + skip, skip) - position)
        if self.config.controller == "waypoints":
            actions = follow_waypoints(state.path, position, velocity, state.age, skip, self.config.tracker)
        return actions

    def motion(self, state: PolicyState, values: Array) -> tuple[Array, Array]:
        """Return positions, (B, G), in the goal's channels and their velocities per second."""
        position = state.history[:, -1, self.channels]
        velocity = (position - state.history[:, -2, self.channels]) / self.config.control_period
        if self.config.velocity_indices:
            given = values[:, list(self.config.velocity_indices)]
            missing = np.isnan(given) | (state.level[:, -1:] == self.model.diffusion.config.levels)
            velocity = np.where(missing, velocity, given)
        return position, velocity

    @torch.no_grad()
    def _towards(self, state: PolicyState, displacement: Array) -> Array:
        """Return the actions (B, Da) that the inverse model takes for displacements (B, G) within a frame."""
        inverse = self.model.inverse_dynamics
        assert inverse is not None
        observed = state.history[:, -1]
        mean, std = (x[: observed.shape[1]].numpy() for x in (self.tokenizer.mean, self.tokenizer.std))
        most = self.limits.step
        unit = displacement_scale(most.tolist()).numpy()
        inputs = ((observed - mean) / std, np.clip(displacement, -most, most) / unit)
        device = self.model.diffusion.alpha_bar.device
        observation, move = (torch.as_tensor(x, dtype=torch.float32, device=device) for x in inputs)
        actions = inverse(observation, move).cpu().double().numpy()
        return np.asarray(np.clip(actions, *self.action_limits))

    def ended(self, state: PolicyState) -> NDArray[np.bool_]:
        """Return the rows, (B,), whose plan is due to be made anew, was left, or leads nowhere."""
        c = self.config
        if c.controller == "actions":
            return np.asarray(state.age >= np.minimum(c.open_loop_horizon, np.maximum(state.planned, 1)))
        left = arc_lengths(state.path)[:, -1] - state.progress
        due = (state.age >= c.open_loop_horizon) & ~(state.settled & (left <= c.hold_distance))
        lost = (state.off_path > c.deviation) & (state.age >= FEW_STEPS)
        stalled = (state.age >= c.patience) & (left > c.hold_distance) & self.stuck(state, np.arange(len(left)))
        return np.asarray(due | lost | stalled)

    def stuck(self, state: PolicyState, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of `rows`, (n,), were led off their plan, or nowhere since it was last looked at."""
        moved = state.progress[rows] - state.progress_at_plan[rows]
        slow = moved < SLOW * self.limits.fastest * state.age[rows]
        return np.asarray((state.off_path[rows] > self.config.deviation) | slow)

    def time_left(self, state: PolicyState, rows: NDArray[np.int64]) -> Array:
        """Return the control steps, (n,), that the rest of these rows' paths takes at the data's speed."""
        path = state.path[rows]
        arc = arc_lengths(path)
        segment = (np.abs(np.diff(path, axis=1)) / self.limits.speed).max(-1)
        length = np.maximum(np.diff(arc, axis=1), 1e-9)
        ahead = np.clip((arc[:, 1:] - state.progress[rows, None]) / length, 0, 1)
        return np.asarray((segment * ahead).sum(1))

    @property
    def foresees(self) -> bool:
        """Whether a path says all of what will be observed along it."""
        observed = self.tokenizer.config.observation_indices
        return self.config.controller != "actions" and len(observed) == len(self.channels)

    def ahead(self, state: PolicyState, rows: NDArray[np.int64], lead: int) -> Array:
        """Observations, (n, lead, Do), of the next control steps if each row goes on along its path as fast as now."""
        here, before = (state.history[rows, k][:, self.channels] for k in (-1, -2))
        path, progress = state.path[rows], state.progress[rows]
        arc, speed = arc_lengths(path), np.linalg.norm(here - before, axis=1)
        off = here - point_at(path, arc, progress)
        places = [point_at(path, arc, progress + k * speed) + off for k in range(1, lead + 1)]
        ahead = np.repeat(state.history[rows, -1:], lead, axis=1)
        ahead[..., self.channels] = np.stack(places, 1)
        return ahead
