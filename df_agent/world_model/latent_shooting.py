"""Planning by shooting in compact latents: learned dynamics, and the learned time to the goal as the cost."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from df_agent.checkpoint import CheckpointError, load_checkpoint
from df_agent.data.tokens import Tokenizer
from df_agent.models.latent_dynamics import LatentDynamics
from df_agent.models.time_to_goal import TimeToGoal
from df_agent.policies import DiffusionForcingPolicy
from df_agent.runtime import building

Array = NDArray[np.float64]


class LatentSteps:
    """Where actions that are held from picture to picture lead: `df_planners.shooting.Dynamics` over (latent, change).

    Args:
        dynamics: the learned one.
        every: control steps from one picture to the next.
    """

    def __init__(self, dynamics: LatentDynamics, every: int) -> None:
        self.dynamics, self.every = dynamics, every

    @torch.no_grad()
    def __call__(self, states: Array, actions: Array, /) -> Array:
        """Return the states (N, H, 2 L) after each of the actions (N, H, Da), from states (N, 2 L)."""
        latent, change = torch.from_numpy(states).float().chunk(2, -1)
        held = torch.from_numpy(np.tile(actions, self.every)).float()
        ahead = self.dynamics.roll_out(latent, change, held)
        before = torch.cat([latent[:, None], ahead[:, :-1]], 1)
        return np.asarray(torch.cat([ahead, ahead - before], -1).double().numpy())


class TimeLeft:
    """What futures cost: the learned time to the goal, on average over the future and once more at its end [pictures].

    Args:
        estimator: learned from the same latents.
        tokenizer: of the agent that it came with; knows how latents are normalised.
        end: weight of the end beside the mean over the future.
    """

    def __init__(self, estimator: TimeToGoal, tokenizer: Tokenizer, end: float = 1.0) -> None:
        self.estimator, self.end = estimator, end
        channels = list(tokenizer.config.goal_channels)
        self.mean, self.std = tokenizer.mean[channels], tokenizer.std[channels]

    @torch.no_grad()
    def __call__(self, states: Array, goals: Array, /) -> Array:
        """Return the costs (B, K) of states (B, K, H, 2 L) with goals (B, L)."""
        width = goals.shape[-1]
        here = (torch.from_numpy(states[..., :width]).float() - self.mean) / self.std
        there = (torch.from_numpy(goals).float() - self.mean) / self.std
        left = self.estimator.between(self.estimator.embed(here), self.estimator.embed(there)[:, None, None])
        cost = left.mean(-1) + self.end * left[..., -1]
        return np.asarray(cost.double().numpy())


@building()
def load_time_left(name: str, end: float = 1.0) -> TimeLeft:
    """Return the cost from a checkpoint of an agent over latents; raises CheckpointError if it has no estimator."""
    checkpoint = load_checkpoint(name)
    agent = DiffusionForcingPolicy.from_pretrained(name, device="cpu", precision="fp32")
    if agent.model.time_to_goal is None:
        raise CheckpointError(f"{name} has learned no time to the goal")
    return TimeLeft(agent.model.time_to_goal, Tokenizer.from_dict(checkpoint.config["tokenizer"]), end)
