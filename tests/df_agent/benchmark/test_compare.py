"""compare() with toy policies: the same starts for all, the statistics of the tables, a report in a folder."""

import csv

import numpy as np
import pytest

from df_agent.benchmark.compare import compare
from df_agent.benchmark.tables import make_tables
from df_agent.evaluation.active_rows import PolicyError
from df_agent.evaluation.references import References
from df_agent.evaluation.rollout import rollout

OPTIONS = {"episodes": 5, "seeds": (3, 4), "num_envs": 2}


class Slow:
    """Goes to the goal at a quarter of the speed."""

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        away = observation["desired_goal"] - observation["observation"]
        return 0.25 * np.clip(away / 0.1, -1, 1), state


@pytest.fixture
def result(make_straight):
    known = {"toy-point": References(goal_radius=0.15)}
    policies = {"slow": Slow(), "straight": make_straight()}
    return compare(policies, ["toy-point", "toy-point-stop"], reference="straight", references=known, **OPTIONS)


def test_all_policies_have_the_same_starts_and_what_rollout_gives(result, make_straight):
    assert [part.env for part in result.environments] == ["toy-point", "toy-point-stop"]
    for part in result.environments:
        straight, slow = part.policies
        assert (straight.policy, slow.policy) == ("straight", "slow"), "the reference comes first"
        assert [(r.seed, r.start, r.goal) for r in straight.records] == [
            (r.seed, r.start, r.goal) for r in slow.records
        ]
        assert sorted(part.seeds.values()) == [3] * 5 + [4] * 5
        alone = [r for seed in (3, 4) for r in rollout(make_straight(), part.env, episodes=5, seed=seed)]
        assert [r.path for r in alone] == [r.path for r in straight.records]
        assert [r.num_envs for r in slow.timing] == [1]
    assert result.environments[0].references.goal_radius == 0.15
    (pair,) = make_tables(result.environments[0]).pairs
    assert pair.starts == 10
    assert pair.steps.value > 0
    assert pair.shown


def test_the_table_is_what_is_shown(result):
    header, _, first, second, *_ = repr(result).splitlines()
    assert "toy-point-stop" in header
    assert first.startswith("| straight |")
    assert "1.00" in first
    assert second.startswith("| slow |")
    assert result.table() == repr(result)


def test_the_folder_holds_report_and_rows(result, tmp_path):
    page = result.write(tmp_path / "new" / "folder")
    assert page.name == "report.html"
    folder = page.parent
    with (folder / "rows-toy-point.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["policy"], row["seed"]) for row in rows} == {(n, s) for n in ("straight", "slow") for s in "34"}
    assert (folder / "arrivals-toy-point-stop.png").is_file()
    assert "straight is faster by" in (folder / "report.md").read_text()


def test_what_makes_no_sense_is_named(make_straight):
    policies = {"straight": make_straight()}
    with pytest.raises(ValueError, match=r"'strait' is not among the policies straight\. Did you mean 'straight'"):
        compare(policies, "toy-point", reference="strait")
    with pytest.raises(ValueError, match="no policies"):
        compare({}, "toy-point")
    with pytest.raises(ValueError, match="no environments"):
        compare(policies, [])
    with pytest.raises(ValueError, match=r"seeds must be different.*\[0, 0\]"):
        compare(policies, "toy-point", seeds=[0, 0])
    with pytest.raises(ValueError, match=r"part of file names.*'\.\./mine'"):
        compare({"../mine": make_straight()}, "toy-point")


def test_a_policy_that_raises_is_named():
    class Broken:
        def predict(self, *args, **kwargs):
            raise KeyError("velocity")

    with pytest.raises(PolicyError, match="policy 'broken', step 0: predict raised KeyError"):
        compare({"broken": Broken()}, "toy-point", episodes=1)
