"""studies/ablation.py on two rows of the shipped agent and one whose model is not there."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from df_agent.checkpoint import CheckpointError
from df_agent.cli.composing import configuration
from df_agent.cli.policies import make_policy
from studies import ablation

ROOT = Path(__file__).parents[2]

SMALL = """
env: maze2d-umaze
groups:
  - name: steps between two plans
    base: {sampling: {steps: 2}}
    rows:
      - {label: "25", options: {open_loop_horizon: 25}, teaches: nothing yet}
      - {label: "100", options: {open_loop_horizon: 100, sampling: {eta: 0.5}}}
      - {label: untrained, model: nonsense, options: {}}
"""


@pytest.fixture
def options(tmp_path, monkeypatch):
    (tmp_path / "rows.yaml").write_text(SMALL)
    monkeypatch.setattr(ablation, "CONFIG", tmp_path / "rows.yaml")
    where = [f"--output={tmp_path / 'a.json'}", f"--picture={tmp_path / 'a.png'}", "--precision=fp32"]
    return ablation.read_options(["--episodes=3", *where])


def test_rows_are_measured_once_and_written_with_their_commands(options, tmp_path, monkeypatch, capsys):
    ablation.ablate(options)
    assert "untrained left out, train it by `df-agent train env=maze2d-umaze method=nonsense`" in " ".join(
        capsys.readouterr().out.split()
    )
    rows = json.loads((tmp_path / "a.json").read_text())["rows"]
    assert [row["label"] for row in rows] == ["25", "100"]
    assert rows[1]["options"] == {"sampling": {"steps": 2, "eta": 0.5}, "open_loop_horizon": 100}
    assert all(row["interval"][0] <= row["time_to_goal"] <= row["interval"][1] for row in rows)
    text = (tmp_path / "a.md").read_text()
    assert "| 25 | 1.00 [0.44, 1.00] |" in text
    assert "nothing yet |" in text
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")

    def again(row, *given):
        assert row["label"] == "untrained"  # only what is not there yet is tried
        raise CheckpointError("not there")

    monkeypatch.setattr(ablation, "measure", again)
    ablation.ablate(options)
    assert json.loads((tmp_path / "a.json").read_text())["rows"] == rows
    assert len({row["plan_ms"] for row in rows}) == 2

    options.seed = 7  # other starts do not replace these
    with pytest.raises(ValueError, match=r"holds 3 episodes of seed 0: delete it, or give another --output"):
        ablation.ablate(options)
    options.seed = 0
    monkeypatch.setattr(ablation, "weights_of", lambda row, env_id: None if row["model"] else "others")
    with pytest.raises(AssertionError):
        ablation.ablate(options)  # a model that was trained anew is measured anew
    monkeypatch.setattr(ablation, "weights_of", lambda row, env_id: None)
    ablation.ablate(options)  # rows whose model is not here stay
    assert json.loads((tmp_path / "a.json").read_text())["rows"] == rows


def test_the_command_of_a_row_makes_its_agent(options):
    row = ablation.rows_of(OmegaConf.to_container(OmegaConf.load(ablation.CONFIG)))[1]
    program, name, *words = ablation.command_of(row, "maze2d-umaze", options).split()
    assert (program, name) == ("df-agent", "evaluate")
    policy = make_policy(configuration("evaluate", words))
    assert policy.config.open_loop_horizon == 100
    assert policy.config.sampling.eta == 0.5
    assert policy.config.sampling.steps == 2


def test_all_rows_are_options_that_there_are():
    from df_agent.policies.config import PolicyConfig

    rows = ablation.rows_of(OmegaConf.to_container(OmegaConf.load(ablation.CONFIG)))
    assert len(rows) == len({(row["group"], row["label"]) for row in rows}) > 30
    for row in rows:
        PolicyConfig.from_dict(row["options"])
        assert (
            not row["model"] or (ROOT / "configs" / "df_configs" / "train" / "method" / f"{row['model']}.yaml").exists()
        )


def test_an_unknown_group_is_named(options):
    options.groups = ["horizons"]
    with pytest.raises(ValueError, match=r"no groups \['horizons'\]; there are steps between two plans"):
        ablation.ablate(options)


def test_every_row_that_is_kept_is_a_row_of_the_configuration():
    wanted = ablation.rows_of(OmegaConf.to_container(OmegaConf.load(ablation.CONFIG)))
    kept = ablation.stored(json.loads((ROOT / "results" / "ablation.json").read_text())["rows"])
    assert [sum(ablation.same(row, asked) for row in kept) for asked in wanted] == [1] * len(wanted)
