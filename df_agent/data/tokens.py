"""From episodes to tokens and back.

A frame holds what the model sees of `frame_skip` control steps: the selected observation channels at
their end, then (optional) the actions of these steps, then (optional) their summed reward. A token is
`frame_stack` frames, so it spans `frame_skip * frame_stack` control steps. With two frames of 8 steps
and the present at step t:

    token          0                    1                     2
    frames at   t-8,  t            t+8, t+16            t+24, t+32
                observed           planned              planned

With a longer context, tokens of the past lie before that.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange
from torch import Tensor

from df_agent.data.channels import changing
from df_agent.data.config import TokenizerConfig

if TYPE_CHECKING:
    from df_agent.data.episodes import Episodes


def check_indices(config: TokenizerConfig, channels: int) -> None:
    """Raise ValueError where `config` takes channels beyond the data's `channels`."""
    if max(config.observation_indices) >= channels:
        raise ValueError(
            f"observation_indices {config.observation_indices} reach beyond the data's {channels} observation channels"
        )


class Tokenizer:
    """Packs frames into normalised tokens; carries the normaliser.

    Args:
        config: what a frame holds.
        mean: (C,) mean of a frame's channels.
        std: (C,) their standard deviation.
    """

    def __init__(self, config: TokenizerConfig, mean: Tensor, std: Tensor) -> None:
        if mean.shape != (config.frame_dim,) or std.shape != (config.frame_dim,):
            raise ValueError(
                f"normaliser of shapes {tuple(mean.shape)} and {tuple(std.shape)} does not fit frames of "
                f"{config.frame_dim} channels"
            )
        if not (torch.isfinite(mean).all() and torch.isfinite(std).all() and (std > 0).all()):
            raise ValueError("the normaliser must be finite, with positive standard deviations")
        self.config, self.mean, self.std = config, mean.float(), std.float()

    @classmethod
    def fit(cls, config: TokenizerConfig, episodes: Episodes) -> Tokenizer:
        """Fit the normaliser on all steps of `episodes`; channels that never change get unit scale, see `changing`.

        Raises:
            ValueError: `config` takes channels that the observations do not have.
        """
        # The last row of a trajectory is where it ended: no action was taken there.
        taken = torch.ones(len(episodes.observations), dtype=torch.bool)
        taken[torch.as_tensor(episodes.starts)[1:] - 1] = False
        check_indices(config, episodes.observations.shape[1])
        observations = torch.as_tensor(episodes.observations)[:, list(config.observation_indices)].double()
        moves = torch.as_tensor(changing(observations.numpy(), episodes.starts))
        parts = [(observations.mean(0), observations.std(0))]
        if config.include_actions:
            actions = torch.as_tensor(episodes.actions)[taken].double()
            parts.append((actions.mean(0).repeat(config.frame_skip), actions.std(0).repeat(config.frame_skip)))
        if config.include_rewards:
            rewards = torch.as_tensor(episodes.rewards)[taken].double()[:, None]
            scale = config.frame_skip
            parts.append((rewards.mean(0) * scale, rewards.std(0) * scale))
        mean, std = torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
        scaled = std > 1e-6
        scaled[: len(moves)] |= moves  # also those whose unit is large
        return cls(config, mean.float(), torch.where(scaled, std, 1.0).float())

    def normalize(self, frames: Tensor) -> Tensor:
        """Normalise frames (..., C)."""
        return (frames - self.mean.to(frames.device)) / self.std.to(frames.device)

    def denormalize(self, frames: Tensor) -> Tensor:
        """Undo `normalize`."""
        return frames * self.std.to(frames.device) + self.mean.to(frames.device)

    def pack(self, frames: Tensor) -> Tensor:
        """Stack raw frames (..., T * fs, C) into normalised tokens (..., T, D)."""
        stack = self.config.frame_stack
        return rearrange(self.normalize(frames), "... (t f) c -> ... t (f c)", f=stack)

    def unpack(self, tokens: Tensor) -> Tensor:
        """Undo `pack`: tokens (..., T, D) to raw frames (..., T * fs, C)."""
        stack = self.config.frame_stack
        return self.denormalize(rearrange(tokens, "... t (f c) -> ... (t f) c", f=stack))

    def observations(self, tokens: Tensor) -> Tensor:
        """Return the observation channels in environment units, (..., T * fs, Do), of tokens (..., T, D)."""
        return self.unpack(tokens)[..., : self.config.observation_dim]

    def actions(self, tokens: Tensor) -> Tensor | None:
        """Return every control step's action, (..., T * fs * frame_skip, Da), or None if there are none."""
        c = self.config
        if not c.include_actions:
            return None
        start = c.observation_dim
        flat = self.unpack(tokens)[..., start : start + c.action_dim * c.frame_skip]
        return rearrange(flat, "... h (s a) -> ... (h s) a", s=c.frame_skip)

    def observed_tokens(self, history: Tensor) -> Tensor:
        """Tokens (..., T, D) of observed frames (..., T * fs, Do); their action and reward channels are zero."""
        frames = self.normalize(self._pad(history))
        frames[..., self.config.observation_dim :] = 0
        return rearrange(frames, "... (t f) c -> ... t (f c)", f=self.config.frame_stack)

    def goal_token(self, goal: Tensor) -> Tensor:
        """Token (..., D) that says where to be, from goals (..., G): the form `repeat_last_frame` trains."""
        c = self.config
        frame = torch.zeros(*goal.shape[:-1], c.frame_dim, device=goal.device)
        channels = list(c.goal_channels)
        mean, std = self.mean.to(goal.device), self.std.to(goal.device)
        frame[..., channels] = (goal.float() - mean[channels]) / std[channels]
        return frame.repeat(*[1] * (goal.ndim - 1), c.frame_stack)

    def _pad(self, observations: Tensor) -> Tensor:
        extra = self.config.frame_dim - self.config.observation_dim
        zeros = torch.zeros(*observations.shape[:-1], extra, device=observations.device)
        return torch.cat([observations.float(), zeros], -1)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict from which the tokenizer can be made again."""
        return {"config": asdict(self.config), "mean": self.mean.tolist(), "std": self.std.tolist()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Tokenizer:
        """Undo `to_dict`."""
        return cls(TokenizerConfig(**data["config"]), torch.tensor(data["mean"]), torch.tensor(data["std"]))
