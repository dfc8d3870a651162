"""Validation: the same episodes each time, and never those that are reported."""

import numpy as np
import pytest

from df_agent.data.goal_spec import GoalSpec
from df_agent.evaluation.validation import Validation, check_validation_seed


def test_it_measures_on_the_same_episodes_each_time(straight):
    validate = Validation("toy-point", 6, 1000)
    (first, records), (again, _) = validate(straight, keep_paths=True), validate(straight)
    assert first == again
    assert straight.seeds == [1000, 1000]
    assert first["success_rate"] == first["at_goal_at_end"] == 1.0
    assert first["time_to_goal"] == pytest.approx(np.mean([record.time_to_goal for record in records]))
    assert len(records[0].path) == records[0].length + 1
    assert validate.limit == 30


def test_reported_seeds_are_refused():
    with pytest.raises(ValueError, match=r"seed must be at least 1000, got 0"):
        check_validation_seed(0)
    with pytest.raises(ValueError, match=r"validation.seed must be at least 1000"):
        Validation("toy-point", 1, 999)


@pytest.mark.parametrize("success", ["done", "goal_success", "is_succes"])
def test_a_word_for_success_that_a_step_does_not_say_is_noticed_at_once(success):
    with pytest.raises(ValueError, match=rf"goal.success='{success}' is no key of the environment's info"):
        Validation("toy-point", 2, 1000, GoalSpec(success=success))
    assert Validation("toy-point", 2, 1000, GoalSpec(success="success")).limit == 30
