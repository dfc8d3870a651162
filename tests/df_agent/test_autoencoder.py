import numpy as np
import pytest
import torch
from toy_film import SIZE, toy_clips

from df_agent.data.clips import FrameSampler
from df_agent.models.autoencoder import Autoencoder, to_frames, to_signal
from df_agent.options.side_models import AutoencoderConfig

SMALL = {"size": SIZE, "widths": (16, 16), "latent_channels": 8}


def train(config: AutoencoderConfig, steps: int = 250, in_a_row: int = 1, every: int = 2) -> Autoencoder:
    torch.manual_seed(0)
    model, sampler = Autoencoder(config), FrameSampler(toy_clips(episodes=30, every=every), in_a_row)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(steps):
        g = torch.Generator().manual_seed(step)
        loss, _ = model.loss(sampler(32, g), g)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def test_pictures_and_signals_are_the_same_thing():
    frames = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).repeat(2, 1, 1, 3)
    signal = to_signal(frames)
    assert signal.shape == (2, 3, 16, 16)
    assert signal.min() == -1
    assert signal.max() == 1
    assert torch.equal(to_frames(signal), frames)


def test_what_moves_survives():
    model = train(AutoencoderConfig(**SMALL))
    test = toy_clips(episodes=4, seed=9)
    signal = to_signal(torch.from_numpy(test.frames))
    with torch.no_grad():
        latents = model.encode(signal)
        decoded = to_frames(model.decode(latents)).numpy()
    assert latents.shape == (48, 4, 8)
    torch.testing.assert_close(latents.mean(-1), torch.zeros(48, 4), atol=1e-4, rtol=0)
    green = [(f[..., 1] > 130).astype(float) for f in (test.frames, decoded)]
    overlap = (green[0] * green[1]).sum((1, 2)) / np.maximum(green[0], green[1]).sum((1, 2))
    assert overlap.mean() > 0.7


def test_straightened_latents_turn_less():
    plain = AutoencoderConfig(**SMALL, one_vector=True, normalise=False)
    straight = AutoencoderConfig(**SMALL, one_vector=True, normalise=False, straighten=5.0)
    even = 4  # so many actions move the square by a whole pixel
    batch = FrameSampler(toy_clips(episodes=10, seed=5, every=even), 3)(200, torch.Generator().manual_seed(0))

    def bend(model: Autoencoder) -> float:
        with torch.no_grad():
            z = model.encode(to_signal(batch.frames.flatten(0, 1))).reshape(200, 3, -1)
        return float((z[:, 2] - 2 * z[:, 1] + z[:, 0]).square().mean() / (z[:, 2] - z[:, 0]).square().mean())

    assert bend(train(straight, 150, 3, even)) < 0.8 * bend(train(plain, 150, 3, even))


def test_noise_comes_from_the_generator():
    model = Autoencoder(AutoencoderConfig(**SMALL))
    batch = FrameSampler(toy_clips())(8, torch.Generator().manual_seed(0))
    a, b, c = (float(model.loss(batch, torch.Generator().manual_seed(s))[0].detach()) for s in (1, 1, 2))
    assert a == b
    assert a != c


def test_sizes_that_do_not_fit_are_an_error():
    with pytest.raises(ValueError, match="multiple of 4"):
        AutoencoderConfig(size=20, widths=(8, 8))
