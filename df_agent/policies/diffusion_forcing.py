"""The agent: plans with a Diffusion Forcing model, follows the plan, and plans again.

`predict` has Stable-Baselines3's signature. Everything that changes from step to step lives in the state it
returns, one row per environment, so environments may start, end and change goals independently.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from df_planners.plan import PlanEvent
from df_planners.shortest_feasible import MotionLimits, travel_time
from numpy.typing import NDArray

from df_agent.agent_model import AgentModel
from df_agent.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from df_agent.data.goal_spec import GoalSpec, validated
from df_agent.data.tokens import Tokenizer
from df_agent.options import make
from df_agent.policies.async_planner import Pending, Planned, Worker, ready_rows
from df_agent.policies.config import (
    SETTLING,
    PolicyConfig,
    check_model,
    check_pieces,
    default_horizons,
    lengths_of,
    merge,
)
from df_agent.policies.controllers import Follower
from df_agent.policies.costs import Cost
from df_agent.policies.observations import EpisodeSeeds, beginning_rows, read_observation
from df_agent.policies.planning import ModelPlanner, PlanRequest
from df_agent.policies.state import Array, PolicyState
from df_agent.runtime import choose_device
from df_agent.types import Observation

MOST_DOUBT = 2.0
SAME_GOAL = 1e-6  # goals that differ by less are one


class DiffusionForcingPolicy:
    """A Diffusion Forcing planner as a policy.

    Args:
        model: the trained model.
        tokenizer: its tokenizer and normaliser.
        limits: statistics of the training data, as `step_statistics` measures them.
        lengths: sequence lengths the model has been trained on.
        config: how to plan and act.
        max_steps: length of an episode [control steps], for the planner that fills what is left of it.
        checkpoint: the dict the policy was loaded from, kept for `save_pretrained`.
        costs: what plans should be besides short, see `df_agent.policies.costs`; they are not saved.
    """

    def __init__(
        self,
        model: AgentModel,
        tokenizer: Tokenizer,
        limits: dict[str, list[float]],
        lengths: list[int],
        config: PolicyConfig,
        max_steps: int | None = None,
        checkpoint: dict[str, Any] | None = None,
        costs: Sequence[Cost] = (),
    ) -> None:
        check_model(config, model, tokenizer.config, max_steps)
        pieced = config.sampling.overlap > 0 or config.planner == "tree_search"
        any_length = bool(getattr(model.network, "any_length", False))
        lengths = lengths_of(lengths, config.window, any_length, pieced)
        self.model, self.tokenizer = model, tokenizer
        self.checkpoint = checkpoint or {}
        self.goal_spec = make(GoalSpec, validated(self.checkpoint.get("goal")))
        self.on_plan: Callable[[PlanEvent], None] | None = None
        longest = max(*lengths, config.window if pieced else 0) - tokenizer.config.context
        check_pieces(config, max(lengths) - tokenizer.config.context, len(costs))
        if longest < 1:
            raise ValueError(
                f"window={config.window} leaves no token to plan behind the {tokenizer.config.context} observed"
            )
        self.options = config  # as given, to be saved; what is filled in below follows from the model
        if not config.search.horizons:
            config = replace(config, search=replace(config.search, horizons=default_horizons(longest)))
        self.config, self.longest = config, longest
        self.limits = MotionLimits(*(np.asarray(limits[k]) for k in ("step", "turn", "speed")))
        self.planner = ModelPlanner(model, tokenizer, self.limits, lengths, longest, config, max_steps, costs)
        self.worker = Worker(self.planner)
        c = tokenizer.config
        self.observed = list(c.observation_indices)
        action_limits = np.asarray(limits.get("least", -np.inf)), np.asarray(limits.get("most", np.inf))
        self.follower = Follower(model, tokenizer, self.limits, action_limits, self.config)
        self.frames_back = np.arange(-(c.context_frames - 1), 1) * c.frame_skip - 1  # into history, present last
        if config.present_only:
            self.frames_back = np.full_like(self.frames_back, -1)
        self.level = self.level_of(config.observation_noise)
        self.base_seed = 0
        self._seeds = EpisodeSeeds()

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        max_steps: int | None = None,
        device: str = "auto",
        precision: str = "auto",
        costs: Sequence[Cost] = (),
        revision: str | None = None,
        **overrides: Any,
    ) -> DiffusionForcingPolicy:
        """Load a policy by the name of a shipped checkpoint, a folder, or a Hub id.

        Args:
            name: e.g. "maze2d-large", "runs/maze2d-large/final", "user/model".
            max_steps: length of an episode [control steps].
            device: "auto" takes CUDA, then Apple's MPS, then the CPU.
            precision: "fp32", "bf16", or "auto": bf16 where a short timing shows that it pays.
            costs: see the constructor.
            revision: branch, tag or commit, for the Hub only.
            **overrides: options of `PolicyConfig`, nested ones as dicts, over those in the checkpoint.

        Raises:
            CheckpointError: see `load_checkpoint`; or the checkpoint is a baseline's.
            ValueError: unknown options, which are named.
        """
        checkpoint = load_checkpoint(str(name), revision)
        config = checkpoint.config
        if other := config.get("algorithm"):
            raise CheckpointError(f"{str(name)!r} holds a checkpoint of the baseline {other}, not of Diffusion Forcing")
        model = AgentModel.from_config(config)
        checkpoint.load_into(model)
        model.prepare(choose_device(device), precision)
        return cls.from_model(model, config, max_steps=max_steps, costs=costs, **overrides)

    @classmethod
    def from_model(
        cls,
        model: AgentModel,
        checkpoint: dict[str, Any],
        *,
        max_steps: int | None = None,
        costs: Sequence[Cost] = (),
        **overrides: Any,
    ) -> DiffusionForcingPolicy:
        """Wrap a model in memory; `checkpoint` is the config that is stored beside its weights."""
        windows = checkpoint["windows"]
        lengths = sorted({windows["max_tokens"], *(windows.get("short_tokens") or ())})
        options = merge(checkpoint.get("policy", {}), overrides)
        return cls(
            model,
            Tokenizer.from_dict(checkpoint["tokenizer"]),
            checkpoint["statistics"],
            lengths,
            PolicyConfig.from_dict(options),
            max_steps,
            {**checkpoint, "policy": options},
            costs,
        )

    def save_pretrained(self, folder: str | Path, *, half: bool = False, card: str | None = None) -> None:
        """Write weights, config, normaliser and policy options to `folder`; `half` stores fp16 weights."""
        dtype = torch.float16 if half else None
        save_checkpoint(folder, self.model.full_precision_weights(), {**self.checkpoint, "policy": asdict(self.options)}, dtype=dtype, card=card)

    def set_random_seed(self, seed: int) -> None:
        """Choose another set of noise: with `deterministic=True` it follows from this seed and the episode's start."""
        self.base_seed = seed

    def level_of(self, noise: float) -> int:
        """Return the level at which a token holds as much noise as `noise` times the data's standard deviation."""
        if np.isinf(noise):
            return self.model.diffusion.config.levels
        alpha_bar = self.model.diffusion.alpha_bar.cpu().double()
        return int(((1 / alpha_bar - 1).sqrt() - noise).abs().argmin())

    def randomize_weights(self, seed: int = 0) -> None:
        """Replace the trained weights by random ones, to show what training is worth."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            fresh = AgentModel.from_config(self.checkpoint)
            for p in fresh.parameters():  # the zeroed output layer would predict nothing at all
                if p.ndim > 1 and not p.any():
                    torch.nn.init.normal_(p, std=0.1)
        own = self.model.state_dict()
        self.model.forget_full_precision()
        self.model.load_state_dict({k: v.to(own[k].dtype) for k, v in fresh.state_dict().items()})

    def predict(
        self,
        observation: Observation,
        state: PolicyState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Array, PolicyState]:
        """Return the next actions, (B, Da) or (Da,) as the observation has a leading axis or not, and the state.

        Args:
            observation: goal-conditioned dict with "observation" (B, Do) and "desired_goal" (B, G), or what the
                checkpoint's `GoalSpec` makes one of. With "noise" (B,) besides, sensors say how far off they are, as
                `observation_noise` does for all; inf is an observation that says nothing.
            state: what the last call returned; None begins all episodes.
            episode_start: (B,) True for rows whose observation begins an episode.
            deterministic: derive the noise from the seed and the episode's first observation, so that the
                same episode repeats, whatever runs beside it.

        Raises:
            ValueError: an observation that is not such a dict, has a wrong shape, or is not finite.
        """
        width = 1 + max(*self.observed, *self.config.velocity_indices, 0)
        values, goal, single = read_observation(
            self._as_goal_dict(observation),
            least_width=width,
            goal_width=len(self.tokenizer.config.goal_channels),
            missing=self.config.missing,
        )
        level = self._levels(observation, values)
        starts = beginning_rows(None if state is None else len(state.step), len(values), episode_start)
        if state is None:
            state = self._blank(values, goal)
        state = self._advance(state, values, level, goal, starts, deterministic)
        if self.config.background:
            self._take_over_ready(state, starts, goal)
        need = self._needs_plan(state, starts, goal)
        later = need & ~starts if self.config.background else np.zeros_like(need)
        if (need & ~later).any():
            self._replan(state, np.flatnonzero(need & ~later), starts, goal)
        if later.any():
            self._ask(state, np.flatnonzero(later), goal)
        actions = self.follower.act(state, values)
        return (actions[0] if single else actions), state

    def _levels(self, observation: Observation, values: Array) -> NDArray[np.int64]:
        """Return the noise level, (B,), of an observation; the model's top level where it is missing."""
        level = np.full(len(values), self.level)
        if isinstance(observation, dict) and "noise" in observation:
            noise = np.asarray(observation["noise"], dtype=np.float64).reshape(-1)
            if noise.shape != (len(values),) or not (noise >= 0).all():
                raise ValueError(
                    f"'noise' must be {len(values)} numbers from 0 to inf, one per observation, got {noise}"
                )
            level = np.array([self.level_of(each) for each in noise], dtype=np.int64)
        level[np.isnan(values[:, self.observed]).any(1)] = self.model.diffusion.config.levels
        return level

    def _as_goal_dict(self, observation: Observation) -> Observation:
        """Return the observation as the model knows it, if the environment's own is another."""
        if self.goal_spec.achieved is None and self.goal_spec.desired is None and not self.goal_spec.appended:
            return observation
        known = self.goal_spec.goal_dict(observation)
        return {"observation": self.goal_spec.model_values(known), "desired_goal": known["desired_goal"]}

    def _blank(self, values: Array, goal: Array) -> PolicyState:
        b, g = goal.shape
        back = max(2, int(-self.frames_back[0]))  # two at least, for velocities that are not observed
        tokens = self.tokenizer.config
        points = self.longest * tokens.frame_stack + 1
        acts = (points - 1) * tokens.frame_skip if self.config.controller == "actions" else 0

        def zeros() -> NDArray[np.int64]:
            return np.zeros(b, np.int64)

        return PolicyState(
            step=zeros() - 1,
            history=np.repeat(np.nan_to_num(values[:, None, self.observed]), back, axis=1),
            level=np.full((b, back), self.model.diffusion.config.levels),
            goal=goal.copy(),
            seed=zeros(),
            plans=zeros(),
            age=zeros(),
            actions=np.zeros((b, acts, tokens.action_dim)),
            planned=zeros(),
            path=np.zeros((b, points, g)),
            progress=np.zeros(b),
            progress_at_plan=np.zeros(b),
            off_path=np.zeros(b),
            doubt=np.ones(b),
            settled=np.zeros(b, bool),
            cost=np.zeros(b),
            pending=[None] * b,
        )

    def _advance(
        self,
        state: PolicyState,
        values: Array,
        level: NDArray[np.int64],
        goal: Array,
        starts: NDArray[np.bool_],
        deterministic: bool,
    ) -> PolicyState:
        """Take in a new observation and its noise level; rows that begin an episode forget the last one."""
        state = copy.copy(state)  # a caller may keep the old state, so its arrays are replaced, not written to
        observed = values[:, self.observed]
        absent = level == self.model.diffusion.config.levels
        # What is missing looks like what was seen last, where something has to be steered by.
        last = np.where(starts[:, None], np.nan_to_num(observed), state.history[:, -1])
        observed = np.where(absent[:, None], last, observed)
        state.history = np.concatenate([state.history[:, 1:], observed[:, None]], axis=1)
        state.level = np.concatenate([state.level[:, 1:], level[:, None]], axis=1)
        state.history[starts], state.level[starts] = observed[starts, None], level[starts, None]
        state.step = np.where(starts, 0, state.step + 1)
        state.age = state.age + 1
        state.plans = np.where(starts, 0, state.plans)
        state.seed = state.seed.copy()
        state.seed[starts] = self._seeds(values[starts], goal[starts], deterministic)
        return state

    def _goal_moved(self, state: PolicyState, goal: Array) -> NDArray[np.bool_]:
        return np.asarray((np.abs(state.goal - goal) > SAME_GOAL).any(1))

    def _needs_plan(self, state: PolicyState, starts: NDArray[np.bool_], goal: Array) -> NDArray[np.bool_]:
        return np.asarray(starts | self._goal_moved(state, goal) | self.follower.ended(state))

    def _replan(self, state: PolicyState, rows: NDArray[np.int64], starts: NDArray[np.bool_], goal: Array) -> None:
        """Plan for `rows` at once."""
        fresh = (starts | self._goal_moved(state, goal))[rows]
        stuck = self._prepare(state, rows, fresh)
        situation = self._situation(state, rows, goal)
        planned = self.worker.submit(situation).result() if self.config.background else self.worker.plan(situation)
        self._take_over(state, rows, goal, planned, fresh, stuck, np.zeros(len(rows), np.int64))

    def _ask(self, state: PolicyState, rows: NDArray[np.int64], goal: Array) -> None:
        """Have plans made for `rows` in the background, from where they will be when it is done."""
        rows = np.array([row for row in rows if state.pending[row] is None], np.int64)
        if not len(rows):
            return
        fresh = self._goal_moved(state, goal)[rows]
        stuck = self._prepare(state, rows, fresh)
        lead = self.worker.lead(self.config.control_period) if self.follower.foresees else 0
        future = self.worker.submit(self._situation(state, rows, goal, lead))
        state.pending = list(state.pending)
        for i, row in enumerate(rows):
            asked = int(state.step[row])
            state.pending[row] = Pending(future, i, asked, lead, goal[row].copy(), bool(fresh[i]), bool(stuck[i]))

    def _take_over_ready(self, state: PolicyState, starts: NDArray[np.bool_], goal: Array) -> None:
        """Follow the plans that were made in the background, unless the goal has moved since."""
        state.pending = [None if start else plan for plan, start in zip(state.pending, starts, strict=True)]
        for row in ready_rows(state.pending, state.step):
            pending = state.pending[row]
            assert pending is not None
            state.pending[row] = None
            if np.abs(pending.goal - goal[row]).max() > SAME_GOAL:
                continue
            found, one = pending.future.result(), np.array([pending.row])
            planned = Planned(found.plan.rows(one), found.over[one], found.seconds)
            late = np.array([state.step[row] - pending.asked - pending.lead])
            fresh, stuck = np.array([pending.fresh]), np.array([pending.stuck])
            self._take_over(state, np.array([row]), goal, planned, fresh, stuck, late)

    def _prepare(self, state: PolicyState, rows: NDArray[np.int64], fresh: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Set the doubt of `rows` that are about to get a plan; return whose last one led nowhere."""
        stuck = self.follower.stuck(state, rows) & ~fresh & (self.config.controller != "actions")
        state.doubt = state.doubt.copy()  # the caller may keep the old state
        doubt = np.where(fresh, 1.0, state.doubt[rows])
        state.doubt[rows] = np.where(stuck, np.minimum(doubt * self.config.doubt, MOST_DOUBT), doubt)
        return np.asarray(stuck)

    def _take_over(
        self,
        state: PolicyState,
        rows: NDArray[np.int64],
        goal: Array,
        planned: Planned,
        fresh: NDArray[np.bool_],
        stuck: NDArray[np.bool_],
        late: NDArray[np.int64],
    ) -> None:
        """Follow new plans, unless those being followed are still faster; `late` (n,) steps of them are over."""
        plan, over = planned.plan, planned.over
        paths = plan.observations[..., list(self.tokenizer.config.goal_channels)]
        own_pace = self.config.controller != "path"  # it follows the plan's clock, which begins anew with each plan
        costs = self.planner.cost(plan)
        needed = travel_time(paths, self.limits.speed) + costs
        left = self.follower.time_left(state, rows) + state.cost[rows]
        take = fresh | ~state.settled[rows] | stuck | own_pace
        take |= (over <= 1) & (needed <= self.config.keep_share * left)
        new = rows[take]
        names = ("goal", "cost", "actions", "planned", "path", "progress", "off_path", "settled", "plans", "age")
        for name in (*names, "progress_at_plan"):
            setattr(state, name, getattr(state, name).copy())  # the caller may keep the old state
        state.goal[rows] = goal[rows]
        fill = np.minimum(np.arange(state.path.shape[1]), paths.shape[1] - 1)
        state.path[new] = paths[take][:, fill]
        if self.config.controller == "actions":
            assert plan.actions is not None
            assert plan.action_lengths is not None
            state.actions[new], state.planned[new] = plan.actions[take], plan.action_lengths[take]
        state.progress[new], state.off_path[new], state.cost[new] = 0.0, 0.0, costs[take]
        state.settled[new] = np.isfinite(over[take]) & (self.config.planner in SETTLING)
        state.plans[rows] += 1
        state.age[rows] = late
        state.progress_at_plan[rows] = state.progress[rows]
        if self.on_plan is not None:
            channels = self.tokenizer.config.goal_channels
            self.on_plan(PlanEvent(rows, plan, planned.seconds, take, channels))

    def _situation(self, state: PolicyState, rows: NDArray[np.int64], goal: Array, lead: int = 0) -> PlanRequest:
        """Describe where `rows` stand, or will stand in `lead` control steps."""
        seeds = [[self.base_seed, int(state.seed[row]), int(state.plans[row])] for row in rows]
        history, level = state.history[rows], state.level[rows]
        if lead:
            history = np.concatenate([history, self.follower.ahead(state, rows, lead)], 1)
            level = np.concatenate([level, np.zeros((len(rows), lead), np.int64)], 1)
        history, level = history[:, self.frames_back], level[:, self.frames_back]
        return PlanRequest(history, level, goal[rows], state.step[rows] + lead, state.doubt[rows], seeds)
