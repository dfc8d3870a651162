import pytest
import torch

from df_agent.models.space_time import Cache, SpaceTimeTransformer
from df_agent.options.networks import SpaceTimeConfig


def make(causal: bool = True, **options) -> SpaceTimeTransformer:
    torch.manual_seed(0)
    given = {"token_dim": 8, "places": 4, "window": 5, "cond_dim": 3, "width": 32, "depth": 3, "heads": 2, **options}
    network = SpaceTimeTransformer(SpaceTimeConfig(**given, causal=causal)).eval()
    torch.nn.init.normal_(network.head.weight)
    return network


def inputs(frames: int, seed: int = 1):
    g = torch.Generator().manual_seed(seed)
    x, cond = torch.randn(2, frames, 8, generator=g), torch.randn(2, frames, 3, generator=g)
    return x, torch.randint(0, 1000, (2, frames), generator=g), cond


@torch.no_grad()
def test_cached_frames_equal_uncached_ones_beyond_the_window():
    network = make()
    x, level, cond = inputs(13)
    cache = Cache()
    parts = [network(x[:, :3], level[:, :3], cond[:, :3], cache=cache, write=True)]
    for t in range(3, 13):
        now = slice(t, t + 1)
        parts.append(network(x[:, now], level[:, now], cond[:, now], cache=cache, write=True))
    torch.testing.assert_close(torch.cat(parts, 1), network(x, level, cond), atol=1e-4, rtol=1e-4)
    assert cache.frames == 13
    assert cache.blocks[0][0].shape[2] == 4 * 4  # four frames of four patches: the fifth is the one that looks


@torch.no_grad()
def test_a_cache_that_is_not_written_to_stays():
    network = make()
    x, level, cond = inputs(4)
    cache = Cache()
    network(x[:, :3], level[:, :3], cond[:, :3], cache=cache, write=True)
    first = network(x[:, 3:], level[:, 3:], cond[:, 3:], cache=cache)
    assert torch.equal(first, network(x[:, 3:], level[:, 3:], cond[:, 3:], cache=cache))
    assert cache.frames == 3


@torch.no_grad()
def test_selected_rows_of_a_cache_go_on_alone():
    network = make()
    x, level, cond = inputs(4)
    cache = Cache()
    network(x[:, :3], level[:, :3], cond[:, :3], cache=cache, write=True)
    both = network(x[:, 3:], level[:, 3:], cond[:, 3:], cache=cache)
    one = network(x[1:, 3:], level[1:, 3:], cond[1:, 3:], cache=cache.select(torch.tensor([1])))
    torch.testing.assert_close(one, both[1:])


@torch.no_grad()
def test_rows_that_begin_anew_forget_what_was_before():
    network = make()
    x, level, cond = inputs(9)
    cache = Cache()
    network(x[:, :4], level[:, :4], cond[:, :4], cache=cache, write=True)
    row = torch.tensor([1])
    fresh = Cache(cache.frames - 2, first=torch.tensor([cache.frames - 2]))
    network(x[1:, 5:7], level[1:, 5:7], cond[1:, 5:7], cache=fresh, write=True)
    cache.begin_anew(row, fresh)
    for t in (7, 8):
        now = slice(t, t + 1)
        out = network(x[:, now], level[:, now], cond[:, now], cache=cache, write=True)
    alone = network(x[1:, 5:9], level[1:, 5:9], cond[1:, 5:9])[:, -1]
    torch.testing.assert_close(out[1:, 0], alone, atol=1e-4, rtol=1e-4)
    rest = [0, 1, 2, 3, 7, 8]
    torch.testing.assert_close(
        out[:1, 0], network(x[:1, rest], level[:1, rest], cond[:1, rest])[:, -1], atol=1e-4, rtol=1e-4
    )
    with pytest.raises(ValueError, match="must end at frame 6"):
        cache.begin_anew(row, fresh)


@torch.no_grad()
def test_a_causal_network_does_not_see_the_future_and_another_does():
    x, level, cond = inputs(5)
    changed = x.clone()
    changed[:, 3] += 1
    causal, both_ways = make(), make(causal=False)
    difference = (causal(changed, level, cond) - causal(x, level, cond)).abs().amax((0, 2))
    assert (difference[:3] == 0).all()
    assert (difference[3:] > 0).all()
    assert ((both_ways(changed, level, cond) - both_ways(x, level, cond)).abs().amax((0, 2)) > 0).all()


@torch.no_grad()
def test_frames_behind_a_history_see_the_clean_past_and_themselves():
    network = make()
    clean, _, cond = inputs(5)
    noisy, level, _ = inputs(5, seed=2)
    zero = torch.zeros_like(level)
    args = torch.cat([clean, noisy], 1), torch.cat([zero, level], 1), torch.cat([cond, cond], 1)
    together = network(*args, history=5)[:, 5:]
    for t in range(5):
        x = torch.cat([clean[:, :t], noisy[:, t : t + 1]], 1)
        levels = torch.cat([zero[:, :t], level[:, t : t + 1]], 1)
        torch.testing.assert_close(network(x, levels, cond[:, : t + 1])[:, -1], together[:, t], atol=1e-4, rtol=1e-4)


def test_what_does_not_fit_is_an_error():
    x, level, cond = inputs(6)
    with pytest.raises(ValueError, match="cond_dim=3 got cond=none"):
        make()(x, level)
    with pytest.raises(ValueError, match="need a causal network"):
        make(causal=False)(x, level, cond, cache=Cache())
    with pytest.raises(ValueError, match="at most 5"):
        make(causal=False)(x, level, cond)
    with pytest.raises(ValueError, match="multiple of places"):
        SpaceTimeConfig(token_dim=9, places=4)
    with pytest.raises(ValueError, match="multiple of 4"):
        SpaceTimeConfig(token_dim=8, places=4, width=30, heads=2)
