"""Training, prediction and the environment, end to end on a toy film."""

import re

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import SAC
from stable_baselines3.her import HerReplayBuffer
from toy_film import SIZE, toy_clips

import df_agent.world_model.compact as compact_module
import df_agent.world_model.training as training_module
from df_agent.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from df_agent.data.datasets import load_episodes
from df_agent.evaluation.active_rows import take_rows
from df_agent.training.run_folder import RunError
from df_agent.world_model.compact import load_compact, train_compact
from df_agent.world_model.config import RolloutConfig
from df_agent.world_model.env import WorldModelVectorEnv
from df_agent.world_model.pixel_policy import PixelPolicy
from df_agent.world_model.sb3 import LatentVecEnv
from df_agent.world_model.training import train_video
from df_agent.world_model.video_model import VideoModel

SHORT = {"batch_size": 8, "warmup_steps": 1, "precision": "fp32", "checkpoint_every": 5}
ENCODER = {"widths": [8, 8], "latent_channels": 4}
VIDEO = {
    "env": "toy",
    "dataset": "toy",
    "tracker": "none",
    "length": 5,
    "every": 2,
    "autoencoder": {**ENCODER, "load": None, "train": {"steps": 10, **SHORT}},
    "network": {"width": 16, "depth": 1, "heads": 2},
    "diffusion": {"levels": 50, "snr_weighting": "fused"},
    "video": {},
    "rollout": {"steps": 2},
    "train": {"steps": 6, **SHORT},
}
COMPACT = {
    "env": "toy",
    "dataset": "toy",
    "every": 2,
    "autoencoder": {**ENCODER, "normalise": False, "straighten": 0.5, "train": {"steps": 10, **SHORT}},
    "dynamics": {"width": 16, "depth": 1, "length": 5, "train": {"steps": 10, **SHORT}},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("runs")
    for module in (training_module, compact_module):
        patch.setattr(module, "load_clips", lambda name: toy_clips())
    train_video({**VIDEO, "run_dir": str(folder / "video")})
    train_compact({**COMPACT, "run_dir": str(folder / "compact")})
    patch.undo()
    return folder


@pytest.fixture(scope="module")
def model(runs):
    return VideoModel.from_pretrained(runs / "video" / "final", device="cpu")


def film(clips: int = 3, length: int = 6):
    toy = toy_clips(episodes=clips, length=length, seed=4)
    return toy.frames.reshape(clips, length, SIZE, SIZE, 3), toy.actions.reshape(clips, length, 4)[:, 1:]


def test_a_trained_model_predicts_from_its_checkpoint_alone(model):
    frames, actions = film()
    ahead = model.predict(frames[:, :2], actions)
    assert ahead.shape == (3, 4, SIZE, SIZE, 3)
    assert ahead.dtype == np.uint8
    assert np.array_equal(ahead, model.predict(frames[:, :2], actions))
    assert not np.array_equal(ahead, model.predict(frames[:, :2], actions, seed=1))
    hidden = model.predict(frames[:, :2], None, 4)
    assert hidden.shape == ahead.shape
    with pytest.raises(ValueError, match="length of at least 1"):
        model.predict(frames[:, :2], None)
    with pytest.raises(ValueError, match=r"uint8 \(B, C, 16, 16, 3\), got float64"):
        model.predict(frames[:, :2] / 255, actions)
    with pytest.raises(ValueError, match="uint8"):
        model.predict(frames[:, :2, :8], actions)
    with pytest.raises(ValueError, match=r"of shape \(3, T, 4\)"):
        model.predict(frames[:, :2], actions[..., :3])
    with pytest.raises(ValueError, match="finite"):
        model.predict(frames[:, :2], actions * np.nan)


def test_rows_of_a_batch_do_not_see_each_other(model):
    frames, actions = film()
    quiet = RolloutConfig(steps=1)
    together = model.predict(frames[:1, :2].repeat(2, 0), actions[:1].repeat(2, 0), rollout=quiet, seed=3)
    alone = model.predict(frames[:1, :2], actions[:1], rollout=quiet, seed=3)
    assert np.abs(together[0, 0].astype(int) - alone[0, 0]).max() <= 1


def test_latents_come_back_as_pictures(model):
    frames, _ = film()
    latents = model.encode(frames)
    assert latents.shape == (3, 6, 4 * 4)
    assert model.decode(latents).shape == frames.shape


def test_another_run_can_take_its_autoencoder(runs, monkeypatch):
    monkeypatch.setattr(training_module, "load_clips", lambda name: toy_clips())
    given = {"load": str(runs / "video" / "final"), "train": {"steps": 10, **SHORT}}
    run = runs / "teacher"
    train_video({**VIDEO, "autoencoder": given, "video": {"method": "teacher_forcing"}, "run_dir": str(run)})
    assert not (run / "autoencoder").exists()
    ours, theirs = (load_checkpoint(runs / name / "final").weights for name in ("video", "teacher"))
    for key in (key for key in ours if key.startswith("autoencoder.")):
        assert torch.equal(ours[key], theirs[key])


def test_what_is_no_video_model_is_refused(runs, tmp_path):
    with pytest.raises(CheckpointError, match="not a video model"):
        VideoModel.from_pretrained(runs / "compact" / "final")
    with pytest.raises(CheckpointError, match="not a compact model"):
        load_compact(runs / "video" / "final")
    save_checkpoint(tmp_path / "foreign", {"a": torch.zeros(1)}, {"video": {}})
    with pytest.raises((CheckpointError, KeyError)):
        VideoModel.from_pretrained(tmp_path / "foreign")


# -- the environment --


def make_env(model, **options):
    return WorldModelVectorEnv(model, toy_clips(), 4, seen=3, max_steps=5, **options)


def test_the_environment_keeps_its_word(model):
    env = make_env(model, render_mode="rgb_array")
    observation, info = env.reset(seed=0)
    assert info == {}
    assert env.observation_space.contains(observation)
    assert env.single_observation_space["observation"].shape == (SIZE, SIZE, 3)
    assert env.action_space.shape == (4, 2)
    assert env.metadata["autoreset_mode"] is gym.vector.AutoresetMode.SAME_STEP
    for _ in range(7):
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert env.observation_space.contains(observation)
        assert reward.shape == terminated.shape == truncated.shape == (4,)
        assert reward.dtype == np.float64
        assert terminated.dtype == truncated.dtype == bool
        assert np.array_equal(np.stack(env.render()), observation["observation"])


def test_the_same_seed_and_actions_give_the_same_world(model):
    def run(seed):
        env = make_env(model)
        first, _ = env.reset(seed=seed)
        return [first, *(env.step(np.full((4, 2), 0.5, np.float32))[0] for _ in range(6))]

    a, b, c = run(3), run(3), run(4)
    for x, y in zip(a, b, strict=True):
        assert all(np.array_equal(x[key], y[key]) for key in x)
    assert not np.array_equal(a[0]["observation"], c[0]["observation"])


def test_rows_end_together_at_the_limit_and_say_how(model):
    env = make_env(model)
    env.reset(seed=0)
    for step in range(1, 6):
        observation, _, terminated, truncated, info = env.step(np.zeros((4, 2), np.float32))
        assert truncated.all() == (step == 5)
        assert not terminated.any()
    assert info["_final_obs"].all()
    assert not np.array_equal(info["final_obs"]["observation"], observation["observation"])
    _, _, _, truncated, info = env.step(np.zeros((4, 2), np.float32))
    assert not truncated.any()
    assert "final_obs" not in info


def test_a_row_that_arrives_begins_anew_and_the_others_go_on_as_they_were(model):
    def reward_of(rows):
        return lambda frames, goals: np.array([1.0 if row in rows else 0.0 for row in range(len(frames))])

    actions = np.random.default_rng(0).uniform(-1, 1, (4, 4, 2)).astype(np.float32)

    def run(rows):
        env = make_env(model, reward=reward_of(()))
        env.reset(seed=5)
        out = []
        for t in range(4):
            env.reward = reward_of(rows if t == 1 else ())
            out.append(env.step(actions[t]))
        return out

    plain, broken = run(()), run((2,))
    assert broken[1][2].tolist() == [False, False, True, False]
    assert broken[1][4]["_final_obs"].tolist() == [False, False, True, False]
    others = [0, 1, 3]
    for t in range(4):
        a, b = plain[t][0]["observation"][others], broken[t][0]["observation"][others]
        assert np.abs(a.astype(int) - b).max() <= 1
    assert np.array_equal(broken[1][4]["final_obs"]["observation"][2], plain[1][0]["observation"][2])
    new = broken[1][0]["observation"][2]
    assert any(np.array_equal(new, frame) for frame in toy_clips().frames)  # begins with a real picture


def test_some_rows_can_be_reset(model):
    env = make_env(model)
    env.reset(seed=0)
    before, *_ = env.step(np.zeros((4, 2), np.float32))
    after, _ = env.reset(options={"reset_mask": np.array([True, False, False, False])})
    assert np.array_equal(before["observation"][1:], after["observation"][1:])
    assert not np.array_equal(before["observation"][0], after["observation"][0])


def test_misuse_is_an_error(model):
    env = make_env(model)
    with pytest.raises(RuntimeError, match="call reset"):
        env.step(np.zeros((4, 2), np.float32))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"of shape \(4, 2\)"):
        env.step(np.zeros((4, 3), np.float32))
    with pytest.raises(ValueError, match="finite"):
        env.step(np.full((4, 2), np.nan, np.float32))
    toy = toy_clips(every=3)
    with pytest.raises(ValueError, match=r"4 numbers of actions between them, the contexts have .* and 6"):
        WorldModelVectorEnv(model, toy, 2)
    with pytest.raises(ValueError, match="has 40 pictures"):
        WorldModelVectorEnv(model, toy_clips(), 2, seen=40)
    with pytest.raises(ValueError, match="render_mode"):
        make_env(model, render_mode="human")
    with pytest.raises(ValueError, match="cached=True"):
        make_env(model, rollout=RolloutConfig(cached=False, chunk=2))


# -- compact latents, and a policy behind them --


def test_compact_latents_are_a_dataset(runs):
    episodes = load_episodes(runs / "compact" / "latents.npz")
    toy = toy_clips()
    assert episodes.observations.shape == (48, 8)
    assert len(episodes) == 4
    assert np.allclose(episodes.achieved_goals, episodes.observations[:, :4])
    assert np.allclose(episodes.observations[0, 4:], 0)
    assert np.allclose(
        episodes.observations[1, 4:], episodes.observations[1, :4] - episodes.observations[0, :4], atol=1e-5
    )
    assert np.allclose(episodes.actions[0], toy.actions[1, :2])  # what was done from the first picture on
    encoder, config = load_compact(runs / "compact" / "final", "cpu")
    assert config["compact"]["every"] == 2
    latents = encoder.encode(toy.frames).numpy()
    assert np.allclose(latents, episodes.achieved_goals, atol=1e-3)
    assert np.allclose(latents.mean(0), 0, atol=1e-3)
    assert np.allclose(latents.std(0), 1, atol=0.02)


def test_clips_that_do_not_fit_are_refused_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(compact_module, "load_clips", lambda name: toy_clips())
    for length, said in ((2, "dynamics.length must be at least 3"), (13, "no episode has 13 pictures")):
        with pytest.raises(ValueError, match=said):
            train_compact({**COMPACT, "dynamics": {**COMPACT["dynamics"], "length": length}, "run_dir": str(tmp_path)})
        assert not (tmp_path / "autoencoder").exists()


def test_the_typical_change_is_one_within_episodes():
    toy = toy_clips(episodes=4, length=12)
    steps = torch.randn(4, 12, 3, generator=torch.Generator().manual_seed(0))
    latents = steps.cumsum(1) + 100 * torch.arange(4.0)[:, None, None]  # far from one episode to the next
    change = compact_module.typical_change(latents.flatten(0, 1), toy)
    torch.testing.assert_close(change, steps[:, 1:].std())


def test_a_run_is_not_continued_on_other_data(runs, monkeypatch):
    for module in (training_module, compact_module):
        monkeypatch.setattr(module, "load_clips", lambda name: toy_clips())
    longer = {**COMPACT["dynamics"], "length": 6}
    for change, named in (
        ({"dataset": "other"}, "data.dataset: 'toy' there, 'other' now"),
        ({"every": 4}, "data.every: 2 there, 4 now"),
        ({"dynamics": longer}, "data.length: 5 there, 6 now"),
    ):
        with pytest.raises(RunError, match=re.escape(named)):
            train_compact({**COMPACT, **change, "run_dir": str(runs / "compact")})
    with pytest.raises(RunError, match=r"data\.dataset: 'toy' there, 'other' now"):
        train_video({**VIDEO, "dataset": "other", "run_dir": str(runs / "video")})


class Watcher:
    """Keeps what it was shown."""

    def __init__(self):
        self.seen = []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        self.seen.append((observation, state, episode_start))
        return np.full((len(observation["observation"]), 2), len(self.seen) / 10), np.zeros(
            len(observation["observation"])
        )


def test_a_pixel_policy_looks_at_every_second_step_and_holds_its_action(runs):
    encoder, config = load_compact(runs / "compact" / "final", "cpu")
    inner = Watcher()
    policy = PixelPolicy(encoder, inner, config["compact"]["every"])
    frames, _ = film(clips=2, length=5)
    state, actions = None, []
    for t in range(5):
        start = np.full(2, t == 0)
        action, state = policy.predict({"observation": frames[:, t], "desired_goal": frames[:, 4]}, state, start)
        actions.append(action[0, 0])
    assert actions == [0.1, 0.1, 0.2, 0.2, 0.3]
    latents = encoder.encode(frames).numpy()
    first, second = inner.seen[0][0], inner.seen[1][0]
    assert np.allclose(first["observation"][:, 4:], 0)
    assert np.allclose(
        second["observation"], np.concatenate([latents[:, 2], latents[:, 2] - latents[:, 0]], 1), atol=1e-5
    )
    assert np.allclose(second["desired_goal"], latents[:, 4], atol=1e-5)
    assert inner.seen[0][2].all()
    assert not inner.seen[1][2].any()


def test_episodes_that_begin_at_other_times_are_looked_at_at_other_times(runs):
    encoder, _ = load_compact(runs / "compact" / "final", "cpu")
    inner = Watcher()
    policy = PixelPolicy(encoder, inner, 2)
    frames, _ = film(clips=3, length=6)
    state, asked = None, []
    for t in range(5):
        start = np.array([t == 0, t == 0, t in (0, 1)])
        before = len(inner.seen)
        action, state = policy.predict({"observation": frames[:, t], "desired_goal": frames[:, 5]}, state, start)
        asked.append([len(seen[0]["observation"]) for seen in inner.seen[before:]])
        assert action.shape == (3, 2)
    assert asked == [[3], [1], [2], [1], [2]]
    latents = encoder.encode(frames).numpy()
    assert np.allclose(inner.seen[1][0]["observation"][0, 4:], 0)  # its second episode begins at rest
    assert np.allclose(inner.seen[3][0]["observation"][0, 4:], latents[2, 3] - latents[2, 1], atol=1e-5)
    assert np.allclose(inner.seen[2][0]["observation"][:, 4:], latents[:2, 2] - latents[:2, 0], atol=1e-5)
    fewer = take_rows(state, np.array([0, 2]), 3)
    action, fewer = policy.predict(
        {"observation": frames[[0, 2], 5], "desired_goal": frames[[0, 2], 5]}, fewer, np.zeros(2, bool)
    )
    assert action.shape == (2, 2)
    assert sorted(row for group in fewer.groups for row in group.rows) == [0, 1]


def test_a_single_observation_gives_a_single_action(runs):
    encoder, _ = load_compact(runs / "compact" / "final", "cpu")
    frames, _ = film(clips=1, length=2)
    action, _ = PixelPolicy(encoder, Watcher(), 2).predict({"observation": frames[0, 0], "desired_goal": frames[0, 1]})
    assert action.shape == (2,)


def test_what_are_no_pictures_is_an_error(runs):
    encoder, _ = load_compact(runs / "compact" / "final", "cpu")
    policy = PixelPolicy(encoder, Watcher(), 2)
    frames, _ = film(clips=1, length=2)
    for wrong in (
        {"observation": frames[0, 0]},
        frames[0, 0],
        {"observation": frames[0, 0] / 255, "desired_goal": frames[0, 1]},
    ):
        with pytest.raises(ValueError, match=r"expected (a dict with|uint8) pictures"):
            policy.predict(wrong)


# -- for Stable-Baselines3 --


def test_sb3_learns_in_it(model, runs):
    encoder, _ = load_compact(runs / "compact" / "final", "cpu")
    env = LatentVecEnv(WorldModelVectorEnv(model, toy_clips(), 3, seen=3, max_steps=6), encoder, reach=1.0)
    observation = env.reset()
    assert env.observation_space["observation"].contains(observation["observation"][0])
    learner = SAC(
        "MultiInputPolicy",
        env,
        learning_starts=30,
        replay_buffer_class=HerReplayBuffer,
        policy_kwargs={"net_arch": [8]},
        seed=0,
        device="cpu",
    )
    learner.learn(60)
    policy = PixelPolicy(encoder, learner, 2)
    frames, _ = film(clips=2, length=2)
    action, _ = policy.predict({"observation": frames[:, 0], "desired_goal": frames[:, 1]}, deterministic=True)
    assert action.shape == (2, 2)


def test_its_rewards_are_those_of_hindsight_and_ends_are_told(model, runs):
    encoder, _ = load_compact(runs / "compact" / "final", "cpu")
    env = LatentVecEnv(WorldModelVectorEnv(model, toy_clips(), 8, seen=3, max_steps=6), encoder, reach=4.0)
    env.seed(3)
    env.reset()
    there = 0
    for _ in range(12):
        observation, reward, done, infos = env.step(np.zeros((8, 2), np.float32))
        last = [info.get("terminal_observation") for info in infos]
        for row in range(8):
            shown = last[row] if done[row] else {key: value[row] for key, value in observation.items()}
            assert reward[row] == env.compute_reward(shown["achieved_goal"], shown["desired_goal"], None)
            assert infos[row]["is_success"] == (reward[row] == 0)
            if done[row]:
                assert infos[row]["TimeLimit.truncated"] == (not infos[row]["is_success"])
                assert np.allclose(observation["observation"][row, 4:], 0)
        there += int((reward == 0).sum())
    assert there > 0


def test_what_ends_by_the_worlds_own_reward_is_no_time_limit(model, runs):
    encoder, _ = load_compact(runs / "compact" / "final", "cpu")
    arrived = make_env(model, reward=lambda frames, goals: np.ones(len(frames)))
    env = LatentVecEnv(arrived, encoder, reach=0.0)
    env.reset()
    _, _, done, infos = env.step(np.zeros((4, 2), np.float32))
    assert done.all()
    assert not any(info["TimeLimit.truncated"] for info in infos)


def test_it_does_the_same_around_a_real_environment(runs):
    class Squares(gym.Env):
        """Shows a picture of the toy film; the goal is another."""

        frame = gym.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        observation_space = gym.spaces.Dict(dict.fromkeys(("observation", "achieved_goal", "desired_goal"), frame))
        action_space = gym.spaces.Box(-1, 1, (2,), np.float32)
        render_mode = None

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.t = int(self.np_random.integers(40))
            self.first = self.t
            return self.observe(), {}

        def step(self, action):
            self.t += 1
            return self.observe(), 0.0, False, self.t - self.first >= 4, {}

        def observe(self):
            frames = toy_clips().frames
            goal = np.zeros_like(frames[0])
            return {"observation": frames[self.t], "achieved_goal": frames[self.t], "desired_goal": goal}

    encoder, _ = load_compact(runs / "compact" / "final", "cpu")
    mode = gym.vector.AutoresetMode.SAME_STEP
    env = LatentVecEnv(gym.vector.SyncVectorEnv([Squares] * 2, autoreset_mode=mode), encoder, reach=1e-6)
    env.seed(0)
    env.reset()
    ends = []
    for _ in range(4):
        observation, _, done, infos = env.step(np.zeros((2, 2), np.float32))
        ends.append(done.all())
    assert ends == [False, False, False, True]
    assert not np.allclose(infos[0]["terminal_observation"]["achieved_goal"], observation["achieved_goal"][0])
    assert infos[0]["TimeLimit.truncated"]
    with pytest.raises(ValueError, match="anew in the same step"):
        LatentVecEnv(gym.vector.SyncVectorEnv([Squares] * 2), encoder)
