"""Poor data is told with the reason; good data is not complained of."""

from dataclasses import replace
from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest
import untuned

from df_agent.data.episodes import Episodes, from_segments
from df_agent.data.goal_spec import GoalSpec
from df_agent.data.quality import (
    COVERAGE,
    DEGENERATE,
    HORIZON,
    NOISE,
    Asked,
    cut,
    inspect,
    neighbour_distance,
    unexplained,
)

LIMIT = 40
GOALS = {"Boat": (GoalSpec(achieved=(0, 1), desired=(6, 7)), [0, 1]), "Drone": (GoalSpec(), [0, 1])}
GOALS["Payload"] = (GoalSpec(), [2, 3])


def ways(count=80, low=-1.0, high=1.0, share=1.0, noise=0.05, dims=2, seed=0):
    """Straight ways between places drawn from a box, of which `share` is gone, in episodes of 41 rows."""
    draw = np.random.default_rng(seed)
    segments = []
    for _ in range(count):
        start, goal = draw.uniform(low, high, (2, dims))
        time = np.linspace(0, share, LIMIT + 1)[:, None]
        places = start + time * (goal - start)
        actions = np.tile(goal - start, (LIMIT, 1)) + noise * draw.normal(size=(LIMIT, dims))
        goals = np.tile(goal, (LIMIT + 1, 1))
        columns = {"observations": places, "achieved_goals": places, "desired_goals": goals}
        segments.append({**columns, "actions": actions, "rewards": np.zeros(LIMIT)})
    return from_segments(segments)


def asked(low=-1.0, high=1.0, count=48, dims=2):
    draw = np.random.default_rng(1)
    return Asked(*draw.uniform(low, high, (2, count, dims)), LIMIT)


def found(episodes, wanted=None, channels=(0, 1)):
    return [(finding.kind, finding.text) for finding in inspect(episodes, list(channels), wanted or asked())]


def test_good_data_gives_no_finding():
    assert found(ways()) == []
    assert inspect(ways(), [0, 1]) == []
    assert found(ways(dims=1), asked(dims=1), [0]) == []
    assert found(ways(count=300, dims=3), asked(dims=3), [0, 1, 2]) == []


@pytest.mark.parametrize("name", GOALS)
def test_the_data_of_clumsy_pilots_gives_none(name):
    spec, channels = GOALS[name]
    env, pilot, segments, resets = gym.make(f"{name}-v0"), getattr(untuned, f"{name}Pilot")(), [], []
    for seed in range(60):
        observation, _ = env.reset(seed=seed)
        state, rows, actions, done = None, [spec.goal_dict(observation)], [], False
        resets.append(rows[0])
        while not done:
            action, state = pilot.predict(observation, state)
            observation, _, terminated, truncated, info = env.step(action)
            rows.append(spec.goal_dict(observation))
            actions.append(action)
            done = terminated or truncated or info["is_success"]
        names = {"observation": "observations", "achieved_goal": "achieved_goals", "desired_goal": "desired_goals"}
        columns = {names[key]: np.array([row[key] for row in rows]) for key in names}
        segments.append({**columns, "actions": np.array(actions), "rewards": np.zeros(len(actions))})
    resets = [spec.goal_dict(env.reset(seed=1000 + i)[0]) for i in range(48)]
    starts, goals = (np.array([row[key] for row in resets]) for key in ("achieved_goal", "desired_goal"))
    assert inspect(from_segments(segments), channels, Asked(starts, goals, env.spec.max_episode_steps)) == []


def test_one_endless_trajectory_from_goal_to_goal_is_as_good_as_episodes():
    draw = np.random.default_rng(2)
    corners = draw.uniform(-1, 1, (81, 2))
    places = np.concatenate([np.linspace(a, b, LIMIT, endpoint=False) for a, b in pairwise(corners)])
    steps = np.diff(places, axis=0, append=places[-1:])
    joined = Episodes(
        places.astype(np.float32), steps.astype(np.float32), np.zeros(len(places), np.float32), None, None,
        np.array([0, len(places)]),
    )  # fmt: skip
    assert found(joined) == []
    assert len(cut(joined.starts, LIMIT)) - 1 == pytest.approx(78, abs=1)


def test_goals_where_the_data_never_was():
    half = ways(high=0.0)  # the lower left quarter
    kinds = found(half)
    assert {kind for kind, _ in kinds} == {COVERAGE}
    texts = " ".join(text for _, text in kinds)
    assert "of the starts asked for lie where the data never was" in texts
    assert "of the goals asked for lie where the data never was" in texts
    assert "collect data there" in texts


def test_few_episodes():
    ((kind, text),) = found(ways(count=12, low=-1.2, high=1.2))
    assert kind == COVERAGE
    assert "480 steps, about 12 episodes" in text


def test_a_number_of_the_goal_that_hardly_moves():
    flat = ways()
    flat.observations[:, 1] *= 0.01
    assert any("channel 1 is part of the goal and hardly moves" in text for _, text in found(flat))
    fixed = replace(flat, observations=flat.observations * np.array([1, 0], np.float32))
    assert ["channel 1" in finding.text for finding in inspect(fixed, [0, 1])] == [True]
    # If goals do not ask for it either, nothing is wrong.
    wanted = asked()
    level = Asked(wanted.starts * [1, 0], wanted.goals * [1, 0], LIMIT)
    assert found(fixed, level) == []


def test_episodes_shorter_than_the_way():
    kinds = found(ways(count=300, share=0.1), Asked(*(np.array([[-1.0, -1], [1, 1]])[:, None].repeat(20, 1)), LIMIT))
    assert (HORIZON, True) in [
        (kind, "as far from their start as goals are from theirs" in text) for kind, text in kinds
    ]


def test_a_limit_that_cuts_the_way():
    kinds = dict(found(ways(count=150, share=0.4)))
    assert "the time limit of 40 steps cuts 100% of the episodes before half of the way" in kinds[HORIZON]


def test_actions_that_are_noise():
    ((kind, text),) = found(ways(noise=30.0))
    assert kind == NOISE
    assert "says nothing of the next one (correlation" in text
    jumps = ways(noise=2.5)
    clipped = replace(jumps, actions=np.sign(jumps.actions).astype(np.float32))
    ((kind, text),) = found(clipped)
    assert kind == NOISE
    assert "100% of the actions lie at their bounds and jump between them" in text
    assert unexplained(0.5) == []
    assert "95% of the variance of the actions" in unexplained(0.95)[0].text


def test_actions_that_never_change_and_episodes_that_repeat():
    still = ways()
    still.actions[:] = 0.5
    ((kind, text),) = found(still)
    assert (kind, text) == (DEGENERATE, "none of the 2 actions ever changes; collect with a policy that acts")
    one = ways(count=1)
    same = from_segments(
        [{"observations": one.observations, "actions": one.actions[:-1], "rewards": one.rewards[:-1]}] * 40,
        join_continuing=False,
    )
    assert (DEGENERATE, True) in [(kind, "of 40 episodes only 1 differ" in text) for kind, text in found(same)]


def test_nan_is_refused_with_its_place():
    data = ways(count=2)
    broken = data.observations.copy()
    broken[7, 1] = np.nan
    with pytest.raises(ValueError, match=r"observations holds NaN or infinity in 1 of 82 rows, first in row 7"):
        replace(data, observations=broken)


def test_goals_in_other_words_than_places_are_not_compared():
    assert found(ways(high=0.0), Asked(np.zeros((5, 3)), np.ones((5, 3)), LIMIT)) == []


def test_distances_to_the_fifth_nearest_by_hand():
    places = np.arange(10.0)[:, None]
    assert neighbour_distance(np.array([[0.0]]), places) == pytest.approx([4.0], abs=1e-6)
    left_out = (np.arange(10) < 3)[None]
    assert neighbour_distance(np.array([[0.0]]), places, left_out) == pytest.approx([7.0], abs=1e-6)
    assert neighbour_distance(np.array([[0.0]]), places[:2]) == pytest.approx([1.0], abs=1e-6)
