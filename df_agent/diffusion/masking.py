"""What a training window gives the network, and at which level: the situations in which a planner will ask it.

A window of T tokens, as `corrupt` may leave it (level 0 is clean, K pure noise):

    token    0 .. context - 1 | context .. end - 1 | end        | end + 1 .. T - 1
    in use   observed         | to be planned      | the goal   | behind the plan
    level    0, or drawn      | drawn              | 0 or drawn | K
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from df_agent.diffusion.config import MaskingConfig


def repeat_last_frame(tokens: Tensor, frame_stack: int, channels: tuple[int, ...] | None = None) -> Tensor:
    """Fill every frame of tokens (..., fs * C) with the last one; zero the channels not in `channels`."""
    frames = rearrange(tokens, "... (f c) -> ... f c", f=frame_stack)
    last = frames[..., -1:, :]
    if channels is not None:
        keep = torch.zeros(frames.shape[-1], dtype=torch.bool, device=tokens.device)
        keep[list(channels)] = True
        last = torch.where(keep, last, 0.0)
    return rearrange(last.expand_as(frames), "... f c -> ... (f c)")


def corrupt(
    tokens: Tensor, mask: Tensor, levels: int, config: MaskingConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw a level for every token and decide which tokens are given.

    Args:
        tokens: (B, T, D) clean tokens.
        mask: (B, T) True where a token is real; the others become pads.
        levels: K, the number of noisy levels.
        config: how often what is given.
        generator: a CPU generator, so that draws do not depend on the device.

    Returns:
        Clean tokens with the given ones in the form they have in use, levels (B, T), loss weights (B, T).
    """
    c, (b, t) = config, tokens.shape[:2]

    def coin(share: float) -> Tensor:
        return torch.rand(b, generator=generator) < share

    level = torch.randint(1, levels + 1, (b, t), generator=generator)
    shared = torch.randint(1, levels + 1, (b, 1), generator=generator)
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
    level = torch.where(goal | first, 0, torch.where(pad, levels, level))

    goal, repeat = (m.to(tokens.device)[..., None] for m in (goal, repeat))
    tokens = torch.where(goal, repeat_last_frame(tokens, c.frame_stack, c.goal_channels), tokens)
    known = tokens.take_along_dim(since.to(tokens.device)[..., None], 1)
    tokens = torch.where(repeat, repeat_last_frame(known, c.frame_stack), tokens)
    weight = torch.where(pad, c.pad_weight, 1.0) * (level > 0)
    # A pad behind an episode's end has no data; there is nothing to learn there.
    weight = weight * mask.cpu()
    return tokens, level.to(tokens.device), weight.to(tokens.device)
