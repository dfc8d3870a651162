"""scripts/train.py from the command line to a checkpoint that acts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from omegaconf import OmegaConf

from df_agent.agent_model import AgentModel
from df_agent.cli.composing import OptionError, configuration
from df_agent.data.episodes import Episodes
from df_agent.policies import DiffusionForcingPolicy

ROOT = Path(__file__).parents[2]
SMALL = [
    "network.width=16", "network.depth=1", "network.heads=2", "steps=6", "train.warmup_steps=1", "train.batch_size=4",
    "train.precision=fp32", "train.compile=false", "train.log_every=2", "time_to_goal.steps=4",
]  # fmt: skip


def script(folder, *arguments):
    here = os.pathsep.join([str(ROOT), str(ROOT / "configs")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": here}
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture
def pack(tmp_path):
    draw = np.random.default_rng(0)
    walk = np.cumsum(draw.normal(size=(900, 4)) * 0.02, 0).astype(np.float32)
    actions = draw.normal(size=(900, 2)).astype(np.float32)
    path = tmp_path / "walk.npz"
    Episodes(walk, actions, np.zeros(900, np.float32), None, None, np.array([0, 900])).save(path)
    return path


def test_a_model_of_rewards_must_know_where_reward_is(tmp_path):
    found = script(tmp_path, "env=maze2d-umaze", "method=reward")
    assert found.returncode == 2
    assert "say where reward is, e.g. reward.place=[2.5,-2.5]" in found.stderr
    assert (
        script(tmp_path, "env=maze2d-umaze", "method=reward", "reward.place=[1,1]", "resolve_to=x.json").returncode == 0
    )
    resolved = json.loads((tmp_path / "x.json").read_text())
    assert resolved["reward"]["place"] == [1, 1]
    assert resolved["policy"]["planner"] == "reward_guidance"


@pytest.mark.parametrize(
    ("option", "says"),
    [("+policy.controler=actions", "controler"), ("+train.best_metric=success", "unknown train.best_metric='success'")],
)
def test_what_is_used_after_training_is_checked_before(pack, tmp_path, option, says):
    found = script(tmp_path, "env=maze2d-umaze", f"dataset={pack}", f"run_dir={tmp_path / 'run'}", option, *SMALL)
    assert found.returncode == 2
    assert says in found.stderr
    assert not (tmp_path / "run").exists()


def test_it_trains_validates_and_the_checkpoint_acts(pack, tmp_path):
    run_dir = tmp_path / "run"
    options = ["train.validate_every=6", "validation.episodes=2", *SMALL]
    result = script(tmp_path, "env=maze2d-umaze", f"dataset={pack}", f"run_dir={run_dir}", *options)
    assert result.returncode == 0, result.stderr
    assert sorted(os.listdir(tmp_path)) == ["run", "walk.npz"]  # nothing strays into the working directory
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [2, 4, 6]
    assert 0 <= rows[-1]["validation/success_rate"] <= 1
    assert 0 <= rows[-1]["validation/time_to_goal"] <= 300
    assert 0 < rows[-1]["validation/training_minutes"] < 10
    assert (run_dir / "validation" / "step_000000006.png").stat().st_size > 5000
    policy = DiffusionForcingPolicy.from_pretrained(run_dir / "final", max_steps=300)
    env = gym.make("df_envs:maze2d-umaze")
    action, _ = policy.predict(env.reset(seed=0)[0], deterministic=True)
    assert env.action_space.contains(action.astype(np.float32))


@pytest.mark.parametrize("method", ["causal", "recurrent", "reward", "velocities"])
def test_a_method_of_the_originals_trains_and_acts_by_one_command(method, pack, tmp_path):
    sizes = {"recurrent": ["network.width=16", "network.state=16", "network.depth=1", *SMALL[3:]]}.get(method, SMALL)
    more = ["reward.place=[1,1]"] if method == "reward" else []
    options = [
        f"method={method}",
        f"dataset={pack}",
        f"run_dir={tmp_path}/run",
        "train.validate_every=0",
        *sizes,
        *more,
    ]
    result = script(tmp_path, "env=maze2d-umaze", *options)
    assert result.returncode == 0, result.stderr
    policy = DiffusionForcingPolicy.from_pretrained(tmp_path / "run" / "final", max_steps=300)
    env = gym.make("df_envs:maze2d-umaze")
    action, state = policy.predict(env.reset(seed=0)[0], deterministic=True)
    assert env.action_space.contains(action.astype(np.float32))
    assert np.isfinite(state.frames).all()


@pytest.mark.parametrize("env", ["maze2d-umaze", "maze2d-medium", "maze2d-large"])
def test_each_maze_has_a_configuration_whose_checkpoint_can_ship(env, tmp_path):
    config = OmegaConf.to_container(configuration("train", [f"env={env}"]), resolve=True)
    assert config["env_id"] == env
    assert config["dataset"] == f"df-agent/{env}-dfs-v0"
    assert config["run_dir"] == f"runs/{env}"
    tokens = config["tokenizer"]
    frame = len(tokens["observation_indices"])
    sizes = {"token_dim": frame * tokens["frame_stack"], "max_tokens": config["windows"]["max_tokens"]}
    estimator = {key: value for key, value in config["time_to_goal"].items() if key not in ("steps", "pairs")}
    assert estimator == {"symmetric": True, "quantile": 0.1}  # the ball can turn round anywhere
    parts = {"network": {**config["network"], **sizes}, "diffusion": config["diffusion"], "time_to_goal": estimator}
    model = AgentModel.from_config(parts)
    assert 2 * sum(value.numel() for value in model.state_dict().values()) < 5e6  # bytes in fp16
    assert config["validation"]["seed"] >= 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["env=maze2d-larg"], "maze2d-large"),
        (["env=maze2d-umaze", "validation.seed=1"], "validation.seed must be a whole number of at least 1000, got 1"),
        (["env=maze2d-umaze", "dataset=no/such.npz"], "no episodes pack"),
    ],
)
def test_mistakes_are_named_without_a_traceback(arguments, message, tmp_path):
    result = script(tmp_path, *arguments, f"run_dir={tmp_path}", *SMALL)
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_our_module_may_be_named_before_the_environment(tmp_path):
    for env in ("df_envs:maze2d-umaze", "df_envs:multi2d-umaze"):
        known = env == "df_envs:maze2d-umaze"
        more = [] if known else ["dataset=no/such.npz"]
        result = script(tmp_path, f"env={env}", "resolve_to=x.json", *more)
        if known:
            resolved = json.loads((tmp_path / "x.json").read_text())
            assert (resolved["env"], resolved["run_dir"]) == ("maze2d-umaze", "runs/maze2d-umaze")
        else:  # which has no file of its own: what it needs follows from the data
            assert "no episodes pack" in result.stderr


def test_a_configuration_without_an_environment_asks_for_one():
    with pytest.raises(OptionError, match="env_id must be given, as env_id=VALUE"):
        configuration("train", ["env=any"])
