"""Agents that see pictures: any policy over compact latents behind an encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from df_planners.plan import PlanEvent
from numpy.typing import NDArray

from df_agent.data.pictures import as_rgb
from df_agent.evaluation.active_rows import take_rows
from df_agent.policies import DiffusionForcingPolicy
from df_agent.policies.observations import beginning_rows
from df_agent.policies.shooting import ShootingPolicy
from df_agent.runtime import building, own_modes
from df_agent.types import Observation, Policy
from df_agent.world_model.compact import CompactModel, load_compact
from df_agent.world_model.latent_shooting import LatentSteps, load_time_left

Array = NDArray[np.float64]


@dataclass
class Group:
    """Environments whose pictures are due together, since their episodes began together.

    Attributes:
        rows: (b,) which they are.
        age: control steps since the last picture.
        latent: (b, L) what that showed.
        inner: state of the policy behind the encoder, for these.
    """

    rows: NDArray[np.int64]
    age: int
    latent: Array
    inner: Any


@dataclass
class PixelState:
    """What the policy remembers of B environments.

    Attributes:
        action: (B, Da) the actions that are held until the next picture.
        groups: each environment is in one of them.
    """

    action: Array
    groups: list[Group]

    def take_rows(self, rows: NDArray[np.int64]) -> PixelState:
        """Return the state of some environments, `rows` (B',) in ascending order."""
        number = np.full(len(self.action), -1)
        number[rows] = np.arange(len(rows))
        groups = []
        for group in self.groups:
            staying = np.flatnonzero(number[group.rows] >= 0)
            if len(staying):
                inner = take_rows(group.inner, staying, len(group.rows))
                groups.append(Group(number[group.rows[staying]], group.age, group.latent[staying], inner))
        return PixelState(self.action[rows], groups)


class PixelPolicy:
    """Encodes each new picture, asks a policy over latents, and holds its action until the next picture.

    The policy sees {"observation": (B, 2 L) the latent and its change since the picture before, "achieved_goal": (B, L)
    the latent, "desired_goal": (B, L) the latent of the goal's picture}, once every `every` control steps.

    Args:
        encoder: makes latents (B, L) of pictures.
        policy: what acts.
        every: control steps from one picture to the next.
    """

    def __init__(self, encoder: CompactModel, policy: Policy, every: int) -> None:
        self.encoder, self.policy, self.every = encoder, policy, every
        self._on_plan: Callable[[PlanEvent], None] | None = None
        self._asked = np.zeros(0, np.int64)

    @classmethod
    @building()
    def from_pretrained(
        cls,
        encoder: str | Path,
        agent: str | Path,
        *,
        max_steps: int | None = None,
        device: str | torch.device | None = "auto",
        **options: Any,
    ) -> PixelPolicy:
        """Load the encoder and Diffusion Forcing over its latents.

        Args:
            encoder, agent: checkpoints, by the names of those that ship, as folders or as repositories of the Hub.
            max_steps: length of an episode [control steps].
            device: "auto", "cpu", "cuda", ...
            **options: of `DiffusionForcingPolicy.from_pretrained`.
        """
        model, config = load_compact(encoder, device)
        every = int(config["compact"]["every"])
        if max_steps is not None:
            options["max_steps"] = -(-max_steps // every)
        return cls(model, DiffusionForcingPolicy.from_pretrained(agent, device=device, **options), every)

    @classmethod
    @building()
    def shooting(
        cls,
        encoder: str | Path,
        agent: str | Path,
        planner: str = "cem",
        *,
        options: Mapping[str, Any] | None = None,
        open_loop_horizon: int = 2,
        end: float = 1.0,
    ) -> PixelPolicy:
        """Load the encoder and its dynamics, and plan in these by MPPI or CEM, towards the least time to the goal.

        Args:
            encoder: its checkpoint.
            agent: name of the checkpoint whose learned time to the goal is the cost.
            planner: "cem" or "mppi"; its steps are pictures.
            options: of the planner.
            open_loop_horizon: pictures between plans.
            end: see `TimeLeft`.
        """
        model, config = load_compact(encoder, "cpu")
        every = int(config["compact"]["every"])
        action_dim = model.dynamics.config.action_dim // every
        steps, cost = LatentSteps(model.dynamics, every), load_time_left(str(agent), end)
        policy = ShootingPolicy(
            planner, steps, cost, options=options, action_dim=action_dim, open_loop_horizon=open_loop_horizon
        )
        return cls(model, policy, every)

    @property
    def on_plan(self) -> Callable[[PlanEvent], None] | None:
        """Called with every plan; its observations are latents."""
        return self._on_plan

    @on_plan.setter
    def on_plan(self, call: Callable[[PlanEvent], None] | None) -> None:
        self._on_plan = call
        if hasattr(self.policy, "on_plan"):
            self.policy.on_plan = None if call is None else self._tell

    def _tell(self, event: PlanEvent) -> None:
        """Hand a plan on, with the numbers of all environments instead of those of the group that was asked about."""
        if self._on_plan is not None:
            self._on_plan(replace(event, rows=self._asked[event.rows]))

    def set_random_seed(self, seed: int) -> None:
        """Choose another set of noise."""
        if hasattr(self.policy, "set_random_seed"):
            self.policy.set_random_seed(seed)

    @own_modes()
    def predict(
        self,
        observation: Observation,
        state: PixelState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Array, PixelState]:
        """Return actions (B, Da) or (Da,) and the next state; see `df_agent.types.Policy`."""
        frames, goals, single = read_pictures(observation)
        fresh = beginning_rows(None if state is None else len(state.action), len(frames), episode_start)
        groups = [] if state is None else _without(state.groups, fresh)
        if fresh.any():
            groups.append(Group(np.flatnonzero(fresh), self.every - 1, np.zeros((0, 0)), None))
        actions = None if state is None else state.action.copy()
        out = []
        for group in groups:
            if group.age + 1 < self.every:
                out.append(Group(group.rows, group.age + 1, group.latent, group.inner))
                continue
            latent = self.encoder.encode(frames[group.rows]).cpu().double().numpy()
            goal = self.encoder.encode(goals[group.rows]).cpu().double().numpy()
            begins = group.inner is None and not group.latent.size
            seen = {
                "observation": np.concatenate([latent, np.zeros_like(latent) if begins else latent - group.latent], 1),
                "achieved_goal": latent,
                "desired_goal": goal,
            }
            starts, self._asked = np.full(len(group.rows), begins), group.rows
            action, inner = self.policy.predict(seen, group.inner, starts, deterministic)
            if actions is None:
                actions = np.zeros((len(frames), *np.shape(action)[1:]))
            actions[group.rows] = action
            out.append(Group(group.rows, 0, latent, inner))
        assert actions is not None
        return (actions[0] if single else actions), PixelState(actions, out)


def _without(groups: list[Group], leaving: NDArray[np.bool_]) -> list[Group]:
    """Return the groups without the environments that leave them."""
    out = []
    for group in groups:
        staying = np.flatnonzero(~leaving[group.rows])
        if len(staying) == len(group.rows):
            out.append(group)
        elif len(staying):
            inner = take_rows(group.inner, staying, len(group.rows))
            out.append(Group(group.rows[staying], group.age, group.latent[staying], inner))
    return out


def read_pictures(observation: Observation) -> tuple[NDArray[np.uint8], NDArray[np.uint8], bool]:
    """Check an observation of pictures; return them and the goals', (B, H, W, C), and whether it was a single one.

    Raises:
        ValueError: it is no dict of two sets of uint8 pictures of one shape.
    """
    if not isinstance(observation, dict) or not {"observation", "desired_goal"} <= set(observation):
        found = sorted(observation) if isinstance(observation, dict) else type(observation).__name__
        raise ValueError(f"expected a dict with pictures under 'observation' and 'desired_goal', got {found}")
    frames: NDArray[Any] = np.asarray(observation["observation"])
    goals: NDArray[Any] = np.asarray(observation["desired_goal"])
    if frames.dtype != np.uint8 or frames.ndim not in (3, 4) or goals.shape != frames.shape or goals.dtype != np.uint8:
        raise ValueError(
            f"expected uint8 pictures (B, H, W, C) or (H, W, C), got {frames.dtype} {frames.shape} and {goals.dtype} "
            f"{goals.shape}"
        )
    single = frames.ndim == 3
    frames, goals = (as_rgb(pictures, leading=frames.ndim - 3) for pictures in (frames, goals))
    return (frames[None], goals[None], True) if single else (frames, goals, False)
