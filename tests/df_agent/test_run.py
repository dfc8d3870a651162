"""A run from a plain dict, from data to a checkpoint that rebuilds the model."""

import json
import math
import os
import shlex
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from df_agent.agent_model import AgentModel
from df_agent.checkpoint import CheckpointError, load_checkpoint
from df_agent.data.episodes import Episodes
from df_agent.data.tokens import Tokenizer
from df_agent.diffusion.diffusion_forcing import DiffusionForcing
from df_agent.models.time_to_goal import TimeToGoal
from df_agent.policies import DiffusionForcingPolicy
from df_agent.training import agent_data
from df_agent.training import baseline as baselines
from df_agent.training.agent_config import AgentTrainingConfig
from df_agent.training.run import train
from df_agent.training.run_folder import RunError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path):
    draw = np.random.default_rng(0)
    walk = np.cumsum(draw.normal(size=(600, 4)), 0).astype(np.float32)
    actions = draw.normal(size=(600, 2)).astype(np.float32)
    starts = np.array([0, 250, 600])
    Episodes(walk, actions, np.zeros(600, np.float32), None, None, starts).save(tmp_path / "walk.npz")
    return {
        "env": "walk",
        "dataset": str(tmp_path / "walk.npz"),
        "run_dir": str(tmp_path / "run"),
        "load": None,
        "tracker": "none",
        "tokenizer": {"frame_skip": 4, "frame_stack": 2},
        "windows": {"max_tokens": 6},
        "network": {"name": "transformer", "width": 16, "depth": 1, "heads": 2},
        "diffusion": {"schedule": "cosine", "prediction_type": "v"},
        "time_to_goal": {"steps": 5, "pairs": 64, "width": 8, "depth": 1, "symmetric": True},
        "train": {"steps": 4, "batch_size": 8, "warmup_steps": 1, "precision": "fp32", "log_every": 1},
    }


def newest(config):
    return sorted((Path(config["run_dir"]) / "checkpoints").iterdir())[-1]


def test_a_checkpoint_rebuilds_model_and_tokens(config):
    average = train(config)
    loaded = load_checkpoint(newest(config))
    model = AgentModel.from_config(loaded.config)
    loaded.load_into(model)
    x, level = torch.randn(2, 5, 4), torch.full((2, 5), 300)
    average.eval(), model.eval()
    with torch.no_grad():
        assert torch.equal(model.diffusion.denoise(x, level)[0], average.diffusion.denoise(x, level)[0])
    tokenizer = Tokenizer.from_dict(loaded.config["tokenizer"])
    walk = np.load(config["dataset"])["observations"]
    assert np.allclose(tokenizer.mean, walk[:, :2].mean(0), rtol=1e-4)
    assert len(loaded.config["statistics"]["speed"]) == 2


def test_the_run_folder_keeps_configuration_and_command(config):
    train(config)
    train(config)
    run_dir = Path(config["run_dir"])
    resolved = json.loads((run_dir / "resolved.json").read_text())
    assert resolved == {**AgentTrainingConfig.from_dict(config).to_dict(), "format_version": 2}
    assert config.items() <= resolved.items()
    assert AgentTrainingConfig.from_dict(resolved).to_dict() == AgentTrainingConfig.from_dict(config).to_dict()
    commands = (run_dir / "commands.txt").read_text().splitlines()
    assert len(commands) == 2
    assert all(line.endswith(shlex.join(["python", *sys.orig_argv[1:]])) for line in commands)


def test_load_starts_a_new_run_from_old_weights(config, tmp_path):
    train(config)
    old = load_checkpoint(newest(config)).weights
    again = {**config, "run_dir": str(tmp_path / "second"), "load": str(newest(config))}
    again["train"] = {**config["train"], "learning_rate": 1e-9, "steps": 1}
    train(again)
    new = load_checkpoint(newest(again))
    assert newest(again).name == "step_000000001"
    assert all(torch.allclose(new.weights[key], old[key], atol=1e-6) for key in old)
    assert new.config["load"] == str(newest(config))
    fresh = AgentModel.from_config(new.config).state_dict()
    assert not all(torch.allclose(fresh[key], old[key], atol=1e-3) for key in old)


def test_a_run_from_old_weights_keeps_their_normaliser(config, tmp_path):
    train(config)
    data = dict(np.load(config["dataset"]))
    np.savez(tmp_path / "other.npz", **{**data, "observations": 10 * data["observations"] + 3})
    again = {**config, "dataset": str(tmp_path / "other.npz"), "run_dir": str(tmp_path / "second")}
    again["load"] = str(newest(config))
    train(again)
    assert load_checkpoint(newest(again)).config["tokenizer"] == load_checkpoint(newest(config)).config["tokenizer"]


@pytest.mark.parametrize(
    ("part", "option", "says"),
    [
        ("diffusion", {"prediction_type": "x0"}, "prediction_type='x0', was 'v'"),
        ("tokenizer", {"frame_skip": 2}, "tokenizer="),
    ],
)
def test_weights_that_mean_something_else_are_refused(config, tmp_path, part, option, says):
    train(config)
    other = {**config, "run_dir": str(tmp_path / "second"), "load": str(newest(config))}
    other[part] = {**config[part], **option}
    with pytest.raises(ValueError, match=says):
        train(other)


def test_a_checkpoint_without_tokens_is_refused(config):
    with pytest.raises(CheckpointError, match="load=maze2d-umaze-gcbc: it holds no Diffusion Forcing model"):
        train({**config, "load": "maze2d-umaze-gcbc"})


def test_of_several_processes_the_first_loads_the_data_first(config, monkeypatch):
    """So that it downloads them, and the others do not at the same time."""
    made, happened = agent_data.make_accelerator(), []

    @contextmanager
    def first(self):
        happened.append("begin")
        yield
        happened.append("end")

    def load(dataset):
        happened.append("load")
        return Episodes.load(dataset)

    monkeypatch.setattr(type(made), "local_main_process_first", first)
    for module in (agent_data, baselines):
        monkeypatch.setattr(module, "load_episodes", load)
    agent_data.make_sampler(AgentTrainingConfig.from_dict(config))
    job = {**config, "algorithm": "diffuser", "learner": {"no_such_option": 1}}
    with pytest.raises(TypeError, match="no_such_option"):
        baselines.train_baseline(job)
    assert happened == 2 * ["begin", "load", "end"]


def test_weights_of_another_shape_are_refused(config, tmp_path):
    train(config)
    other = {**config, "run_dir": str(tmp_path / "second"), "load": str(newest(config))}
    other["network"] = {**config["network"], "width": 32}
    with pytest.raises(CheckpointError, match="do not fit the model"):
        train(other)


def test_the_run_ends_in_a_checkpoint_that_acts_and_knows_the_time_to_goal(config):
    average = train(config)
    policy = DiffusionForcingPolicy.from_pretrained(
        Path(config["run_dir"], "final"),
        device="cpu",
        precision="fp32",
        shortest_feasible={"horizon_multipliers": (1.0,), "samples": 1},
    )
    estimator = policy.model.time_to_goal.config
    assert (estimator.channels, estimator.resolution, estimator.unit) == (2, 2, 8)  # half a frame, a token
    assert (estimator.width, estimator.depth, estimator.symmetric) == (8, 1, True)
    own, theirs = average.state_dict(), policy.model.state_dict()
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[key], theirs[key]) for key in own)
    assert any(key.startswith("time_to_goal") for key in own)
    action, _ = policy.predict({"observation": np.zeros(4), "desired_goal": np.ones(2)}, deterministic=True)
    assert action.shape == (2,)
    assert np.isfinite(action).all()


@pytest.mark.parametrize(("given", "pairs"), [({"pairs": 30}, 30), ({}, 2048)])
def test_the_time_to_goal_is_learnt_from_pairs_well_beyond_a_window(config, monkeypatch, given, pairs):
    """From half a frame to four windows of 6 tokens of 8 steps, where an episode is that long."""
    seen, loss = [], TimeToGoal.loss

    def spy(self, batch, generator):
        seen.append(batch.steps)
        return loss(self, batch, generator)

    monkeypatch.setattr(TimeToGoal, "loss", spy)
    train({**config, "time_to_goal": {"steps": 7, "width": 8, "depth": 1, **given}})
    assert [len(steps) for steps in seen] == [pairs] * 7
    steps = torch.cat(seen)
    assert steps.min() == 2
    assert 120 < steps.max() <= 4 * 48


def test_the_time_to_goal_does_not_depend_on_short_windows(config, tmp_path):
    train(config)
    short = {**config, "run_dir": str(tmp_path / "short"), "windows": {"max_tokens": 6, "short_tokens": [2, 3]}}
    train(short)
    one, two = (load_checkpoint(Path(c["run_dir"], "final")).weights for c in (config, short))
    own = [key for key in one if key.startswith("time_to_goal")]
    assert own
    assert all(torch.equal(one[key], two[key]) for key in own)
    assert not all(torch.equal(one[key], two[key]) for key in one)


def test_the_share_of_short_windows_is_an_option(config, monkeypatch):
    seen, loss = [], DiffusionForcing.loss

    def spy(self, batch, generator):
        seen.append(batch.tokens.shape[1])
        return loss(self, batch, generator)

    monkeypatch.setattr(DiffusionForcing, "loss", spy)
    train({**config, "windows": {"max_tokens": 6, "short_tokens": [3], "short_share": 1.0}})
    assert seen == [3] * 4


def test_repeating_the_command_keeps_the_time_to_goal(config, monkeypatch):
    """It is read from the run folder, not learnt again, and stays part of what the run ends in."""
    train(config)
    final = Path(config["run_dir"], "final")
    before = load_checkpoint(final).weights

    def never(*_):
        raise AssertionError("the estimator was trained again")

    monkeypatch.setattr(TimeToGoal, "loss", never)
    shutil.rmtree(final)
    train(config)
    after = load_checkpoint(final)
    assert before.keys() == after.weights.keys()
    assert all(torch.equal(value, after.weights[key]) for key, value in before.items())
    torch.manual_seed(0)
    fresh = AgentModel.from_config(after.config).state_dict()
    learnt = [key for key in fresh if key.startswith("time_to_goal")]
    assert learnt
    assert not all(torch.equal(before[key], fresh[key]) for key in learnt)


@pytest.mark.parametrize("part", ["time_to_goal", "inverse_dynamics"])
def test_what_was_learnt_of_other_data_is_not_taken(config, tmp_path, part):
    """Where a run was stopped in its first minutes, its folder holds nothing but these."""
    config["inverse_dynamics"] = {"steps": 2, "width": 8, "depth": 1}
    train(config)
    run_dir = Path(config["run_dir"])
    for entry in run_dir.iterdir():
        if entry.is_dir() and entry.name != part:
            shutil.rmtree(entry)
        elif entry.is_file():
            entry.unlink()
    data = dict(np.load(config["dataset"]))
    np.savez(tmp_path / "other.npz", **{**data, "observations": 10 * data["observations"] + 3})
    with pytest.raises(RunError, match=rf"{part} holds a run with another configuration.*config\.statistics\.speed"):
        train({**config, "dataset": str(tmp_path / "other.npz")})


def test_a_run_may_start_from_the_end_of_another(config, tmp_path):
    """Of it, the model; the estimator is learnt from the run's own data."""
    train(config)
    final = Path(config["run_dir"], "final")
    again = {**config, "run_dir": str(tmp_path / "second"), "load": str(final)}
    again["train"] = {**config["train"], "learning_rate": 1e-9, "steps": 1}
    new, old = train(again).state_dict(), load_checkpoint(final).weights
    assert all(torch.allclose(new[key], old[key], atol=1e-6) for key in old if not key.startswith("time_to_goal"))


def test_the_validation_sees_what_a_policy_needs(config):
    seen = []

    def validate(model, step, checkpoint_config):
        seen.append((step, sorted(checkpoint_config), model.training))
        assert model.time_to_goal is not None
        return {"time_to_goal": 3.0}

    config["train"] = {**config["train"], "validate_every": 2}
    train(config, validate)
    assert [entry[0] for entry in seen] == [2, 4]
    assert {"network", "diffusion", "tokenizer", "statistics"} <= set(seen[0][1])
    assert seen[0][2] is False
    assert any(key.startswith("time_to_goal") for key in load_checkpoint(newest(config)).weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"datset": "x"}, "unknown key 'datset'.*did you mean 'dataset'"),
        ({"windows": {"max_token": 6}}, "max_token"),
        ({"windows": {"max_tokens": 6, "short_tokens": [3], "short_share": 2}}, "short_share must lie in .*, got 2"),
        ({"diffusion": {"terminal_tail": -1}}, "terminal_tail is a number of tokens, got -1"),
        ({"train": {"step": 4}}, "unknown training option 'step'.*did you mean 'steps'"),
        ({"network": {"widht": 16}}, "unknown options .*widht"),
        ({"time_to_goal": {"steps": 5, "quantil": 0.1}}, "unknown options .*quantil.* for TimeToGoalConfig"),
        ({"time_to_goal": {"steps": 5, "quantile": 2}}, "quantile must lie between 0 and 1, got 2"),
        ({"policy": {"deviation": math.inf, "gains": [1.0, math.nan]}}, r"policy\.deviation=inf, policy\.gains\.1=nan"),
        ({"policy": {"map": Path("x")}}, r"JSON, which does not know policy\.map=.*Path\('x'\)"),
        ({"diffusion": {"context": 2}}, r"diffusion's options \['context'\] follow from the tokenizer"),
        ({"network": {"max_tokens": 9, "token_dim": 4}}, r"network's options \['max_tokens', 'token_dim'\] follow"),
        (
            {"time_to_goal": {"steps": 0}, "inverse_dynamics": {"steps": 1, "channels": 3}},
            r"inverse_dynamics's options \['channels'\] follow",
        ),
        (
            {"tokenizer": {"observation_indices": [0, 4]}, "windows": {"max_tokens": 6, "jump_distance": 9.0}},
            "beyond the data's 4 observation channels",
        ),
    ],
)
def test_mistakes_in_the_configuration_are_named(config, change, message):
    with pytest.raises(ValueError, match=message):
        train({**config, **change})


def test_mistakes_are_found_before_any_training(config):
    with pytest.raises(ValueError, match="widht"):
        train({**config, "network": {"widht": 16}})
    with pytest.raises(ValueError, match="deviation=inf"):
        train({**config, "policy": {"deviation": math.inf}})
    assert not Path(config["run_dir"]).exists()


def test_missing_keys_are_named(config):
    del config["network"], config["train"]
    with pytest.raises(ValueError, match="lacks network, train"):
        train(config)


BARE = """
import importlib.util
import sys
blocked = ("gymnasium", "minari", "hydra", "omegaconf", "mujoco", "df_envs", "stable_baselines3", "matplotlib",
           "scipy", "h5py", "rich", "tensorboard", "wandb")
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is not to be imported", name=name)
sys.meta_path.insert(0, Block())
find = importlib.util.find_spec  # by which accelerate looks for optional packages
importlib.util.find_spec = lambda name, package=None: None if name.split(".")[0] in blocked else find(name, package)
sys.argv = ["run", sys.argv[1]]
from df_agent.training.run import main
main()
assert not [name for name in sys.modules if name.split(".")[0] in blocked]
"""


def test_training_needs_only_what_it_says(config, tmp_path):
    file = tmp_path / "resolved.json"
    file.write_text(json.dumps({**config, "tracker": "tensorboard"}))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", BARE, str(file)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "tensorboard is not installed" in result.stderr
    assert newest(config).name == "step_000000004"


def test_what_follows_from_the_tokenizer_is_not_given_to_the_estimator(config):
    with pytest.raises(ValueError, match=r"time_to_goal's options \['unit'\] follow from the tokenizer"):
        train({**config, "time_to_goal": {"steps": 5, "unit": 3}})
