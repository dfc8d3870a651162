import numpy as np
import pytest

from df_agent.evaluation.corruption import Corrupted


class Sees:
    """Keeps what it is shown."""

    def __init__(self):
        self.seen, self.seeds = [], []

    def set_random_seed(self, seed):
        self.seeds.append(seed)

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        self.seen.append(observation)
        return np.zeros((len(observation["observation"]), 1)), state


def shown(steps=50, **options):
    inner = Sees()
    policy = Corrupted(inner, scale=np.array([1.0, 10.0]), **{"kind": "noise", "share": 0.5, "noise": 0.3, **options})
    policy.set_random_seed(3)
    truth = {"observation": np.full((40, 2), 5.0), "desired_goal": np.ones((40, 1))}
    for _ in range(steps):
        policy.predict(truth)
    assert inner.seeds == [3]
    assert (truth["observation"] == 5).all()
    return inner.seen


def test_noise_is_as_large_and_as_frequent_as_asked_for():
    seen = shown()
    values = np.concatenate([each["observation"] for each in seen])
    noise = np.concatenate([each["noise"] for each in seen])
    bad = (values != 5).any(1)
    assert bad.mean() == pytest.approx(0.5, abs=0.05)
    assert (noise == np.where(bad, 0.3, 0.0)).all()
    assert (values[bad] - 5).std(0) == pytest.approx([1.0, 10.0], rel=0.1)
    assert all((each["desired_goal"] == 1).all() for each in seen)


def test_what_drops_out_is_shown_as_zeros_and_told_as_infinitely_noisy():
    (each,) = shown(1, kind="dropout")
    bad = each["observation"][:, 0] == 0
    assert 0 < bad.sum() < 40
    assert (each["observation"][~bad] == 5).all()
    assert (each["noise"] == np.where(bad, np.inf, 0.0)).all()


def test_who_is_not_told_sees_the_same():
    told, not_told = shown(told=True), shown(told=False)
    assert all((a["observation"] == b["observation"]).all() for a, b in zip(told, not_told, strict=True))
    assert all("noise" not in each for each in not_told)


def test_nothing_is_corrupted_at_0_and_mistakes_are_named():
    assert all((each["observation"] == 5).all() and not each["noise"].any() for each in shown(share=0.0))
    with pytest.raises(ValueError, match="unknown kind 'fog', available"):
        shown(kind="fog")
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\]"):
        shown(share=50)
    with pytest.raises(ValueError, match="leading environment axis"):
        Corrupted(Sees(), "noise", 0.5, np.ones(2)).predict({"observation": np.ones(2), "desired_goal": np.ones(1)})
