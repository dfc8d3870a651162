"""Options given in Python are checked for type, range and finiteness when they are set, as those typed are."""

import math
from dataclasses import asdict

import numpy as np
import pytest
from df_planners.shortest_feasible import ShortestFeasibleConfig
from df_planners.tracking import PathTrackerConfig

from df_agent.options import make
from df_agent.policies import DiffusionForcingPolicy
from df_agent.policies.config import DiffuserPolicyConfig, PolicyConfig, SamplingConfig
from df_agent.policies.path_following import PathFollowingPolicy
from df_agent.policies.shooting import ShootingPolicy

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("open_loop_horizon", NAN, "open_loop_horizon must be a whole number or null, got nan"),
        ("open_loop_horizon", 2.5, "open_loop_horizon must be a whole number or null, got 2.5"),
        ("open_loop_horizon", "5", "open_loop_horizon must be a whole number or null, got '5'"),
        ("open_loop_horizon", True, "open_loop_horizon must be a whole number or null, got true"),
        ("deviation", NAN, "deviation must be a number, got nan"),
        ("deviation", "far", "deviation must be a number, got 'far'"),
        ("hold_distance", None, "hold_distance must be a number, got null"),
        ("switch_ratio", 1j, r"switch_ratio must be a number, got 1j"),
        ("background", "false", "background must be true or false, got 'false'"),
        ("present_only", 0, "present_only must be true or false, got 0"),
        ("missing", "no", "missing must be true or false, got 'no'"),
        ("velocity_indices", (0, NAN), "velocity_indices must be a list of whole numbers"),
        ("sampling.temperature", 1e30, r"temperature must be a number in \[0, 100\], got 1e\+30"),
        ("sampling.temperature", "1", "temperature must be a number"),
        ("sampling.temperature", -0.1, "temperature must be a number"),
        ("sampling.steps", 3.0, "steps must be a whole number, got 3.0"),
        ("sampling.goal_weight", NAN, "goal_weight must be a number, got nan"),
        ("tracker.lookahead", NAN, "lookahead must be a number, got nan"),
        ("tracker.position_gain", INF, "gains, lookahead and action_limit must be finite"),
        ("feasibility.roughness_limit", NAN, "roughness_limit must be a number, got nan"),
        ("feasibility.gaps", ["3"], "gaps must be a list of whole numbers"),
        ("shortest_feasible.horizons", (0,), r"horizons are in tokens, of at least 1, got \(0,\)"),
        ("shortest_feasible.horizons", (8, -3), "horizons are in tokens, of at least 1"),
        ("shortest_feasible.horizons", (8, NAN), "horizons must be a list of whole numbers"),
        ("shortest_feasible.whole_windows", "false", "whole_windows must be true or false, got 'false'"),
        ("tree_search.stop_ratio", NAN, "stop_ratio must be a number, got nan"),
        ("best_of_n.candidates", "32", "candidates must be a whole number, got '32'"),
        ("local_policy.pace", NAN, "pace must be a number, got nan"),
        ("local_policy.detour", {"steps": "1"}, "steps must be a whole number, got '1'"),
    ],
)
def test_values_that_are_none_of_an_option_are_refused(option, value, message):
    section, _, name = option.rpartition(".")
    given = {name: value}
    with pytest.raises(ValueError, match=message):
        PolicyConfig.from_dict({section: given} if section else given)
    if not section:
        with pytest.raises(ValueError, match=message):
            PolicyConfig(**given)


def test_values_of_a_part_that_was_made_by_itself_are_checked_with_the_whole():
    for part in ({"tracker": 3}, {"shortest_feasible": ShortestFeasibleConfig(reject_above=NAN)}):
        with pytest.raises(ValueError, match="must be"):
            PolicyConfig(**part)
    with pytest.raises(ValueError, match="must be finite"):
        PathTrackerConfig(lookahead=NAN)
    with pytest.raises(ValueError, match="temperature must be"):
        SamplingConfig(temperature=NAN)


@pytest.mark.parametrize("options", [{"steps": NAN}, {"longest": "8"}, {"shortest": 1.5}, {"background": "false"}])
def test_other_planners_options_are_checked_too(options):
    with pytest.raises(ValueError, match=r"must be .*, got"):
        make(DiffuserPolicyConfig, options)
    with pytest.raises(ValueError, match=r"must be .*, got"):
        DiffuserPolicyConfig(**options)


@pytest.mark.parametrize("options", [{"sigma": NAN}, {"samples": "64"}, {"horizon": 20.0}])
def test_options_of_shooting_and_of_path_following_are_checked(options):
    with pytest.raises(ValueError, match=r"must be .*, got"):
        ShootingPolicy("cem", lambda *_: None, lambda *_: None, options=options)
    with pytest.raises(ValueError, match=r"must be .*, got"):
        PathFollowingPolicy(lambda *_: None, tracker={"lookahead": "1"})


@pytest.mark.parametrize("steps", [-5, 0, 2.5, "300", NAN])
def test_the_length_of_an_episode_is_checked(steps):
    with pytest.raises(ValueError, match="max_steps must be a whole number of at least 1 or null"):
        DiffusionForcingPolicy.from_pretrained("maze2d-umaze", device="cpu", max_steps=steps)


def test_what_means_the_same_is_taken():
    """NumPy's numbers, whole ones for others, lists for tuples, infinity where it is the default, and null."""
    options = {
        "open_loop_horizon": np.int64(25), "deviation": INF, "hold_distance": 1, "velocity_indices": [2, 3],
        "switch_ratio": np.float32(0.5), "patience": None, "max_plan_ms": np.float64(20.0),
        "shortest_feasible": {"horizons": [8, 12], "horizon_multipliers": np.array([1.0, 2.0])},
    }  # fmt: skip
    config = PolicyConfig.from_dict(options)
    assert (config.open_loop_horizon, config.velocity_indices, config.switch_ratio) == (25, (2, 3), 0.5)
    assert config.shortest_feasible.horizons == (8, 12)
    assert PolicyConfig.from_dict(asdict(config)) == config
