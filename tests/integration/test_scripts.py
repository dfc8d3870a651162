"""The smaller scripts: what they say, and how they fail."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import df_envs  # noqa: F401
import gymnasium as gym
import numpy as np
import pytest
from minari.dataset.minari_dataset import parse_dataset_id
from omegaconf import OmegaConf
from stable_baselines3 import SAC

from df_agent.agent_model import AgentModel
from df_agent.checkpoint import save_checkpoint
from df_agent.cli import compare as compare_script
from df_agent.cli import demonstrators
from df_agent.cli import evaluate as evaluate_script
from df_agent.cli import list as list_script
from df_agent.cli import train as train_script
from df_agent.cli import train_baseline as train_baseline_script
from df_agent.cli import tune as tune_script
from df_agent.cli.app import main as run_command
from df_agent.cli.collecting import vector_job
from df_agent.cli.composing import configuration
from df_agent.policies import DiffusionForcingPolicy
from studies import actions as actions_script
from studies import benchmark as benchmark_script
from studies import costs as guidance_script
from studies import recall as recall_script
from studies import robustness as robustness_script
from studies import sensors as sensors_script

ROOT = Path(__file__).parents[2]


def test_everything_there_is_can_be_listed(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    run_command("list", arguments=[])
    said = capsys.readouterr().out
    for name in ("multi2d-large", "FetchPush-v4", "diffusion_forcing_v15", "maze2d-umaze-sac_her", "datasets"):
        assert name in said
    run_command("list", arguments=["policies"])
    assert "FetchPush-v4" not in capsys.readouterr().out
    with pytest.raises(SystemExit, match="each one of environments, policies, checkpoints, datasets"):
        run_command("list", arguments=["robots"])


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


def test_a_policys_module_may_have_dots(tmp_path, monkeypatch):
    (tmp_path / "walkers").mkdir()
    (tmp_path / "walkers" / "__init__.py").touch()
    (tmp_path / "walkers" / "slow.py").write_text("class Walker: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    asked = {"env": "Pendulum-v1", "policy": "walkers.slow:Walker", "noise": None, "dataset": None, "pixels": None}
    job = vector_job(OmegaConf.create(asked))
    assert job.dataset == "df-agent/Pendulum-v1-walkers-slow-Walker-v0"
    assert parse_dataset_id(job.dataset)[0] == "df-agent"


@pytest.mark.parametrize(
    ("script", "broken", "name", "options"),
    [
        (compare_script, "run_comparison", "compare", ["env=maze2d-umaze"]),
        (evaluate_script, "run_evaluation", "evaluate", ["env=maze2d-umaze", "policy=oracle"]),
        (train_script, "resolve", "train", ["env=maze2d-umaze"]),
        (
            train_baseline_script,
            "train_baseline",
            "train",
            ["algorithm=diffuser", "env=maze2d-umaze", "train.validate_every=0"],
        ),
        (tune_script, "settings_of", "tune", ["env=maze2d-umaze", "policy=oracle"]),
    ],
)
@pytest.mark.parametrize(
    "error",
    [
        ImportError("install the extra"),
        OSError("truncated file"),
        gym.error.DependencyNotInstalled("MuJoCo is not installed"),
    ],
)
def test_what_a_machine_lacks_is_said_in_a_line(script, broken, name, options, error, monkeypatch):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(script, broken, fail)
    config = configuration(name, options)
    with pytest.raises(SystemExit, match=f"^{error}$"):
        script.main(config)


def test_what_cannot_draw_is_said_in_a_line(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("no OpenGL")

    monkeypatch.setattr(evaluate_script, "prepare", fail)
    with pytest.raises(SystemExit, match=r"^no OpenGL$"):
        evaluate_script.main(OmegaConf.create({"env": "maze2d-umaze", "maze": None}))


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


def test_costs_are_measured_and_drawn(tmp_path, monkeypatch, capsys):
    options = ["zone", "--episodes", "3", "--seed", "1000"]
    files = ["--output", str(tmp_path / "g.json"), "--picture", str(tmp_path / "g.png")]
    monkeypatch.setattr(guidance_script, "ENV", "maze2d-umaze")
    monkeypatch.setattr(guidance_script, "ZONE", (0.5, 0.5))  # on everybody's way
    quick = replace(guidance_script.EXAMPLES["zone"], counts=lambda start: True, options={})
    monkeypatch.setitem(guidance_script.EXAMPLES, "zone", quick)
    monkeypatch.setattr(sys, "argv", ["guidance.py", *options, *files])
    guidance_script.main()
    rows = json.loads((tmp_path / "g.json").read_text())["examples"]["zone"]
    assert set(rows) == {"left out", "in the choice", "in the sampling too"}
    assert rows["left out"]["episodes"] == 3
    low, high = rows["left out"]["interval"]
    assert low <= rows["left out"]["violation_rate"] <= high
    picture = (tmp_path / "g.png").read_bytes()
    assert picture.startswith(b"\x89PNG")

    found = json.loads((tmp_path / "g.json").read_text())
    found["examples"]["place"] = "kept"
    (tmp_path / "g.json").write_text(json.dumps(found))
    guidance_script.main()
    examples = json.loads((tmp_path / "g.json").read_text())["examples"]
    assert list(examples) == ["zone", "place"]
    assert (examples["place"], set(examples["zone"])) == ("kept", set(rows))
    assert (tmp_path / "g.png").read_bytes() == picture, "the paths of the kept example are not there to be drawn"
    monkeypatch.setattr(sys, "argv", ["guidance.py", "zone", "--episodes", "2", "--seed", "1000", *files])
    with pytest.raises(SystemExit, match="holds 3 episodes of seed 1000"):
        guidance_script.main()
    monkeypatch.setattr(sys, "argv", ["guidance.py", "no-such-example"])
    with pytest.raises(SystemExit):
        guidance_script.main()
    assert "there are zone, place, speed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "path", "violation"),
    [
        ("zone", [(-3.0, 0.4), (-3.0, 1.0)], 1.0),
        ("zone", [(-3.0, 0.4), (-3.0, 0.45)], 0.0),
        ("place", [(0.0, 0.0), (1.5, 2.4)], 1.0),
        ("place", [(0.0, 0.0), (1.5, 2.6)], 0.0),
        ("speed", [(0.0, 0.0), (0.04, 0.0), (0.06, 0.0), (0.08, 0.0)], 1 / 3),
        ("speed", [(0.0, 0.0), (0.02, 0.0)], 0.0),
    ],
)
def test_what_violates_a_cost(name, path, violation):
    assert guidance_script.EXAMPLES[name].violation(np.array(path)) == pytest.approx(violation)


def untrained(folder, channels, goal, action_dim):
    """Save an agent of observations and actions that has learned nothing."""
    g = len(goal)
    tokens = {"observation_indices": list(range(channels)), "goal_channels": goal}
    tokens |= {"include_actions": True, "action_dim": action_dim}
    checkpoint = {
        "network": {"token_dim": channels + action_dim, "max_tokens": 6, "width": 16, "depth": 1, "heads": 2},
        "diffusion": {"levels": 50, "goal_channels": goal},
        "inverse_dynamics": {"observation_dim": channels, "channels": g, "action_dim": action_dim},
        "tokenizer": {
            "config": tokens,
            "mean": [0.0] * (channels + action_dim),
            "std": [1.0] * (channels + action_dim),
        },
        "windows": {"max_tokens": 6, "short_tokens": []},
        "statistics": {key: [0.1] * g for key in ("step", "turn", "speed")}
        | {"least": [-1.0] * action_dim, "most": [1.0] * action_dim},
        "policy": {"planner": "fixed_horizon", "controller": "actions", "open_loop_horizon": 2},
    }
    save_checkpoint(folder, AgentModel.from_config(checkpoint).state_dict(), checkpoint)
    return str(folder)


def test_ways_to_act_upon_the_same_plans(tmp_path, monkeypatch, capsys):
    folder = untrained(tmp_path / "agent", 4, [0, 1], 2)
    monkeypatch.setattr(actions_script, "trained", lambda env, name: folder)
    monkeypatch.setattr(actions_script, "MAZES", ("maze2d-umaze",))
    monkeypatch.setattr(actions_script, "INTERVALS", (4,))
    files = ["--output", str(tmp_path / "a.json"), "--picture", str(tmp_path / "a.png")]
    monkeypatch.setattr(sys, "argv", ["actions.py", "--episodes", "2", "--seed", "1000", *files])
    actions_script.main()
    rows = json.loads((tmp_path / "a.json").read_text())["rows"]
    assert [row["controller"] for row in rows] == ["path", "inverse_dynamics", "actions"]
    assert all(row["episodes"] == 2 and len(row["steps_to_goal"]) == 2 for row in rows)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(sys, "argv", ["actions.py", "maze2d-tiny"])
    with pytest.raises(SystemExit):
        actions_script.main()
    assert "there are those for maze2d-umaze" in capsys.readouterr().err
    monkeypatch.setattr(actions_script, "trained", lambda env, name: "nowhere")
    monkeypatch.setattr(sys, "argv", ["actions.py", *files])
    with pytest.raises(SystemExit, match="CheckpointError"):
        actions_script.main()


def test_rows_of_another_maze_stay_and_are_never_mixed_with_other_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(actions_script, "MAZES", ("maze2d-umaze", "maze2d-medium"))
    monkeypatch.setattr(actions_script, "trained", lambda env, name: "nowhere")
    path = tmp_path / "a.json"
    row = {"env": "maze2d-medium", "controller": "path", "interval": 4, "episodes": 2}
    path.write_text(json.dumps({"rows": [row], "seed": 1000, "provenance": {"config": {"episodes": "2"}}}))
    before = path.read_text()
    for seed, episodes in ((1001, 2), (1000, 3)):
        words = ["maze2d-umaze", "--episodes", str(episodes), "--seed", str(seed), "--output", str(path)]
        monkeypatch.setattr(sys, "argv", ["actions.py", *words])
        with pytest.raises(SystemExit, match="holds 2 episodes of seed 1000"):
            actions_script.main()
        assert path.read_text() == before
    options = SimpleNamespace(output=path, seed=1000, episodes=2)
    assert actions_script.kept(options, ["maze2d-umaze"]) == [row]
    assert actions_script.kept(SimpleNamespace(output=path, seed=7, episodes=9), ["maze2d-medium"]) == []


def test_what_bad_sensors_cost(tmp_path, monkeypatch):
    folder = untrained(tmp_path / "agent", 25, [3, 4, 5], 4)
    agents = sensors_script.policies(folder)
    monkeypatch.setattr(sensors_script, "policies", lambda agent: {**agents, "gcbc": agents["not told"]})
    monkeypatch.setattr(sensors_script, "SHARES", (0.0, 0.5))
    files = ["--output", str(tmp_path / "s.json"), "--picture", str(tmp_path / "s.png"), "--agent", folder]
    monkeypatch.setattr(sys, "argv", ["sensors.py", "--episodes", "2", "--seed", "1000", *files])
    sensors_script.main()
    result = json.loads((tmp_path / "s.json").read_text())
    assert len(result["rows"]) == 3 + 2 * 3  # nothing corrupted; half of it, in two ways
    assert {row["policy"] for row in result["rows"]} == {"told", "not told", "gcbc"}
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")


def test_what_history_is_worth(tmp_path, monkeypatch):
    folder = untrained(tmp_path / "agent", 29, [3, 4, 5], 4)
    asked = []
    monkeypatch.setattr(recall_script, "trained", lambda env, variant: asked.append((env, variant)) or folder)
    files = ["--output", str(tmp_path / "r.json"), "--picture", str(tmp_path / "r.png")]
    monkeypatch.setattr(sys, "argv", ["recall.py", "--episodes", "2", "--seed", "1000", *files])
    recall_script.main()
    rows = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert asked == [("FetchPushCued-v0", ""), ("FetchPushRecall-v0", ""), ("FetchPushRecall-v0", "present")]
    assert [row["env"] for row in rows] == [
        "FetchPushCued-v0",
        "FetchPushRecall-v0",
        "FetchPushRecall-v0",
        "FetchPush-v4",
    ]
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


def test_what_disturbances_cost(tmp_path, monkeypatch):
    monkeypatch.setattr(robustness_script, "POLICIES", {"random": "#000000", "oracle": "#777777"})
    files = ["--output", str(tmp_path / "r.json"), "--picture", str(tmp_path / "r.png")]
    arguments = ["--env", "maze2d-umaze", "--episodes", "3", "--seed", "1000", *files]
    monkeypatch.setattr(sys, "argv", ["robustness.py", *arguments])
    robustness_script.main()
    rows = json.loads((tmp_path / "r.json").read_text())["rows"]
    oracle = {row["disturbance"]: row for row in rows if row["policy"] == "oracle"}
    assert list(oracle) == [each.label for each in robustness_script.DISTURBANCES]
    assert all(row["success_rate"] == 1 and row["ratio"] == 1 for row in oracle.values())
    assert len({tuple(row["steps_to_goal"]) for row in oracle.values()}) == len(oracle), "each one makes a difference"
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


def test_the_benchmark_shows_what_the_comparison_has_now():
    kept = json.loads((ROOT / "results" / "benchmark.json").read_text())
    points = {point["label"]: point for point in kept["quality"]["points"]}
    options = SimpleNamespace(seed=kept["seed"], episodes=kept["quality"]["episodes"])
    for policy, label in benchmark_script.OTHERS.items():
        rows = benchmark_script.kept_steps(policy, SimpleNamespace(env=kept["env"], options=options))
        shown = {key: points[label][key] for key in rows}
        assert shown == pytest.approx(rows), f"{policy} has other rows now: run studies/benchmark.py quality again"


def test_what_planning_costs(tmp_path, monkeypatch, capsys):
    folder = untrained(tmp_path / "agent", 4, [0, 1], 2)

    def policy(bench, checkpoint=None, **overrides):
        made = DiffusionForcingPolicy.from_pretrained(folder, precision="fp32", controller="waypoints", **overrides)
        made.checkpoint["windows"] = {"max_tokens": 6}
        return made

    monkeypatch.setattr(benchmark_script.Bench, "policy", policy)
    for method in ("v15", "diffuser"):
        monkeypatch.setattr(benchmark_script, method, lambda batch, device, steps=None: lambda: sum(range(10_000)))
    monkeypatch.setattr(benchmark_script, "KEPT", tmp_path)
    monkeypatch.setattr(benchmark_script, "BATCHES", (1, 2))
    monkeypatch.setattr(benchmark_script, "SETTINGS", {"as shipped": {}, "2 passes": {"sampling": {"steps": 2}}})
    monkeypatch.setattr(benchmark_script, "COSTS", {"passes": [{"sampling": {"steps": k}} for k in (1, 3)]})
    files = ["--output", str(tmp_path / "b.json"), "--picture", str(tmp_path / "b.png")]
    few = ["--repeats", "2", "--timing-episodes", "1", "--memory-steps", "20", "--episodes", "2"]
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--env", "maze2d-umaze", *few, *files])
    benchmark_script.main()
    result = json.loads((tmp_path / "b.json").read_text())
    ours = [row for row in result["latency"]["plans"] if row["method"] == "ours"]
    assert [row["batch"] for row in ours] == [1, 2]
    assert all(row["floor"] > 0 and row["p50"] <= row["p95"] <= row["p99"] for row in ours)
    assert ours[1]["operations"] == 2 * ours[0]["operations"]
    one, three = result["cost"]["passes"]
    assert (one["passes"], three["passes"]) == (1, 3)
    assert three["operations"] == 3 * one["operations"]
    assert [point["label"] for point in result["quality"]["points"]] == ["as shipped", "2 passes"]
    assert set(result["realtime"]["modes"]) == set(benchmark_script.MODES)
    assert all(0 <= row["missed"] < 1 and row["steps"] > 0 for row in result["realtime"]["modes"].values())
    assert set(result["memory"]["megabytes"]) == {"2", "20"}
    assert result["training"]["steps_per_second"] > 0
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")

    (tmp_path / "b.json").write_text(json.dumps({**result, "memory": "kept"}))
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "cost", "--env", "maze2d-umaze", *few, *files])
    benchmark_script.main()
    assert json.loads((tmp_path / "b.json").read_text())["memory"] == "kept"
    assert set(result["cost"]) == {"passes", "network", "provenance"}
    (tmp_path / "b.json").write_text("[1, 2")
    with pytest.raises(SystemExit, match=r"b.json is not what this benchmark wrote"):
        benchmark_script.main()
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "speed"])
    with pytest.raises(SystemExit):
        benchmark_script.main()
    assert "there are memory, latency, cost, quality, realtime, training" in capsys.readouterr().err
