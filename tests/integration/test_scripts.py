"""The smaller scripts: what they say, and how they fail."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import SAC

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import demonstrators  # noqa: E402
import guidance as guidance_script  # noqa: E402
import list as list_script  # noqa: E402

import envs  # noqa: E402, F401


def test_everything_there_is_can_be_listed(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["list.py"])
    list_script.main()
    said = capsys.readouterr().out
    for name in ("multi2d-large", "FetchPush-v4", "diffusion_forcing_v15", "maze2d-umaze-sac_her", "datasets"):
        assert name in said
    monkeypatch.setattr(sys, "argv", ["list.py", "policies"])
    list_script.main()
    assert "FetchPush-v4" not in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["list.py", "robots"])
    with pytest.raises(SystemExit):
        list_script.main()
    assert "there are environments, policies, checkpoints, datasets" in capsys.readouterr().err


def test_every_policy_says_what_it_is():
    texts = list_script.policies().columns[2]._cells
    assert all(len(str(text)) > 20 for text in texts)


def test_a_file_of_stable_baselines_acts(tmp_path):
    env = gym.make("Pendulum-v1")
    SAC("MlpPolicy", env, policy_kwargs={"net_arch": [8]}, learning_starts=1).save(tmp_path / "agent.zip")
    policy = demonstrators.policy_from(str(tmp_path / "agent.zip"), "Pendulum-v1", env)
    action, _ = policy.predict(np.zeros(3, np.float32), deterministic=True)
    assert env.action_space.contains(action)
    (tmp_path / "other.zip").write_text("not one")
    with pytest.raises(ValueError, match="is no policy of Stable-Baselines3's for Pendulum-v1"):
        demonstrators.policy_from(str(tmp_path / "other.zip"), "Pendulum-v1", env)
    with pytest.raises(FileNotFoundError, match=r"there is no file .*missing.zip"):
        demonstrators.policy_from(str(tmp_path / "missing.zip"), "Pendulum-v1", env)


def test_policies_are_found_by_name_and_others_are_named():
    env = gym.make("multi2d-umaze")
    observation, _ = env.reset(seed=0)
    action, _ = demonstrators.policy_from("oracle", "multi2d-umaze", env).predict(observation)
    assert env.action_space.contains(action.astype(np.float32))
    with pytest.raises(ValueError, match=r"there is no policy 'walker'; give demonstrator, one of best_of_n"):
        demonstrators.policy_from("walker", "multi2d-umaze", env)
    with pytest.raises(ValueError, match=r"'Pendulum-v1' has no demonstrator \(those have: maze2d-umaze"):
        demonstrators.demonstrator_of("Pendulum-v1", noise=None, seed=0)


def test_noise_stays_inside_the_action_space_and_out_of_deterministic_actions():
    class Still:
        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            return np.zeros((4, 2)), "kept"

    space = gym.spaces.Box(-0.5, 0.5, (2,), np.float64)
    policy = demonstrators.NoisyPolicy(Still(), 1.0, space, seed=0)
    noisy, state = policy.predict(np.zeros((4, 1)))
    assert state == "kept"
    assert np.abs(noisy).max() == 0.5
    assert len(np.unique(noisy)) > 2
    assert not policy.predict(np.zeros((4, 1)), deterministic=True)[0].any()
    with pytest.raises(ValueError, match="needs a continuous action space"):
        demonstrators.NoisyPolicy(Still(), 1.0, gym.spaces.Discrete(2), seed=0)


def test_wishes_are_measured_and_drawn(tmp_path, monkeypatch, capsys):
    options = ["zone", "--episodes", "3", "--seed", "1000", "--precision", "fp32"]
    files = ["--output", str(tmp_path / "g.json"), "--picture", str(tmp_path / "g.png")]
    monkeypatch.setattr(guidance_script, "ENV", "maze2d-umaze")
    monkeypatch.setattr(guidance_script, "ZONE", (0.5, 0.5))  # on everybody's way
    quick = replace(guidance_script.EXAMPLES["zone"], counts=lambda start: True, options={})
    monkeypatch.setitem(guidance_script.EXAMPLES, "zone", quick)
    monkeypatch.setattr(sys, "argv", ["guidance.py", *options, *files])
    guidance_script.main()
    rows = json.loads((tmp_path / "g.json").read_text())["examples"]["zone"]
    assert set(rows) == {"without", "with its cost"}
    assert rows["without"]["episodes"] == 3
    assert rows["without"]["violation_rate"] == rows["without"]["violations"] / 3
    assert (tmp_path / "g.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(sys, "argv", ["guidance.py", "no-such-wish"])
    with pytest.raises(SystemExit):
        guidance_script.main()
    assert "there are zone, place, speed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "path", "violated"),
    [
        ("zone", [(1.5, -1.6), (1.5, -1.0)], True),
        ("zone", [(1.5, -1.6), (1.5, -1.55)], False),
        ("place", [(0.0, 0.0), (-3.5, 0.4)], True),
        ("place", [(0.0, 0.0), (-3.5, 0.6)], False),
        ("speed", [(0.0, 0.0), (0.03, 0.0)], True),
        ("speed", [(0.0, 0.0), (0.01, 0.0)], False),
    ],
)
def test_what_violates_a_wish(name, path, violated):
    assert guidance_script.EXAMPLES[name].violated(np.array(path)) is violated
