"""The support of the data's moves: on a ring that is run through one way."""

import numpy as np
import pytest
import torch
from df_planners.feasibility import FeasibilityConfig, MotionLimits, unsupported, violation
from df_planners.plan import Plan

from df_agent.data.episodes import Episodes
from df_agent.data.samplers.side_models import MoveSampler
from df_agent.data.samplers.windows import WindowSampler
from df_agent.data.tokens import Tokenizer, TokenizerConfig
from df_agent.models.support import Support
from df_agent.options.side_models import SupportConfig


def on_ring(angle, radius=1.0):
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)


@pytest.fixture(scope="module")
def learned():
    """A classifier of moves on a ring of radius 1, 0.1 thick, always anticlockwise."""
    draw, length = np.random.default_rng(0), 41
    count = 200
    start, radius = draw.uniform(-np.pi, np.pi, count), draw.uniform(0.95, 1.05, (count, 1))
    places = on_ring(start[:, None] + 0.05 * np.arange(length), radius).reshape(-1, 2).astype(np.float32)
    zeros = np.zeros((len(places), 2), np.float32)
    starts = np.arange(0, count * length + 1, length)
    data = Episodes(places, zeros, zeros[:, 0], None, None, starts)
    windows = WindowSampler(data, Tokenizer.fit(TokenizerConfig(observation_indices=(0, 1)), data), max_tokens=4)
    sampler, generator = MoveSampler(windows, 2), torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = Support(SupportConfig(2, width=64))
    model.move_std.copy_(sampler.move_std)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    for _ in range(600):
        loss, _ = model.loss(sampler(256, generator), generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    tokens = windows.tokenizer

    @torch.no_grad()
    def support(paths):
        scaled = (torch.as_tensor(paths).float() - tokens.mean[:2]) / tokens.std[:2]
        return model(scaled[:, :-1], scaled[:, 1:]).double().numpy()

    return support


def paths(radius=1.0, way=1, frames=12):
    return on_ring(np.linspace(0, 2 * np.pi, 8, endpoint=False)[:, None] + way * 0.1 * np.arange(frames), radius)


def plans(frames):
    return Plan(frames, np.full(len(frames), frames.shape[1]), 2)


@pytest.mark.parametrize(("radius", "way", "most", "least"), [(1.0, 1, 0.05, 0), (0.6, 1, 1, 0.6), (1.0, -1, 1, 0.6)])
def test_the_datas_own_moves_are_supported_and_others_are_not(learned, radius, way, most, least):
    share = unsupported(plans(paths(radius, way)), paths(radius, way), learned, -3.0)
    assert least <= share.min()
    assert share.max() <= most


def test_plans_that_leave_the_data_are_infeasible(learned):
    limits = MotionLimits(np.full(2, np.inf), np.full(2, np.inf), np.ones(2))
    good, bad = paths(), paths(0.7)
    for frames, feasible in ((good, True), (bad, False)):
        over = violation(plans(frames), frames, limits, None, FeasibilityConfig(), support=learned)
        assert ((over <= 1) == feasible).all()
    assert (violation(plans(bad), bad, limits, None, FeasibilityConfig()) <= 1).all()  # nobody else minds


def test_what_lies_behind_a_plans_end_does_not_count(learned):
    frames = np.concatenate([paths(), np.zeros((8, 5, 2))], 1)
    short = Plan(frames, np.full(8, 12), 2)
    assert unsupported(short, frames, learned, -3.0).max() <= 0.1


def test_limits_must_be_positive():
    with pytest.raises(ValueError, match=r"support_limit=0"):
        FeasibilityConfig(support_limit=0)
    with pytest.raises(ValueError, match=r"blur must be two positive numbers"):
        SupportConfig(2, blur=(0.5, 0.1))
