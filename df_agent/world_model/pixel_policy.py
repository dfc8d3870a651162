"""Agents that see pictures: any policy over compact latents behind an encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from df_agent.acting import beginning_rows
from df_agent.baselines.shooting import ShootingPolicy
from df_agent.policy import DiffusionForcingPolicy
from df_agent.types import Observation, Policy
from df_agent.world_model.compact import CompactModel, load_compact
from df_agent.world_model.latent_shooting import LatentSteps, load_time_left
from planners.plan import PlanEvent
from planners.shooting import ShootingPlanner

Array = NDArray[np.float64]


@dataclass
class PixelState:
    """What the policy remembers of B environments, one row each.

    Attributes:
        age: (B,) control steps since the last picture.
        latent: (B, L) what the last picture showed.
        goal: (B, L) what the goal's picture shows.
        action: (B, Da) the action that is held until the next picture.
        inner: state of the policy behind the encoder.
    """

    age: NDArray[np.int64]
    latent: Array
    goal: Array
    action: Array
    inner: Any


class PixelPolicy:
    """Encodes each new picture, asks a policy over latents, and holds its action until the next picture.

    The policy sees {"observation": (B, 2 L) the latent and its change since the picture before, "achieved_goal": (B, L)
    the latent, "desired_goal": (B, L) the latent of the goal's picture}, once every `every` control steps.

    Args:
        eyes: the encoder.
        policy: what acts.
        every: control steps from one picture to the next.
    """

    def __init__(self, eyes: CompactModel, policy: Policy, every: int) -> None:
        self.eyes, self.policy, self.every = eyes, policy, every

    @classmethod
    def from_pretrained(
        cls, eyes: str | Path, agent: str | Path, *, max_steps: int | None = None, device: str = "auto", **options: Any
    ) -> PixelPolicy:
        """Load the encoder and Diffusion Forcing over its latents.

        Args:
            eyes, agent: names of checkpoints that ship, folders or repositories of the Hub.
            max_steps: length of an episode [control steps].
            device: "auto", "cpu", "cuda", ...
            **options: of `DiffusionForcingPolicy.from_pretrained`.
        """
        model, config = load_compact(eyes, device)
        every = int(config["compact"]["every"])
        if max_steps is not None:
            options["max_steps"] = -(-max_steps // every)
        return cls(model, DiffusionForcingPolicy.from_pretrained(agent, device=device, **options), every)

    @classmethod
    def shooting(
        cls, eyes: str | Path, agent: str | Path, planner: ShootingPlanner, *, replan_every: int = 2, end: float = 1.0
    ) -> PixelPolicy:
        """Load the encoder and its dynamics, and plan in these by MPPI or CEM, towards the least time to the goal.

        Args:
            eyes: name of the encoder's checkpoint.
            agent: name of the checkpoint whose learned time to the goal is the cost.
            planner: `planners.cem.CEM` or `planners.mppi.MPPI`; its steps are pictures.
            replan_every: pictures between plans.
            end: see `TimeLeft`.
        """
        model, config = load_compact(eyes, "cpu")
        every = int(config["compact"]["every"])
        action_dim = model.dynamics.config.action_dim // every
        steps, cost = LatentSteps(model.dynamics, every), load_time_left(str(agent), end)
        policy = ShootingPolicy(planner, steps, cost, action_dim=action_dim, replan_every=replan_every)
        return cls(model, policy, every)

    @property
    def on_plan(self) -> Callable[[PlanEvent], None] | None:
        """Called with every plan; its observations are latents."""
        return getattr(self.policy, "on_plan", None)

    @on_plan.setter
    def on_plan(self, call: Callable[[PlanEvent], None] | None) -> None:
        if isinstance(self.policy, DiffusionForcingPolicy | ShootingPolicy):
            self.policy.on_plan = call

    def reset_seed(self, seed: int) -> None:
        """Choose another set of noise."""
        if isinstance(self.policy, DiffusionForcingPolicy | ShootingPolicy):
            self.policy.reset_seed(seed)

    def predict(
        self,
        observation: Observation,
        state: PixelState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Array, PixelState]:
        """Return actions (B, Da) or (Da,) and the next state; see `df_agent.types.Policy`."""
        frames, goals, single = read_pictures(observation)
        fresh = beginning_rows(None if state is None else len(state.age), len(frames), episode_start)
        if state is not None and not (fresh | (state.age + 1 >= self.every)).any():
            held = PixelState(state.age + 1, state.latent, state.goal, state.action, state.inner)
            return (held.action[0] if single else held.action), held
        latent = self.eyes.encode(frames).double().cpu().numpy()
        goal = self.eyes.encode(goals).double().cpu().numpy()
        before = latent if state is None else np.where(fresh[:, None], latent, state.latent)
        due = np.ones(len(frames), bool) if state is None else fresh | (state.age + 1 >= self.every)
        if state is not None and not due.all():
            raise ValueError("pictures of all environments must be due at once; let their episodes begin together")
        seen = {
            "observation": np.concatenate([latent, latent - before], 1),
            "achieved_goal": latent,
            "desired_goal": goal,
        }
        inner = None if state is None else state.inner
        action, inner = self.policy.predict(seen, inner, fresh, deterministic)
        new = PixelState(np.zeros(len(frames), np.int64), latent, goal, np.asarray(action), inner)
        return (new.action[0] if single else new.action), new


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
    return (frames[None], goals[None], True) if single else (frames, goals, False)
