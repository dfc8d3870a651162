"""Following plans by a learned local policy, which finds the actions that lead to the next place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from df_planners.tracking import planned_place

from df_agent.policies.config import PolicyConfig
from df_agent.policies.controller import Controller
from df_agent.policies.state import Array, BoolArray, IntArray, PolicyState

NEARBY = 20.0  # control steps to the goal, within which an agent that was there stays


class LocalPolicyController(Controller):
    """Goes for the places of a plan, each some steps ahead of where it is on it, and for the goal once that is near.

    What it is asked for is quick; where that does not bring it nearer to the goal for a while, it is stuck: what it is
    asked for becomes slower, as the plans do, and then it leaves its way, see `Progress`.

    `PolicyState.progress` is here the control step of the plan whose place is nearest to the agent, ahead of the plan's
    own clock or behind it. `off_path` is how far away that is, in control steps at the fastest.
    """

    config: PolicyConfig
    own_pace = needs_local_policy = True

    def act(self, state: PolicyState, values: Array) -> tuple[Array, PolicyState]:
        """Return the local policy's actions, and the state with how it gets on towards the goal."""
        r, c, b = self.robot, self.config.local_policy, len(values)
        assert r.local_policy is not None
        assert r.steps_to is not None
        path, here = self.path(state), state.history[:, -1, r.channels(state.goal)]
        state = self._located(state, path, here)
        onward = planned_place(path, state.progress.astype(np.int64) + c.reach, r.frame_skip)
        both = r.steps_to(np.tile(state.values, (2, 1)), np.concatenate([state.goal, onward]))
        steps, place, onward_steps = both[:b], state.goal, both[b:]
        ahead = steps > c.reach
        place, needed = np.where(ahead[:, None], onward, place), np.where(ahead, onward_steps, steps)
        progress = state.progress_to_goal.noted(steps, here, self._speed(here))
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
        """Return the rows, (B,), whose plan is old enough, or that are stuck; none on a detour."""
        horizon, patience = self.config.open_loop_horizon, self.config.patience
        ended = np.zeros(len(state.age), bool) if horizon is None else state.age >= horizon
        if patience is not None:
            ended |= state.progress_to_goal.stalled >= patience
        return np.asarray(ended & (state.progress_to_goal.detour_left == 0))

    def stuck(self, state: PolicyState, rows: IntArray) -> BoolArray:
        """Return which of `rows`, (n,), have not come nearer to their goal for a while."""
        patience = np.inf if self.config.patience is None else self.config.patience
        return np.asarray(state.progress_to_goal.stalled[rows] >= patience)

    def frames_left(self, state: PolicyState, rows: IntArray) -> IntArray:
        """Return how many frames, (n,), of these rows' plans still lie ahead."""
        done = state.progress[rows].astype(np.int64) // self.robot.frame_skip
        return np.asarray(np.maximum(state.length[rows] - done, 0))

    def off_the_way(self, state: PolicyState, rows: IntArray) -> PolicyState:
        """Let `rows`, (n,), begin a detour, those that were stuck often enough."""
        seeds = np.stack([state.seed[rows], state.plans[rows]], 1)
        detour, limits = self.config.local_policy.detour, self.robot.action_limits
        return replace(state, progress_to_goal=state.progress_to_goal.off_the_way(rows, detour, limits, seeds))

    def _located(self, state: PolicyState, path: Array, here: Array) -> PolicyState:
        """Find where on their plans agents at `here` (B, G) are: not behind where they were, nor far ahead."""
        steps = state.progress.astype(np.int64)[:, None] + np.arange(2 * self.config.local_policy.reach + 1)
        rows, tried = steps.shape
        places = planned_place(np.repeat(path, tried, axis=0), steps.ravel(), self.robot.frame_skip)
        off = (np.abs(places.reshape(rows, tried, -1) - here[:, None]) / self._speed(here)).max(-1)
        nearest = off.argmin(1)
        return replace(state, progress=state.progress + nearest, off_path=off[np.arange(rows), nearest])

    def _speed(self, here: Array) -> Array:
        """Return the largest change of each goal channel, (G,), in a control step."""
        return np.ones(here.shape[1]) if self.robot.limits is None else self.robot.limits.speed
