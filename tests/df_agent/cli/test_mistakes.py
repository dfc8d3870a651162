"""Mistakes around files and policies of one's own end in a line that says what and where."""

import pytest

from df_agent.cli.app import main
from df_agent.cli.commands import TRAININGS
from df_agent.cli.composing import schema_of
from df_agent.cli.folders import VARIABLE, load_file


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
    assert schema_of(TRAININGS["gcbc"], {}).nearest("steps") == " Did you mean train.steps?"
