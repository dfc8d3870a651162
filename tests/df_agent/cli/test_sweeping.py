"""A sweep gives every job what it gets alone, in this process, in joblib's and in submitit's."""

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

from df_agent.cli.app import main
from df_agent.cli.composing import configuration

SMALL = ["pictures=false", "timing_episodes=0", "max_steps=20", "episodes=1"]


def sweep(folder, *words):
    code = "from df_agent.cli.app import main; main()"
    command = [sys.executable, "-c", code, "evaluate", "-m", *words, *SMALL]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=200)


def made(folder):
    return {
        path.parent.name: json.loads(path.read_text())["provenance"]["config"]
        for path in folder.glob("outputs/evaluate/*/summary.json")
    }


def test_each_job_gets_what_it_gets_alone(monkeypatch, tmp_path):
    from df_agent.cli import evaluate, train

    seen = []
    monkeypatch.setattr(evaluate, "main", seen.append)
    monkeypatch.setattr(train, "main", seen.append)
    monkeypatch.chdir(tmp_path)
    main("evaluate", arguments=["-m", "env=maze2d-umaze,maze2d-medium-pixels", "policy.open_loop_horizon=25"])
    words = (["env=maze2d-umaze"], ["env=maze2d-medium-pixels"])
    assert seen == [configuration("evaluate", [*own, "policy.open_loop_horizon=25"]) for own in words]
    seen.clear()
    envs = ("maze2d-umaze", "gymnasium:CartPole-v1")
    main("train", arguments=["-m", f"env={','.join(envs)}", "train.seed=0,1", "run_dir=runs/${train.seed}"])
    jobs = [[f"env={env}", f"train.seed={seed}"] for env in envs for seed in (0, 1)]
    assert seen == [configuration("train", [*own, "run_dir=runs/${train.seed}"]) for own in jobs]
    assert [config.env_id for config in seen[::2]] == list(envs)


def test_jobs_without_a_folder_of_their_own_get_one(monkeypatch, tmp_path, capsys):
    from df_agent.cli import collect, evaluate, train

    seen = []
    for module in (collect, evaluate, train):
        monkeypatch.setattr(module, "main", seen.append)
    monkeypatch.chdir(tmp_path)

    def folders(*words, option="run_dir"):
        seen.clear()
        main(arguments=[*words[:1], "-m", *words[1:]])
        return [str(config[option]) for config in seen]

    both = folders("train", "env=maze2d-umaze,maze2d-medium", "train.seed=0,1")
    assert both == [f"runs/{env}-seed{seed}" for env in ("maze2d-umaze", "maze2d-medium") for seed in (0, 1)]
    said = [line.partition(": ")[2].split() for line in capsys.readouterr().out.splitlines() if "train: " in line]
    assert [configuration("train", words).run_dir for words in said] == both, "what is printed does the same alone"
    umaze = ("env=maze2d-umaze", "policy=random")
    place = "outputs/evaluate/maze2d-umaze-random-seed0"
    assert folders("evaluate", *umaze, "episodes=1,2", option="output_dir") == [f"{place}-episodes{n}" for n in (1, 2)]
    assert folders("collect", "seed=0,1", option="dataset")[1] == "df-agent/maze2d-large-dfs-seed1-v0"


def test_a_job_that_fails_stops_no_other_and_is_named(monkeypatch, tmp_path, capsys):
    from df_agent.cli import evaluate

    seen = []
    monkeypatch.setattr(evaluate, "main", seen.append)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        SystemExit, match=r"^df-agent evaluate: policy=orcale: there is no policy 'orcale'.*Did you mean 'oracle'\?$"
    ):
        main("evaluate", arguments=["-m", "policy=orcale,random"])
    assert [config.policy.name for config in seen] == ["random"]


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_jobs_run_in_other_processes(launcher, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    if find_spec(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher") is None:
        pytest.skip(f"{launcher} is not installed")
    done = sweep(tmp_path, f"hydra/launcher={launcher}", "env=maze2d-umaze,multi2d-umaze", "policy=oracle")
    assert done.returncode == 0, done.stderr
    assert {config["env"] for config in made(tmp_path).values()} == {"maze2d-umaze", "multi2d-umaze"}
