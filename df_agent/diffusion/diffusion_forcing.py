"""Diffusion Forcing: a network that denoises tokens which each carry a noise level of their own."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from df_agent.diffusion.noise_schedule import (
    add_noise,
    alpha_bar_table,
    check_objective,
    fused_snr_weight,
    min_snr_weight,
    target,
    to_x0_eps,
)
from df_agent.models.inverse_dynamics import InverseDynamics
from df_agent.models.time_to_goal import TimeToGoal
from df_agent.types import Batch


@dataclass(frozen=True)
class DiffusionForcingConfig:
    """How noise is added and weighted in training.

    Attributes:
        levels: K, the number of noisy levels; 0 is clean.
        schedule: "linear", "cosine" or "sigmoid".
        zero_terminal_snr: let level K hold no signal at all.
        signal_scale: how large the data counts beside the noise; more than 1 where what matters is small in it.
        objective: "x0", "eps" or "v".
        snr_weighting: "none", "min_snr" or "fused".
        snr_clip: gamma of min-SNR.
        snr_decay: memory of the fused SNR, per token.
        clip_noise: noise is clamped to this absolute value.
        shared_level: share of windows whose free tokens have one level in common; the rest draw one each.
        clean_first: share of windows whose observed tokens are given clean, as in use.
        repeat_first: share of windows in whose observed tokens nothing lies before the last frame of one of them,
            which is repeated, as at an episode's start, when there is no history.
        terminal: share of windows that end at a token drawn at random; behind it lies pure noise.
        terminal_tail: that token is among the last so many real ones of its window; 0 for any but the first.
            Where windows have several lengths, the gap between two lengths lets all horizons come up alike.
        clean_goal: share of these whose last token is given clean, as a goal is in use: the goal
            channels of its last frame, repeated; every other channel zero.
        pad_weight: loss weight of the pads behind the terminal token.
        frame_stack: frames in a token.
        goal_channels: positions of the goal within a frame.
        context: tokens that hold what was observed, the present last.
    """

    levels: int = 1000
    schedule: str = "cosine"
    zero_terminal_snr: bool = False
    signal_scale: float = 1.0
    objective: str = "v"
    snr_weighting: str = "none"
    snr_clip: float = 5.0
    snr_decay: float = 0.9
    clip_noise: float = 20.0
    shared_level: float = 0.5
    clean_first: float = 0.75
    repeat_first: float = 0.3
    terminal: float = 0.75
    terminal_tail: int = 0
    clean_goal: float = 0.8
    pad_weight: float = 0.05
    frame_stack: int = 1
    goal_channels: tuple[int, ...] = (0, 1)
    context: int = 1

    def __post_init__(self) -> None:
        check_objective(self.objective)
        if self.zero_terminal_snr and self.objective == "eps":
            raise ValueError("zero_terminal_snr needs objective 'x0' or 'v': noise says nothing of the data at level K")
        if self.snr_weighting not in ("none", "min_snr", "fused"):
            raise ValueError(f"unknown snr_weighting {self.snr_weighting!r}, available: ['fused', 'min_snr', 'none']")
        for name in ("shared_level", "clean_first", "repeat_first", "terminal", "clean_goal"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share and must lie in [0, 1], got {getattr(self, name)}")
        if self.terminal_tail < 0:
            raise ValueError(f"terminal_tail is a number of tokens, got {self.terminal_tail}")
        object.__setattr__(self, "goal_channels", tuple(self.goal_channels))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict from which the config can be made again."""
        return asdict(self)


def repeat_last_frame(tokens: Tensor, frame_stack: int, channels: tuple[int, ...] | None = None) -> Tensor:
    """Fill every frame of tokens (..., fs * C) with the last one; zero the channels not in `channels`."""
    frames = rearrange(tokens, "... (f c) -> ... f c", f=frame_stack)
    last = frames[..., -1:, :]
    if channels is not None:
        keep = torch.zeros(frames.shape[-1], dtype=torch.bool, device=tokens.device)
        keep[list(channels)] = True
        last = torch.where(keep, last, 0.0)
    return rearrange(last.expand_as(frames), "... f c -> ... (f c)")


class DiffusionForcing(nn.Module):
    """A network with its noise schedule and its loss.

    Args:
        network: forward(x (B, T, D), level (B, T), cond) -> (B, T, D).
        config: how noise is added and weighted.
        time_to_goal, inverse_dynamics: models trained on the same data, carried along for the agent; they take no
            part in the loss.
    """

    alpha_bar: Tensor

    def __init__(
        self,
        network: nn.Module,
        config: DiffusionForcingConfig,
        time_to_goal: TimeToGoal | None = None,
        inverse_dynamics: InverseDynamics | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.time_to_goal = time_to_goal
        self.inverse_dynamics = inverse_dynamics
        self.config = config
        self.objective = check_objective(config.objective)
        table = alpha_bar_table(config.schedule, config.levels, config.zero_terminal_snr, config.signal_scale)
        self.register_buffer("alpha_bar", table, persistent=False)

    def denoise(self, x: Tensor, level: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return estimates of x0 and eps, each (B, T, D), at noisy x (B, T, D) with levels (B, T)."""
        output = self.network(x, level, cond).to(x.dtype)
        return to_x0_eps(self.objective, output, x, self.alpha_bar[level])

    def corrupt(self, tokens: Tensor, mask: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw a level for every token and decide which tokens are given.

        Args:
            tokens: (B, T, D) clean tokens.
            mask: (B, T) True where a token is real; the others become pads.
            generator: a CPU generator, so that draws do not depend on the device.

        Returns:
            Clean tokens with the given ones in the form they have in use, levels (B, T), loss weights (B, T).
        """
        c, (b, t) = self.config, tokens.shape[:2]

        def coin(share: float) -> Tensor:
            return torch.rand(b, generator=generator) < share

        level = torch.randint(1, c.levels + 1, (b, t), generator=generator)
        shared = torch.randint(1, c.levels + 1, (b, 1), generator=generator)
        level = torch.where(coin(c.shared_level)[:, None], shared, level)
        index = torch.arange(t)[None]

        real = mask.cpu().sum(1)  # real tokens come first
        draw = torch.rand(b, generator=generator)
        tail = (real - c.context).clamp(1, c.terminal_tail or None)
        terminal = (real - tail + (draw * tail).long()).clamp_min(c.context)
        has_end = coin(c.terminal) & (real > c.context)
        end = torch.where(has_end, terminal, real - 1)[:, None]
        goal = (has_end & coin(c.clean_goal))[:, None] & (index == end)
        first = coin(c.clean_first)[:, None] & (index < c.context)
        repeat = coin(c.repeat_first)[:, None]
        since = torch.randint(c.context, (b, 1), generator=generator) if c.context > 1 else torch.zeros(b, 1).long()
        repeat = repeat & (index <= since)
        pad = index > end
        level = torch.where(goal | first, 0, torch.where(pad, c.levels, level))

        goal, repeat = (m.to(tokens.device)[..., None] for m in (goal, repeat))
        tokens = torch.where(goal, repeat_last_frame(tokens, c.frame_stack, c.goal_channels), tokens)
        known = tokens.take_along_dim(since.to(tokens.device)[..., None], 1)
        tokens = torch.where(repeat, repeat_last_frame(known, c.frame_stack), tokens)
        weight = torch.where(pad, c.pad_weight, 1.0) * (level > 0)
        # A pad behind an episode's end has no data; there is nothing to learn there.
        weight = weight * mask.cpu()
        return tokens, level.to(tokens.device), weight.to(tokens.device)

    def snr_weight(self, alpha_bar: Tensor, past: Tensor | None = None) -> Tensor:
        """Return the loss weight of every token, (B, T), by its SNR; `past`: see `fused_snr_weight`."""
        c = self.config
        if c.snr_weighting == "min_snr":
            return min_snr_weight(self.objective, alpha_bar, c.snr_clip)
        if c.snr_weighting == "fused":
            both_ways = not getattr(self.network, "causal", False)
            return fused_snr_weight(self.objective, alpha_bar, c.snr_decay, c.snr_clip, both_ways, past)
        return torch.ones_like(alpha_bar)

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted denoising loss of a batch and the metrics to log.

        The mean is over the tokens that count (weight > 0), so it does not depend on how many are given.
        """
        tokens, level, weight = self.corrupt(batch.tokens, batch.mask, generator)
        clip = self.config.clip_noise
        eps = torch.randn(tokens.shape, generator=generator).clamp(-clip, clip).to(tokens.device)
        alpha_bar = self.alpha_bar[level]
        output = self.network(add_noise(tokens, eps, alpha_bar), level, batch.cond).float()
        error = (output - target(self.objective, tokens, eps, alpha_bar)).square().mean(-1)  # (B, T)
        total = (weight * self.snr_weight(alpha_bar) * error).sum() / (weight > 0).sum().clamp_min(1)
        return total, {"loss": total.detach()}
