from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from df_planners.plan import Plan
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

from df_agent.evaluation.rollout import PolicyError, episode_seed, rollout
from df_agent.policies.random import RandomPolicy

TIMINGS = ("policy_seconds", "policy_seconds_to_goal", "env_seconds", "wall_seconds", "num_envs", "plans")


def without_timings(record):
    return {key: value for key, value in vars(record).items() if key not in TIMINGS}


def steps_by_hand(policy, env_id, seed):
    """A bare gymnasium loop: steps until success, rewards, and whether it is there at the end."""
    env = gym.make(env_id)
    observation, info = env.reset(seed=seed)
    arrival, rewards, state, start = (0 if info["success"] else None), [], None, np.ones(1, bool)
    while True:
        action, state = policy.predict(observation, state, start, deterministic=True)
        start = np.zeros(1, bool)
        observation, reward, terminated, truncated, info = env.step(action)
        rewards.append(reward)
        if info["success"] and arrival is None:
            arrival = len(rewards)
        if terminated or truncated:
            return arrival, rewards, info["success"], observation["achieved_goal"]


@pytest.mark.parametrize("env_id", ["toy-point", "toy-point-stop"])
def test_records_agree_with_a_bare_gymnasium_loop(env_id, straight):
    records = rollout(straight, env_id, episodes=45, seed=8)
    assert any(record.time_to_goal == 0 for record in records), "no start inside the goal: choose another seed"
    for record in records:
        arrival, rewards, at_end, last = steps_by_hand(straight, env_id, record.seed)
        assert (record.time_to_goal, record.success) == (arrival, True)
        assert record.length == len(rewards)
        assert record.episode_reward == sum(rewards)
        assert record.at_goal_at_end == at_end
        assert record.first_reach == rewards.index(1.0)
        assert np.allclose(record.path[-1], last, atol=1e-4)
        assert len(record.path) == record.length + 1
        assert record.episode_reward_if_stay == 30 - record.first_reach


def test_what_it_costs_to_arrive_is_told_from_what_comes_after(make_straight):
    records = rollout(make_straight(2), "toy-point", episodes=45, seed=8, num_envs=1)
    there = [record for record in records if record.time_to_goal == 0]
    assert there
    assert all(record.policy_seconds_to_goal == 0 and not record.plans_to_goal for record in there)
    for record in records:
        assert len(record.plans_to_goal) == -(-record.time_to_goal // 2) < len(record.plans) == 15
    walked = [record for record in records if record.time_to_goal > 3]
    assert all(0 < record.policy_seconds_to_goal < record.policy_seconds for record in walked)
    still = rollout(RandomPolicy(gym.make("toy-point").action_space), "toy-point", episodes=20, seed=8)
    timeouts = [record for record in still if not record.success]
    assert timeouts
    assert all(record.policy_seconds_to_goal == record.policy_seconds for record in timeouts)


@pytest.mark.parametrize("policy_kind", ["straight", "random"])
@pytest.mark.parametrize("env_id", ["toy-point", "toy-point-stop"])
def test_results_do_not_depend_on_how_many_run_side_by_side(env_id, policy_kind, make_straight):
    def run(num_envs):
        policy = make_straight() if policy_kind == "straight" else RandomPolicy(gym.make(env_id).action_space)
        return rollout(policy, env_id, episodes=7, seed=4, num_envs=num_envs)

    reference = run(None)
    for num_envs in (1, 3, 7, 50):
        records = run(num_envs)
        assert [without_timings(r) for r in records] == [without_timings(r) for r in reference]
        assert [[p.step for p in r.plans] for r in records] == [[p.step for p in r.plans] for r in reference]
    assert len({tuple(record.start) for record in reference}) == 7


def test_episodes_are_shared_out_evenly_and_only_real_ones_reach_the_policy(straight):
    rollout(straight, "toy-point", episodes=7, num_envs=3)
    assert straight.batches == [3] * 60 + [1] * 30


def test_timeouts_are_censored_at_the_limit():
    class Lazy:
        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            return np.zeros((len(observation["observation"]), 2)), None

    records = rollout(Lazy(), "toy-point", episodes=20, seed=1, max_steps=12)
    missed = [record for record in records if not record.success]
    assert len(missed) >= 15
    for record in missed:
        assert record.time_to_goal == record.first_reach == record.length == record.max_episode_steps == 12
        assert record.episode_reward == record.episode_reward_if_stay == 0


def test_if_stay_is_the_limit_less_first_reach_for_any_policy():
    policy = RandomPolicy(gym.make("toy-point").action_space)
    records = rollout(policy, "toy-point", episodes=60, seed=2)
    assert any(record.success and not record.at_goal_at_end for record in records)
    for record in records:
        assert record.episode_reward_if_stay == record.max_episode_steps - record.first_reach
        assert record.episode_reward <= record.episode_reward_if_stay
        assert record.success == (record.time_to_goal < 30) or record.time_to_goal == 30
        if record.time_to_goal not in (0, 30):
            assert record.time_to_goal == record.first_reach + 1


def test_sb3_evaluate_policy_finds_the_same_rewards(straight):
    records = rollout(straight, "toy-point", episodes=6, seed=11)
    for record in records:
        env = Monitor(gym.make("toy-point"))
        env.reset(seed=record.seed)
        rewards, lengths = evaluate_policy(
            straight, SeedOnReset(env, record.seed), n_eval_episodes=1, return_episode_rewards=True, warn=False
        )
        assert rewards == [record.episode_reward]
        assert lengths == [record.length]


class SeedOnReset(gym.Wrapper):
    """evaluate_policy resets without a seed; here every reset repeats one episode."""

    def __init__(self, env, seed):
        super().__init__(env)
        self.fixed_seed = seed

    def reset(self, *, seed=None, options=None):
        return self.env.reset(seed=self.fixed_seed, options=options)


def test_plans_are_recorded_with_their_call_step_and_path(straight):
    hook = straight.on_plan
    records = rollout(straight, "toy-point", episodes=5, seed=3, num_envs=3)
    assert straight.on_plan is hook, "the policy's own hook must be given back"
    assert straight.seeds == [3]
    for record in records:
        assert [plan.step for plan in record.plans] == [0, 10, 20]
        first = record.plans[0]
        assert np.allclose(first.path[0], record.start, atol=1e-4)
        assert np.allclose(first.path[-1], record.goal, atol=1e-4)
        assert first.seconds == pytest.approx(0.002 * first.batch)
    assert [[plan.call for plan in record.plans] for record in records] == [[0, 1, 2]] * 3 + [[3, 4, 5]] * 2
    assert [record.plans[0].batch for record in records] == [3, 3, 3, 2, 2]


def test_plans_that_the_policy_did_not_follow_are_marked():
    def predict(observation, state=None, episode_start=None, deterministic=False):
        plan = Plan(np.zeros((2, 3, 2)), np.array([3, 2]), 1)
        event = SimpleNamespace(rows=np.array([0, 2]), plan=plan, seconds=0.1, executed=np.array([True, False]))
        if np.all(episode_start):
            policy.on_plan(event)
        return np.zeros((3, 2)), None

    policy = SimpleNamespace(predict=predict, on_plan=None)
    records = rollout(policy, "toy-point", episodes=3)
    assert [[plan.executed for plan in record.plans] for record in records] == [[True], [], [False]]
    assert [len(plan.path) for record in records for plan in record.plans] == [3, 2]


def test_paths_can_be_left_out(straight):
    (record,) = rollout(straight, "toy-point", episodes=1, keep_paths=False)
    assert record.path == []
    assert [plan.path for plan in record.plans] == [[], [], []]


def test_progress_ends_with_all_steps_and_arrivals(straight):
    seen = []
    records = rollout(straight, "toy-point", episodes=5, num_envs=2, on_progress=seen.append)
    assert [now.steps for now in seen] == sorted(now.steps for now in seen)
    last = seen[-1]
    assert (last.steps, last.total_steps, last.started, last.episodes) == (150, 150, 5, 5)
    assert last.successes == sum(record.success for record in records) == 5


class Faulty:
    def __init__(self, answer, step=4):
        self.answer, self.step, self.calls = answer, step, 0

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        actions = np.zeros((len(observation["observation"]), 2))
        if self.calls == self.step:
            return self.answer(actions)
        self.calls += 1
        return actions, None


def nan_in_row_2(actions):
    actions[2, 1] = np.nan
    return actions, None


def too_strong(actions):
    actions[1, 0] = 1.5
    return actions, None


def raises(actions):
    raise KeyError("velocity")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (nan_in_row_2, r"step 4: actions must be finite, 1 of 3 do not, first row 2: \[ 0. nan\]"),
        (too_strong, r"step 4: actions must lie in \[\[-1. -1.\], \[1. 1.\]\], 1 of 3 do not, first row 1"),
        (lambda actions: (actions[:, :1], None), r"step 4: actions must have shape \(3, 2\), got \(3, 1\)"),
        (lambda actions: (actions.astype(str), None), "step 4: actions must be numbers, got"),
        (lambda actions: actions, r"step 4: predict must return \(actions, state\), got <class 'numpy.ndarray'>"),
        (raises, "policy 'Faulty', step 4: predict raised KeyError: 'velocity'"),
    ],
)
def test_a_faulty_policy_is_named_with_its_step_and_fault(answer, message):
    with pytest.raises(PolicyError, match=message):
        rollout(Faulty(answer), "toy-point", episodes=3)


def test_environments_without_goals_or_limit_are_refused(straight):
    with pytest.raises(ValueError, match=r"not a goal-conditioned environment.*desired_goal"):
        rollout(straight, "CartPole-v1", episodes=1)
    gym.register("toy-endless", "gymnasium.envs.classic_control:CartPoleEnv")
    try:
        with pytest.raises(ValueError, match="no limit of its own: give max_steps"):
            rollout(straight, "toy-endless", episodes=1)
    finally:
        del gym.registry["toy-endless"]
    with pytest.raises(ValueError, match="episodes=0"):
        rollout(straight, "toy-point", episodes=0)


def test_episode_seeds_differ_between_episodes_and_rollouts():
    seeds = {episode_seed(seed, episode) for seed in range(20) for episode in range(200)}
    assert len(seeds) == 4000
    assert episode_seed(0, 5) == episode_seed(0, 5)


def test_random_policy_is_uniform_bounded_and_serves_single_observations():
    space = gym.spaces.Box(np.array([-1.0, 0.0]), np.array([1.0, 4.0]), dtype=np.float64)
    policy = RandomPolicy(space, seed=5)
    observation = {"observation": np.zeros((400, 2)), "desired_goal": np.zeros((400, 2))}
    actions, state = policy.predict(observation)
    more, state = policy.predict(observation, state, np.zeros(400, bool))
    actions = np.concatenate([actions, more])
    assert (actions >= space.low).all()
    assert (actions <= space.high).all()
    # Uniform on [0, 4]: mean 2, standard deviation 4 / sqrt(12); four standard errors of 800 draws.
    assert actions[:, 1].mean() == pytest.approx(2.0, abs=4 * 4 / np.sqrt(12 * 800))
    assert actions[:, 1].std() == pytest.approx(4 / np.sqrt(12), rel=0.08)
    single, _ = policy.predict({"observation": np.zeros(2), "desired_goal": np.zeros(2)})
    assert single.shape == (2,)
    with pytest.raises(ValueError, match="bounded Box"):
        RandomPolicy(gym.spaces.Discrete(3))


def test_a_random_episode_repeats_whatever_runs_beside_it():
    space = gym.spaces.Box(-1.0, 1.0, (2,))
    places = np.random.default_rng(0).uniform(-1, 1, (4, 2))

    def actions(rows, seed=0, steps=3):
        policy, state, found = RandomPolicy(space), None, []
        policy.set_random_seed(seed)
        for step in range(steps):
            observation = {"observation": places[rows] + step, "desired_goal": places[rows]}
            action, state = policy.predict(observation, state, deterministic=True)
            found.append(action)
        return np.array(found)

    together = actions([0, 1, 2, 3])
    assert np.array_equal(together[:, [2, 0]], actions([2, 0]))
    assert len(np.unique(together)) == together.size
    assert not np.isin(actions([0], seed=1), together).any()


def test_a_rollout_goes_on_where_another_ended(straight):
    whole = rollout(straight, "toy-point", episodes=6, seed=5, num_envs=3)
    seen = []
    parts = [
        rollout(straight, "toy-point", episodes=3, first_episode=first, seed=5, on_record=seen.append)
        for first in (0, 3)
    ]
    rows = [record for part in parts for record in part]
    assert [without_timings(record) for record in rows] == [without_timings(record) for record in whole]
    assert seen == rows
    calls = [{plan.call for record in part for plan in record.plans} for part in parts]
    assert not calls[0] & calls[1]
