"""Which channels are found to be angles, constants or copies, and how that is modelled."""

from functools import partial

import numpy as np
import pytest
import torch

from df_agent.data.channels import changing, copies, wrapped_angles
from df_agent.data.episodes import Episodes, from_segments
from df_agent.data.goal_spec import GoalSpec
from df_agent.data.infer import infer, infer_channels
from df_agent.data.samplers.hindsight import HindsightConfig, HindsightSampler
from df_agent.data.tokens import Tokenizer, TokenizerConfig
from df_agent.policies.diffuser import DiffuserPolicy
from df_agent.policies.learned_actors import GCBCPolicy, GCIQLPolicy
from df_agent.training.baseline import train_baseline

STEPS = 200
POLICIES = {
    "gcbc": GCBCPolicy.from_pretrained,
    "gciql": GCIQLPolicy.from_pretrained,
    "diffuser": partial(DiffuserPolicy.from_pretrained, controller="path"),
}


def wrapped(angle):
    return (angle + np.pi) % (2 * np.pi) - np.pi


def turning(seed, rate=0.15):
    """Headings (STEPS + 1,) of a wanderer, unbounded [rad]."""
    draw = np.random.default_rng(seed)
    return draw.uniform(-np.pi, np.pi) + np.cumsum(draw.normal(0.05, rate, STEPS + 1))


def episodes(columns, count=6, goals=None):
    """Episodes of which column k of the observations is columns[k](seed), and of the goals goals[k](seed)."""
    segments = []
    for seed in range(count):
        segment = {
            "observations": np.stack([column(seed) for column in columns], 1),
            "actions": np.random.default_rng(seed).normal(size=(STEPS, 2)),
            "rewards": np.zeros(STEPS),
        }
        if goals is not None:
            segment["achieved_goals"] = np.stack([column(seed) for column in goals], 1)
            segment["desired_goals"] = segment["achieved_goals"][-1:] + np.zeros((STEPS + 1, 1))
        segments.append(segment)
    return from_segments(segments)


def place(seed):
    return np.cumsum(np.random.default_rng(100 + seed).normal(0, 0.05, STEPS + 1))


def heading(seed):
    return wrapped(turning(seed))


def angles_of(*columns):
    data = episodes([place, *columns])
    return wrapped_angles(data.observations, data.starts)


@pytest.mark.parametrize(
    ("column", "is_one"),
    [
        (heading, True),
        (lambda seed: turning(seed) % (2 * np.pi), True),
        (lambda seed: wrapped(turning(seed, rate=0.4)), True),  # quick
        (lambda seed: wrapped(np.pi + 0.1 * np.sin(np.arange(STEPS + 1) / 5 + seed)), True),  # only about the seam
        (turning, False),  # counts its turns
        (lambda seed: np.clip(place(seed), -3, 3), False),
        (lambda seed: np.random.default_rng(seed).uniform(-3.1, 3.1, STEPS + 1), False),  # noise
        (lambda seed: np.random.default_rng(seed).choice([-3.0, 3.0], STEPS + 1), False),  # a switch
        (lambda seed: np.full(STEPS + 1, heading(seed)[0]), False),  # jumps from episode to episode only
        (lambda seed: np.repeat(np.random.default_rng(seed).uniform(-3, 3, 51), 4)[: STEPS + 1], False),  # held
        (lambda seed: np.full(STEPS + 1, np.nan), False),
        (lambda seed: heading(seed) / np.pi * 180, False),  # degrees
    ],
)
def test_what_wraps_is_an_angle_and_nothing_else(column, is_one):
    assert angles_of(column) == ([1] if is_one else [])


def test_what_is_tiny_and_smooth_changes_and_noise_as_tiny_does_not():
    tiny, huge = (lambda seed: 1e-9 * place(seed)), (lambda seed: 1e9 * place(seed))

    def noise(seed):
        return 1e-9 * np.random.default_rng(seed).normal(size=STEPS + 1)

    def rounding(seed):
        return np.float32(7) + 1e-7 * place(seed)

    def constant(seed):
        return np.full(STEPS + 1, 3.0)

    data = episodes([place, tiny, huge, noise, rounding, constant])
    assert changing(data.observations, data.starts).tolist() == [True, True, True, False, False, False]
    tokenizer = Tokenizer.fit(TokenizerConfig(observation_indices=range(6), goal_channels=(0, 1)), data)
    normal = tokenizer.normalize(torch.as_tensor(data.observations))
    assert normal[:, :3].std(0) == pytest.approx(1, abs=1e-3)
    assert normal[:, 3:].abs().max() < 1e-5
    assert tokenizer.denormalize(normal)[:, 1] == pytest.approx(data.observations[:, 1], rel=1e-3, abs=1e-14)

    with_goals = Episodes(**{**vars(data), "achieved_goals": data.observations[:, :2]})
    sampler = HindsightSampler(with_goals, HindsightConfig())
    assert sampler.goals.std(0) == pytest.approx(1, abs=1e-3)
    assert sampler.observations.abs().max() < 10


def test_copies_are_told_whatever_the_sign_of_zero():
    values = np.array([[0.0, 1, -0.0, 1], [2, 3, 2, 4]], np.float32)
    assert copies(values, range(4)) == {2: 0}
    assert copies(values, [2, 1, 0]) == {0: 2}


def test_an_angle_is_modelled_as_its_cosine_and_sine():
    data = episodes([place, heading, lambda seed: place(seed + 50)])
    found = infer(data, GoalSpec(achieved=(0, 2)), limit=STEPS)
    assert found.goal.angles == (1,)
    assert found.goal.goal_angles is None
    assert found.tokenizer["observation_indices"] == [0, 1, 2, 3]
    assert found.tokenizer["goal_channels"] == [0, 2]
    assert found.notes == ("channel 1 is an angle, modelled as its sine and cosine",)
    seen, raw = found.goal.apply(data), data.observations
    assert seen.observations[:, 1] == pytest.approx(np.cos(raw[:, 1]), abs=1e-6)
    assert seen.observations[:, 3] == pytest.approx(np.sin(raw[:, 1]), abs=1e-6)
    inside = np.setdiff1d(np.arange(len(raw) - 1), data.starts[1:-1] - 1)
    assert np.abs(np.diff(seen.observations[:, [1, 3]], axis=0)[inside]).max() < 1  # and no jump of a turn
    again = GoalSpec(**found.goal.to_dict())
    assert again == found.goal
    row = {"observation": raw[7], "achieved_goal": raw[7, [0, 2]], "desired_goal": raw[9, [0, 2]]}
    assert again.model_observation(row)["observation"] == pytest.approx(seen.observations[7], abs=1e-6)


def test_what_is_said_of_angles_goes_over_what_is_found():
    data = episodes([place, heading, turning])
    goal = GoalSpec(achieved=(0,))
    assert infer_channels(data, goal)[0].angles == (1,)
    left = infer(data, GoalSpec(achieved=(0,), angles=()), limit=STEPS)
    assert (left.goal.angles, left.tokenizer["observation_indices"], left.notes) == ((), [0, 1, 2], ())
    named = infer(data, GoalSpec(achieved=(0,), angles=[1, 2]), limit=STEPS)
    assert named.tokenizer["observation_indices"] == [0, 1, 2, 3, 4]
    given = infer(data, goal, limit=STEPS, given={"observation_indices": [1, 0]})
    assert given.tokenizer["observation_indices"] == [1, 0, 3]  # an angle comes with its sine
    assert given.tokenizer["goal_channels"] == [1]
    with pytest.raises(ValueError, match=r"goal.angles=\[5\] reaches beyond the 3 observation channels"):
        infer(data, GoalSpec(achieved=(0,), angles=(5,)), limit=STEPS)
    with pytest.raises(ValueError, match=r"goal.angles must be channels, e.g. \[2\], or \[\] for none"):
        GoalSpec(angles=(-1,))


def near(goal, first, second):
    """Return the distance of two goals as the model sees them."""
    return np.linalg.norm(np.subtract(*goal.model_goals(np.array([first, second]))))


def test_a_goal_named_by_channels_turns_with_the_angle_among_them():
    def still(seed):
        return np.full(STEPS + 1, heading(seed)[-1])

    data = episodes([place, heading, place, still])
    found = infer(data, GoalSpec(achieved=(0, 1), desired=(2, 3)), limit=STEPS)
    assert found.goal.angles == (1, 3)  # the goal's own channel does not wrap within an episode
    assert found.goal.turning == (1,)
    assert found.tokenizer["observation_indices"] == [0, 1, 4]  # and it is not modelled
    assert found.tokenizer["goal_channels"] == [0, 1, 2]
    assert near(found.goal, [0, -3.1], [0, 3.1]) < 0.1 < 1 < near(found.goal, [0, -3.1], [0, 0])
    assert near(found.goal, [0, -np.pi], [0, np.pi]) < 1e-9  # one goal, so nothing is planned anew
    seen = found.goal.model_observation(np.array([0.5, 3.1, 0.2, -3.1]))
    where = np.array(found.tokenizer["observation_indices"])[found.tokenizer["goal_channels"]]
    assert seen["desired_goal"] == pytest.approx([0.2, np.cos(3.1), -np.sin(3.1)])
    assert seen["observation"][where] == pytest.approx([0.5, np.cos(3.1), np.sin(3.1)])
    assert found.goal.apply(data).desired_goals.shape[1] == 3


@pytest.mark.parametrize("full", [False, True])
def test_a_goal_envs_angle_is_found_in_the_observation_or_in_the_goal(full):
    def other(seed):
        return heading(seed) % (2 * np.pi)

    def sine(seed):
        return np.sin(heading(seed))

    shown = [place, other if full else sine]
    found = infer(episodes(shown, goals=[place, heading]), GoalSpec(), limit=STEPS)
    assert found.goal.turning == (1,)
    assert near(found.goal, [0, -3.1], [0, 3.1]) < 0.1
    if full:  # from 0 to 2 pi there, from -pi to pi here: the same angle
        assert not found.goal.appended
        assert (found.tokenizer["observation_indices"], found.tokenizer["goal_channels"]) == ([0, 1, 2], [0, 1, 2])
    else:
        assert found.goal.appended
        assert found.tokenizer["goal_channels"] == [found.tokenizer["observation_indices"].index(c) for c in (2, 3, 4)]
        assert "channel 0 is a copy of what goals are about, and is left out" in found.notes
        assert "channel 1 of the goal is an angle, modelled as its sine and cosine" in found.notes


def test_copies_constants_and_what_is_never_a_number_are_left_out():
    def second(seed):
        return place(seed + 50)

    def constant(seed):
        return np.full(STEPS + 1, 7.0)

    def absent(seed):
        return np.full(STEPS + 1, np.nan)

    data = episodes([second, place, constant, second, absent, heading, heading, place])
    found = infer(data, GoalSpec(achieved=(3, 1)), limit=STEPS)
    assert found.tokenizer["observation_indices"] == [1, 3, 5, 8]  # goals are about 3, so 0 is its copy
    assert found.tokenizer["goal_channels"] == [1, 0]
    assert found.goal.ignored == (2, 4)
    assert found.notes == (
        "channel 5 is an angle, modelled as its sine and cosine",
        "channel 6 is an angle, modelled as its sine and cosine",
        "channel 4 is never a number, and is left out",
        "channel 0 is a copy of channel 3, and is left out",
        "channel 6 is a copy of channel 5, and is left out",
        "channel 7 is a copy of channel 1, and is left out",
    )
    seen = found.goal.model_observation(
        {"observation": [1, 1, 1e9, 1, np.nan, 1, 1, 1], "achieved_goal": [0, 0], "desired_goal": [0, 0]}
    )
    assert seen["observation"][[2, 4]].tolist() == [0, 0]  # whatever they are in use
    assert np.isfinite(found.goal.apply(data).observations).all()


def test_a_channel_that_fails_at_times_is_a_mistake_in_the_data():
    data = vars(episodes([place, heading]))
    data["observations"][3, 1] = np.nan
    with pytest.raises(ValueError, match="observations holds NaN"):
        Episodes(**data)


@pytest.mark.parametrize("algorithm", ["gcbc", "gciql", "diffuser"])
def test_baselines_see_a_heading_as_the_agent_does(algorithm, tmp_path):
    def constant(seed):
        return np.full(STEPS + 1, 7.0)

    episodes([place, heading, constant]).save(tmp_path / "data.npz")
    learner = {"horizon": 32, "levels": 4} if algorithm == "diffuser" else {"width": 16}
    train = {"steps": 1, "batch_size": 4, "warmup_steps": 1, "precision": "fp32", "compile": False}
    train_baseline(
        {
            "algorithm": algorithm,
            "env": "none",
            "dataset": str(tmp_path / "data.npz"),
            "run_dir": str(tmp_path / "run"),
            "tracker": "none",
            "goal": {"achieved": [0], "desired": None, "success": None},
            "learner": learner,
            "train": train,
        }
    )
    policy = POLICIES[algorithm](tmp_path / "run" / "final")
    assert (policy.goal_spec.angles, policy.goal_spec.ignored) == ((1,), (2,))

    def act(angle, third):
        row = {"observation": [0.3, angle, third], "achieved_goal": [0.3], "desired_goal": [0.5]}
        return policy.predict({key: np.array(value) for key, value in row.items()}, deterministic=True)[0]

    assert act(-np.pi, 7.0) == pytest.approx(act(np.pi, 1e9), abs=1e-5)


def test_old_checkpoints_know_no_angles():
    said = {"achieved": [0, 1], "desired": [2, 3], "success": None, "appended": False}
    goal = GoalSpec(**said)
    assert (goal.turning, goal.angles, goal.ignored) == ((), None, None)
    assert not GoalSpec(success="terminated").rewrites
    assert goal.model_observation(np.arange(4.0))["desired_goal"].tolist() == [2, 3]
