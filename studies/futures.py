"""Monte-Carlo guidance on a trained model: `python studies/futures.py`.

Guidance moves the near tokens of a plan by the mean gradient over N jointly drawn futures. Here plans in the midst of
being denoised are kept as they are, futures are drawn again and again, and the variance of that mean is taken. Writes
results/futures.json and docs/futures.png. What N does to plans is in `studies/ablation.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from matplotlib.figure import Figure
from rich.progress import track
from rich.table import Table
from torch import Tensor

from df_agent.checkpoint import CheckpointError
from df_agent.cli.environments import trained
from df_agent.cli.measuring import console, new_figure, parser_of, write
from df_agent.diffusion.objectives import goal_objective
from df_agent.diffusion.sampler import guided, sample
from df_agent.diffusion.scheduling_matrix import scheduling_matrix, to_levels
from df_agent.policies import DiffusionForcingPolicy
from studies.timing import starts

NUMBERS = (1, 2, 4, 8, 16)
STEPS, PASS = 10, 5  # of the pyramid: the nearest token is half made
ROWS = 512  # at once


@dataclass(frozen=True)
class Midway:
    """Plans (B, T, D) in the midst of being denoised: tokens, levels (B, T) and normalised goals (B, G)."""

    policy: DiffusionForcingPolicy
    x: Tensor
    level: Tensor
    goal: Tensor

    def shift(self, rows: Tensor, noises: Sequence[Tensor]) -> Tensor:
        """Return how guidance by the future at hand and further ones moves the nearest noisy token of plans (N,)."""
        x, level, c = self.x[rows], self.level[rows], self.policy.tokenizer.config
        model, noisy = self.policy.model.diffusion, level > 0
        near = int(noisy[0].int().argmax())
        later = noisy & (torch.arange(x.shape[1]) > near)
        planned = torch.full((len(x),), x.shape[1] - c.context)
        objective = goal_objective(self.goal[rows], planned, c.frame_stack, c.goal_channels, c.context)
        _, plain = model.denoise(x, level)
        return (plain - guided(model, x, level, None, objective, 1.0, noises, later)[1])[:, near]

    def spread(self, number: int, draws: int, seed: int) -> tuple[float, float]:
        """Return the variance of the mean over `number` drawn futures, and the square of its mean.

        Both of the gradient at the nearest token, summed over its channels, averaged over plans.
        """
        plans = torch.arange(len(self.x))
        generator, own = torch.Generator().manual_seed(seed), self.shift(plans, [])
        found = []
        for part in torch.split(torch.arange(draws), max(1, ROWS // len(plans))):
            rows = plans.repeat(len(part))
            noises = [torch.randn(self.x[rows].shape, generator=generator) for _ in range(number)]
            # The sampler's mean has the future at hand in it, which is always the same here: it is taken out.
            drawn = ((1 + number) * self.shift(rows, noises) - own[rows]) / number
            found.append(rearrange(drawn, "(r b) d -> r b d", b=len(plans)))
        gradients = torch.cat(found)
        return float(gradients.var(0).sum(-1).mean()), float(gradients.mean(0).square().sum(-1).mean())


@torch.no_grad()
def midway(env_id: str, plans: int, seed: int) -> Midway:
    """Return plans of a pyramid that no goal has guided so far, for the first starts of a seed."""
    policy = DiffusionForcingPolicy.from_pretrained(trained(env_id), device="cpu", precision="fp32")
    tokenizer, seen = policy.tokenizer, starts(env_id, plans, seed)
    c = tokenizer.config
    present = torch.as_tensor(seen["observation"][:, list(c.observation_indices)], dtype=torch.float32)
    goal = tokenizer.goal_token(torch.as_tensor(seen["desired_goal"], dtype=torch.float32))
    length = policy.sampler.lengths[-1]
    free = to_levels(
        scheduling_matrix("pyramid", length - c.context, STEPS, 1.0), STEPS, policy.model.diffusion.config.levels
    )
    levels = torch.cat([torch.zeros(len(free), c.context, dtype=torch.long), torch.as_tensor(free)], 1)[: PASS + 1]
    x = torch.randn(plans, length, c.token_dim, generator=torch.Generator().manual_seed(seed))
    x[:, : c.context] = tokenizer.observed_tokens(present[:, None].expand(-1, c.context_frames, -1))
    x = sample(policy.model.diffusion, x, levels)
    return Midway(policy, x, levels[-1].expand(plans, -1), goal[:, list(c.goal_channels)])


def draw(variances: Sequence[float]) -> Figure:
    """Draw the variance over N, beside 1/N."""
    figure = new_figure(4.5, 3.2)
    axis = figure.subplots()
    axis.loglog(NUMBERS, np.array(variances) / variances[0], "o", label="measured")
    axis.loglog(NUMBERS, 1 / np.array(NUMBERS), color="#888888", label="1/N")
    axis.set(xlabel="futures drawn, N", ylabel="variance of the gradient, of one future's")
    axis.set_xticks(NUMBERS, [str(n) for n in NUMBERS], minor=False)
    axis.minorticks_off()
    axis.legend()
    return figure


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = parser_of("futures", "Monte-Carlo guidance on a trained model")
    parser.set_defaults(episodes=16)
    parser.add_argument("--env", default="maze2d-medium")
    parser.add_argument("--draws", type=int, default=100, help="of each mean")
    return parser.parse_args(arguments)


def main() -> None:
    """Measure and write."""
    options = read_options()
    if options.draws < 2:
        raise SystemExit(f"ValueError: a variance needs --draws of at least 2, got {options.draws}")
    try:
        plans = midway(options.env, options.episodes, options.seed)
    except (CheckpointError, ValueError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    spreads = [
        plans.spread(number, options.draws, options.seed + number)
        for number in track(NUMBERS, "drawing futures", console=console)
    ]
    variances = [spread for spread, _ in spreads]
    table = Table("futures N", "variance of the gradient", "N x variance, of one future's", "deviation / size of mean")
    for number, (variance, square) in zip(NUMBERS, spreads, strict=True):
        row = f"{variance:.4g}", f"{number * variance / variances[0]:.2f}", f"{(variance / square) ** 0.5:.2f}"
        table.add_row(str(number), *row)
    rows = [{"futures": n, "variance": v, "mean_square": m} for n, (v, m) in zip(NUMBERS, spreads, strict=True)]
    found = {"env": options.env, "plans": options.episodes, "draws": options.draws, "rows": rows}
    write(options, found, table, draw(variances))


if __name__ == "__main__":
    main()
