import json
import math

import pytest
import torch

from df_agent.models.layers import fourier_features, sinusoidal
from df_agent.models.transformer import Transformer
from df_agent.options.networks import TransformerConfig


def network(seed=0, **options):
    """A small transformer whose head is random, since it starts at zero."""
    torch.manual_seed(seed)
    sizes = {"token_dim": 3, "max_tokens": 9, "width": 24, "depth": 3, "heads": 2}
    net = Transformer(TransformerConfig(**{**sizes, **options})).eval()
    torch.nn.init.normal_(net.head.weight)
    return net.requires_grad_(False)


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, 9, 3, generator=generator), torch.randint(0, 1001, (4, 9), generator=generator)


@pytest.mark.parametrize("j", [0, 3, 8])
@pytest.mark.parametrize("what", ["token", "level"])
def test_a_causal_network_is_blind_to_the_future(inputs, j, what):
    x, level = inputs
    other_x, other_level = x.clone(), level.clone()
    if what == "token":
        other_x[:, j] += 1
    else:
        other_level[:, j] = (level[:, j] + 500) % 1001
    causal, full = network(causal=True), network(causal=False)
    before, after = causal(x, level), causal(other_x, other_level)
    assert torch.equal(before[:, :j], after[:, :j])
    assert (before[:, j:] != after[:, j:]).any(-1).all()
    assert (full(x, level) != full(other_x, other_level)).any(-1).all()


def test_a_causal_network_gives_the_same_on_a_shorter_sequence(inputs):
    x, level = inputs
    net = network(causal=True)
    torch.testing.assert_close(net(x, level)[:, :5], net(x[:, :5], level[:, :5]))


def test_gradients_of_the_past_do_not_reach_the_future(inputs):
    x, level = inputs
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(causal=True)(x, level)[:, :4].square().sum(), x)
    assert (gradient[:, 4:] == 0).all()
    assert (gradient[:, :4] != 0).any(-1).all()


def test_rows_do_not_see_each_other(inputs):
    x, level = inputs
    net = network()
    torch.testing.assert_close(net(x, level)[2:3], net(x[2:3], level[2:3]), rtol=1e-5, atol=1e-5)


def test_order_matters(inputs):
    x, level = inputs
    level = level[:, :1].expand_as(level)
    net = network()
    assert not torch.allclose(net(x.flip(1), level).flip(1), net(x, level), atol=1e-3)


def test_every_token_is_read_at_its_own_level(inputs):
    x, level = inputs
    net = network(depth=1)
    higher = level.clone()
    higher[:, 4] = (level[:, 4] + 500) % 1001
    assert (net(x, level)[:, 4] - net(x, higher)[:, 4]).abs().max() > 1e-2


def test_an_untrained_network_predicts_zero(inputs):
    net = Transformer(TransformerConfig(token_dim=3, max_tokens=9, width=24, depth=1, heads=2))
    assert (net(*inputs) == 0).all()


def test_conditions_are_read_per_token(inputs):
    x, level = inputs
    net = network(cond_dim=2, causal=True)
    cond = torch.randn(4, 9, 2, generator=torch.Generator().manual_seed(1))
    other = cond.clone()
    other[:, 5] += 1
    before, after = net(x, level, cond), net(x, level, other)
    assert torch.equal(before[:, :5], after[:, :5])
    assert (before[:, 5] != after[:, 5]).all()


def test_levels_are_embedded_as_a_share_of_the_scale(inputs):
    x, level = inputs
    coarse, fine = network(level_scale=100), network(level_scale=1000)
    torch.testing.assert_close(coarse(x, level // 10), fine(x, level // 10 * 10))


def test_runs_in_bf16_close_to_fp32(inputs):
    exact = network()(*inputs)
    rough = network().to(torch.bfloat16)(*inputs)
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).abs().mean() < 0.05 * exact.abs().mean()


def test_sinusoidal_by_hand():
    assert sinusoidal(torch.tensor([0]), 4).tolist() == [[0, 0, 1, 1]]
    got = sinusoidal(torch.tensor([[2.0]]), 4, max_period=100)[0, 0]
    angles = torch.tensor([2.0, 0.2])
    torch.testing.assert_close(got, torch.cat([angles.sin(), angles.cos()]))


def test_size_of_the_network_that_is_trained():
    net = Transformer(TransformerConfig(token_dim=4, max_tokens=32))
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(2.42e6, rel=0.01)


def test_config_goes_through_json():
    config = TransformerConfig(token_dim=4, max_tokens=32, causal=True)
    assert TransformerConfig(**json.loads(json.dumps(config.to_dict()))) == config


def test_mistakes_are_named(inputs):
    x, level = inputs
    with pytest.raises(ValueError, match="width=10, heads=4"):
        TransformerConfig(token_dim=2, max_tokens=2, width=10, heads=4)
    with pytest.raises(ValueError, match="got 9 tokens, the network was built for at most 5"):
        network(max_tokens=5)(x, level)
    with pytest.raises(ValueError, match="cond_dim=0 got cond=one"):
        network()(x, level, x)
    with pytest.raises(ValueError, match="cond_dim=3 got cond=none"):
        network(cond_dim=3)(x, level)


def test_waves_tell_places_apart_that_are_close():
    near = torch.tensor([[0.5, -1.0], [0.5 + 1 / 32, -1.0]])
    sines, cosines = fourier_features(near, 6)
    assert sines.shape == cosines.shape == (2, 12)
    fastest = 2 * math.pi * 8 * near[:, 0]  # a wavelength of 1/8
    assert sines[:, 5] == pytest.approx(fastest.sin(), abs=1e-5)
    assert cosines[:, 0] == pytest.approx((math.pi / 2 * near[:, 0]).cos(), abs=1e-6)
    assert (sines[0, :6] - sines[1, :6]).abs().max() > 0.9  # a quarter of it
    assert (sines[0, 6:] == sines[1, 6:]).all()


def test_a_network_with_waves_reads_them_beside_the_tokens(inputs):
    plain, waving = network(), network(bands=4)
    assert waving.embed.in_features == 9 * plain.embed.in_features
    x, level = inputs
    assert waving(x, level).shape == x.shape
    shifted = waving(x + 4.0, level) - waving(x, level)  # the waves repeat, the tokens themselves do not
    assert shifted.abs().max() > 1e-3
    assert TransformerConfig(**waving.config.to_dict()) == waving.config
