"""Diffuser's network."""

import pytest
import torch
from torch import nn

from df_agent.models.unet1d import Mish, TemporalUnet
from df_agent.options.networks import TemporalUnetConfig


def test_it_has_as_many_parameters_as_the_published_one():
    network = TemporalUnet(TemporalUnetConfig(token_dim=6))
    assert sum(p.numel() for p in network.parameters()) == 3_682_118


def test_mish_is_mish():
    x = torch.linspace(-60, 60, 1001)
    torch.testing.assert_close(Mish()(x), nn.Mish()(x), atol=1e-6, rtol=1e-5)
    assert Mish()(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("horizon", [4, 20, 128])
def test_any_multiple_of_the_stride_goes_through(horizon):
    torch.manual_seed(0)
    network = TemporalUnet(TemporalUnetConfig(token_dim=3, width=8))
    x, level = torch.randn(2, horizon, 3), torch.tensor([1, 7])
    out = network(x, level)
    assert out.shape == x.shape
    assert not torch.equal(out, network(x, level + 5)), "the level plays no part"


def test_rows_do_not_see_each_other():
    torch.manual_seed(0)
    network = TemporalUnet(TemporalUnetConfig(token_dim=3, width=8))
    x, level = torch.randn(3, 16, 3), torch.tensor([1, 7, 3])
    torch.testing.assert_close(network(x, level)[1:2], network(x[1:2], level[1:2]))


def test_other_horizons_and_conditions_are_refused():
    network = TemporalUnet(TemporalUnetConfig(token_dim=3, width=8))
    with pytest.raises(ValueError, match="multiples of 4"):
        network(torch.zeros(1, 6, 3), torch.ones(1))
    with pytest.raises(ValueError, match="conditions are not supported"):
        network(torch.zeros(1, 8, 3), torch.ones(1), torch.zeros(1, 8, 2))
    with pytest.raises(ValueError, match="multiple of 8"):
        TemporalUnetConfig(token_dim=3, width=12)
