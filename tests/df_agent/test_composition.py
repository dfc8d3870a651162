import pytest
import torch

from df_agent.diffusion.conditioning import Composed
from df_agent.diffusion.noise_schedule import alpha_bar_table
from df_agent.diffusion.sampler import sample

ALPHA_BAR = alpha_bar_table("cosine", 100, False)
RHO = 0.9  # correlation of neighbours


class Recorder:
    """Knows nothing: x0 is x, eps is where a token is in its window."""

    alpha_bar = ALPHA_BAR

    def __init__(self):
        self.shapes = []

    def denoise(self, x, level, cond=None):
        self.shapes.append(tuple(x.shape))
        place = torch.arange(x.shape[1], dtype=x.dtype)[None, :, None].expand_as(x)
        return x.clone(), place.clone()


class Walk:
    """The exact denoiser of windows of a stationary Gaussian AR(1) process, clean tokens known to be clean."""

    alpha_bar = ALPHA_BAR

    def denoise(self, x, level, cond=None):
        tokens = torch.arange(x.shape[1])
        covariance = RHO ** (tokens[:, None] - tokens[None]).abs().double()
        a = self.alpha_bar.double()[level]
        out = []
        for row, alpha in zip(x.double(), a, strict=True):
            seen = alpha.sqrt()[:, None] * covariance * alpha.sqrt()[None] + torch.diag((1 - alpha).clamp_min(1e-9))
            out.append(covariance * alpha.sqrt()[None] @ torch.linalg.solve(seen, row))
        x0 = torch.stack(out)
        eps = (x.double() - a.sqrt()[..., None] * x0) / (1 - a).clamp_min(1e-9).sqrt()[..., None]
        return x0.to(x.dtype), eps.to(x.dtype)


def test_windows_cover_each_sequence_to_its_own_end():
    composed = Composed(Recorder(), window=6, overlap=2, lengths=torch.tensor([4, 6, 7, 14, 15]))
    rows, starts = composed.windows
    windows = [starts[rows == row].tolist() for row in range(5)]
    assert windows == [[0], [0], [0, 1], [0, 4, 8], [0, 3, 6, 9]]


def test_a_sequence_of_one_window_is_denoised_as_ever():
    x, level = torch.randn(3, 6, 2), torch.full((3, 6), 50)
    composed = Composed(Walk(), window=6, overlap=2, lengths=torch.tensor([6, 6, 4]))
    for one, other in zip(composed.denoise(x, level), Walk().denoise(x, level), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_estimates_are_averaged_where_windows_overlap_and_count_less_near_their_ends():
    model = Recorder()
    composed = Composed(model, window=4, overlap=2, lengths=torch.tensor([6]))
    x = torch.randn(1, 8, 3)
    x0, eps = composed.denoise(x, torch.zeros(1, 8, dtype=torch.long))
    assert model.shapes == [(2, 4, 3)]
    assert torch.allclose(x0, x)  # what both say the same of, and padding
    # Tokens 2 and 3 are places 2 and 3 of the first window, 0 and 1 of the second; shares 2, 1 and 1, 2.
    assert torch.allclose(eps[0, :, 0], torch.tensor([0, 1, 4 / 3, 5 / 3, 2, 3, 0, 0]))


def test_two_variants_are_asked_about_at_once():
    composed = Composed(Recorder(), window=4, overlap=1, lengths=torch.tensor([6, 4]))
    x = torch.randn(4, 6, 2)
    x0, _ = composed.denoise(x, torch.zeros(4, 6, dtype=torch.long))
    assert torch.allclose(x0, x)


def test_long_walks_from_short_windows_are_joined_smoothly_between_given_ends():
    torch.manual_seed(0)
    batch, length = 600, 20
    composed = Composed(Walk(), window=8, overlap=4, lengths=torch.full((batch,), length))
    levels = torch.linspace(100, 0, 51).round().long()[:, None, None].expand(-1, batch, length).clone()
    levels[:, :, [0, -1]] = 0
    x = torch.randn(batch, length, 1)
    x[:, 0], x[:, -1] = 1.5, -1.5
    walk = sample(composed, x, levels)[..., 0]
    assert (walk[:, 0] == 1.5).all()
    assert (walk[:, -1] == -1.5).all()
    steps = walk.diff(dim=1)
    wanted = (2 * (1 - RHO)) ** 0.5  # of a neighbouring pair
    spread = steps.square().mean(0).sqrt()
    assert (spread < 1.35 * wanted).all()  # no jump at any seam
    assert (spread > 0.6 * wanted).all()
    # The ends are felt windows away: they pull the mean as they do that of the process.
    assert walk.mean(0)[1:4].min() > 0.8
    assert walk.mean(0)[-4:-1].max() < -0.8


@pytest.mark.parametrize("overlap", [0, 6])
def test_windows_must_overlap_in_part(overlap):
    with pytest.raises(ValueError, match="1 to 5"):
        Composed(Recorder(), window=6, overlap=overlap, lengths=torch.tensor([9]))
