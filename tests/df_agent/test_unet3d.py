import pytest
import torch
from toy_film import toy_clips

from df_agent.data.clips import ClipSampler
from df_agent.diffusion.config import DiffusionForcingConfig
from df_agent.models.unet3d import Unet3d
from df_agent.options.networks import Unet3dConfig
from df_agent.world_model.config import VideoConfig
from df_agent.world_model.video_diffusion import VideoDiffusion

SMALL = {"token_dim": 3 * 16**2, "window": 6, "width": 8, "multipliers": (1, 2), "attention": (1, 2)}
SMALL |= {"heads": 2, "head_dim": 8}


def make(**options) -> Unet3d:
    torch.manual_seed(0)
    return Unet3d(Unet3dConfig(**{**SMALL, **options})).eval()


@pytest.mark.parametrize(("side", "width", "head_dim", "millions"), [(128, 64, 64, 34.52), (64, 48, 32, 18.65)])
def test_it_has_as_many_parameters_as_the_originals_for_minecraft_and_dmlab(side, width, head_dim, millions):
    with torch.device("meta"):
        network = Unet3d(Unet3dConfig(token_dim=3 * side**2, width=width, head_dim=head_dim))
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == millions


@torch.no_grad()
@pytest.mark.parametrize("causal", [True, False])
def test_time_is_mixed_as_far_as_it_may(causal):
    network = make(causal=causal)
    x, level = torch.randn(2, 6, 768), torch.randint(0, 1000, (2, 6))
    changed = x.clone()
    changed[:, 3] += 1
    before, after = network(x, level), network(changed, level)
    assert before.shape == x.shape
    difference = (after - before).abs().amax((0, 2))
    assert (difference[3:] > 0).all()
    assert (difference[:3] > 0).all() != causal
    if causal:
        assert (difference[:3] == 0).all()


@torch.no_grad()
def test_levels_and_conditions_count_frame_by_frame():
    network = make(cond_dim=2)
    x, level, cond = torch.randn(1, 4, 768), torch.randint(0, 1000, (1, 4)), torch.randn(1, 4, 2)
    plain = network(x, level, cond)
    last = torch.tensor([3])
    for changed in ((x, level.index_fill(1, last, 7), cond), (x, level, cond.index_fill(1, last, 2.0))):
        difference = (network(*changed) - plain).abs().amax((0, 2))
        assert difference[3] > 0
        assert (difference[:3] == 0).all()
    with pytest.raises(ValueError, match="cond_dim=2 got cond=none"):
        network(x, level)


def test_it_learns():
    clips = toy_clips(episodes=6)
    pixels = torch.from_numpy(clips.frames).movedim(-1, 1).flatten(1).float() / 127.5 - 1
    sampler = ClipSampler(pixels, clips, 4, torch.ones(4))
    model = VideoDiffusion(make(cond_dim=5).train(), DiffusionForcingConfig(levels=100), VideoConfig())
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    losses = []
    for step in range(120):
        g = torch.Generator().manual_seed(step)
        loss, _ = model.loss(sampler(8, g), g)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])


def test_sizes_that_do_not_fit_are_an_error():
    with pytest.raises(ValueError, match="square frames"):
        Unet3dConfig(token_dim=100)
    with pytest.raises(ValueError, match="at most 6"):
        make(causal=False)(torch.zeros(1, 7, 768), torch.zeros(1, 7, dtype=torch.long))
