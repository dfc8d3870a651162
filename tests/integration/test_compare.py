"""scripts/compare.py: rows that merge, survive a kill and are never mixed, and one report about them."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import pytest
from omegaconf import OmegaConf

import df_agent.benchmark.compare as benchmark
from df_agent.benchmark.failures import LISTED
from df_agent.benchmark.store import PolicyStore, StoreError
from df_agent.cli import compare as compare_command
from df_agent.cli import compare_options, comparing
from df_agent.cli.comparing import policies_asked
from df_agent.cli.composing import configuration
from df_agent.cli.policies import make_policy, policy_config
from df_agent.evaluation.active_rows import PolicyError
from df_agent.evaluation.records import PlanRecord, read_records

ROOT = Path(__file__).parents[2]
ENV = "maze2d-umaze"
SMALL = ["num_envs=2", "max_steps=40", "timing_episodes=1", "reference=oracle"]
TIMINGS = {"policy_seconds", "policy_seconds_to_goal", "env_seconds", "wall_seconds"}


@pytest.fixture(scope="module")
def script():
    return compare_command


@pytest.fixture
def compare(script, tmp_path, monkeypatch):
    """Call the script's comparison; returns whether it is complete and what the report was written about."""
    reported = []
    monkeypatch.setattr(benchmark, "write_comparison", lambda folder, comparisons: reported.append(comparisons))

    def call(*overrides, folder=tmp_path):
        config = configuration("compare", [f"env={ENV}", *SMALL, *overrides])
        complete = script.run_comparison(config, folder)
        return complete, {(c.env, rows.policy): rows for c in reported[-1] for rows in c.policies}

    return call


def content(path):
    """The rows of a file without their timings."""
    return [{k: v for k, v in vars(record).items() if k not in TIMINGS} for record in read_records(path)]


def test_later_calls_add_episodes_seeds_policies_and_environments(compare, tmp_path):
    complete, rows = compare("policies=[oracle]", "episodes=3", "seeds=[1000]")
    assert complete
    first = rows[ENV, "oracle"].records
    assert [record.episode for record in first] == [0, 1, 2]
    assert [record.num_envs for record in rows[ENV, "oracle"].timing] == [1]
    complete, rows = compare("policies=[random]", "episodes=4", "seeds=[1000,1001]", "env=[maze2d-umaze,multi2d-umaze]")
    assert complete
    assert {key: len(found.records) for key, found in rows.items()} == {
        (ENV, "oracle"): 3,
        (ENV, "random"): 8,
        ("multi2d-umaze", "random"): 8,
    }
    assert next(iter(rows)) == (ENV, "oracle"), "the reference comes first"
    _, rows = compare("policies=[oracle]", "episodes=4", "seeds=[1000]")
    assert rows[ENV, "oracle"].records[:3] == first
    with (tmp_path / f"rows-{ENV}.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == 4 + 8
    assert {row["seed"] for row in table} == {"1000", "1001"}
    starts = {name: [row["start"] for row in table if row["policy"] == name] for name in ("oracle", "random")}
    assert starts["oracle"] == starts["random"][:4]
    assert all(float(row["lower_bound"]) <= float(row["time_optimal"]) <= float(row["oracle"]) for row in table)


def test_slow_policies_run_on_the_first_starts_of_the_first_seed(compare):
    slow = ["changes={random: {slow: true}}", "slow_episodes=2", "slow_timing_episodes=0"]
    _, rows = compare("policies=[oracle,random]", "episodes=3", "seeds=[1000,1001]", *slow)
    fast = rows[ENV, "oracle"].records
    assert [record.seed for record in rows[ENV, "random"].records] == [record.seed for record in fast[:2]]
    assert len(fast) == 6
    _, rows = compare("policies=[random]", "episodes=3", "seeds=[1000,1001]")
    assert len(rows[ENV, "random"].records) == 6, "slow or not is not what rows are made with"


def test_rows_of_another_making_are_refused_and_can_be_made_anew(compare, script, tmp_path, monkeypatch):
    compare("policies=[oracle,random]", "episodes=2", "seeds=[1000]")
    with pytest.raises(StoreError, match=r"(?s)limit: 40 there, 30 now.*refresh=\[oracle,random\]") as error:
        compare("policies=[oracle,random]", "episodes=2", "seeds=[1000]", "max_steps=30")
    assert "oracle in maze2d-umaze" in str(error.value)
    complete, rows = compare("policies=[random]", "refresh=[random]", "episodes=2", "seeds=[1000]", "num_envs=1")
    assert complete
    assert {record.num_envs for record in rows[ENV, "random"].records} == {1}
    assert {record.num_envs for record in rows[ENV, "oracle"].records} == {2}

    store = PolicyStore(tmp_path, ENV, "oracle")
    path = store.folder / "run.json"
    path.write_text(re.sub(r'("df_envs.oracle": )"\w+"', r'\1"other"', path.read_text()))
    more = ["policies=[oracle]", "episodes=3", "seeds=[1000]"]
    with pytest.raises(StoreError, match=r"code\.df_envs\.oracle: 'other' there"):
        compare(*more)
    _, rows = compare(*more, "report_only=true", "max_steps=30")
    assert len(rows[ENV, "oracle"].records) == 2
    _, rows = compare(*more, "adopt=true")
    assert len(rows[ENV, "oracle"].records) == 3
    assert store.run()["earlier"][0]["code"]["df_envs.oracle"] == "other"


def test_an_episode_that_goes_otherwise_when_it_is_run_again_leaves_no_path(compare, tmp_path):
    compare("policies=[oracle,random]", "episodes=2", "seeds=[1000]")
    store = PolicyStore(tmp_path, ENV, "oracle")
    rows = store.rows(1000)
    traced = replace(rows[1], path=[[1.0, 2.0]])
    others = [
        replace(traced, time_to_goal=traced.time_to_goal + 1),
        replace(traced, at_goal_at_end=not traced.at_goal_at_end),
        replace(traced, episode_reward=traced.episode_reward + 1),
        replace(traced, plans=[PlanRecord(0, 7, 0.1, 1)]),
        replace(traced, episode=2),
    ]
    assert not any(store.keep_path(1000, other) for other in others)
    assert store.rows(1000) == rows
    assert store.keep_path(1000, traced)
    assert store.rows(1000) == [rows[0], traced]


def test_a_report_about_csv_has_no_rows_to_add_paths_to(compare, tmp_path):
    with pytest.raises(ValueError, match="begin with start_from="):
        compare(f"report_from={tmp_path}", "retrace=true")


def test_paths_are_not_taken_from_a_policy_with_other_options(compare, tmp_path, capsys):
    asked = ["policies=[gcbc]", "episodes=2", "seeds=[1000]", "slow_timing_episodes=0"]
    compare(*asked)
    store = PolicyStore(tmp_path, ENV, "gcbc")
    bare = [replace(row, path=[]) for row in store.rows(1000)]
    store.restore(store.run(), {1000: bare}, store.timing())
    compare(*asked, "report_only=true", "retrace=true", "changes={gcbc: {policy: {execute: 3}}}")
    assert "its rows were made with something else" in capsys.readouterr().out
    assert not any(row.path for row in store.rows(1000))
    compare(*asked, "report_only=true", "retrace=true")
    assert any(row.path for row in store.rows(1000))


def test_a_failing_policy_does_not_sink_the_others(compare, script, monkeypatch):
    class Crash:
        calls = 0

        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            self.calls += 1
            if self.calls > 60:
                raise RuntimeError("out of fuel")
            return 0.0 * observation["desired_goal"], None

    real = script.make_policy
    monkeypatch.setattr(
        script, "make_policy", lambda config: Crash() if config.policy.name == "random" else real(config)
    )
    changes = "changes={diffusion_forcing: {checkpoint: not-there}, best_of_n: {only: 'antmaze-*'}}"
    names = "policies=[diffusion_forcing,random,best_of_n,oracle]"
    complete, rows = compare(names, changes, "episodes=4", "seeds=[1000]")
    assert not complete
    assert "no checkpoint 'not-there'" in rows[ENV, "diffusion_forcing"].error
    assert "predict raised RuntimeError: out of fuel" in rows[ENV, "random"].error
    assert len(rows[ENV, "random"].records) == 2, "the first wave was whole"
    assert rows[ENV, "best_of_n"].error == "left out: it is made for antmaze-*"
    assert rows[ENV, "oracle"].error is None
    assert len(rows[ENV, "oracle"].records) == 4
    only = "changes={best_of_n: {only: 'antmaze-*'}}"
    complete, rows = compare("policies=[best_of_n,oracle]", only, "episodes=4", "seeds=[1000]")
    assert complete, "to be left out is no failure"
    assert "out of fuel" in rows[ENV, "random"].error, "why its rows are not complete is not forgotten"
    Crash.predict = lambda self, observation, *rest, **more: (0.0 * observation["desired_goal"], None)
    complete, rows = compare("policies=[random]", "episodes=4", "seeds=[1000]")
    assert (complete, len(rows[ENV, "random"].records), rows[ENV, "random"].error) == (True, 4, None)


def test_an_environment_that_cannot_be_made_does_not_sink_the_others(compare, monkeypatch):
    real = PolicyStore.fill

    def fill(store, policy, **options):
        if store.env_id == "multi2d-umaze":
            raise gym.error.DependencyNotInstalled("MuJoCo is not installed")
        real(store, policy, **options)

    monkeypatch.setattr(PolicyStore, "fill", fill)
    complete, rows = compare("policies=[oracle]", "env=[multi2d-umaze,maze2d-umaze]", "episodes=1", "seeds=[1000]")
    assert not complete
    assert len(rows[ENV, "oracle"].records) == 1
    assert ("multi2d-umaze", "oracle") not in rows


def test_what_is_not_trained_is_left_out_unless_it_was_asked_for(compare, script, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # no runs/ here
    monkeypatch.setattr(compare_options, "policy_names", lambda: ["full_sequence", "oracle"])
    options = ("episodes=1", "seeds=[1000]")
    complete, rows = compare(*options)
    assert complete
    assert rows[ENV, "full_sequence"].error.startswith("left out: policy 'full_sequence' cannot be made: no checkpoint")
    complete, rows = compare("policies=[full_sequence,oracle]", *options)
    assert not complete
    assert rows[ENV, "full_sequence"].error.startswith("policy 'full_sequence' cannot be made: no checkpoint")


def test_latencies_that_cannot_be_made_again_are_kept(compare, script, monkeypatch, tmp_path):
    options = ("policies=[oracle]", "episodes=1", "seeds=[1000]")
    _, rows = compare(*options)
    (timing,) = rows[ENV, "oracle"].timing

    def gone(*args):
        raise PolicyError("its weights are gone")

    with monkeypatch.context() as patch:
        patch.setattr(comparing, "identity", gone)
        _, rows = compare(*options, "refresh_timing=true")
    assert rows[ENV, "oracle"].timing == [timing]


def test_what_is_not_there_is_named(compare, script):
    with pytest.raises(ValueError, match=r"there is no policy 'oracl'.*Did you mean 'oracle'"):
        compare("policies=[oracl]")
    with pytest.raises(ValueError, match="Did you mean 'maze2d-umaze'"):
        compare("policies=[oracle]", "env=maze2d-umaz")
    with pytest.raises(ValueError, match=r"precision must be one of auto, fp32, bf16, got .fp16."):
        compare("policies=[oracle]", "precision=fp16")
    with pytest.raises(ValueError, match="'oracle' loads no checkpoint"):
        compare("policies=[oracle]", "runs={oracle: [somewhere]}")
    with pytest.raises(ValueError, match=r"there is no policy 'oracel'.*Did you mean 'oracle'"):
        compare("policies=[oracle]", "reference=oracel")
    with pytest.raises(ValueError, match="refresh names random, which is not among the policies oracle"):
        compare("policies=[oracle]", "refresh=[random]")
    with pytest.raises(ValueError, match=r"changes.gcbc.exec: gcbc.yaml has no 'exec'"):
        compare("policies=[gcbc]", "changes={gcbc: {exec: 3}}")
    with pytest.raises(ValueError, match=r"runs.gcbc must be a list of checkpoints"):
        compare("policies=[gcbc]", "runs={gcbc: maze2d-umaze-gcbc}")
    with pytest.raises(FileNotFoundError, match="no rows of a comparison"):
        compare("policies=[oracle]", "report_only=true", folder=Path("nowhere"))
    with pytest.raises(PolicyError, match=r"maze2d-umaze-diffuser' ships.*train it by `df-agent train"):
        make_policy(policy_config("diffuser", ENV, changes={"checkpoint": "maze2d-umaze-diffuser"}))
    with pytest.raises(PolicyError, match="cannot be made"):
        make_policy(policy_config("diffusion_forcing", ENV, changes={"checkpoint": "not-there"}))


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("episodes", "0", "at least 1, got 0"), ("episodes", "2.5", "whole number"), ("num_envs", "0", "at least 1"),
        ("seeds", "[]", "at least one"), ("seeds", "[0,0]", "different"), ("seeds", "[a]", "whole numbers"),
        ("policies", "[]", "asks for none"), ("max_steps", "0", "or null"),
    ],
)  # fmt: skip
def test_numbers_that_make_no_sense_are_named(compare, option, value, says):
    with pytest.raises(ValueError, match=rf"{option}.*{says}"):
        compare("policies=[oracle]", f"{option}={value}")


def test_one_policy_and_one_seed_need_no_brackets(compare):
    complete, rows = compare("policies=oracle", "episodes=1", "seeds=1000")
    assert complete
    assert len(rows[ENV, "oracle"].records) == 1


def test_training_runs_are_other_weights_of_the_same_environment(compare, script):
    with pytest.raises(ValueError, match=r"gcbc@1 and gcbc in maze2d-umaze have the same weights"):
        compare("policies=[gcbc]", "runs={gcbc: [maze2d-umaze-gcbc]}", "episodes=1", "seeds=[1000]")
    complete, rows = compare(
        "policies=[gcbc]", "runs={gcbc: [maze2d-medium-gcbc]}", "episodes=1", "seeds=[1000]", "reference=gcbc"
    )
    assert complete
    assert rows[ENV, "gcbc@1"].error == "left out: its weights, maze2d-medium-gcbc, are of maze2d-medium"


def test_episodes_of_unequal_length_are_refused_before_any_is_run(compare, tmp_path):
    compare("policies=[oracle]", "episodes=1", "seeds=[1000]")
    with pytest.raises(StoreError, match=r"rows of oracle in maze2d-umaze of 40 steps.*max_steps=40"):
        compare("policies=[random]", "episodes=1", "seeds=[1000]", "max_steps=20")
    assert not (tmp_path / "rows" / ENV / "random").exists()


def test_a_policy_file_must_be_complete(script, tmp_path, monkeypatch):
    monkeypatch.setenv("DF_AGENT_CONFIG_DIR", str(tmp_path.parent))
    tmp_path = tmp_path.parent / "policy"
    tmp_path.mkdir()
    (tmp_path / "mine.yaml").write_text("name: mine\npolicy: {_target_: builtins.dict}\n")
    with pytest.raises(ValueError, match=r"policy/mine.yaml lacks privileged"):
        policy_config("mine", ENV)
    (tmp_path / "mine.yaml").write_text("name: yours\nprivileged: data\npolicy: {_target_: builtins.dict}\n")
    with pytest.raises(ValueError, match="says name: yours, it must be mine"):
        policy_config("mine", ENV)
    (tmp_path / "mine.yaml").write_text("name: mine\nprivileged: data\nmake: {_target_: builtins.dict}\n")
    with pytest.raises(ValueError, match=r"mine\.yaml: the key `make:` is now called `policy:`"):
        policy_config("mine", ENV)
    (tmp_path / "mine.yaml").write_text("- name: mine\n")
    with pytest.raises(ValueError, match=r"mine\.yaml holds a list"):
        policy_config("mine", ENV)


def test_every_policy_says_what_it_is(script):
    for name in policies_asked(OmegaConf.create({"policies": None})):
        policy = policy_config(name, "maze2d-large").policy
        assert policy.name == name
        assert policy.privileged
        assert policy.description
        assert isinstance(policy.slow, bool)
        assert "_target_" in policy.policy


def test_a_baseline_that_does_not_ship_is_taken_from_where_its_training_leaves_it(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def checkpoint(name):
        return policy_config(name, "df_envs:multi2d-large").policy.checkpoint

    assert checkpoint("full_sequence") == "maze2d-large-full_sequence"  # named in the error, as there is none
    for name in ("full_sequence", "gcbc"):
        (tmp_path / "runs" / f"maze2d-large-{name}" / "final").mkdir(parents=True)
    assert checkpoint("full_sequence") == "runs/maze2d-large-full_sequence/final"
    assert checkpoint("gcbc") == "maze2d-large-gcbc"  # it ships


def test_a_killed_comparison_ends_with_the_same_rows(tmp_path):
    options = [f"env={ENV}", "policies=[oracle,random]", "episodes=24", "seeds=[1000]", *SMALL, "max_steps=300"]
    command = [sys.executable, str(ROOT / "scripts" / "compare.py"), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def run(name, *more):
        arguments = [*command, f"output_dir={tmp_path / name}", *more]
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    def rows(name, policy):
        return tmp_path / name / "rows" / ENV / policy / "seed1000.jsonl"

    run("whole")
    with subprocess.Popen(
        [*command, f"output_dir={tmp_path / 'killed'}"], env=environment, stdout=subprocess.DEVNULL
    ) as process:
        path = rows("killed", "random")
        deadline = time.monotonic() + 600
        while not (path.exists() and path.read_bytes().count(b"\n") >= 4):
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert 4 <= path.read_bytes().count(b"\n") < 24
    assert not (tmp_path / "killed" / "report.md").exists()
    text = run("killed")
    assert re.search(r"oracle: 24 of 24 reached the goal.*, as stored", text)
    for policy in ("oracle", "random"):
        assert content(rows("killed", policy)) == content(rows("whole", policy))
    assert "as stored" in run("killed").partition("random")[2]

    # The CSV is enough for the numbers: without rows or MuJoCo the same tables come out.
    run("again", f"report_from={tmp_path / 'killed'}")
    before, after = (
        list(csv.DictReader((tmp_path / name / f"summary-{ENV}.csv").open())) for name in ("killed", "again")
    )
    assert [row["policy"] for row in before] == ["oracle", "random"]
    for old, new in zip(before, after, strict=True):
        for key, value in old.items():
            if re.fullmatch(r"-?[\d.]+", value):  # rows in the CSV are rounded, seconds to a tenth of a millisecond
                timed = any(word in key for word in ("ms", "real", "seconds"))
                assert float(new[key]) == pytest.approx(float(value), rel=0.05 if timed else 1e-5)
            else:
                assert new[key] == value
    # And enough to go on from, if without paths; those that the report draws can be had again.
    assert re.search(r"oracle: 24 of 24 reached the goal.*, as stored", run("on", f"start_from={tmp_path / 'killed'}"))
    assert not any(record.path for record in read_records(rows("on", "random")))
    run("on", "report_only=true", "retrace=true")
    before, after = (read_records(rows(name, "random")) for name in ("whole", "on"))
    assert [record.time_to_goal for record in after] == [record.time_to_goal for record in before]
    failed = [record.episode for record in before if not record.success][:LISTED]
    traced = [record.episode for record in after if record.path]
    assert failed
    assert set(failed) <= set(traced)
    assert len(set(traced) - set(failed)) <= 1, "and the far start that all policies' paths are drawn from"
    for old, new in zip(before, after, strict=True):
        assert not new.path or new.path == old.path
    drawn = [record for record in read_records(rows("on", "oracle")) if record.path]
    assert [record.episode for record in drawn] == [drawn[0].episode]
    assert drawn[0].episode in traced
    about = json.loads((tmp_path / "killed" / f"policies-{ENV}.json").read_text())
    assert [entry["policy"] for entry in about["policies"]] == ["oracle", "random"]
