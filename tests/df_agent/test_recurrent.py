import pytest
import torch

from df_agent.agent_model import AgentModel
from df_agent.diffusion.conditioning import Continued
from df_agent.models.recurrent import Recurrent
from df_agent.options.networks import RecurrentConfig


def make(**options) -> Recurrent:
    torch.manual_seed(0)
    given = {"token_dim": 3, "width": 16, "state": 16, **options}
    network = Recurrent(RecurrentConfig(**given)).eval()
    torch.nn.init.normal_(network.head.weight)
    return network


def inputs(tokens: int, seed: int = 1):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(2, tokens, 3, generator=g), torch.randint(0, 1000, (2, tokens), generator=g)


@torch.no_grad()
def test_going_on_from_the_state_equals_going_over_all_again():
    network = make(layers=2)
    x, level = inputs(40)
    memory = network.kv_cache()
    parts = [network(x[:, :3], level[:, :3], cache=memory, write=True)]
    for t in range(3, 40):
        parts.append(network(x[:, t : t + 1], level[:, t : t + 1], cache=memory, write=True))
    torch.testing.assert_close(torch.cat(parts, 1), network(x, level))


@torch.no_grad()
def test_looking_ahead_leaves_the_state_as_it_is():
    network = make()
    x, level = inputs(6)
    memory = network.kv_cache()
    network(x[:, :3], level[:, :3], cache=memory, write=True)
    before = memory.state.clone()
    twice = [network(x[:, 3:], level[:, 3:], cache=memory) for _ in range(2)]
    assert torch.equal(memory.state, before)
    assert torch.equal(*twice)


@torch.no_grad()
def test_no_token_sees_those_behind_it_and_all_see_those_before():
    network = make()
    x, level = inputs(8)
    other = x.clone()
    other[:, 4] += 1
    a, b = network(x, level), network(other, level)
    assert torch.equal(a[:, :4], b[:, :4])
    assert ((a[:, 4:] - b[:, 4:]).abs().amax((0, 2)) > 1e-6).all()


@torch.no_grad()
def test_the_state_knows_at_which_level_it_was_told():
    network = make()
    x, level = inputs(5)
    other = level.clone()
    other[:, 2] = (other[:, 2] + 500) % 1000
    assert not torch.allclose(network(x, level)[:, 4], network(x, other)[:, 4])


def test_conditions_must_be_those_it_was_built_for():
    x, level = inputs(2)
    with pytest.raises(ValueError, match="cond_dim=0 got cond=one"):
        make()(x, level, torch.zeros(2, 2, 1))
    network = make(cond_dim=1)
    assert network(x, level, torch.zeros(2, 2, 1)).shape == x.shape
    with pytest.raises(ValueError, match="cond_dim=1 got cond=none"):
        network(x, level)


@pytest.mark.parametrize("name", ["recurrent", "cached_transformer"])
@torch.no_grad()
def test_a_past_that_is_computed_once_changes_nothing(name):
    torch.manual_seed(0)
    sizes = {"width": 16, "state": 8} if name == "recurrent" else {"width": 32, "depth": 2, "heads": 2}
    network = {"name": name, "token_dim": 3, "max_tokens": 9, **sizes}
    model = AgentModel.from_config({"network": network, "diffusion": {}}).eval().diffusion
    torch.nn.init.normal_(model.network.head.weight)
    x, level = inputs(9)
    level[:, :4] = torch.tensor([0, 0, 10, 0])
    continued = Continued(model, 4)
    for seed in (2, 3):  # the later tokens change, the first ones do not
        x[:, 4:] = inputs(5, seed)[0]
        x0, eps = continued.denoise(x, level)
        expected = model.denoise(x, level)
        torch.testing.assert_close(x0[:, 4:], expected[0][:, 4:], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(eps[:, 4:], expected[1][:, 4:], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(x0[:, :2], x[:, :2])
