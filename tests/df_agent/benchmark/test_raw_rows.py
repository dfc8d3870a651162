"""Rows as CSV give the numbers of the rows they were written from."""

from dataclasses import replace

import numpy as np
import pytest

from df_agent.benchmark.raw_rows import read_raw_rows, restore_rows, write_raw_rows
from df_agent.benchmark.rows import EnvComparison, PolicyRows
from df_agent.benchmark.store import PolicyStore, StoreError, stored
from df_agent.benchmark.tables import make_tables
from df_agent.evaluation.references import References
from df_agent.evaluation.rollout import episode_seed, rollout
from studies import results

KNOWN = References(score_references=(0.0, 30.0), control_period=0.01)


def distance(starts, goals):
    return np.linalg.norm(starts[:, :2] - goals, axis=1) / 0.1


@pytest.fixture
def written(tmp_path, make_straight):
    def rows(name, plan_every, episodes):
        policy = make_straight(plan_every)
        records = rollout(policy, "toy-point", episodes=episodes, seed=3, policy_name=name)
        timing = rollout(policy, "toy-point", episodes=2, seed=3, num_envs=1, policy_name=name, keep_paths=False)
        return PolicyRows(
            name, "simulator, map", records, timing, what="goes straight", provenance={"identity": {"speed": 1.0}}
        )

    policies = [rows("straight", 10, 9), rows("straight@1", 5, 9), rows("other", 3, 5)]
    policies.append(PolicyRows("broken", "data", [], error="it has no wheels"))
    references = replace(KNOWN, oracle_steps=distance, lower_bound_steps=lambda s, g: 0.5 * distance(s, g))
    comparison = EnvComparison("toy-point", policies, references, lambda s, g: np.round(0.9 * distance(s, g)))
    seeds = {episode_seed(3, episode): 3 for episode in range(9)}
    files = write_raw_rows(tmp_path, comparison, seeds)
    assert [path.name for path in files] == ["rows-toy-point.csv", "timing-toy-point.csv", "policies-toy-point.json"]
    return comparison, tmp_path


def test_the_numbers_are_the_same(written):
    comparison, folder = written
    (read,) = read_raw_rows(folder, lambda env: KNOWN)
    before, after = make_tables(comparison), make_tables(read)
    assert [rows.what for rows in read.policies] == ["goes straight", "goes straight", "goes straight", ""]
    assert [rows.policy for rows in read.policies] == ["straight", "straight@1", "other", "broken"]
    assert read.policies[0].provenance == {"identity": {"speed": 1.0}}
    assert after.failed == before.failed == [("broken", "it has no wheels")]
    assert after.pairs == before.pairs
    assert after.runs == before.runs
    assert len(after.policies) == len(before.policies) == 2
    for old, new in zip(before.policies, after.policies, strict=True):
        for name, value in vars(old).items():
            found = getattr(new, name)
            if hasattr(value, "low"):
                assert vars(found) == pytest.approx(vars(value), abs=1e-4), name
            else:
                assert found == (value if isinstance(value, str) else pytest.approx(value, abs=1e-3)), name


def test_compressed_rows_are_the_same(written, tmp_path):
    _, folder = written
    kept = tmp_path / "kept"
    results.keep_comparison(folder, kept)
    names = ["policies-toy-point.json", "rows-toy-point.csv.gz", "timing-toy-point.csv.gz"]
    assert sorted(path.name for path in kept.iterdir()) == names
    ((plain,), (compressed,)) = (read_raw_rows(each, lambda env: KNOWN) for each in (folder, kept))
    assert compressed.policies == plain.policies
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    results.keep_comparison(folder, kept)
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
    restore_rows(kept, tmp_path / "new")
    assert stored(tmp_path / "new", "toy-point") == ["other", "straight", "straight@1"]
    path = folder / "rows-toy-point.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))
    with pytest.raises(SystemExit, match=r"lacks 2 rows of rows-toy-point.csv that"):
        results.keep_comparison(folder, kept)


def test_a_row_says_where_it_comes_from_and_is_short(written):
    _, folder = written
    head, *lines = (folder / "rows-toy-point.csv").read_text().splitlines()
    assert len(lines) == 9 + 9 + 5
    row = dict(zip(head.split(","), lines[9].split(","), strict=True))
    assert (row["policy"], row["run"], row["seed"], row["episode"]) == ("straight", "1", "3", "0")
    assert row["start_id"] == str(episode_seed(3, 0))
    assert max(map(len, lines)) < 170


def test_a_comparison_begins_with_kept_rows_and_not_over_rows_of_its_own(written, tmp_path):
    comparison, kept = written
    restore_rows(kept, tmp_path / "new")
    assert stored(tmp_path / "new", "toy-point") == ["other", "straight", "straight@1"]
    for rows in comparison.policies[:3]:
        store = PolicyStore(tmp_path / "new", "toy-point", rows.policy)
        assert (store.seeds(), store.run()) == ([3], dict(rows.provenance))
        assert [r.time_to_goal for r in store.rows(3)] == [r.time_to_goal for r in rows.records]
        assert len(store.timing()) == 2
        assert store.waves(3, len(rows.records), 50) == {}, "nothing of it has to be run again"
    with pytest.raises(StoreError, match="holds rows already"):
        restore_rows(kept, tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["rows"]


def test_kept_rows_that_cannot_be_read_leave_no_half_of_them(written, tmp_path):
    _, kept = written
    path = kept / "timing-toy-point.csv"
    path.write_text(path.read_text()[:-9])
    (tmp_path / "new").mkdir()
    with pytest.raises(ValueError, match="is cut off"):
        restore_rows(kept, tmp_path / "new")
    assert not (tmp_path / "new" / "rows").exists()


def test_a_folder_without_rows_and_a_table_of_something_else_are_refused(written, tmp_path):
    with pytest.raises(FileNotFoundError, match="no rows of a comparison"):
        read_raw_rows(tmp_path / "elsewhere", lambda env: KNOWN)
    _, folder = written
    path = folder / "rows-toy-point.csv"
    path.write_text(path.read_text().replace("time_to_goal", "ttg"))
    with pytest.raises(ValueError, match=r"has the columns .*'ttg'"):
        read_raw_rows(folder, lambda env: KNOWN)
