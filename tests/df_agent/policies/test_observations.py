"""What every policy does before it plans: bad observations are named, episodes told apart, noise seeded."""

import numpy as np
import pytest

from df_agent.policies.observations import EpisodeSeeds, beginning_rows, read_observation

GOOD = {"observation": np.zeros((2, 4)), "desired_goal": np.ones((2, 2))}


def test_an_observation_is_read_with_or_without_its_leading_axis():
    values, goal, single = read_observation(GOOD, least_width=4, goal_width=2)
    assert (values.shape, goal.shape, single) == ((2, 4), (2, 2), False)
    values, goal, single = read_observation({key: value[0] for key, value in GOOD.items()})
    assert (values.shape, goal.shape, single) == ((1, 4), (1, 2), True)
    assert read_observation({key: value.astype(np.float32) for key, value in GOOD.items()})[0].dtype == np.float64


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (GOOD["observation"], "expected a dict observation .* got ndarray"),
        ({"observation": GOOD["observation"]}, r"lacks \['desired_goal'\], it has \['observation'\]"),
        ({**GOOD, "observation": np.zeros((2, 3))}, r"\(B, at least 4\) .* got \(2, 3\) and \(2, 2\)"),
        ({**GOOD, "observation": np.zeros((3, 4))}, r"got \(3, 4\) and \(2, 2\)"),
        ({**GOOD, "observation": np.zeros((2, 4, 1))}, r"got \(2, 4, 1\)"),
        ({**GOOD, "desired_goal": np.zeros((2, 3))}, r"'desired_goal' \(B, 2\), got \(2, 4\) and \(2, 3\)"),
        ({**GOOD, "desired_goal": np.zeros(2)}, r"got \(2, 4\) and \(2,\)"),
        ({**GOOD, "desired_goal": np.array([[0, 0], [np.nan, 0]])}, r"'desired_goal' is not finite in rows \[1\]"),
        ({**GOOD, "observation": np.full((2, 4), np.inf)}, r"'observation' is not finite in rows \[0, 1\]"),
    ],
)
def test_bad_observations_are_named(observation, message):
    with pytest.raises(ValueError, match=message):
        read_observation(observation, least_width=4, goal_width=2)


def test_rows_begin_without_a_state_or_where_they_are_told_to():
    assert beginning_rows(None, 2, np.array([False, False])).tolist() == [True, True]
    assert beginning_rows(2, 2, None).tolist() == [False, False]
    assert beginning_rows(2, 2, [True, False]).tolist() == [True, False]
    with pytest.raises(ValueError, match="the state is for 2 environments, the observation for 3"):
        beginning_rows(2, 3, None)


def test_seeds_follow_from_how_an_episode_begins_or_from_nothing():
    seeds, values, goal = EpisodeSeeds(), np.arange(12.0).reshape(3, 4), np.ones((3, 2))
    together = seeds(values, goal, True)
    assert len(set(together.tolist())) == 3
    assert seeds(values[1:2], goal[1:2], True).tolist() == together[1:2].tolist()
    assert seeds(values, goal + 1, True).tolist() != together.tolist()
    assert seeds(values, goal, False).tolist() != seeds(values, goal, False).tolist()
    assert seeds(values[:0], goal[:0], True).shape == (0,)
