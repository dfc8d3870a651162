"""SAC and TD3 with hindsight goals: the exported actor acts as the model; runs go on where they were."""

import json
import os
import signal

import df_envs  # noqa: F401 - registers the mazes with gymnasium
import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.evaluation import evaluate_policy

from df_agent.baselines.sac_her import ALGORITHM
from df_agent.baselines.sac_her_model import ArrivalReward, actor_of, make_env, make_model
from df_agent.checkpoint import CheckpointError, save_checkpoint
from df_agent.evaluation.rollout import episode_seed, rollout
from df_agent.options.baselines import SACHERConfig
from df_agent.policies.learned_actors import SACHERPolicy
from df_agent.training.run_folder import RunError
from df_agent.training.sac_her import read_curve, train_sac_her

ENV = "multi2d-umaze"


def small(**options):
    defaults = {"envs": 2, "width": 16, "batch_size": 32, "buffer_size": 2000, "learning_starts": 80, "device": "cpu"}
    return SACHERConfig(**{**defaults, "max_episode_steps": 30, "gradient_steps": 1, **options})


def observations(count, seed=0):
    draw = np.random.default_rng(seed)
    values = draw.uniform(-2, 2, (count, 4))
    return {"observation": values, "achieved_goal": values[:, :2], "desired_goal": draw.uniform(-2, 2, (count, 2))}


@pytest.mark.parametrize("algorithm", ["sac", "td3"])
def test_the_exported_actor_acts_as_the_model(algorithm, tmp_path):
    model = make_model(ENV, small(algorithm=algorithm, seed=3))
    model.learn(120)  # away from the initial weights
    batch = observations(64)
    expected, _ = model.predict(batch, deterministic=True)
    assert np.ptp(expected, axis=0).min() > 1e-3
    actor = actor_of(model)
    actions, _ = SACHERPolicy(actor).predict(batch)
    np.testing.assert_allclose(actions, expected, atol=1e-6)
    save_checkpoint(tmp_path / "actor", actor.state_dict(), {"algorithm": ALGORITHM, "learner": actor.config})
    loaded, _ = SACHERPolicy.from_pretrained(tmp_path / "actor", device="cpu").predict(batch)
    np.testing.assert_array_equal(loaded, actions)
    single, _ = SACHERPolicy(actor).predict({key: value[5] for key, value in batch.items()})
    np.testing.assert_allclose(single, expected[5], atol=1e-6)
    save_checkpoint(tmp_path / "other", actor.state_dict(), {"algorithm": "gcbc", "learner": actor.config})
    with pytest.raises(CheckpointError, match="the baseline gcbc, not the baseline sac_her"):
        SACHERPolicy.from_pretrained(tmp_path / "other")


class SameEpisodes(gym.Wrapper):
    """Begins the episodes that a rollout begins, in their order."""

    def __init__(self, env, seed):
        super().__init__(env)
        self.seed, self.episode = seed, 0

    def reset(self, **options):
        self.episode += 1
        return self.env.reset(seed=episode_seed(self.seed, self.episode - 1))


def test_stable_baselines_evaluation_gives_the_same_success():
    model = make_model(ENV, small())
    # A controller that pulls towards the goal, so that some episodes succeed.
    with torch.no_grad():
        for p in model.actor.parameters():
            p.zero_()
        first, second = model.actor.latent_pi[0], model.actor.latent_pi[2]
        for axis in range(2):
            for sign in (0, 1):
                row = 2 * axis + sign
                first.weight[row, axis], first.weight[row, 4 + axis] = 2.0 * sign - 1, 1 - 2.0 * sign
                second.weight[row, row], model.actor.mu.weight[axis, row] = 1.0, 3.0 * (1 - 2 * sign)
    records = rollout(SACHERPolicy(actor_of(model)), ENV, episodes=8, seed=1000, max_steps=80)
    env = SameEpisodes(gym.make(ENV, max_episode_steps=80), 1000)
    arrived = []

    def look(scope, _):
        arrived[-1] |= scope["info"]["success"]
        if scope["done"]:
            arrived.append(False)

    arrived.append(False)
    rewards, lengths = evaluate_policy(
        model, env, n_eval_episodes=8, callback=look, return_episode_rewards=True, warn=False
    )
    assert lengths == [80] * 8
    assert rewards == [record.episode_reward for record in records]
    assert arrived[:8] == [record.success for record in records]
    assert 0 < sum(arrived) < 8


def test_an_episode_costs_one_per_step_and_ends_on_arrival():
    env = ArrivalReward(gym.make("maze2d-umaze", max_episode_steps=5))
    goal = env.unwrapped.goal

    def begin(x, vx=0.0):  # right of the goal, where the next cell is free
        return env.reset(options={"state": np.array([goal[0] + x, goal[1], vx, 0.0]), "goal": goal})

    observation, _ = begin(0.55)
    assert all(value.dtype == np.float32 for value in observation.values())
    assert env.observation_space.contains(observation)
    _, reward, terminated, truncated, _ = env.step(np.array([1.0, 0.0], np.float32))
    assert (reward, terminated, truncated) == (-1.0, False, False)
    begin(0.57, vx=-5.0)
    assert [env.step(np.array([-1.0, 0.0], np.float32))[1:4] for _ in range(2)] == [
        (-1.0, False, False),
        (0.0, True, False),
    ]
    begin(1.0)
    assert [env.step(np.zeros(2, np.float32))[3] for _ in range(5)] == [False] * 4 + [True]
    apart = np.array([[0.3, 0.3], [0.5, 0.0], [0.4, 0.4]])
    np.testing.assert_array_equal(env.compute_reward(apart, np.zeros((3, 2)), {}), [0, 0, -1])


def test_a_step_costs_the_same_where_the_reward_at_the_goal_is_zero():
    import df_envs.fetch  # noqa: F401 - registers Gymnasium-Robotics' environments, whose rewards are -1 and 0

    env = ArrivalReward(gym.make("FetchReach-v4", disable_env_checker=True))
    observation, _ = env.reset(seed=0)
    steps = []
    for _ in range(20):
        move = 20 * (observation["desired_goal"] - observation["achieved_goal"])
        observation, reward, terminated, _, _ = env.step(np.clip([*move, 0.0], -1, 1).astype(np.float32))
        steps.append((reward, terminated))
        if terminated:
            break
    assert steps == [(-1.0, False)] * (len(steps) - 1) + [(0.0, True)]
    assert len(steps) > 1
    near, far = np.zeros((2, 3)), np.array([[0.04, 0, 0], [0.06, 0, 0]])
    np.testing.assert_array_equal(env.compute_reward(near, far, {}), [0, -1])


def test_hindsight_goals_end_transitions_where_they_are_reached_and_timeouts_do_not():
    model = make_model(ENV, small(seed=1))
    model.learn(400)
    buffer = model.replay_buffer
    samples = buffer.sample(512)
    next_places = samples.next_observations["achieved_goal"]
    at_goal = (next_places - samples.observations["desired_goal"]).norm(dim=1) <= 0.5
    assert torch.equal(samples.dones[:, 0] == 1, at_goal)
    assert torch.equal(samples.rewards[:, 0] == 0, at_goal)
    assert 0 < at_goal.sum() < 512
    assert buffer.timeouts.any()


def test_a_run_goes_on_from_its_newest_state(tmp_path):
    measured = []

    def validate(policy, steps):
        measured.append(steps)
        return {"time_to_goal": 100.0 - steps}

    options = {"save_every": 100, "validate": validate}
    train_sac_her(ENV, tmp_path, small(), steps=200, **options)
    before = (tmp_path / "final" / "config.json").read_text()
    with (tmp_path / "curve.jsonl").open("a") as file:  # as if it had been killed before the state was complete
        file.write(json.dumps({"steps": 300, "seconds": 1.0, "time_to_goal": 0.0}) + "\n")
    train_sac_her(ENV, tmp_path, small(), steps=400, **options)
    assert measured == [100, 200, 300, 400]
    assert [row["steps"] for row in read_curve(tmp_path)] == [100, 200, 300, 400]
    assert [path.name for path in (tmp_path / "states").iterdir()] == ["step_000000400"]
    assert (tmp_path / "final" / "config.json").read_text() != before
    assert SACHERPolicy.from_pretrained(tmp_path / "best", device="cpu").predict(observations(3))[0].shape == (3, 2)
    with pytest.raises(RunError, match="width: 16 there, 8 now"):
        train_sac_her(ENV, tmp_path, small(width=8), steps=500)


@pytest.mark.parametrize("where", ["step", "validation"])
def test_a_signal_to_stop_loses_no_step(tmp_path, monkeypatch, capsys, where):
    def validate(actor, steps):
        os.kill(os.getpid(), signal.SIGTERM)
        return {"time_to_goal": 1.0}

    if where == "step":
        original, calls = ArrivalReward.step, []

        def step(self, action):
            calls.append(action)
            if len(calls) == 37:
                os.kill(os.getpid(), signal.SIGTERM)
            return original(self, action)

        monkeypatch.setattr(ArrivalReward, "step", step)
    with pytest.raises(KeyboardInterrupt):
        train_sac_her(ENV, tmp_path, small(), steps=400, save_every=120, validate=validate)
    (row,) = read_curve(tmp_path)
    assert "time_to_goal" not in row
    assert f"continues from step {row['steps']:.0f}, which is saved" in capsys.readouterr().out
    assert row["steps"] == 120 if where == "validation" else row["steps"] < 120
    assert (tmp_path / "states" / f"step_{row['steps']:09d}").is_dir()


def test_best_keeps_the_actor_that_was_fastest(tmp_path):
    times = iter([5.0, 3.0, 4.0])
    saved = []

    def validate(actor, steps):
        saved.append({key: value.clone() for key, value in actor.state_dict().items()})
        return {"time_to_goal": next(times)}

    train_sac_her(ENV, tmp_path, small(), steps=360, save_every=120, validate=validate)
    best = SACHERPolicy.from_pretrained(tmp_path / "best", device="cpu").actor.state_dict()
    final = SACHERPolicy.from_pretrained(tmp_path / "final", device="cpu").actor.state_dict()
    assert all(torch.equal(best[key], saved[1][key]) for key in best)
    assert all(torch.equal(final[key], saved[2][key]) for key in final)
    assert not all(torch.equal(best[key], final[key]) for key in final)


def test_best_stays_if_the_process_is_killed_behind_it(tmp_path, monkeypatch):
    def run(steps, *times):
        times = iter(times)
        train_sac_her(
            ENV, tmp_path, small(), steps=steps, save_every=120, validate=lambda *_: {"time_to_goal": next(times)}
        )

    run(120, 3.0)
    with monkeypatch.context() as killed:
        killed.setattr(SAC, "save_replay_buffer", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(240, 1.0)
    best = (tmp_path / "best" / "config.json").read_bytes()
    run(240, 2.0)
    assert [row["time_to_goal"] for row in read_curve(tmp_path)] == [3.0, 2.0]
    assert (tmp_path / "best" / "config.json").read_bytes() == best, "1.0 is better"


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="'ppo', available: sac, td3"):
        SACHERConfig(algorithm="ppo")
    with pytest.raises(ValueError, match="gradient_steps"):
        SACHERConfig(gradient_steps=0)
    with pytest.raises(ValueError, match="actions lie in"):
        make_env("Pendulum-v1")
