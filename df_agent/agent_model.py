"""The agent's model: a diffusion model and what travels with it, saved together."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from df_agent.diffusion.config import DiffusionForcingConfig
from df_agent.diffusion.diffusion_forcing import DiffusionForcing
from df_agent.models import build_network
from df_agent.models.inverse_dynamics import InverseDynamics
from df_agent.models.local_policy import LocalPolicy
from df_agent.models.support import Support
from df_agent.models.time_to_goal import TimeToGoal
from df_agent.options import make
from df_agent.options.side_models import InverseDynamicsConfig, LocalPolicyConfig, SupportConfig, TimeToGoalConfig
from df_agent.runtime import check_precision, computes_in_bf16
from df_agent.types import Batch

SIDES = ("time_to_goal", "inverse_dynamics", "local_policy", "support")  # sections of the small models
GAIN = 1.25  # bf16 must be this much faster in a short timing to be worth its rounding


class AgentModel(nn.Module):
    """A diffusion model of trajectories and small models trained on the same data, which the agent acts by.

    Args:
        diffusion: the diffusion model; the only one that `loss` trains.
        time_to_goal: estimates how long the way to a goal takes; None without.
        inverse_dynamics: the action that leads from here to there; None without.
        local_policy: the action that leads to a goal in so many steps; None without.
        support: tells moves of the data from others; None without.
    """

    def __init__(
        self,
        diffusion: DiffusionForcing,
        time_to_goal: TimeToGoal | None = None,
        inverse_dynamics: InverseDynamics | None = None,
        local_policy: LocalPolicy | None = None,
        support: Support | None = None,
    ) -> None:
        super().__init__()
        self.diffusion, self.time_to_goal = diffusion, time_to_goal
        self.inverse_dynamics, self.local_policy, self.support = inverse_dynamics, local_policy, support
        self._before_rounding: dict[str, Tensor] = {}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> AgentModel:
        """Build the untrained model of a checkpoint's config.

        Its entries "network", "diffusion" and, where it has them, "time_to_goal", "inverse_dynamics", "local_policy"
        and "support".
        """
        diffusion = make(DiffusionForcingConfig, config["diffusion"])
        estimator, inverse, local, support = (config.get(key) for key in SIDES)
        return cls(
            DiffusionForcing(build_network(config["network"], diffusion.levels), diffusion),
            TimeToGoal(make(TimeToGoalConfig, estimator)) if estimator else None,
            InverseDynamics(make(InverseDynamicsConfig, inverse)) if inverse else None,
            LocalPolicy(make(LocalPolicyConfig, local)) if local else None,
            Support(make(SupportConfig, support)) if support else None,
        )

    @property
    def network(self) -> nn.Module:
        """The diffusion model's network, which is what is compiled and rounded."""
        return self.diffusion.network

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the diffusion model's loss; the others are trained before, by themselves."""
        return self.diffusion.loss(batch, generator)

    def prepare(self, device: torch.device, precision: str = "auto") -> AgentModel:
        """Freeze the model, move it to `device` and set its network's precision: "fp32", "bf16" or "auto"."""
        check_precision(precision, device)
        self.requires_grad_(False).eval().to(device)
        if precision == "bf16" or (precision == "auto" and bf16_pays(self.diffusion)):
            weights = self.network.state_dict(prefix="diffusion.network.")
            self._before_rounding = {key: value.cpu().clone() for key, value in weights.items()}
            self.network.to(torch.bfloat16)
        return self

    def full_precision_weights(self) -> dict[str, Tensor]:
        """Return all weights in fp32; those that `prepare` rounded as they were before, bit for bit."""
        return {key: value.float() for key, value in self.state_dict().items()} | self._before_rounding

    def forget_full_precision(self) -> None:
        """Let the weights be what they are now, not what they were before they were rounded."""
        self._before_rounding = {}


@torch.no_grad()
def bf16_pays(model: DiffusionForcing, batch: int = 16, repeats: int = 5) -> bool:
    """Time the network in fp32 and bf16 on a batch like a planner's; leaves it in fp32."""
    if not computes_in_bf16(model.alpha_bar.device):
        return False  # a single pass would take minutes
    config: Any = model.network.config
    tokens, dim = int(config.max_tokens), int(config.token_dim)
    device = model.alpha_bar.device
    x = torch.zeros(batch, tokens, dim, device=device)
    level = torch.ones(batch, tokens, dtype=torch.long, device=device)

    def best() -> float:
        times = []
        for _ in range(repeats):
            began = time.perf_counter()
            float(model.network(x, level, None).float().sum())
            times.append(time.perf_counter() - began)
        return min(times)

    full = {k: v.clone() for k, v in model.network.state_dict().items()}
    slow = best()
    model.network.to(torch.bfloat16)
    fast = best()
    model.network.to(torch.float32).load_state_dict(full)
    return slow > GAIN * fast
