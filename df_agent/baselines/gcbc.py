"""Goal-conditioned behaviour cloning with hindsight goals and action chunks.

The actor is trained to repeat what the data did on its way to a later state of the same trajectory (Lynch et al.
2019; Ghosh et al. 2021), several actions at once (Zhao et al. 2023).
"""

from __future__ import annotations

import torch
from torch import Tensor

from df_agent.baselines.goal_conditioned import GoalLearner
from df_agent.data.samplers.hindsight import Transitions


class GCBC(GoalLearner):
    """The actor and its loss."""

    def loss(self, batch: Transitions, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error: a Gaussian of fixed width; nothing is drawn from the generator."""
        loss = (self(batch.observation, batch.actor_goal) - batch.actions).square().mean()
        return loss, {"actor_loss": loss.detach()}
