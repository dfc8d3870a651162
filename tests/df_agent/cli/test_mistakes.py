"""Mistakes around files and policies of one's own end in a line that says what and where."""

import json
import subprocess
import sys

import pytest

from df_agent.cli.app import main
from df_agent.cli.commands import TRAININGS
from df_agent.cli.compare_options import reference_of
from df_agent.cli.composing import configuration, schema_of
from df_agent.cli.folders import VARIABLE, load_file
from df_agent.cli.policy_files import described


@pytest.fixture(autouse=True)
def no_folder_of_ones_own(monkeypatch):
    monkeypatch.setenv(VARIABLE, "")


def test_a_file_that_is_no_yaml_is_named_with_the_line(tmp_path):
    (tmp_path / "bad.yaml").write_text("b: 2\na: [1\n")
    with pytest.raises(ValueError, match=r"bad\.yaml, line \d is no YAML"):
        load_file(tmp_path / "bad.yaml")


@pytest.mark.parametrize("words", [["--config-dir"], ["--config-dir="]])
def test_config_dir_needs_a_folder(words):
    with pytest.raises(SystemExit, match="--config-dir needs a folder behind it"):
        main("evaluate", arguments=words)


def test_options_of_another_kind_of_policy_are_named():
    with pytest.raises(SystemExit, match=r"it has no option 'planner'; `df-agent evaluate policy=oracle --help`"):
        main("evaluate", arguments=["env=maze2d-umaze", "policy=oracle", "policy.planner=direct", "episodes=1"])


def test_what_was_probably_meant_is_named_once():
    assert schema_of(TRAININGS["compact"], {}).nearest("dynamics.train.step") == " Did you mean dynamics.train.steps?"


# What is typed -> what the line says; none of it needs torch or a simulator, and all but environments no gymnasium.
TYPED = {
    "evaluate episodes=0": "episodes must be a whole number of at least 1, got 0",
    "evaluate num_envs=-1": "num_envs must be a whole number of at least 1 or null, got -1",
    "evaluate seed=-1": "seed must be a whole number of at least 0, got -1",
    "evaluate policy.device=gpu": "policy.device must be one of auto, cpu, cuda, mps, got 'gpu'. Did you mean cuda?",
    "evaluate policy=oracle,random": "policy=oracle,random are several values; with -m each is a job of its own",
    "evaluate output_dir=a,b": "output_dir=a,b are several values; with -m",
    "evaluate agent=oracle": "there is no option 'agent'. Did you mean policy=oracle?",
    "evaluate policy.sampling=3": "policy.sampling must be options by name",
    "evaluate policy=orcale --help": "Did you mean 'oracle'?",
    "train train.betas=[0.9]": "train.betas must be a list of 2 numbers, got [0.9]",
    "train algorithm=gcbc,gciql": "algorithm=gcbc,gciql are several values; with -m",
    "train algorithm=gcbc steps=-1": "steps must be a whole number of at least 0, got -1",
    "train algorithm=compact steps=5": "Did you mean autoencoder.train.steps or dynamics.train.steps?",
    "train algorithm=sac_her train.steps=5": "there is no option 'train.steps'. Did you mean steps?",
    "train train.learning_rate=-1": "train.learning_rate must be a number above 0, got -1",
    "train windows.short_tokens=[4,0]": "windows.short_tokens must be a list of whole numbers of at least 1, got [4,0]",
    "train diffusion.schedule=cosin": "must be one of linear, cosine, sigmoid, got 'cosin'. Did you mean cosine?",
    "list kind=policies": "there is no option 'kind'. Did you mean what=policies?",
    "list plicies": "got 'plicies'. Did you mean policies?",
}
ENVIRONMENTS = {
    "evaluate env=maze2d-larg": "there is no environment 'maze2d-larg'; ours are maze2d-umaze",
    "evaluate env=maze2d-umaze,maze2d-large": "are several values; with -m",
    "evaluate env=maze2d maze=none.txt": "there is no file 'none.txt', and no maze of that name",
    "evaluate policy.planner=shortest": "unknown planner 'shortest', available here: best_of_n, direct",
    "tune policy=cem policy.planner=direct": "unknown planner 'direct', available here: cem, mppi",
    "train policy.controller=pathh": "unknown controller 'pathh', available here: actions, inverse_dynamics",
    "collect policy=demonstrater": "Did you mean 'demonstrator'?",
    "tune policy=cem output=/dev/null/t.jsonl": "/dev/null cannot be written: /dev/null is a file",
    "run train.stepz=3": "there is no option 'train.stepz'. Did you mean train.steps?",
    "run train.steps=abc": "train.steps must be a whole number of at least 0, got 'abc'",
    "compare policies=orcle": "Did you mean 'oracle'?",
    "compare changes={cem:{policy:{options:{horizn:3}}}} policies=cem": "Did you mean policy.options.horizon?",
    "tune policy=cem grid={options.horizons:[20]}": "grid: there is no option 'policy.options.horizons'. Did you mean",
    "tune policy=cem grid={options.horizon:[20,far]}": "options.horizon must be a whole number, got 'far'",
}


def test_what_is_typed_wrong_is_answered_before_anything_heavy_is_imported():
    code = (
        "import json, sys; from df_agent.cli.app import main\n"
        "for typed in json.loads(sys.argv[1]):\n"
        "    try:\n"
        "        main(arguments=typed.split())\n"
        "    except SystemExit as error:\n"
        "        brought = [name for name in ('torch', 'mujoco', 'gymnasium') if name in sys.modules]\n"
        "        print(json.dumps([typed, str(error), error.code, brought]))\n"
    )
    typed = {**TYPED, **ENVIRONMENTS}
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps([*typed])], capture_output=True, text=True, check=True
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer[0] for answer in answers] == [*typed], "each ends the command"
    for words, text, status, brought in answers:
        assert text.startswith(f"df-agent {words.split()[0]}: "), text
        assert typed[words] in text
        assert "\n" not in text
        assert status == 2
        assert brought in ([], ["gymnasium"] if words in ENVIRONMENTS else [])
    assert "Traceback" not in done.stderr


def test_errors_of_a_command_have_no_classes_name_and_a_traceback_if_it_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = ["algorithm=gcbc", "env=maze2d-umaze", "dataset=none.npz", "steps=1", "train.validate_every=0"]
    with pytest.raises(SystemExit, match=r"^df-agent train: .*none\.npz") as error:
        main("train", arguments=words)
    assert (error.value.code, "Error:" in str(error.value)) == (2, False)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(FileNotFoundError):
        main("train", arguments=words)


def test_a_policy_that_inherits_is_called_as_its_file_is(tmp_path, monkeypatch):
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "mine.yaml").write_text("defaults: [random, _self_]\ndescription: as random, mine\n")
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    config = configuration("evaluate", ["policy=mine", "env=maze2d-umaze"])
    assert (config.policy.name, config.policy.privileged) == ("mine", "nothing")
    assert described("mine") == config.policy  # as `compare` and `list` take it
    (tmp_path / "policy" / "mine.yaml").write_text("defaults: [radnom]\n")
    with pytest.raises(ValueError, match=r"mine.yaml: there is no policy 'radnom' .*Did you mean 'random'\?"):
        described("mine")


def test_the_reference_of_a_comparison_is_what_usually_acts_there():
    config = configuration("compare", [])
    assert reference_of(config, "maze2d-umaze-pixels") == "pixels"
    assert reference_of(config, "maze2d-umaze") == "diffusion_forcing"
    assert reference_of(configuration("compare", ["reference=cem"]), "maze2d-umaze-pixels") == "cem"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("collect env=maze2d-umaze pack=x.zip", r"An episodes pack ends in .npz, got 'x.zip'"),
        ("collect env=maze2d-umaze pack=x.npz.gz", r"An episodes pack ends in .npz, got 'x.npz.gz'"),
        ("collect env=maze2d-umaze pack={file}/x.npz", r"cannot be written: .*file is a file"),
        ("train env=maze2d-umaze run_dir={file}", r"cannot be written: .*file is a file"),
        ("train env=maze2d-umaze algorithm=gcbc run_dir={file}/run", r"cannot be written: .*file is a file"),
        ("compare env=maze2d-umaze output_dir={file}", r"cannot be written: .*file is a file"),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is_done(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (file := tmp_path / "file").touch()
    name, *arguments = words.format(file=file).split()
    with pytest.raises(SystemExit, match=message):
        main(name, arguments=arguments)


@pytest.mark.parametrize(
    ("folder", "said"), [("file", "exists"), ("file/below", "Not a directory"), ("", "it is empty")]
)
@pytest.mark.parametrize(
    "words", ["collect env=maze2d-umaze", "list datasets", "train env=maze2d-umaze dataset=a/b-v0"]
)
def test_a_store_that_is_no_folder_is_named_by_its_variable(words, folder, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / folder) if folder else "")
    name, *arguments = words.split()
    with pytest.raises(SystemExit, match=rf"MINARI_DATASETS_PATH='.*' cannot be the folder .*: .*{said}"):
        main(name, arguments=arguments)
