"""The estimator of the time to the goal, on walks whose times are known."""

import json
import math

import pytest
import torch

from df_agent.agent_model import AgentModel
from df_agent.models.time_to_goal import TimeToGoal
from df_agent.options.side_models import TimeToGoalConfig
from df_agent.types import Pairs

SMALL = {"width": 32, "depth": 2, "bands": 2, "groups": 4, "group_size": 8}
LINE = {"channels": 1, "resolution": 1, **SMALL}
PACE = 0.025  # units per step, 40 steps a unit


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def apart(generator, count, shortest, longest):
    """Steps between two moments, as the data's pairs have them: log-uniform."""
    share = torch.rand(count, generator=generator)
    return shortest * torch.exp(share * math.log(longest / shortest))


def walks(generator, count=512, pace=(PACE,), shortest=8, longest=64):
    """Pairs of lines at constant speed in either direction; each at one of the paces [units per step]."""
    start = torch.rand(count, 1, generator=generator) * 2 - 1
    way = torch.randint(2, (count, 1), generator=generator) * 2 - 1
    pick = torch.tensor(pace)[torch.randint(len(pace), (count, 1), generator=generator)]
    steps = apart(generator, count, shortest, longest)
    return Pairs(start, start + way * pick * steps[:, None], steps)


def trained(config, draw, steps=400):
    """The estimator after a second or two of training, and its losses."""
    torch.manual_seed(0)
    model = TimeToGoal(config)
    generator = seeded()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    losses = []
    for _ in range(steps):
        loss, logs = model.loss(draw(generator), generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(logs["loss"]))
    return model.requires_grad_(False), losses


def away(model, distances, start=0.0):
    goal = start + torch.tensor(distances)[:, None]
    return model(torch.full_like(goal, start), goal)


@pytest.fixture(scope="module", params=[False, True], ids=["either way", "symmetric"])
def even(request):
    return trained(TimeToGoalConfig(**LINE, quantile=0.5, symmetric=request.param), walks)


def test_steps_are_proportional_to_the_distance_of_an_even_walk(even):
    """40 steps a unit, forth and back, from anywhere."""
    model, losses = even
    assert sum(losses[-20:]) < 0.2 * sum(losses[:20])
    for start in (-0.3, 0.0, 0.4):
        for way in (1, -1):
            steps = away(model, [way * d for d in (0.2, 0.4, 0.8)], start)
            torch.testing.assert_close(steps, torch.tensor([8.0, 16.0, 32.0]), rtol=0.2, atol=0)


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_place_is_no_way_from_itself(symmetric):
    torch.manual_seed(0)
    model = TimeToGoal(TimeToGoalConfig(**SMALL, symmetric=symmetric))
    place, other = torch.randn(2, 50, 2)
    assert torch.equal(model(place, place), torch.zeros(50))
    assert (model(place, other) > 0).all()


@pytest.mark.parametrize(("quantile", "pace"), [(0.1, 0.025), (0.9, 0.01)])
def test_the_quantile_tells_the_direct_from_the_slow(quantile, pace):
    """Half of the walks take 40 steps a unit, half 100; a low quantile is the pace of the fast ones."""
    config = TimeToGoalConfig(**LINE, quantile=quantile)
    model, _ = trained(config, lambda g: walks(g, pace=(0.01, 0.025)))
    distances = [0.3, 0.4, 0.5]
    torch.testing.assert_close(away(model, distances), torch.tensor(distances) / pace, rtol=0.25, atol=0)


def test_a_low_quantile_of_an_even_walk_is_its_pace():
    """Pairs from the resolution on, as they are drawn for it; all walks are equally direct."""
    config = TimeToGoalConfig(**{**LINE, "resolution": 4}, quantile=0.1)
    model, _ = trained(config, lambda g: walks(g, shortest=4))
    distances = [0.4, 0.8, 1.2]
    torch.testing.assert_close(away(model, distances), torch.tensor(distances) / PACE, rtol=0.15, atol=4)


# --- what a metric is for: a wall that no walk goes through ---

CORNERS = torch.tensor([[-0.15, 1.0], [-0.15, -1.0], [0.15, -1.0], [0.15, 1.0]])
LENGTHS = torch.tensor([2.0, 0.3, 2.0])
AROUND = 4.3
SPEED = 0.05  # 86 steps from end to end; straight through the wall it would be 6


def corridor(way):
    """Places (B, 2) in a U-shaped corridor at `way` (B,) from its upper left end to its upper right one."""
    edge = torch.cat([torch.zeros(1), LENGTHS.cumsum(0)])
    k = torch.searchsorted(edge, way, right=True).clamp(1, len(LENGTHS)) - 1
    share = ((way - edge[k]) / LENGTHS[k])[:, None]
    return CORNERS[k] + share * (CORNERS[k + 1] - CORNERS[k])


def corridor_walks(generator, count=512, longest=64):
    """Pairs of walks along the corridor in either direction, none of which sees both ends."""
    steps = apart(generator, count, 8, longest)
    low = torch.rand(count, generator=generator) * (AROUND - SPEED * steps)
    near, far = corridor(low), corridor(low + SPEED * steps)
    back = torch.rand(count, 1, generator=generator) < 0.5
    return Pairs(torch.where(back, far, near), torch.where(back, near, far), steps)


@pytest.mark.parametrize("symmetric", [False, True])
def test_two_sides_of_a_wall_are_as_far_apart_as_the_way_around_it(symmetric):
    """The ends of the U are a wall apart, and no pair of the data joins them: only its parts are known."""
    config = TimeToGoalConfig(**{**SMALL, "width": 64, "bands": 3}, resolution=1, symmetric=symmetric)
    model, _ = trained(config, corridor_walks)
    end = torch.tensor([0.0, 0.2, 0.5, 1.0, 1.5])
    around = (AROUND - 2 * end) / SPEED
    assert around[0] > corridor_walks(seeded(), 5000).steps.max() + 15
    left, right = corridor(end), corridor(AROUND - end)
    torch.testing.assert_close((right - left).norm(dim=-1), torch.full((5,), 0.3))
    for here, there in ((left, right), (right, left)):
        torch.testing.assert_close(model(here, there), around, rtol=0.25, atol=0)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_no_way_is_longer_than_its_parts(channels, symmetric):
    """Whatever the weights; places on both sides of the data's."""
    worst = 0.0
    for seed in range(5):
        torch.manual_seed(seed)
        model = TimeToGoal(TimeToGoalConfig(channels=channels, **SMALL, symmetric=symmetric))
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(2)
            a, b, c = 3 * torch.randn(3, 2000, channels)
            whole, parts = model(a, c).double(), model(a, b).double() + model(b, c).double()
            assert (whole <= parts * (1 + 1e-5)).all()
            worst = max(worst, float((whole / parts).max()))
    assert worst > 0.9  # the bound is near, so these weights try it


def test_the_way_back_takes_as_long_only_where_it_is_said_so():
    torch.manual_seed(0)
    here, there = torch.randn(2, 100, 2)
    either, both = (TimeToGoal(TimeToGoalConfig(**SMALL, symmetric=s)) for s in (False, True))
    assert torch.equal(both(here, there), both(there, here))
    assert ((either(here, there) - either(there, here)).abs() > 1e-3).all()


def test_a_way_up_may_be_longer_than_the_way_down():
    """Walks that go up at 100 steps a unit, and down at 40."""

    def slope(generator):
        pairs = walks(generator)
        return Pairs(pairs.start, pairs.goal, torch.where(pairs.goal > pairs.start, 2.5, 1.0)[:, 0] * pairs.steps)

    model, _ = trained(TimeToGoalConfig(**LINE, quantile=0.5), slope)
    torch.testing.assert_close(away(model, [0.4, 0.8]), torch.tensor([40.0, 80.0]), rtol=0.25, atol=0)
    torch.testing.assert_close(away(model, [-0.4, -0.8]), torch.tensor([16.0, 32.0]), rtol=0.25, atol=0)


# --- by hand ---


class Told(TimeToGoal):
    """Embeds a place as its first channels, so that times are known."""

    def embed(self, place):
        size = self.config.groups * self.config.group_size
        return place[..., :size].reshape(*place.shape[:-1], self.config.groups, self.config.group_size)


def test_the_distance_by_hand():
    """Two groups of two: the largest lead of each, at least zero; or the largest difference."""
    start = torch.tensor([[0.0, 0.0, 5.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
    goal = torch.tensor([[3.0, -4.0, 3.0, 0.5], [1.0, 2.5, 3.0, 3.0]])
    options = {"channels": 4, "groups": 2, "group_size": 2, "unit": 10}
    assert Told(TimeToGoalConfig(**options))(start, goal).tolist() == [10 * 3, 10 * 0.5]
    assert Told(TimeToGoalConfig(**options, symmetric=True))(start, goal).tolist() == [10 * 6, 10 * 1.5]


@pytest.mark.parametrize(("steps", "loss"), [(76.0, 0.25 * math.log(4)), (1.0, 0.75 * math.log(4)), (16.0, 0.0)])
def test_the_loss_by_hand(steps, loss):
    """An estimator that says 16 steps, 20 with the resolution: too few cost a quarter, too many three quarters."""
    config = TimeToGoalConfig(channels=1, groups=1, group_size=1, resolution=4, unit=5, quantile=0.25)
    pair = Pairs(torch.zeros(1, 1), torch.full((1, 1), 3.2), torch.tensor([steps]))
    total, logs = Told(config).loss(pair, seeded())
    assert total.item() == pytest.approx(loss, abs=1e-6)
    assert logs["loss"].item() == total.item()


def test_the_loss_is_the_mean_over_pairs():
    torch.manual_seed(0)
    model = TimeToGoal(TimeToGoalConfig(**LINE))
    pairs = walks(seeded(), count=6)
    whole = model.loss(pairs, seeded())[0].item()
    rows = [model.loss(Pairs(pairs.start[[i]], pairs.goal[[i]], pairs.steps[[i]]), seeded())[0] for i in range(6)]
    assert whole == pytest.approx(sum(row.item() for row in rows) / 6, rel=1e-5)


# --- shapes, options, building ---


def test_shapes_and_gradients():
    torch.manual_seed(0)
    model = TimeToGoal(TimeToGoalConfig(**SMALL, channels=3))
    start, goal = torch.randn(2, 5, 7, 3)
    steps = model(start, goal)
    assert steps.shape == (5, 7)
    assert model.embed(start).shape == (5, 7, 4, 8)
    torch.testing.assert_close(model(start[2], goal[2]), steps[2])  # places do not see each other
    loss, _ = model.loss(Pairs(start[0], goal[0], torch.rand(7, generator=seeded()) * 100), seeded())
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 1e-4 for p in model.parameters())


def test_nothing_is_drawn_from_the_generator():
    model, pairs, generator = TimeToGoal(TimeToGoalConfig(**LINE)), walks(seeded(3)), seeded()
    before = generator.get_state()
    model.loss(pairs, generator)
    assert torch.equal(generator.get_state(), before)


@torch.no_grad()
def test_bands_tell_thin_walls():
    """Places 1/16 apart lie a quarter of a turn apart in the fifth band; without bands they are almost one."""
    here = torch.linspace(-1, 1, 50)[:, None]
    distance = []
    for bands in (0, 5):
        torch.manual_seed(0)
        model = TimeToGoal(TimeToGoalConfig(**{**LINE, "bands": bands}, unit=100))
        distance.append(model(here, here + 1 / 16).mean().item())
    assert distance[1] > 3 * distance[0] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({"quantile": q}, f"between 0 and 1, got {q}") for q in (0, 1, -0.1, 1.5)),
        ({"resolution": 0}, "resolution and unit are steps, at least 1, got 0 and 16"),
        ({"unit": 0}, "resolution and unit are steps, at least 1, got 4 and 0"),
    ],
)
def test_config_names_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        TimeToGoalConfig(**options)


def test_config_goes_through_json():
    config = TimeToGoalConfig(**LINE, quantile=0.2, symmetric=True, unit=7)
    assert TimeToGoalConfig(**json.loads(json.dumps(config.to_dict()))) == config


def test_a_model_is_built_with_its_estimator():
    config = TimeToGoalConfig(width=8, depth=1, symmetric=True, unit=3)
    checkpoint = {
        "network": {"token_dim": 2, "max_tokens": 4, "width": 16, "depth": 1, "heads": 2},
        "diffusion": {"levels": 10},
    }
    assert AgentModel.from_config(checkpoint).time_to_goal is None
    built = AgentModel.from_config({**checkpoint, "time_to_goal": config.to_dict()}).time_to_goal
    assert built.config == config
    with pytest.raises(ValueError, match=r"unknown options \['quantil'\] for TimeToGoalConfig"):
        AgentModel.from_config({**checkpoint, "time_to_goal": {"quantil": 0.1}})


def chain_of_walks(spread):
    """Distances after training on walks of a line, none longer than a fifth of it."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = TimeToGoal(TimeToGoalConfig(channels=1, symmetric=True, resolution=1, unit=10, spread=spread))
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(400):
        start = torch.rand(512, 1, generator=generator) * 4 - 2
        goal = (start + (torch.rand(512, 1, generator=generator) - 0.5) * 1.6).clamp(-2, 2)
        loss, _ = model.loss(Pairs(start, goal, 25 * (goal - start).abs()[:, 0] + 1), generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    places = torch.tensor([[-1.9], [-1.4], [1.9]])
    with torch.no_grad():
        return model(places[0], places[1]).item(), model(places[0], places[2]).item()


def test_places_that_no_walk_joins_are_pushed_as_far_apart_as_a_chain_of_walks():
    near, far = chain_of_walks(spread=0.05)
    assert near == pytest.approx(12.5, rel=0.2)
    assert far == pytest.approx(95, rel=0.15)
    assert far > 1.1 * chain_of_walks(spread=0.0)[1]


def test_a_spread_that_would_push_everything_apart_is_refused():
    with pytest.raises(ValueError, match="spread"):
        TimeToGoalConfig(spread=0.1, quantile=0.1)
