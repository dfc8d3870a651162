"""The estimator of the time to the goal, on walks whose times are known."""

import math

import pytest
import torch

from df_agent.build import build_model
from df_agent.models.time_to_goal import TimeToGoal, TimeToGoalConfig
from df_agent.types import Batch

SKIP = 4
LINE = {"goal_channels": (0,), "frame_skip": SKIP, "width": 32, "depth": 2, "bands": 2}


def walks(generator, count=64, frames=12, pace=(0.1,)):
    """Lines at constant speed in either direction; each at one of the paces [units per frame]."""
    start = torch.rand(count, 1, generator=generator) * 2 - 1
    way = torch.randint(2, (count, 1), generator=generator) * 2 - 1
    pick = torch.tensor(pace)[torch.randint(len(pace), (count, 1), generator=generator)]
    tokens = (start + way * pick * torch.arange(frames))[..., None]
    return Batch(tokens, torch.ones(count, frames, dtype=torch.bool))


def trained(config, draw, steps=400):
    """The estimator after some seconds of training, and its losses."""
    torch.manual_seed(0)
    model = TimeToGoal(config)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    losses = []
    for _ in range(steps):
        loss, logs = model.loss(draw(generator), generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(logs["loss"]))
    return model, losses


def away(model, distances, start=0.0):
    goal = start + torch.tensor(distances)[:, None]
    return model.steps(torch.full_like(goal, start), goal)


@pytest.fixture(scope="module")
def even():
    return trained(TimeToGoalConfig(**LINE, quantile=0.5), walks)


def test_steps_are_proportional_to_the_distance_of_an_even_walk(even):
    """0.1 a frame of 4 steps: 40 steps a unit, forth and back, from anywhere."""
    model, losses = even
    assert sum(losses[-20:]) < 0.2 * sum(losses[:20])
    for start in (-0.3, 0.0, 0.4):
        for way in (1, -1):
            steps = away(model, [way * d for d in (0.2, 0.4, 0.8)], start)
            torch.testing.assert_close(steps, torch.tensor([8.0, 16.0, 32.0]), rtol=0.25, atol=0)


def test_the_same_place_is_less_than_a_frame_away(even):
    assert float(away(even[0], [0.0])[0]) < SKIP


@pytest.mark.parametrize(("quantile", "pace"), [(0.1, 0.1), (0.9, 0.04)])
def test_the_quantile_tells_the_direct_from_the_slow(quantile, pace):
    """Half of the walks take 40 steps a unit, half 100; a low quantile is the pace of the fast ones."""
    config = TimeToGoalConfig(**LINE, quantile=quantile)
    model, _ = trained(config, lambda g: walks(g, frames=24, pace=(0.04, 0.1)))
    distances = [0.4, 0.5, 0.6]
    torch.testing.assert_close(away(model, distances), torch.tensor(distances) * SKIP / pace, rtol=0.25, atol=0)


def test_the_loss_by_hand():
    """A network that always says e^5 or e^-5 steps, of pairs that lie 0 to 2 frames of 4 steps apart."""
    model = TimeToGoal(TimeToGoalConfig(**LINE, quantile=0.25, pairs=2000))
    torch.nn.init.zeros_(model.mlp[-1].weight)
    batch = walks(torch.Generator().manual_seed(0), count=1, frames=3)
    values = {}
    for said in (5.0, -5.0):
        torch.nn.init.constant_(model.mlp[-1].bias, said)
        values[said] = float(model.loss(batch, torch.Generator().manual_seed(0))[1]["loss"])
    # Of nine pairs three are one frame, four are neighbours, two lie two frames apart.
    logs = (3 * math.log(2) + 4 * math.log(4) + 2 * math.log(8)) / 9
    assert values[5.0] == pytest.approx(0.75 * (5 - logs), rel=0.02)
    assert values[-5.0] == pytest.approx(0.25 * (5 + logs), rel=0.02)


@pytest.mark.parametrize("stack", [1, 2])
def test_pairs_are_of_real_frames(stack):
    """Padding, and the repeated or unknown frames before the present one, are never drawn."""
    config = TimeToGoalConfig(**{**LINE, "frame_stack": stack, "pairs": 500})
    seen = []

    class Spy(TimeToGoal):
        def forward(self, start, goal):
            seen.append((start, goal))
            return super().forward(start, goal)

    frames = torch.arange(12.0).reshape(1, 12).repeat(3, 1)
    tokens = frames.reshape(3, 12 // stack, stack)
    real = torch.tensor([12 // stack, 3, 1])
    mask = torch.arange(12 // stack)[None] < real[:, None]
    loss, _ = Spy(config).loss(Batch(tokens, mask), torch.Generator().manual_seed(0))
    start, goal = (x[..., 0] for x in seen[0])
    assert start.shape == (3, 500)
    assert (start <= goal).all()
    for row, tokens in enumerate(real):
        expected = set(range(stack - 1, int(tokens) * stack))
        assert set(start[row].int().tolist()) == set(goal[row].int().tolist()) == expected
    assert torch.isfinite(loss)


def test_goal_channels_are_taken_from_each_frame():
    """What the other channels hold does not matter; those of the goal do."""
    torch.manual_seed(0)
    model = TimeToGoal(TimeToGoalConfig(goal_channels=(0, 2), frame_stack=2, width=8, depth=1))
    tokens, mask = torch.randn(4, 5, 6), torch.ones(4, 5, dtype=torch.bool)

    def loss(channel):
        changed = tokens.clone()
        if channel is not None:
            changed[..., [channel, channel + 3]] += 1.0
        return float(model.loss(Batch(changed, mask), torch.Generator().manual_seed(1))[1]["loss"])

    assert loss(1) == loss(None)
    assert loss(0) != loss(None)
    assert loss(2) != loss(None)


def test_shapes_and_gradients():
    torch.manual_seed(0)
    model = TimeToGoal(TimeToGoalConfig(width=8, depth=2))
    start, goal = torch.randn(5, 2), torch.randn(5, 2)
    value = model(start, goal)
    assert value.shape == (5,)
    torch.testing.assert_close(model.steps(start, goal), value.exp())
    assert not torch.allclose(model(goal, start), value)  # there is no way back by the same clock
    assert not model.steps(start, goal).requires_grad
    batch = Batch(torch.randn(3, 4, 2), torch.ones(3, 4, dtype=torch.bool))
    loss, _ = model.loss(batch, torch.Generator().manual_seed(0))
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_the_same_generator_gives_the_same_loss():
    model, batch = TimeToGoal(TimeToGoalConfig(**LINE)), walks(torch.Generator().manual_seed(3))
    one, two, other = (float(model.loss(batch, torch.Generator().manual_seed(s))[0].detach()) for s in (0, 0, 1))
    assert one == two != other


@pytest.mark.parametrize("quantile", [0, 1, -0.1, 1.5])
def test_a_quantile_lies_between_0_and_1(quantile):
    with pytest.raises(ValueError, match=f"between 0 and 1, got {quantile}"):
        TimeToGoalConfig(quantile=quantile)


def test_a_model_is_built_with_its_estimator():
    config = TimeToGoalConfig(width=8, depth=1, goal_channels=(0, 1))
    checkpoint = {
        "network": {"token_dim": 2, "max_tokens": 4, "width": 16, "depth": 1, "heads": 2},
        "diffusion": {"levels": 10},
    }
    assert build_model(checkpoint).time_to_goal is None
    built = build_model({**checkpoint, "time_to_goal": config.to_dict()}).time_to_goal
    assert built.config == config
    with pytest.raises(ValueError, match=r"unknown options \['quantil'\] for TimeToGoalConfig"):
        build_model({**checkpoint, "time_to_goal": {"quantil": 0.1}})
