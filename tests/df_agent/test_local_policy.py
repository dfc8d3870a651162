"""The local policy, on a point that goes as far as it is pushed: quick and slow ways lead to the same places."""

from pathlib import Path

import numpy as np
import pytest
import torch

from df_agent.agent_model import AgentModel
from df_agent.checkpoint import load_checkpoint
from df_agent.data.config import TokenizerConfig
from df_agent.data.episodes import Episodes
from df_agent.data.samplers.side_models import LocalPolicySampler
from df_agent.data.samplers.windows import WindowSampler
from df_agent.data.tokens import Tokenizer
from df_agent.evaluation.choosing import Tried, best_of, choose_policy
from df_agent.policies import DiffusionForcingPolicy
from df_agent.training.run import train

STEP = 0.1  # that an action of 1 moves the point by
SPEEDS = (0.3, 1.0)  # each episode keeps one


def episodes(count=400, length=21):
    """Straight ways in the plane, each at one of two speeds."""
    draw = np.random.default_rng(0)
    angle = draw.uniform(-np.pi, np.pi, count)
    action = draw.choice(SPEEDS, count)[:, None] * np.c_[np.cos(angle), np.sin(angle)]
    start = draw.uniform(-1, 1, (count, 2))
    places = start[:, None] + STEP * action[:, None] * np.arange(length)[:, None]
    rows = places.reshape(-1, 2).astype(np.float32)
    actions = np.repeat(action, length, axis=0).astype(np.float32)
    starts = np.arange(0, count * length + 1, length)
    return Episodes(rows, actions, np.zeros(len(rows), np.float32), None, None, starts)


def config_in(folder, **changes):
    episodes().save(folder / "ways.npz")
    return {
        "dataset": str(folder / "ways.npz"),
        "run_dir": str(folder / "run"),
        "tracker": "none",
        "tokenizer": {"observation_indices": [0, 1]},
        "windows": {"max_tokens": 6},
        "network": {"width": 16, "depth": 1, "heads": 2},
        "time_to_goal": {"steps": 0},
        "local_policy": {"steps": 1500, "width": 64},
        "train": {"steps": 2, "batch_size": 8, "warmup_steps": 1, "precision": "fp32"},
        **changes,
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("local")
    train(config_in(folder))
    return folder


def policy_of(run, **options):
    return DiffusionForcingPolicy.from_pretrained(
        Path(run, "run", "final"), controller="local_policy", planner="direct", **options
    )


def at(places, goals):
    return {"observation": np.asarray(places, float), "desired_goal": np.asarray(goals, float)}


def test_the_clock_tells_the_time_of_the_quick_ways(run):
    policy = policy_of(run)
    away = np.array([[0.5, 0.0], [0.0, -0.8], [-0.6, 0.6]])
    steps = policy.controller.robot.steps_to(np.zeros((3, 2)), away)
    assert steps == pytest.approx(np.linalg.norm(away, axis=1) / STEP, rel=0.25)


@pytest.mark.parametrize(("pace", "speed"), [(1.0, 1.0), (3.3, 0.3)])
def test_the_pace_that_is_asked_for_is_taken(run, pace, speed):
    policy = policy_of(run, local_policy={"pace": pace})
    goals = 0.5 * np.array([[1.0, 0.0], [0.0, 1.0], [-0.7, -0.7]])
    actions, _ = policy.predict(at(np.zeros((3, 2)), goals))
    assert np.linalg.norm(actions, axis=1) == pytest.approx(speed, abs=0.15)
    assert actions / np.linalg.norm(actions, axis=1)[:, None] == pytest.approx(
        goals / np.linalg.norm(goals, axis=1)[:, None], abs=0.15
    )


def test_it_gets_there_and_says_so_in_its_state(run):
    policy, places, goals, state = policy_of(run), np.zeros((2, 2)), np.array([[0.6, 0.3], [-0.8, 0.1]]), None
    for _ in range(15):
        actions, state = policy.predict(at(places, goals), state)
        places = places + STEP * actions
    assert np.linalg.norm(places - goals, axis=1).max() < 0.1
    assert not state.progress_to_goal.stalled.any()
    assert (state.progress_to_goal.least_steps < 5).all()


def test_what_does_not_get_nearer_asks_for_a_slower_way(run):
    policy, goals, state = policy_of(run, patience=5, open_loop_horizon=50), np.array([[0.9, 0.0], [0.9, 0.0]]), None
    places, penalties = np.zeros((2, 2)), []
    for _ in range(15):
        actions, state = policy.predict(at(places, goals), state)
        places[0] += STEP * actions[0]  # the other one is held
        penalties.append(state.shortcut_penalty.copy())
    assert penalties[-1][0] == 1
    assert penalties[4][1] == 1
    assert penalties[-1][1] == pytest.approx(1.25**2)


def test_it_follows_the_places_of_a_plan(run):
    policy = policy_of(run, local_policy={"pace": 1.0, "reach": 3})
    bend = np.array([[[0.0, 0.0], [0.0, 0.2], [0.0, 0.4], [0.0, 0.6], [0.3, 0.9]]])
    plan = policy.planner.plan
    policy.planner.plan = lambda request: (made := plan(request), setattr(made, "observations", bend))[0]
    actions, _ = policy.predict(at(np.zeros((1, 2)), [[1.5, 0.9]]))
    assert actions[0, 1] > 3 * abs(actions[0, 0])  # up first, not straight to the goal


def test_where_it_is_on_a_plan_follows_from_its_place_not_from_the_time(run):
    policy = policy_of(run, local_policy={"pace": 1.0, "reach": 2})
    bend = np.array([[[0.0, 0.0], [0.0, 0.2], [0.0, 0.4], [0.0, 0.6], [0.3, 0.6], [0.6, 0.6], [0.9, 0.6]]])
    plan = policy.planner.plan
    policy.planner.plan = lambda request: (made := plan(request), setattr(made, "observations", bend))[0]
    goal = [[1.5, 0.6]]
    _, state = policy.predict(at(np.zeros((1, 2)), goal))
    actions, ahead = policy.predict(at(np.array([[0.0, 0.6]]), goal), state)  # it got there in a single step
    assert actions[0, 0] > 3 * abs(actions[0, 1])
    assert ahead.progress[0] > 1
    for _ in range(3):
        held, state = policy.predict(at(np.zeros((1, 2)), goal), state)
    assert state.progress[0] == 0
    assert held[0, 1] > 3 * abs(held[0, 0])


def test_goals_lie_later_in_the_same_episode():
    data = episodes(count=7, length=9)
    tokens = TokenizerConfig(observation_indices=(0, 1))
    windows = WindowSampler(data, Tokenizer.fit(tokens, data), max_tokens=4)
    sampler = LocalPolicySampler(windows, longest=6, observation_indices=[0, 1])
    first, again = (sampler(256, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first.goal, again.goal)
    assert first.steps.min() == 1
    assert first.steps.max() == 6
    moved = first.goal - first.observation
    assert torch.allclose(moved, STEP * first.action * first.steps[:, None], atol=1e-4)


def test_it_is_saved_with_the_agent(run, tmp_path):
    policy = policy_of(run)
    policy.save_pretrained(tmp_path / "copy")
    config = load_checkpoint(tmp_path / "copy").config
    assert config["local_policy"]["goal_channels"] == [0, 1]
    assert config["policy"]["controller"] == "local_policy"
    again = DiffusionForcingPolicy.from_pretrained(tmp_path / "copy")
    asked = at([[0.1, 0.2]], [[0.5, 0.5]])
    assert np.array_equal(policy.predict(asked)[0], again.predict(asked)[0])


def test_without_one_it_is_said_how_to_train_it():
    sizes = {"token_dim": 2, "max_tokens": 4, "width": 16, "depth": 1, "heads": 2}
    checkpoint = {
        "network": sizes,
        "diffusion": {"levels": 10, "goal_channels": [0, 1]},
        "tokenizer": {"config": {"observation_indices": [0, 1]}, "mean": [0.0, 0.0], "std": [1.0, 1.0]},
        "windows": {"max_tokens": 4},
        "statistics": {"step": [0.3, 0.3], "turn": [0.2, 0.2], "speed": [0.1, 0.1]},
    }
    with pytest.raises(ValueError, match=r"needs a local policy: train one with local_policy.steps=8000"):
        DiffusionForcingPolicy.from_model(
            AgentModel.from_config(checkpoint), checkpoint, planner="direct", controller="local_policy"
        )


def test_the_quickest_of_the_most_successful_is_best():
    ways = [Tried("slow", {}, 1.0, 50), Tried("quick", {}, 0.99, 30), Tried("reckless", {}, 0.9, 20)]
    ways.append(Tried("as quick, but dearer", {}, 1.0, 29.9))
    assert best_of(ways, episodes=100).name == "quick"
    ways.pop()
    assert best_of(ways, episodes=1000).name == "slow"


@pytest.mark.parametrize("causal", [False, True])
def test_ways_that_a_model_cannot_serve_are_left_out(run, causal):
    checkpoint = load_checkpoint(Path(run, "run", "final")).config
    checkpoint["network"]["causal"] = causal

    class Validation:
        limit, episodes = 20, 4

        def __call__(self, policy):
            return {"success_rate": 1.0, "time_to_goal": 10.0}, []

    best, tried = choose_policy(AgentModel.from_config(checkpoint), checkpoint, Validation())
    assert best == tried[0]
    assert [one.options.get("planner") for one in tried] == ["direct"] * 4 + ["shortest_feasible"] * 2 * (not causal)

    without = {**checkpoint, "local_policy": None, "network": {**checkpoint["network"], "causal": False}}
    best, tried = choose_policy(AgentModel.from_config(without), without, Validation())
    assert [one.name for one in tried] == ["as its configuration says"]
