"""Episodes that have ended are not asked about."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from df_agent.evaluation.active_rows import take_rows
from df_agent.evaluation.rollout import rollout


@dataclass
class State:
    steps: np.ndarray
    plan: torch.Tensor


def test_rows_are_taken_out_of_whatever_a_state_is_made_of():
    rows = np.array([0, 2])
    state = {"a": (State(np.arange(3), torch.arange(6).reshape(3, 2)), None), "b": ["x", "y", "z"]}
    taken = take_rows(state, rows, 3)
    assert taken["a"][0].steps.tolist() == [0, 2]
    assert taken["a"][0].plan.tolist() == [[0, 1], [4, 5]]
    assert taken["a"][1] is None
    assert taken["b"] == ["x", "z"]
    assert state["a"][0].steps.tolist() == [0, 1, 2]


@pytest.mark.parametrize("state", [7, np.zeros((2, 3)), [1, 2], {"a": np.zeros(3), "b": 0.5}, object()])
def test_a_state_without_rows_is_refused(state):
    with pytest.raises(TypeError, match="no 3 rows"):
        take_rows(state, np.array([0]), 3)


def test_ended_episodes_leave_the_batch_and_nothing_is_planned_for_them(make_straight):
    policy = make_straight(plan_every=2)
    records = rollout(policy, "toy-point-stop", episodes=6, seed=8)
    lengths = np.array([record.length for record in records])
    assert len(set(lengths)) > 2, "too many end together: choose another seed"
    assert policy.batches == [int((lengths > step).sum()) for step in range(lengths.max())]
    for record in records:
        assert [plan.step for plan in record.plans] == list(range(0, record.length, 2))
        assert np.allclose([plan.path[-1] for plan in record.plans], record.goal, atol=1e-4), "another's plans"
        assert [plan.batch for plan in record.plans] == [(lengths > plan.step).sum() for plan in record.plans]


def test_a_policy_whose_state_has_no_rows_sees_all_episodes_to_the_end(make_straight):
    class Opaque:
        def __init__(self):
            self.inner, self.batches = make_straight(), []

        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            self.batches.append(len(observation["observation"]))
            actions, _ = self.inner.predict(observation, None, episode_start)
            return actions, object()

    opaque = Opaque()
    records = rollout(opaque, "toy-point-stop", episodes=6, seed=8)
    assert set(opaque.batches) == {6}
    reference = rollout(make_straight(), "toy-point-stop", episodes=6, seed=8)
    assert [record.path for record in records] == [record.path for record in reference]


def test_the_time_spent_is_shared_by_those_that_still_run(make_straight):
    class Clocked(make_straight):
        def predict(self, *args, **kwargs):
            import time

            time.sleep(0.002)
            return super().predict(*args, **kwargs)

    records = rollout(Clocked(), "toy-point-stop", episodes=4, seed=8)
    total = sum(record.policy_seconds for record in records)
    longest = max(record.length for record in records)
    assert total >= 0.002 * longest
    order = np.argsort([record.length for record in records])
    spent = np.array([record.policy_seconds for record in records])[order]
    assert (np.diff(spent) >= 0).all()
