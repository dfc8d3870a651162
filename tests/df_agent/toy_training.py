"""A tiny model to train in tests: learns to reverse the channels of its tokens."""

import torch
from torch import nn

from df_agent.training.config import TrainConfig
from df_agent.training.trainer import Trainer
from df_agent.types import Batch


class Toy(nn.Module):
    """Has what makes resuming hard: dropout (global random state), a buffer, a parameter that is not a matrix."""

    def __init__(self, dropout=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(4, 32), nn.GELU(), nn.Dropout(dropout), nn.Linear(32, 4))
        self.register_buffer("seen", torch.zeros(()))

    def loss(self, batch, generator):
        x = batch.tokens
        if self.training:
            self.seen += len(x)
        noise = 0.1 * torch.randn(x.shape, generator=generator)
        loss = (self.network(x + noise) - x.flip(-1)).square().mean()
        return loss, {"error": loss.detach().sqrt()}


def sample_batch(batch_size, generator):
    tokens = torch.randn(batch_size, 3, 4, generator=generator)
    return Batch(tokens, torch.ones(batch_size, 3, dtype=torch.bool))


def make_trainer(run_dir, model=None, tracker=None, validate=None, checkpoint_config=None, **options):
    defaults = {"steps": 60, "batch_size": 16, "warmup_steps": 5, "log_every": 10, "checkpoint_every": 10}
    config = TrainConfig(**{**defaults, "precision": "fp32", "learning_rate": 1e-2, **options})
    content = checkpoint_config if checkpoint_config is not None else {"network": {"width": 32}}
    return Trainer(model or Toy(), sample_batch, config, run_dir, content, tracker, validate)
