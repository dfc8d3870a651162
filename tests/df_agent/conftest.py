"""A Gaussian world in which the best denoiser is known in closed form."""

import pytest
import torch

from df_agent.diffusion.noise_schedule import alpha_bar_table


class GaussianWorld:
    """Tokens of one channel that follow an AR(1) process, with the denoiser no network can beat.

    x_t - mean_t = correlation * (x_{t-1} - mean_{t-1}) + noise, of unit variance. It has what the sampler needs of a
    model: `alpha_bar` and `denoise`.
    """

    def __init__(self, tokens=6, correlation=0.8, levels=1000, schedule="cosine", dtype=torch.float64):
        index = torch.arange(tokens)
        self.tokens, self.levels, self.dtype = tokens, levels, dtype
        self.covariance = (correlation ** (index[:, None] - index[None]).abs()).to(dtype)
        self.mean = torch.linspace(-1, 2, tokens, dtype=dtype)
        self.alpha_bar = alpha_bar_table(schedule, levels).to(dtype)
        self.seen = []

    def denoise(self, x, level, cond=None):
        """E[x0 | x] and the noise that goes with it, for x (B, T, 1) at levels (B, T)."""
        self.seen.append((x, level))
        alpha_bar = self.alpha_bar[level]
        signal, noise = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        # Rows mostly share their levels, and then one matrix serves all.
        rows = alpha_bar[:1] if bool((level == level[:1]).all()) else alpha_bar
        total = rows.sqrt()[:, :, None] * self.covariance * rows.sqrt()[:, None, :] + torch.diag_embed(1 - rows)
        residual = x[..., 0] - signal * self.mean
        weights = (torch.linalg.inv(total) @ residual[..., None])[..., 0]
        x0 = self.mean + (self.covariance @ (signal * weights)[..., None])[..., 0]
        eps = (x[..., 0] - signal * x0) / noise.clamp_min(1e-6)
        return x0[..., None], eps[..., None]

    def given(self, values):
        """Mean (T,) and covariance (T, T) of all tokens, given some of them as {index: value}."""
        known = torch.tensor(sorted(values))
        value = torch.tensor([values[int(k)] for k in known], dtype=self.dtype)
        gain = self.covariance[:, known] @ torch.linalg.inv(self.covariance[known][:, known])
        return self.mean + gain @ (value - self.mean[known]), self.covariance - gain @ self.covariance[known]


@pytest.fixture
def gaussian_world():
    return GaussianWorld
