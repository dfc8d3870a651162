import df_envs  # noqa: F401
import gymnasium as gym
import numpy as np
import pytest
from df_envs.maps import MAZES
from df_envs.oracle import MAX_AXIS_STEP, OraclePolicy, lower_bound_steps, oracle_steps
from df_envs.physics import Physics
from df_envs.waypoints import WaypointPolicy, demonstrator

STARTS = 60
# Means over 2000 starts.
MEANS = {"maze2d-umaze": 61.5, "maze2d-medium": 123.3, "maze2d-large": 177.7, "multi2d-large": 155.4}


def draws(env_id, number=STARTS):
    env = gym.make(env_id)
    resets = [env.reset(seed=seed)[0] for seed in range(number)]
    return np.array([r["observation"] for r in resets]), np.array([r["desired_goal"] for r in resets])


def rollout(env_id, policy, starts, goals):
    """Steps to first arrival, all environments at once, through the public interfaces."""
    venv = gym.make_vec(env_id, num_envs=len(starts), vectorization_mode="sync")
    venv.reset(seed=0)
    rows = [env.reset(options={"state": s, "goal": g})[0] for env, s, g in zip(venv.envs, starts, goals, strict=True)]
    observation = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    arrival = np.where(np.linalg.norm(starts[:, :2] - goals, axis=1) <= 0.5, 0, -1)
    state, begin = None, np.ones(len(starts), dtype=bool)
    for step in range(1, 800):
        actions, state = policy.predict(observation, state, begin)
        begin = np.zeros(len(starts), dtype=bool)
        observation, _, _, _, info = venv.step(actions)
        arrival[(arrival < 0) & info["success"]] = step
        if (arrival >= 0).all():
            return arrival
    raise AssertionError("not all arrived")


@pytest.mark.parametrize("env_id", MEANS)
def test_mean_first_arrival(env_id):
    steps = oracle_steps(env_id, *draws(env_id))
    assert abs(steps.mean() - MEANS[env_id]) < 3 * steps.std() / np.sqrt(STARTS)
    assert steps.max() < gym.spec(env_id).max_episode_steps


@pytest.mark.parametrize("env_id", ["maze2d-medium", "multi2d-umaze"])
def test_oracle_steps_are_what_the_policy_does_in_the_environment(env_id):
    starts, goals = draws(env_id, 12)
    assert rollout(env_id, OraclePolicy(env_id), starts, goals).tolist() == oracle_steps(env_id, starts, goals).tolist()


def test_the_demonstrator_is_slower_than_the_oracle():
    starts, goals = draws("maze2d-large", 24)
    slow = WaypointPolicy("maze2d-large", route="shortest", threshold=0.1)
    ratio = rollout("maze2d-large", slow, starts, goals).mean() / oracle_steps("maze2d-large", starts, goals).mean()
    assert 1.2 < ratio < 1.45  # 1.33 at large, measured over 400 starts


@pytest.mark.parametrize("env_id", [f"{family}-{name}" for family in ("maze2d", "multi2d") for name in MAZES])
def test_nothing_undercuts_the_lower_bound(env_id):
    starts, goals = draws(env_id)
    bound, oracle = lower_bound_steps(env_id, starts[:, :2], goals), oracle_steps(env_id, starts, goals)
    assert (bound <= oracle).all()
    there = np.linalg.norm(starts[:, :2] - goals, axis=1) <= 0.5
    assert ((bound == 0) == there).all()
    assert (bound == lower_bound_steps(env_id, starts, goals)).all()
    assert oracle[~there].mean() / bound[~there].mean() < 2.2


def test_the_lower_bound_is_tight_for_a_flying_start_down_a_corridor():
    maze, physics = MAZES["large"], Physics(MAZES["large"])
    (x, y), (goal_x, goal_y) = maze.centre((3, 1)), maze.centre((3, 6))
    start = np.array([[x, y, 5.0, 0.0]])
    bound = lower_bound_steps("maze2d-large", start, [[goal_x, goal_y]])[0]
    physics.set_state(*start[0])
    steps = 0
    while goal_x - x > 0.5:
        x = physics.step(1.0, 0.0)[0]
        steps += 1
    assert bound == pytest.approx(4.5 / MAX_AXIS_STEP)
    assert bound <= steps <= bound + 2


def test_a_batch_is_fast_cached_and_checked():
    starts, goals = draws("multi2d-medium", 20)
    first = oracle_steps("multi2d-medium", starts, goals)
    assert (oracle_steps("multi2d-medium", starts[::-1], goals[::-1])[::-1] == first).all()
    with pytest.raises(ValueError, match=r"starts \(N, 4\)"):
        oracle_steps("multi2d-medium", starts[:, :2], goals)
    with pytest.raises(ValueError, match="finite"):
        lower_bound_steps("multi2d-medium", starts * np.nan, goals)
    assert oracle_steps("multi2d-medium", np.zeros((0, 4)), np.zeros((0, 2))).shape == (0,)


def test_policies_take_single_observations_and_follow_a_moved_goal():
    env = gym.make("multi2d-large")
    policy = OraclePolicy("multi2d-large")
    observation, _ = env.reset(seed=4)
    action, state = policy.predict(observation)
    assert action.shape == (2,)
    moved = dict(observation, desired_goal=np.array(MAZES["large"].centre((1, 1))))
    fresh, _ = policy.predict(moved)
    followed, _ = policy.predict(moved, state)
    assert (fresh == followed).all()
    with pytest.raises(TypeError, match="dict observations"):
        policy.predict(observation["observation"])


def test_noise_is_seeded_clipped_and_left_out_when_deterministic():
    observation, _ = gym.make("walk2d-large").reset(seed=0)
    # So near that the force is not saturated: with a far waypoint the noise is clipped away.
    observation["desired_goal"] = observation["achieved_goal"] + (0.06, -0.03)

    def actions(seed, **kwargs):
        policy, state, out = demonstrator("walk2d-large", seed=seed), None, []
        for _ in range(200):
            action, state = policy.predict(observation, state, **kwargs)
            out.append(action)
        return np.array(out)

    assert (actions(1) == actions(1)).all()
    assert (actions(1) != actions(2)).any()
    assert np.abs(actions(1)).max() == 1.0
    assert len(np.unique(actions(1, deterministic=True), axis=0)) == 1
    with pytest.raises(ValueError, match="shortest, dfs"):
        demonstrator("walk2d-large", route="bfs")
