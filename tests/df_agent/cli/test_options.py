"""Every option is documented and of a type, and is there without torch; what is typed wrong is answered in a line."""

import subprocess
import sys
import time
from dataclasses import MISSING

import pytest
from omegaconf import OmegaConf

from df_agent.cli.commands import COMMANDS, TRAININGS, command_of
from df_agent.cli.composing import OptionError, configuration, schema_of
from df_agent.cli.folders import group_files
from df_agent.cli.schema import Schema, fits, options_of

EACH = {**COMMANDS, **TRAININGS}


@pytest.mark.parametrize("name", EACH)
def test_every_option_says_what_it_is_and_its_default_is_of_its_type(name):
    options = list(options_of(EACH[name].options_class))
    assert options
    assert [option.name for option in options if len(option.meaning) < 5] == []
    given = [option for option in options if option.default is not MISSING and option.default != "???"]
    assert [
        option.name for option in given if not fits(option.default, option.kind) and option.default is not None
    ] == []


@pytest.mark.parametrize(
    "name", sorted(EACH.keys() - {"list", "tune", "fetch-teco"})
)  # they write nothing, add to it, name it
def test_every_command_says_which_options_tell_where_its_results_go(name):
    assert EACH[name].writes
    for option in EACH[name].writes:
        told, _, handed_on = option.partition(".")  # `run` hands options on to other commands
        known = schema_of(EACH[told], {}) if handed_on else schema_of(EACH[name], {})
        assert known.find(handed_on or option)


def test_the_options_of_every_policy_are_known():
    for name in group_files("", "policy"):
        options = list(schema_of(COMMANDS["evaluate"], {"policy": name}))
        assert len(options) > 25, name


def test_help_needs_neither_torch_nor_a_simulator_and_is_there_at_once():
    code = (
        "import sys; from df_agent.cli.app import main\n"
        "for words in (['evaluate'], ['train'], ['train', 'algorithm=gcbc'], ['tune', 'policy=cem'], ['compare']):\n"
        "    main(arguments=[*words, '--help'])\n"
        "main(arguments=[])\n"
        "print('BROUGHT', [name for name in ('torch', 'gymnasium', 'mujoco', 'hydra') if name in sys.modules])"
    )
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "BROUGHT []" in done.stdout
    assert time.perf_counter() - began < 20  # 1 s alone; others may keep this machine busy
    for said in ("policy.open_loop_horizon", "the checkpoint decides, else 50", "learner.goals.discount", "commands:"):
        assert said in done.stdout
    for internal in ("_target_", "${", "See docs", "None"):
        assert internal not in done.stdout


@pytest.mark.parametrize(
    ("name", "words", "says"),
    [
        ("evaluate", ["episods=3"], "there is no option 'episods'. Did you mean episodes?"),
        ("evaluate", ["policy.sampling.step=3"], "Did you mean policy.sampling.steps?"),
        ("evaluate", ["open_loop_horizon=3"], "Did you mean policy.open_loop_horizon"),
        ("evaluate", ["episodes=ten"], "episodes must be a whole number of at least 1, got 'ten'"),
        ("evaluate", ["pictures=3"], "pictures must be true or false, got 3"),
        ("evaluate", ["policy.tracker.lookahead=far"], "policy.tracker.lookahead must be a number, got 'far'"),
        ("evaluate", ["policy=orcale"], "Did you mean 'oracle'?"),
        ("evaluate", ["episodes=1,2"], "episodes=1,2 are several values; with -m each is a job of its own"),
        ("evaluate", ["episodes=[1,2"], "cannot be read"),
        ("evaluate", ["--episodes", "3"], "--episodes is written episodes=3 here"),
        ("evaluate-video", ["--long-clips=2"], "--long-clips=2 is written long_clips=2 here"),
        ("evaluate", ["episodes"], "options are written key=value"),
        ("evaluate", ["~episodes"], "nothing is deleted here"),
        ("evaluate", ["policy=cem", "policy.sampling.steps=3"], "there is no option 'policy.sampling.steps'"),
        ("evaluate", ["algorithm=df_planning"], "what acts is called policy= here"),
        ("evaluate", ["algorithm.guidance_scale=2"], "policy.goal_guidance.guidance_scale here"),
        ("evaluate", ["experiment.tasks=[validation]"], "the tasks are commands here"),
        ("evaluate", ["dataset=maze2d_medium"], "is called env= here"),
        ("evaluate", ["load=abc"], "weights are given by checkpoint= here"),
        ("train", ["resume=abc"], "a run with the same run_dir= goes on where it stopped"),
        ("train", ["dataset=maze2d_medium"], "dataset=maze2d_medium is env=maze2d-medium here"),
        ("train", ["algorithm=df_planning"], "is method=diffusion_forcing here"),
        ("train", ["algorithm=gcbv"], "Did you mean 'gcbc'?"),
        ("train", ["method=casual"], "Did you mean 'causal'?"),
        ("train", ["windows.short_token=[4]"], "Did you mean windows.short_tokens?"),
        ("train", ["maze=x.txt"], "maze= goes with env=maze2d or env=multi2d"),
        ("convert", ["env=maze2d-large"], "weights must be given, as weights=VALUE"),
        ("evalute", [], "Did you mean 'evaluate'?"),
        ("evaluate", ["policy.planner=no_such_module:Planner"], "is the module installed or on PYTHONPATH?"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_was_meant(name, words, says):
    with pytest.raises(OptionError) as error:
        configuration(name, words)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_no_plus_is_needed_and_one_too_many_does_no_harm(capsys):
    plain = configuration("evaluate", ["policy.open_loop_horizon=25", "policy.sampling.steps=3", "seed=7"])
    plus = configuration("evaluate", ["++policy.make.open_loop_horizon=25", "+policy.sampling.steps=3", "+seed=7"])
    assert plain == plus
    assert plain.policy.policy.open_loop_horizon == 25
    assert "+seed=7: no + is needed" in capsys.readouterr().err
    train = configuration(
        "train", ["policy.shortest_feasible.samples=4", "diffusion.levels=50", "train.betas=[0.9,0.95]"]
    )
    assert (train.policy.shortest_feasible.samples, train.diffusion["levels"]) == (4, 50)


def test_the_last_of_two_counts_and_one_value_is_a_list_where_a_list_is_meant():
    config = configuration("compare", ["policies=oracle", "seeds=3,4", "seeds=1000,1001", "policies=oracle,random"])
    assert (config.policies, config.seeds) == (["oracle", "random"], [1000, 1001])
    assert configuration("compare", ["seeds=7"]).seeds == [7]


@pytest.mark.parametrize("text", ["a=b", "it's here", "C:\\data", "a, b", "{x}", "no [end"])
def test_texts_may_hold_anything(text):
    assert configuration("train", [f"run_dir={text}"]).run_dir == text


def test_what_follows_from_the_environment():
    assert configuration("evaluate", ["env=maze2d-medium-pixels"]).policy.name == "pixels"
    assert configuration("evaluate", ["env=maze2d-medium-pixels", "policy=pixels_cem"]).policy.name == "pixels_cem"
    assert configuration("evaluate", ["env=maze2d-medium"]).policy.name == "diffusion_forcing"
    mine = configuration("train", ["env=mypackage:Mine-v0"])
    assert (mine.env_id, mine.validation.choose) == ("mypackage:Mine-v0", True)


def test_a_short_training_warms_up_for_a_tenth_of_it():
    def warmup(*words):
        return configuration("train", list(words)).train.warmup_steps

    assert warmup("steps=50") == 5
    assert warmup("steps=4000") == 300
    assert warmup("steps=0") == 0
    assert warmup("steps=50", "train.warmup_steps=20") == 20
    assert warmup("algorithm=gcbc", "train.steps=100") == 10


def test_a_planner_of_ones_own_says_what_its_options_are(tmp_path, monkeypatch):
    (tmp_path / "theirs.py").write_text(
        "from dataclasses import dataclass\n"
        "@dataclass(frozen=True)\n"
        "class Config:\n"
        "    horizons: tuple[int, ...] = (5,)\n"
        "class Planner:\n"
        "    Config = Config\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    words = ["policy.planner=theirs:Planner"]
    config = configuration("evaluate", [*words, "policy.planner_options.horizons=[5,7]"])
    assert config.policy.policy.planner_options.horizons == [5, 7]
    with pytest.raises(OptionError, match=r"Did you mean policy\.planner_options\.horizons"):
        configuration("evaluate", [*words, "policy.planner_options.horizon=3"])


def test_a_folder_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "mine.yaml").write_text(
        "name: mine\nprivileged: data\npolicy: {_target_: builtins.dict, speed: 2}\n"
    )
    with pytest.raises(OptionError, match="there is no policy 'mine'"):
        configuration("evaluate", ["policy=mine"])
    monkeypatch.setenv("DF_AGENT_CONFIG_DIR", str(tmp_path))
    assert configuration("evaluate", ["policy=mine", "policy.speed=3"]).policy.policy.speed == 3
    assert "mine" in group_files("", "policy")


def test_what_is_trained_is_chosen_by_algorithm():
    assert command_of("train", ["algorithm=gcbc"]).module == "df_agent.cli.train_baseline"
    plain = OmegaConf.to_container(configuration("train", ["algorithm=gcbc", "env=maze2d-umaze"]), resolve=True)
    assert plain["run_dir"] == "runs/maze2d-umaze-gcbc"
    assert configuration("train", ["algorithm=td3"]).training.algorithm == "td3"
    assert configuration("train", ["algorithm=sac_her"]).training.algorithm == "sac"
    assert configuration("train", ["algorithm=video"]).network.name == "space_time"
    assert configuration("train", ["algorithm=compact"]).autoencoder.latent_channels == 8
    assert configuration("train", ["algorithm=diffusion_forcing"]).network.name == "transformer"


def test_options_below_an_option_are_checked_too():
    schema = Schema(options_of(COMMANDS["evaluate"].options_class))
    with pytest.raises(ValueError, match=r"there is no option 'goal.achievd'. Did you mean goal.achieved\?"):
        schema.check("goal", {"achievd": [0, 1]})
    assert schema.check("goal", {"achieved": [0, 1]}) == {"achieved": [0, 1]}


@pytest.mark.parametrize("env", ["FetchPushRecall-v0", "FetchPushCued-v0", "AdroitHandPen-v1"])
def test_who_executes_planned_actions_trains_no_local_policy(env):
    config = configuration("train", [f"env={env}"])
    assert (config.local_policy.steps, config.support.steps) == (0, 0)
    assert config.tokenizer.include_actions
