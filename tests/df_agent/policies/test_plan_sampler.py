import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from df_planners.feasibility import MotionLimits
from toy_plans import plan_request

from df_agent.agent_model import AgentModel
from df_agent.data.config import TokenizerConfig
from df_agent.data.tokens import Tokenizer
from df_agent.diffusion.objectives import goal_objective
from df_agent.policies.config import PolicyConfig, SamplingConfig
from df_agent.policies.plan_sampler import PlanSampler
from df_agent.types import Batch

LENGTHS = [3, 5, 8]


class Direct(PlanSampler):
    """A sampler that is handed its noise and what guidance climbs; each plan runs at the shortest length for it."""

    def __init__(self, model, tokenizer, lengths, sampling):
        model = model if isinstance(model, AgentModel) else SimpleNamespace(diffusion=model, time_to_goal=None)
        config = PolicyConfig.from_dict({"shortest_feasible": {"whole_windows": True}})
        config = dataclasses.replace(config, sampling=sampling)
        limits = MotionLimits(*np.ones((3, len(tokenizer.config.goal_channels))))
        super().__init__(model, tokenizer, limits, lengths, config, max(lengths) - tokenizer.config.context)

    def to_goal(self, history, goal, rows, horizons, noise, objective=None, scale=0.0, level=None):
        return self._handed(history, goal, rows, horizons, noise, (objective, scale), level, to_goal=True)

    def guided(self, history, objective, scale, rows, horizons, noise, level=None):
        goal = np.zeros((len(history), len(self.goal_channels)))
        return self._handed(history, goal, rows, horizons, noise, (objective, scale), level, to_goal=False)

    def _handed(self, history, goal, rows, horizons, noise, guidance, level, to_goal):
        self._noise, self._objective = lambda request, number: noise, lambda *asked: guidance
        level = np.zeros(history.shape[:2], np.int64) if level is None else level
        request = plan_request(history[:, -1], goal, history=history, level=level)
        return self.sample_plans(request, rows, horizons, to_goal=to_goal)


def drawn(rows, tokens, k, dim=1, seed=0):
    """Noise of each candidate, which knows only its place among the candidates of its row."""
    out = torch.empty(len(rows), tokens, dim)
    for row in np.unique(rows):
        generator = torch.Generator().manual_seed(1_000_000 * k + 1000 * seed + int(row))
        own = np.flatnonzero(rows == row)
        out[own] = torch.randn(len(own), 64, dim, generator=generator)[:, :tokens]
    return out


def basis(rows, tokens, k):
    """No noise for the first candidate, then one unit of it at each token."""
    return torch.cat([torch.zeros(1, tokens), torch.eye(tokens)])[: len(rows), :, None]


# --- with the best possible denoiser, of frames of one channel ---

MEAN, STD = 10.0, 2.0


@pytest.fixture
def exact(gaussian_world):
    """Make a proposer over the Gaussian world; frames are in other units than tokens."""

    def make(context=1, **options):
        steps = options.pop("steps", 100)
        world = gaussian_world(tokens=8, levels=steps, dtype=torch.float32)
        world.config = SimpleNamespace(levels=steps)
        plain = world.denoise

        def denoise(x, level, cond=None):
            """Sequences that are cut short: of what comes behind, nothing is known."""
            more = 8 - x.shape[1]
            x = torch.nn.functional.pad(x, (0, 0, 0, more))
            level = torch.nn.functional.pad(level, (0, more), value=steps)
            x0, eps = plain(x, level)
            return (x0[:, : 8 - more], eps[:, : 8 - more]) if more else (x0, eps)

        world.denoise, world.network = denoise, None
        tokenizer = Tokenizer(TokenizerConfig((0,), (0,), context=context), torch.tensor([MEAN]), torch.tensor([STD]))
        return world, Direct(world, tokenizer, LENGTHS, SamplingConfig(steps=steps, **options))

    return make


def to_goal(proposer, present, goal, horizon, count, noise):
    rows, horizons = np.zeros(count, np.int64), np.full(count, horizon)
    history = np.array([[[MEAN + STD * present]]])
    return proposer.to_goal(history, np.array([[MEAN + STD * goal]]), rows, horizons, noise)


@pytest.mark.parametrize("matrix", ["full_sequence", "pyramid", "trapezoid"])
@pytest.mark.parametrize("horizon", [1, 2, 4, 7])
def test_plans_to_a_goal_are_samples_given_present_and_goal(exact, horizon, matrix):
    world, proposer = exact(matrix=matrix)
    plan = to_goal(proposer, -1.5, 3.0, horizon, 9, basis)
    tokens = (plan.observations[:, : horizon + 1, 0] - MEAN) / STD
    spread = tokens[1:] - tokens[0]
    mean, covariance = world.given({0: -1.5, horizon: 3.0})
    np.testing.assert_allclose(tokens[0], mean[: horizon + 1], atol=0.01)
    np.testing.assert_allclose(spread.T @ spread, covariance[: horizon + 1, : horizon + 1], atol=0.03)
    assert np.abs(spread[horizon:]).max() < 1e-4  # neither the noise of the pads nor that of the goal's place counts
    assert (plan.lengths == horizon + 1).all()


@pytest.mark.parametrize("matrix", ["full_sequence", "pyramid"])
def test_what_is_given_counts_as_much_as_it_is_told_to(exact, matrix):
    """For a Gaussian the estimates are affine in what is given, so a weight moves the mean of plans in proportion."""

    def mean(**weights):
        _, proposer = exact(matrix=matrix, temperature=0.0, **weights)
        plan = to_goal(proposer, -1.5, 3.0, 5, 1, drawn)
        return (plan.observations[0, 1:5, 0] - MEAN) / STD

    world, _ = exact()
    np.testing.assert_allclose(mean(history_weight=0.0), world.given({5: 3.0})[0][1:5], atol=0.02)
    np.testing.assert_allclose(mean(goal_weight=0.0), world.given({0: -1.5})[0][1:5], atol=0.02)
    np.testing.assert_allclose(mean(history_weight=0.0, goal_weight=0.0), world.mean[1:5], atol=0.02)
    np.testing.assert_allclose(mean(), world.given({0: -1.5, 5: 3.0})[0][1:5], atol=0.02)
    assert mean(history_weight=2.0)[0] < mean()[0] - 0.1  # further towards the present, and beyond


def test_sampling_that_cannot_be_is_refused(exact):
    for options, message in (
        ({"matrix": "piramid"}, "did you mean 'pyramid'"),
        ({"futures": 4}, "there is no future to draw"),
        ({"goal_weight": float("nan")}, "goal_weight must be a number, got nan"),
        ({"temperature": float("inf")}, r"temperature must be a number in \[0, 100\], got .inf"),
    ):
        with pytest.raises(ValueError, match=message):
            SamplingConfig(**options)
    with pytest.raises(ValueError, match="levels cannot take 100 sampling steps, or be stabilised at level 101"):
        exact(stabilization_level=101)


def test_without_temperature_the_plan_is_the_mean(exact):
    world, proposer = exact(temperature=0.0)
    plan = to_goal(proposer, -1.5, 3.0, 5, 3, drawn)
    mean, _ = world.given({0: -1.5, 5: 3.0})
    np.testing.assert_allclose((plan.observations[:, :6, 0] - MEAN) / STD, np.tile(mean[:6], (3, 1)), atol=0.01)


def towards(goals, horizons, frame_stack=1):
    """What guidance climbs: each plan has a goal (N, G) and a horizon (N,) of its own."""

    def objective(plans):
        own = torch.as_tensor(goals[plans], dtype=torch.float32)
        return goal_objective(own, torch.as_tensor(horizons[plans]), frame_stack, range(goals.shape[1]))

    return objective


def guide(proposer, horizons, scale, goal=3.0, noise=drawn):
    count = len(horizons)
    history = np.full((count, 1, 1), MEAN)
    objective = towards(np.full((count, 1), goal), horizons)
    return proposer.guided(history, objective, scale, np.arange(count), horizons, noise)


def test_guided_plans_start_at_the_present_and_go_nearer_to_the_goal(exact):
    world, proposer = exact(steps=20)
    horizons = np.full(200, 7)
    plans = [guide(proposer, horizons, scale) for scale in (0.0, 1.0, 3.0)]
    tokens = [(plan.observations[..., 0] - MEAN) / STD for plan in plans]
    assert all((plan.lengths == 8).all() for plan in plans)
    assert all((t[:, 0] == 0).all() for t in tokens)
    free = world.given({0: 0.0})[0].numpy()
    np.testing.assert_allclose(tokens[0].mean(0), free, atol=4 / 200**0.5)
    distances = [np.abs(t[:, 1:] - 3.0).mean() for t in tokens]
    assert distances[0] > distances[1] > distances[2]


def test_horizons_of_guided_plans_may_differ(exact):
    """Those that run at one length, too: 5 and 6 tokens at that of 8."""
    world, proposer = exact(steps=20)
    horizons = np.array([6, 1, 3, 5])
    plan = guide(proposer, horizons, 1.0)
    assert plan.lengths.tolist() == [7, 2, 4, 6]
    assert plan.observations.shape == (4, 8, 1)
    for row, length in enumerate(plan.lengths):
        assert (plan.observations[row, length:] == plan.observations[row, length - 1]).all()
        assert len(np.unique(plan.observations[row, :length])) == length
    calls = len(world.seen) // 3
    for k, held in enumerate(([1], [3], [6, 5])):  # by length; what is cut off counts as padding here
        levels = torch.stack([level for _, level in world.seen[k * calls : (k + 1) * calls]])
        pad = torch.arange(8) > torch.tensor(held)[:, None]
        assert (levels[:, pad] == 20).all()
        assert (levels[-1, ~pad] < 20).all()
        assert (levels[:, :, 0] == 0).all()


def test_each_guided_plan_climbs_what_is_its_own(exact):
    """Goals above and below, of plans that run at the same and at other lengths."""
    _, proposer = exact(steps=20)
    horizons, goals = np.array([7, 2, 6, 1, 4, 7]), np.array([[9.0], [-9], [-9], [9], [-9], [-9]])
    history, rows = np.full((6, 1, 1), MEAN), np.arange(6)
    free, guided = (
        proposer.guided(history, towards(goals, horizons), scale, rows, horizons, drawn).observations[..., 0]
        for scale in (0.0, 1.0)
    )
    inside = (np.arange(8) > 0) & (np.arange(8) <= horizons[:, None])
    assert ((guided - free) * np.sign(goals) > 0)[inside].all()


@pytest.mark.parametrize("scale", [0.5, -0.5])
def test_guidance_besides_a_goal_moves_what_lies_between(exact, scale):
    _, proposer = exact(steps=20)
    history, goal, rows, horizons = np.full((2, 1, 1), MEAN), np.full((2, 1), MEAN), np.arange(2), np.array([7, 4])
    free, guided = (
        proposer.to_goal(history, goal, rows, horizons, drawn, lambda _: lambda x: x.sum((1, 2)), s).observations
        for s in (0.0, scale)
    )
    moved = (guided - free)[..., 0] * np.sign(scale)
    for row, horizon in enumerate(horizons):
        assert (moved[row, 1:horizon] > 0.1).all()
        assert moved[row, [0, horizon]] == pytest.approx([0, 0], abs=1e-5)


# --- what was observed before, or not for sure ---


def planned(proposer, history, goal, horizon, level=None):
    """The mean of all plans from what was observed to a goal, in tokens."""
    frames, ends = MEAN + STD * np.array(history)[None, :, None], np.array([[MEAN + STD * goal]])
    levels = None if level is None else np.array([level])
    plan = proposer.to_goal(frames, ends, np.zeros(1, np.int64), np.array([horizon]), drawn, level=levels)
    assert plan.lengths.tolist() == [horizon + 1]
    return (plan.observations[0, : horizon + 1, 0] - MEAN) / STD


def test_a_plan_begins_at_the_present_behind_what_was_observed(exact):
    world, proposer = exact(context=3, temperature=0.0)
    mean, _ = world.given({0: 2.0, 1: -1.0, 2: 0.5, 6: 3.0})
    np.testing.assert_allclose(planned(proposer, [2.0, -1.0, 0.5], 3.0, 4), mean[2:7], atol=0.01)
    with pytest.raises(ValueError, match="horizons must be below 6 tokens"):
        planned(proposer, [2.0, -1.0, 0.5], 3.0, 6)


def test_noisy_observations_are_believed_as_far_as_they_deserve(exact):
    """The plan is the conditional mean given observations with independent noise of their level's strength."""
    world, proposer = exact(context=2, temperature=0.0)
    level = 60
    strength = float(1 / world.alpha_bar[level] - 1)
    known, values = [0, 1, 5], torch.tensor([1.5, 0.0, 2.0], dtype=torch.float64)
    noise = torch.diag(torch.tensor([strength, 0.0, 0.0], dtype=torch.float64))
    total = world.covariance.double()[known][:, known] + noise
    residual = values - world.mean.double()[known]
    mean = world.mean.double() + world.covariance.double()[:, known] @ torch.linalg.solve(total, residual)
    plan = planned(proposer, [1.5, 0.0], 2.0, 4, level=[level, 0])
    np.testing.assert_allclose(plan, mean[1:6], atol=0.01)
    assert strength > 0.5  # which is worth a test
    believed = planned(proposer, [1.5, 0.0], 2.0, 4)
    assert np.abs(believed - plan).max() < 0.05  # an AR(1) process forgets the past, once the present is known
    plan = planned(proposer, [1.5, 0.0], 2.0, 4, level=[level, level])
    assert np.abs(believed - plan)[1:4].max() > 0.1


def test_a_missing_observation_says_nothing(exact):
    world, proposer = exact(context=2, temperature=0.0)
    mean, _ = world.given({0: 1.5, 5: 2.0})
    plan = planned(proposer, [1.5, 99.0], 2.0, 4, level=[0, 100])
    np.testing.assert_allclose(plan[1:], mean[2:6], atol=0.02)


# --- with a network, of two frames a token ---


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    network = {"token_dim": 4, "max_tokens": 8, "width": 16, "depth": 2, "heads": 2}
    model = AgentModel.from_config({"network": network, "diffusion": {"frame_stack": 2}})
    torch.nn.init.normal_(model.network.head.weight, std=0.3)
    return model


@pytest.fixture
def proposer(model):
    config = TokenizerConfig((0, 1), (0, 1), frame_skip=3, frame_stack=2)
    tokenizer = Tokenizer(config, torch.tensor([1.0, -2]), torch.tensor([0.5, 3]))
    return Direct(model, tokenizer, LENGTHS, SamplingConfig(steps=4))


def noise(rows, tokens, k):
    return drawn(rows, tokens, k, dim=4)


HISTORY = np.array([[[0.0, 1], [0.2, 1.5]], [[3, 3], [3, 3]], [[-1, 0], [-2, 0]]])
GOAL = np.array([[2.0, 2], [0, -1], [4, 4]])


def test_every_plan_leads_from_the_present_to_the_goal(proposer):
    rows, horizons = np.repeat(np.arange(3), 7), np.tile(np.arange(1, 8), 3)
    plan = proposer.to_goal(HISTORY, GOAL, rows, horizons, noise)
    assert plan.frame_skip == 3
    assert plan.actions is None
    assert plan.lengths.tolist() == (2 * horizons + 1).tolist()
    index, last = np.arange(21), plan.lengths - 1
    np.testing.assert_allclose(plan.observations[:, 0], HISTORY[rows, -1], atol=1e-5)
    np.testing.assert_allclose(plan.observations[index, last], GOAL[rows], atol=1e-5)
    for row, length in enumerate(plan.lengths):
        assert (plan.observations[row, length:] == plan.observations[row, length - 1]).all()
    # The goal's token says nothing of its first frame, which lies half-way.
    half = (plan.observations[index, last] + plan.observations[index, last - 2]) / 2
    np.testing.assert_allclose(plan.observations[index, last - 1], half)


def test_candidates_do_not_see_each_other(proposer):
    rows, horizons = np.array([2, 0, 0, 1, 0]), np.array([7, 1, 4, 2, 7])
    together = proposer.to_goal(HISTORY, GOAL, rows, horizons, noise)
    place = [0, 0, 1, 0, 2]  # among the candidates of the same row
    for k, (row, horizon) in enumerate(zip(rows, horizons, strict=True)):

        def own(rows, tokens, _, row=row, k=k):
            return noise(np.full(place[k] + 1, row), tokens, 0)[-1:]

        alone = proposer.to_goal(HISTORY, GOAL, np.array([row]), np.array([horizon]), own)
        np.testing.assert_allclose(alone.observations[0], together.observations[k], rtol=1e-4, atol=1e-4)
        assert alone.lengths[0] == together.lengths[k]


def test_a_plan_runs_at_the_shortest_length_that_holds_it(proposer, monkeypatch):
    shapes = []
    denoise = type(proposer.model.diffusion).denoise

    def spy(self, x, level, cond=None):
        shapes.append(tuple(x.shape[:2]))
        return denoise(self, x, level, cond)

    monkeypatch.setattr(type(proposer.model.diffusion), "denoise", spy)
    proposer.to_goal(HISTORY, GOAL, np.zeros(6, np.int64), np.array([1, 2, 3, 4, 5, 7]), noise)
    assert sorted(set(shapes)) == [(2, 3), (2, 5), (2, 8)]
    assert len(shapes) == 3 * 4  # four steps at each length


def test_all_plans_of_a_row_may_run_at_the_length_of_the_longest(proposer, monkeypatch):
    rows, horizons, shapes = np.array([0, 0, 1, 1, 2]), np.array([1, 7, 1, 2, 4]), []
    denoise = type(proposer.model.diffusion).denoise

    def spy(self, x, level, cond=None):
        shapes.append(tuple(x.shape[:2]))
        return denoise(self, x, level, cond)

    monkeypatch.setattr(proposer, "one_length", True)
    apart = [proposer.to_goal(HISTORY, GOAL, rows[rows == k], horizons[rows == k], noise) for k in range(3)]
    monkeypatch.setattr(type(proposer.model.diffusion), "denoise", spy)
    together = proposer.to_goal(HISTORY, GOAL, rows, horizons, noise)
    assert shapes == [(2, 3)] * 4 + [(1, 5)] * 4 + [(2, 8)] * 4
    assert together.lengths.tolist() == [3, 15, 3, 5, 9]
    expected = np.concatenate([plan.observations for plan in apart])
    np.testing.assert_allclose(together.observations, expected, rtol=1e-4, atol=1e-4)


def test_horizons_must_fit(proposer):
    with pytest.raises(ValueError, match="below 8 tokens, got 8"):
        proposer.to_goal(HISTORY, GOAL, np.array([0]), np.array([8]), noise)
    with pytest.raises(ValueError, match="below 8 tokens, got 9"):
        proposer.guided(HISTORY, lambda plans: None, 0.0, np.array([0]), np.array([9]), noise)


def test_a_model_that_is_still_in_training_can_propose(proposer):
    assert any(p.requires_grad for p in proposer.model.parameters())
    horizons = np.full(3, 7)
    for scale in (0.0, 0.1):
        objective = towards(np.zeros((3, 2)), horizons, 2)
        plan = proposer.guided(HISTORY, objective, scale, np.arange(3), horizons, noise)
        assert np.isfinite(plan.observations).all()
    assert all(p.grad is None for p in proposer.model.parameters())


def test_guided_plans_do_not_see_each_other(proposer):
    """Of different lengths, the last two of one; each knows its goal, its history and its noise."""
    rows, horizons = np.array([2, 0, 1, 0]), np.array([2, 7, 4, 3])
    goals = GOAL[rows]

    def guide(plans):
        def own(_, tokens, k):
            return noise(np.arange(4), tokens, k)[plans]

        objective = towards(goals[plans], horizons[plans], 2)
        return proposer.guided(HISTORY, objective, 0.1, rows[plans], horizons[plans], own)

    together = guide(np.arange(4))
    assert together.lengths.tolist() == [5, 15, 9, 7]
    assert together.observations.shape == (4, 15, 2)
    np.testing.assert_allclose(together.observations[:, 0], HISTORY[rows, -1], atol=1e-5)
    for k in range(4):
        alone = guide(np.array([k]))
        assert alone.lengths[0] == together.lengths[k]
        np.testing.assert_allclose(alone.observations[0], together.observations[k], rtol=1e-4, atol=1e-4)


def test_a_guided_plan_runs_at_the_shortest_length_that_holds_it(proposer, monkeypatch):
    """And its objective is made for the plans that run with it."""
    shapes, picks = [], []
    denoise = type(proposer.model.diffusion).denoise

    def spy(self, x, level, cond=None):
        shapes.append(tuple(x.shape[:2]))
        return denoise(self, x, level, cond)

    def objective(plans):
        picks.append(plans.tolist())
        return lambda tokens: tokens.sum((1, 2))

    monkeypatch.setattr(type(proposer.model.diffusion), "denoise", spy)
    proposer.guided(HISTORY, objective, 0.1, np.zeros(6, np.int64), np.array([1, 5, 3, 4, 7, 2]), noise)
    assert shapes == [(2, 3)] * 4 + [(2, 5)] * 4 + [(2, 8)] * 4
    assert picks == [[0, 5], [2, 3], [1, 4]]


# --- with a network that has learnt to go straight ---


@pytest.fixture(scope="module")
def straight():
    """A proposer trained for some seconds on lines of constant velocity, in one dimension."""
    torch.manual_seed(0)
    network = {"token_dim": 1, "max_tokens": 8, "width": 32, "depth": 2, "heads": 2}
    options = {"goal_channels": (0,), "repeat_first": 0.0, "clean_first": 0.9}
    model = AgentModel.from_config({"network": network, "diffusion": options})
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    steps = 300
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for step in range(steps):
        length = LENGTHS[step % 3]
        start, speed = torch.randn(2, 64, 1, generator=generator)
        tokens = (start + 0.3 * speed * torch.arange(length))[..., None]
        total, _ = model.loss(Batch(tokens, torch.ones(64, length, dtype=torch.bool)), generator)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        schedule.step()
    tokenizer = Tokenizer(TokenizerConfig((0,), (0,)), torch.zeros(1), torch.ones(1))
    return Direct(model.requires_grad_(False), tokenizer, LENGTHS, SamplingConfig(steps=8))


def test_a_learnt_plan_reaches_its_goal_evenly(straight):
    """Whatever the horizon, hence whatever the pads behind it."""
    starts, goals = np.array([0.0, -1, 1, 0.5]), np.array([1.0, 0, 0.5, 0.5])
    for horizon in (2, 3, 5, 7):
        rows = np.arange(4)
        plan = straight.to_goal(starts[:, None, None], goals[:, None], rows, np.full(4, horizon), drawn)
        expected = starts[:, None] + (goals - starts)[:, None] * np.arange(horizon + 1) / horizon
        error = np.abs(plan.observations[:, : horizon + 1, 0] - expected).mean()
        assert error < (0.05 if horizon < 4 else 0.22)  # to stay at the start would be 0.3 off


def test_the_noise_of_pads_hardly_matters(straight):
    def other_pads(rows, tokens, k):
        out = drawn(rows, tokens, k)
        out[:, 6:] = drawn(rows, tokens, k, seed=1)[:, 6:]
        return out

    rows, horizons = np.arange(20), np.full(20, 5)
    history, goal = np.zeros((20, 1, 1)), np.ones((20, 1))
    one, two = (straight.to_goal(history, goal, rows, horizons, n).observations for n in (drawn, other_pads))
    assert 0 < np.abs(one - two).max() < 0.05
    assert np.abs(one - two).mean() < 0.005


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_every_pass_of_ddpm_asks_for_noise_of_its_own(exact, eta):
    _, proposer = exact(steps=5, eta=eta)
    asked = []

    def recording(rows, tokens, k):
        asked.append(k)
        return drawn(rows, tokens, k)

    to_goal(proposer, -1.5, 3.0, 5, 3, recording)
    assert asked == ([0] if eta == 0 else [0, 1, 2, 3, 4, 5])
