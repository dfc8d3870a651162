"""Model predictive control, written once: read, remember, decide when to plan again, ask the planner, follow the plan.

`predict` has Stable-Baselines3's signature. Everything that changes from step to step lives in the state it returns,
one row per environment, so environments may start, end and change goals independently.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from df_planners.feasibility import travel_time
from df_planners.plan import Plan, PlanEvent, Planner, PlanRequest
from numpy.typing import ArrayLike

from df_agent.policies.async_planner import AsyncPlanner
from df_agent.policies.config import MPCConfig
from df_agent.policies.controller import Controller
from df_agent.policies.getting_on import Progress
from df_agent.policies.goals import SAME_GOAL, led_on, moved
from df_agent.policies.observations import EpisodeSeeds, beginning_rows, read_observation
from df_agent.policies.state import (
    Array,
    BoolArray,
    IntArray,
    PendingPlan,
    PolicyState,
    Seen,
    with_plans,
    with_rows,
)
from df_agent.runtime import check_default_dtype, own_modes
from df_agent.types import Observation

LARGEST_PENALTY = 2.0


class MPCPolicy:
    """A planner and a controller as a policy.

    Args:
        planner: makes the plans.
        controller: follows them.
        config: when to plan again.
        observed: channels of the observation that the planner sees; None for all.
        frames_back: (F,) where in the history, counted from its end, the frames lie that the planner sees.
        max_steps: length of an episode [control steps], for planners that fill what is left of it.
        top_level: noise level of an observation that is missing; see `PlanRequest.level`.
        goal_precision: goals that differ by no more than this in each channel are one, (G,) or one for all.

    Attributes:
        on_plan: called with every plan.
    """

    def __init__(
        self,
        planner: Planner,
        controller: Controller,
        config: MPCConfig,
        *,
        observed: list[int] | None = None,
        frames_back: IntArray | None = None,
        max_steps: int | None = None,
        top_level: int = 1,
        goal_precision: ArrayLike = SAME_GOAL,
    ) -> None:
        self.planner, self.controller, self.config = planner, controller, config
        self.observed, self.max_steps, self.top_level = observed, max_steps, top_level
        self.goal_precision = np.asarray(goal_precision, dtype=np.float64)
        self.frames_back = np.array([-1]) if frames_back is None else frames_back
        self.on_plan: Callable[[PlanEvent], None] | None = None
        self.base_seed = 0
        self._seeds = EpisodeSeeds()
        self._async = AsyncPlanner(planner)

    def __repr__(self) -> str:
        told = {"planner": type(self.planner).__name__, "controller": type(self.controller).__name__, **self._told()}
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in told.items())})"

    def _told(self) -> dict[str, Any]:
        """What a `repr` says besides planner and controller."""
        return {"open_loop_horizon": self.config.open_loop_horizon}

    def set_random_seed(self, seed: int | None = None) -> None:
        """Choose another set of noise: with `deterministic=True` it follows from this seed and the episode's start."""
        self.base_seed = seed or 0

    def predict(
        self,
        observation: Observation,
        state: PolicyState | None = None,
        episode_start: BoolArray | None = None,
        deterministic: bool = False,
    ) -> tuple[Array, PolicyState]:
        """Return the next actions, (B, Da) or (Da,) as the observation has a leading axis or not, and the state.

        Args:
            observation: goal-conditioned dict with "observation" (B, Do) and "desired_goal" (B, G).
            state: what the last call returned; None begins all episodes.
            episode_start: (B,) True for rows whose observation begins an episode.
            deterministic: derive the noise from the seed and the episode's first observation, so that the
                same episode repeats, whatever runs beside it.

        Raises:
            ValueError: an observation that is not such a dict, has a wrong shape, or is not finite; plans are made in
                the background while torch's default is another number than float32.
        """
        if self.config.background:
            check_default_dtype("background=True")
        with own_modes():
            return self._predict(observation, state, episode_start, deterministic)

    def _predict(
        self,
        observation: Observation,
        state: PolicyState | None,
        episode_start: BoolArray | None,
        deterministic: bool,
    ) -> tuple[Array, PolicyState]:
        self._async.raise_failure()
        seen = self.read(observation)
        starts = beginning_rows(None if state is None else len(state.step), len(seen.values), episode_start)
        state = self._advance(self._blank(seen) if state is None else state, seen, starts, deterministic)
        if self.config.background:
            state = self._follow_ready(state, starts, seen.goal)
        fresh = starts | moved(state.planned_goal, seen.goal, self.goal_precision)
        need = fresh | self.controller.ended(state)
        later = need & ~starts if self.config.background else np.zeros_like(need)
        if len(rows := np.flatnonzero(need & ~later)):
            state = self._replan(state, rows, seen.goal, fresh[rows])
        if later.any():
            state = self._submit(state, np.flatnonzero(later), seen.goal, fresh)
        actions, state = self.controller.act(state, seen.values)
        return (actions[0] if seen.single else actions), state

    def read(self, observation: Observation) -> Seen:
        """Check an observation; raises ValueError as `predict` does."""
        values, goal, single = read_observation(observation)
        return Seen(values, goal, np.zeros(len(values), np.int64), single)

    def _blank(self, seen: Seen) -> PolicyState:
        """Return the state before the first step; every row is about to begin an episode."""
        b = len(seen.values)
        zeros, none = np.zeros(b, np.int64), np.zeros(b)
        back = max(2, int(-self.frames_back[0]))  # two at least, for velocities that are not observed
        return PolicyState(
            step=zeros - 1,
            values=np.nan_to_num(seen.values),
            history=np.repeat(np.nan_to_num(self._modelled(seen)[:, None]), back, axis=1),
            level=np.full((b, back), self.top_level),
            goal=seen.goal.copy(),
            planned_goal=seen.goal.copy(),
            seed=zeros,
            plans=zeros,
            age=zeros,
            frames=np.zeros((b, self.planner.max_frames, 0)),
            length=zeros,
            actions=np.zeros((b, 0, 0)),
            action_count=zeros,
            progress=none,
            progress_at_plan=none,
            off_path=none,
            shortcut_penalty=np.ones(b),
            settled=np.zeros(b, bool),
            cost=none,
            progress_to_goal=Progress.blank(seen.goal),
            pending=[None] * b,
        )

    def _modelled(self, seen: Seen) -> Array:
        return seen.values if self.observed is None else seen.values[:, self.observed]

    def _advance(self, state: PolicyState, seen: Seen, starts: BoolArray, deterministic: bool) -> PolicyState:
        """Take in a new observation; rows that begin an episode forget the last one."""
        observed, level = self._modelled(seen), seen.level
        absent, missing = level == self.top_level, np.isnan(seen.values)
        # What is missing looks like what was seen last, where something has to be steered by.
        last = np.where(starts[:, None], np.nan_to_num(observed), state.history[:, -1])
        observed = np.where(absent[:, None], last, observed)
        history = np.concatenate([state.history[:, 1:], observed[:, None]], axis=1)
        levels = np.concatenate([state.level[:, 1:], level[:, None]], axis=1)
        history[starts], levels[starts] = observed[starts, None], level[starts, None]
        seed = state.seed.copy()
        seed[starts] = self._seeds(seen.values[starts], seen.goal[starts], deterministic)
        return replace(
            state,
            values=np.where(missing, np.where(starts[:, None], 0.0, state.values), seen.values),
            history=history,
            level=levels,
            step=np.where(starts, 0, state.step + 1),
            age=state.age + 1,
            goal=seen.goal.copy(),
            plans=np.where(starts, 0, state.plans),
            seed=seed,
        )

    def _replan(self, state: PolicyState, rows: IntArray, goal: Array, fresh: BoolArray) -> PolicyState:
        """Plan for `rows` at once; `fresh` (n,) are those without a plan for their goal."""
        state, stuck = self._note_stuck(state, rows, fresh)
        request = self._request(state, rows, goal, fresh)
        # In the background it is made behind what was asked for before.
        plan, seconds = self._async.wait_for(request) if self.config.background else self._async.plan(request)
        return self._take_over(state, rows, goal[rows], plan, seconds, fresh | stuck, np.zeros(len(rows), np.int64))

    def _submit(self, state: PolicyState, rows: IntArray, goal: Array, fresh: BoolArray) -> PolicyState:
        """Have plans made for `rows` in the background, from where they will be when it is done."""
        rows = np.array([row for row in rows if state.pending[row] is None], np.int64)
        if not len(rows):
            return state
        state, stuck = self._note_stuck(state, rows, fresh[rows])
        lead = self._async.lead(self.config.control_period) if self.controller.foresees(state) else 0
        future = self._async.submit(self._request(state, rows, goal, fresh[rows], lead))
        pending = list(state.pending)
        for i, row in enumerate(rows):
            asked = int(state.step[row])
            pending[row] = PendingPlan(future, i, asked, lead, goal[row].copy(), bool(fresh[row]), bool(stuck[i]))
        return replace(state, pending=pending)

    def _follow_ready(self, state: PolicyState, starts: BoolArray, goal: Array) -> PolicyState:
        """Follow the plans that were made in the background, but for those whose goal is no nearer than the last one's.

        One that is for a slightly older goal is led on to the new one.
        """
        state = replace(state, pending=[None if s else p for p, s in zip(state.pending, starts, strict=True)])
        for row, pending in enumerate(state.pending):
            if pending is None or not (pending.failed or pending.due(int(state.step[row]))):
                continue
            state = replace(state, pending=[*state.pending[:row], None, *state.pending[row + 1 :]])
            if pending.failed:  # the caller is told by `AsyncPlanner.raise_failure`
                continue
            off, held_off = (np.abs(planned - goal[row]) for planned in (pending.goal, state.planned_goal[row]))
            if (off > self.goal_precision).any() and off.max() >= held_off.max():
                continue
            plan, seconds = pending.future.result()
            late, new = np.array([state.step[row] - pending.asked - pending.lead]), pending.fresh or pending.stuck
            one, plan = np.array([row]), plan.rows(np.array([pending.row]))
            state = self._take_over(state, one, pending.goal[None], plan, seconds, np.array([new]), late)
        return state

    def _note_stuck(self, state: PolicyState, rows: IntArray, fresh: BoolArray) -> tuple[PolicyState, BoolArray]:
        """Set the shortcut penalty of `rows` that are about to get a plan; return whose last one led nowhere."""
        stuck = self.controller.stuck(state, rows) & ~fresh
        penalty = np.where(fresh, 1.0, state.shortcut_penalty[rows])
        raised = np.minimum(penalty * self.config.shortcut_penalty, LARGEST_PENALTY)
        penalties = with_rows(state.shortcut_penalty, rows, np.where(stuck, raised, penalty))
        state = replace(state, shortcut_penalty=penalties)
        if fresh.any():
            state = replace(state, progress_to_goal=state.progress_to_goal.begun(rows[fresh]))
        return (self.controller.off_the_way(state, rows[stuck]) if stuck.any() else state), stuck

    def _request(self, state: PolicyState, rows: IntArray, goal: Array, fresh: BoolArray, lead: int = 0) -> PlanRequest:
        """Describe where `rows` stand, or will stand in `lead` control steps."""
        history, level = state.history[rows], state.level[rows]
        if lead:
            history = np.concatenate([history, self.controller.ahead(state, rows, lead)], 1)
            level = np.concatenate([level, np.zeros((len(rows), lead), np.int64)], 1)
        return PlanRequest(
            history=history[:, self.frames_back],
            level=level[:, self.frames_back],
            goal=goal[rows],
            seeds=[[self.base_seed, int(state.seed[row]), int(state.plans[row])] for row in rows],
            fresh=fresh,
            steps_left=None if self.max_steps is None else self.max_steps - (state.step[rows] + lead),
            shortcut_penalty=state.shortcut_penalty[rows],
            age=state.age[rows],
            frames_left=self.controller.frames_left(state, rows) if state.frames.shape[2] else state.length[rows],
            actions=state.actions[rows],
            own_pace=self.controller.own_pace,
            max_plan_ms=self.config.max_plan_ms,
        )

    def _take_over(
        self,
        state: PolicyState,
        rows: IntArray,
        goal: Array,
        plan: Plan,
        seconds: float,
        anyway: BoolArray,
        late: IntArray,
    ) -> PolicyState:
        """Follow new plans to `goal` (n, G), `anyway`, (n,), or if they are better than those followed.

        `late` (n,) steps of them are over.
        """
        channels = self.controller.robot.channels(state.goal)
        if self.planner.ends_at_goal:
            plan = led_on(plan, channels, state.goal[rows], moved(goal, state.goal[rows], self.goal_precision))
        costs = self.planner.cost(plan)
        take = anyway | ~state.settled[rows] | self._is_better(state, rows, plan, costs)
        new, taken = rows[take], plan.rows(np.flatnonzero(take))
        progress = with_rows(state.progress, new, 0.0)
        feasible = True if taken.violation is None else np.isfinite(taken.violation)
        changed: dict[str, Any] = {
            "planned_goal": with_rows(state.planned_goal, rows, goal),
            "plans": with_rows(state.plans, rows, state.plans[rows] + 1),
            "age": with_rows(state.age, rows, late),
            "frames": with_plans(state.frames, new, taken.observations),
            "length": with_rows(state.length, new, taken.lengths),
            "progress": progress,
            "progress_at_plan": with_rows(state.progress_at_plan, rows, progress[rows]),
            "off_path": with_rows(state.off_path, new, 0.0),
            "cost": with_rows(state.cost, new, costs[take]),
            "settled": with_rows(state.settled, new, feasible & np.array(self.planner.settles)),
        }
        if self.controller.executes_actions:
            assert taken.actions is not None
            assert taken.action_lengths is not None
            changed["actions"] = with_plans(state.actions, new, taken.actions)
            changed["action_count"] = with_rows(state.action_count, new, taken.action_lengths)
        if self.on_plan is not None:
            self.on_plan(PlanEvent(rows, plan, seconds, take, tuple(channels)))
        return replace(state, **changed)

    def _is_better(self, state: PolicyState, rows: IntArray, plan: Plan, costs: Array) -> BoolArray:
        """Return which new plans, (n,), are feasible and take less than what is left of those being followed.

        All are where the controller follows a plan's own clock, which begins anew with each plan.
        """
        limits, ratio = self.controller.robot.limits, self.config.switch_ratio
        if self.controller.own_pace or limits is None or np.isinf(ratio):
            return np.ones(len(rows), dtype=bool)
        needed = travel_time(plan.observations[..., self.controller.robot.channels(state.goal)], limits.speed) + costs
        better = needed <= ratio * (self.controller.time_left(state, rows) + state.cost[rows])
        return np.asarray(better if plan.violation is None else better & (plan.violation <= 1))
