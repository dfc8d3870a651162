"""Validation: the same episodes each time, and never those that are reported."""

import numpy as np
import pytest

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
