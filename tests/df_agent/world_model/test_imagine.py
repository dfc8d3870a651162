"""Roll-outs, on a toy world: a frame is a point that moves by its action."""

import pytest
import torch

from df_agent.data.clips import ClipBatch
from df_agent.diffusion.conditioning import Weighted
from df_agent.diffusion.config import DiffusionForcingConfig
from df_agent.models.space_time import SpaceTimeTransformer
from df_agent.models.unet3d import Unet3d
from df_agent.options.networks import SpaceTimeConfig, Unet3dConfig
from df_agent.world_model.config import METHODS, RolloutConfig, VideoConfig
from df_agent.world_model.imagine import Imagination, imagine
from df_agent.world_model.video_diffusion import VideoDiffusion

LENGTH = 6


def make(method: str = "diffusion_forcing", causal: bool = True, **video) -> VideoDiffusion:
    torch.manual_seed(0)
    network = SpaceTimeTransformer(
        SpaceTimeConfig(token_dim=4, places=2, window=LENGTH, cond_dim=2, width=32, depth=2, heads=2, causal=causal)
    )
    prediction_type = "x0" if method == "regression" else "v"
    fused = "fused" if method == "diffusion_forcing" else "none"
    config = DiffusionForcingConfig(levels=100, prediction_type=prediction_type, snr_weighting=fused)
    return VideoDiffusion(network, config, VideoConfig(method=method, **video))


def clips(batch: int, seed: int = 0, length: int = LENGTH) -> ClipBatch:
    """A point that starts anywhere and moves by a push of -1 or 1, seen as (x, -x, x, x)."""
    g = torch.Generator().manual_seed(seed)
    push = torch.randint(0, 2, (batch, length), generator=g).float() * 2 - 1
    push[:, 0] = 0
    x = torch.randn(batch, 1, generator=g) * 0.3 + 0.4 * push.cumsum(1)
    known = torch.ones_like(push)
    known[:, 0] = 0
    return ClipBatch(torch.stack([x, -x, x, x], -1), torch.stack([push, known], -1))


def train(model: VideoDiffusion, steps: int = 400) -> VideoDiffusion:
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(steps):
        loss, _ = model.loss(clips(64, seed=step), torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def trained():
    return train(make())


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def error(model: VideoDiffusion, config: RolloutConfig, length: int = 10, seed: int = 10_000) -> float:
    test = clips(32, seed=seed, length=length)
    ahead = imagine(model, test.tokens[:, :2], test.cond, length - 2, config, generator())
    return float((ahead - test.tokens[:, 2:])[..., 0].abs().mean())


def test_imagined_frames_follow_the_actions(trained):
    assert error(trained, RolloutConfig(), length=LENGTH) < 0.2  # a push moves it by 0.4
    test = clips(8, seed=3)
    other = test.cond.clone()
    other[:, 3:, 0] *= -1
    plain, turned = (
        imagine(trained, test.tokens[:, :3], cond, 3, RolloutConfig(), generator()) for cond in (test.cond, other)
    )
    moved = (turned - plain)[:, 0, 0]
    assert torch.equal(moved.sign(), other[:, 3, 0].sign())


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns(method):
    model = make(method, causal=method != "full_sequence")
    before = float(model.loss(clips(256, seed=1), generator())[0].detach())
    train(model, 60)
    assert float(model.loss(clips(256, seed=1), generator())[0].detach()) < 0.7 * before


def test_frames_by_cache_and_by_window_are_alike(trained):
    cached = error(trained, RolloutConfig(stabilization=0.0), length=LENGTH)
    window = error(trained, RolloutConfig(stabilization=0.0, cached=False), length=LENGTH)
    assert abs(cached - window) < 0.05


@pytest.mark.parametrize("matrix", ["full_sequence", "pyramid", "autoregressive"])
def test_frames_can_be_imagined_jointly_and_far_past_the_window(trained, matrix):
    config = RolloutConfig(cached=False, chunk=2, matrix=matrix)
    test = clips(3, length=30)
    ahead = imagine(trained, test.tokens[:, :3], test.cond, 27, config, generator())
    assert ahead.shape == (3, 27, 4)
    assert ahead.isfinite().all()


def test_the_same_seed_imagines_the_same(trained):
    test = clips(2)
    a, b = (imagine(trained, test.tokens[:, :2], test.cond, 4, RolloutConfig(eta=1.0), generator()) for _ in range(2))
    assert torch.equal(a, b)


def test_imagination_step_by_step_is_the_roll_out(trained):
    test = clips(2)
    mind = Imagination(trained, RolloutConfig(), generator())
    with torch.no_grad():
        mind.see(test.tokens[:, :3], test.cond[:, :3])
        steps = torch.stack([mind.step(test.cond[:, t], test.tokens[:, 0]) for t in range(3, 6)], 1)
    assert torch.equal(steps, imagine(trained, test.tokens[:, :3], test.cond, 3, RolloutConfig(), generator()))


def test_history_guidance_of_one_is_plain_and_of_more_leans_on_what_was_seen(trained):
    test = clips(4)
    x, level = torch.randn(4, 5, 4, generator=generator()), torch.tensor([[0, 0, 0, 60, 60]]).expand(4, -1)
    noise = torch.randn(4, 5, 4, generator=generator())
    cond = test.cond[:, :5]
    early = (torch.arange(5) < 3).expand(len(x), -1)
    with torch.no_grad():
        plain = trained.denoise(x, level, cond)
        one = Weighted(trained, early, 1.0, noise, 100).denoise(x, level, cond)
        hidden = Weighted(trained, early, 0.0, noise, 100).denoise(x, level, cond)
        two = Weighted(trained, early, 2.0, noise, 100).denoise(x, level, cond)
    for a, b in zip(plain, one, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(two[0], 2 * plain[0] - hidden[0], atol=1e-4, rtol=1e-4)
    # What is hidden at the top level has no say.
    other = x.clone()
    other[:, :3] += 1
    with torch.no_grad():
        blind = Weighted(trained, early, 0.0, noise, 100).denoise(other, level, cond)
    torch.testing.assert_close(blind[0][:, 3:], hidden[0][:, 3:], atol=0.05, rtol=0.05)


def test_levels_are_what_the_method_says():
    g = generator()
    own = make(nearly_clean=0.0).levels(500, LENGTH, g)
    assert own.min() >= 1
    assert abs(float(own.float().mean()) - 50.5) < 2
    assert abs(float(torch.corrcoef(own.T.float())[0, 1])) < 0.15
    mixed = make(nearly_clean=1.0).levels(500, LENGTH, g)
    assert 0.4 < float((mixed <= 2).float().mean()) < 0.6
    assert mixed.min() >= 1
    for nearly_clean in (0.0, 1.0):  # what is unknown is never nearly clean
        half = make(nearly_clean=nearly_clean, unknown=0.5).levels(500, LENGTH, g)
        assert 0.45 < float((half == 100).float().mean()) < 0.56
    whole = make("full_sequence", causal=False).levels(500, LENGTH, g)
    assert (whole[:, 0] == 0).all()
    assert all(len(set(row[row > 0].tolist())) == 1 for row in whole)
    assert set((whole == 0).sum(1).tolist()) == {1, 2, 3}
    assert (make("regression").levels(5, LENGTH, g) == 100).all()


def test_with_two_copies_the_past_has_levels_of_its_own():
    g = generator()
    model = make(two_copies=True, nearly_clean=0.5)
    past = model.past_levels(400, LENGTH, g)
    assert past.min() == 0
    nearly = (past <= 2).all(1)
    assert 0.4 < float(nearly.float().mean()) < 0.6
    assert 45 < float(past[~nearly].float().mean()) < 55
    assert (make("teacher_forcing").past_levels(5, LENGTH, g) == 0).all()
    before = float(model.loss(clips(256, seed=1), generator())[0].detach())
    train(model, 60)
    assert float(model.loss(clips(256, seed=1), generator())[0].detach()) < 0.7 * before
    with pytest.raises(ValueError, match="needs a causal network"):
        make(causal=False, two_copies=True)


def test_hidden_actions_make_no_difference():
    model = make(cond_dropout=1.0)
    batch = clips(16)
    other = ClipBatch(batch.tokens, -batch.cond)
    assert float(model.loss(batch, generator())[0]) == float(model.loss(other, generator())[0])


def test_what_does_not_fit_is_an_error(trained):
    test = clips(2)
    with pytest.raises(ValueError, match="unknown method 'df'"):
        VideoConfig(method="df")
    with pytest.raises(ValueError, match="needs a causal network"):
        make("teacher_forcing", causal=False)
    with pytest.raises(ValueError, match="prediction_type must be 'x0'"):
        VideoDiffusion(make().network, DiffusionForcingConfig(), VideoConfig(method="regression"))
    with pytest.raises(ValueError, match="one frame at a time"):
        RolloutConfig(chunk=2)
    with pytest.raises(ValueError, match="stabilization must lie in"):
        RolloutConfig(stabilization=2.0)
    with pytest.raises(ValueError, match="a condition for all 2 \\+ 4 frames"):
        imagine(trained, test.tokens[:, :2], test.cond[:, :3], 4, RolloutConfig(), generator())
    with pytest.raises(ValueError, match="room for a frame seen"):
        imagine(trained, test.tokens[:, :2], test.cond, 4, RolloutConfig(cached=False, chunk=LENGTH), generator())


def test_regression_sees_nothing_of_its_answer():
    model, shown = make("regression"), []
    model.network.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    batch = clips(4)
    model.loss(batch, generator())
    assert torch.equal(shown[0][:, :LENGTH], batch.tokens)
    assert not shown[0][:, LENGTH:].any()
    with pytest.raises(ValueError, match="cached=true"):
        imagine(model, batch.tokens[:, :2], batch.cond, 4, RolloutConfig(cached=False), generator())


def test_a_causal_network_without_a_memory_is_refused_where_it_needs_one():
    network = Unet3d(Unet3dConfig(token_dim=48, width=8, multipliers=(1,), heads=1, head_dim=4, window=LENGTH))
    config = DiffusionForcingConfig(levels=20)
    for method in ("teacher_forcing", "diffusion_forcing"):
        with pytest.raises(ValueError, match=r"two copies .* network=space_time .* got Unet3d"):
            VideoDiffusion(network, config, VideoConfig(method=method, two_copies=True))
    model, seen = VideoDiffusion(network, config, VideoConfig()), torch.zeros(1, 2, 48)
    with pytest.raises(ValueError, match=r"this Unet3d roll out with cached=false"):
        imagine(model, seen, None, 1, RolloutConfig(), generator())
    assert imagine(model, seen, None, 1, RolloutConfig(steps=1, cached=False), generator()).shape == (1, 1, 48)


def test_without_temperature_all_futures_are_one_and_with_it_they_differ(trained):
    seen = clips(2, length=7)

    hidden = torch.zeros_like(seen.cond[:, :7])

    def futures(**options):
        seeds = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
        first = seen.tokens[:, :3]
        return [imagine(trained, first, hidden, 4, RolloutConfig(steps=3, **options), g) for g in seeds]

    for options in ({}, {"eta": 1.0}, {"cached": False}, {"cached": False, "eta": 1.0}):
        assert torch.equal(*futures(temperature=0.0, **options))
        cold, warm = futures(temperature=0.3, **options), futures(**options)
        assert 0 < (cold[0] - cold[1]).std() < (warm[0] - warm[1]).std()
    with pytest.raises(ValueError, match=r"temperature must lie in \[0, 1\]"):
        RolloutConfig(temperature=-0.1)
    # From the mean, they differ in what is small, and with the actions hidden all of them are asked for.
    near, all_of_them = futures(start=0.1), futures()
    assert 0 < (near[0] - near[1]).std() < 0.5 * (all_of_them[0] - all_of_them[1]).std()
    assert RolloutConfig(start=0.1, steps=3, temperature=0.5, eta=1.0).uncertain() == RolloutConfig(steps=4)
    assert RolloutConfig(steps=3).uncertain().steps == 3
    for start in (0.0, 1.1):
        with pytest.raises(ValueError, match="must lie in"):
            RolloutConfig(start=start)
    with pytest.raises(ValueError, match="needs cached=true"):
        RolloutConfig(start=0.5, cached=False)
