import df_envs  # noqa: F401 - registers Fetch
import numpy as np
import pytest
from df_envs.fetch import FETCH_TASKS, FetchDemonstrator

from df_agent.evaluation.rollout import rollout


@pytest.mark.parametrize(
    ("env_id", "success", "steps"),
    [
        ("FetchReach-v4", 1.0, 4),
        ("FetchPush-v4", 0.9, 18),
        ("FetchPickAndPlace-v4", 0.9, 20),
        ("FetchSlide-v4", 0.5, 40),
    ],
)
def test_the_demonstrators_do_their_tasks(env_id, success, steps):
    records = rollout(FetchDemonstrator(env_id), env_id, episodes=12, seed=1000, keep_paths=False)
    assert np.mean([record.success for record in records]) >= success
    assert np.mean([record.time_to_goal for record in records]) <= steps


@pytest.mark.parametrize("env_id", FETCH_TASKS)
def test_rows_are_independent_and_noise_is_only_where_it_is_asked_for(env_id):
    rng = np.random.default_rng(0)
    width = 10 if "Reach" in env_id else 25
    batch = {"observation": rng.normal(1, 0.2, (6, width)), "desired_goal": rng.normal(1, 0.2, (6, 3))}
    policy = FetchDemonstrator(env_id, action_noise=0.3)
    clean, _ = policy.predict(batch, deterministic=True)
    single, _ = policy.predict({key: value[3] for key, value in batch.items()}, deterministic=True)
    noisy, _ = policy.predict(batch)
    assert clean.shape == (6, 4)
    assert np.allclose(single, clean[3])
    assert not np.allclose(noisy, clean)
    assert np.abs(noisy).max() <= 1


def test_other_tasks_have_no_demonstrator():
    with pytest.raises(ValueError, match="there are those of FetchReach-v4"):
        FetchDemonstrator("FetchFly-v4")
    with pytest.raises(TypeError, match="dict observations"):
        FetchDemonstrator("FetchPush-v4").predict(np.zeros(25))
