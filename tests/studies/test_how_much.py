import json
from dataclasses import replace

import numpy as np
import pytest

from df_agent.data.episodes import Episodes
from studies import how_much, result_tables


def row(env, data, training, success=0.5):
    return {
        "env": env, "data_steps": data, "training_steps": training, "minutes": training / 1000, "seed": 0,
        "success_rate": success, "success_rate_ci95": [success / 2, 1.0], "time_to_goal": 60.0,
        "time_to_goal_ci95": [50.0, 70.0],
    }  # fmt: skip


def made_up():
    return [row(name, *case) for name, task in how_much.TASKS.items() for case in how_much.cases(task, 4000)]


def episodes_of(*lengths):
    """Episodes of so many steps, whose observations count the rows."""
    rows = sum(lengths) + len(lengths)
    counted = np.arange(rows, dtype=np.float32)
    return Episodes(
        observations=counted[:, None],
        actions=counted[:, None],
        rewards=counted,
        desired_goals=None,
        achieved_goals=None,
        starts=np.cumsum([0, *(length + 1 for length in lengths)]),
    )


def options_of(folder, *more):
    files = ["--output", str(folder / "h.json"), "--picture", str(folder / "h.png"), "--runs", str(folder)]
    return ["--episodes", "3", *files, *more]


@pytest.mark.parametrize(("steps", "episodes"), [(1, 1), (5, 1), (6, 2), (7, 2), (8, 3), (10, 3)])
def test_smaller_data_are_the_fewest_first_episodes(steps, episodes):
    whole = episodes_of(5, 2, 3)
    some = how_much.first_steps(whole, steps)
    assert len(some) == episodes
    assert some.steps >= steps
    assert some.observations[:, 0].tolist() == list(range(len(some.observations)))


def test_too_little_data_is_an_error_that_says_how_much_there_is():
    with pytest.raises(ValueError, match="has 10 steps, and 11 are asked for"):
        how_much.first_steps(episodes_of(5, 2, 3), 11)


def test_packs_are_made_once(tmp_path, monkeypatch):
    task = replace(how_much.TASKS["boat"], sizes=(2, 10))
    monkeypatch.setattr(how_much, "BASE", 5)
    monkeypatch.setattr(how_much, "load_episodes", lambda name: episodes_of(5, 2, 3))
    files = how_much.packs(task, "boat", tmp_path)
    assert [Episodes.load(files[size]).steps for size in (2, 5, 10)] == [5, 5, 10]
    monkeypatch.delattr(how_much, "load_episodes")
    assert how_much.packs(task, "boat", tmp_path) == files


def test_the_training_that_both_curves_share_is_one():
    found = how_much.cases(how_much.TASKS["boat"], 4000)
    assert len(found) == len(set(found)) == 6 + 6 - 1
    assert (how_much.BASE, 4000) in found


def test_what_has_a_row_is_not_trained_again_and_rows_are_kept_as_they_come(tmp_path, monkeypatch):
    seen = []

    def trained(name, size, steps, data, options):
        if len(seen) == 4:
            raise ValueError("enough")
        seen.append((name, size, steps))
        return row(name, size, steps)

    monkeypatch.setattr(how_much, "row_of", trained)
    monkeypatch.setattr(how_much, "spec_of", lambda env: None)
    monkeypatch.setattr(how_much, "packs", lambda task, name, folder: dict.fromkeys([*task.sizes, how_much.BASE]))
    monkeypatch.setattr("sys.argv", ["how_much.py", *options_of(tmp_path, "--env", "push")])
    with pytest.raises(SystemExit, match="enough"):
        how_much.main()
    assert len(json.loads((tmp_path / "h.json").read_text())["rows"]) == 4
    first, seen = seen, []
    with pytest.raises(SystemExit, match="enough"):
        how_much.main()
    assert not set(first) & set(seen)
    assert not (tmp_path / "h.png").exists()
    seen = []
    how_much.main()
    rows = json.loads((tmp_path / "h.json").read_text())["rows"]
    assert {(r["data_steps"], r["training_steps"]) for r in rows} == {*how_much.cases(how_much.TASKS["push"], 4000)}
    assert (tmp_path / "h.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr("sys.argv", ["how_much.py", *options_of(tmp_path, "--seed", "1")])
    with pytest.raises(SystemExit, match="holds 3 episodes of seed 0"):
        how_much.main()


def test_the_picture_has_both_curves_of_every_environment(tmp_path):
    figure = how_much.draw(made_up(), 4000)
    assert len(figure.axes) == 8
    over_data, over_minutes = (axis.lines[0].get_xdata() for axis in figure.axes[:2])
    assert list(over_data) == list(how_much.TASKS["boat"].sizes)
    assert list(over_minutes) == [steps / 1000 for steps in how_much.TRAININGS]


def test_a_picture_of_few_rows_leaves_the_rest_empty(tmp_path):
    figure = how_much.draw([row("push", 10_000, 4000)], 4000)
    figure.savefig(tmp_path / "few.png")
    assert [len(axis.lines) for axis in figure.axes] == [1, 0, 1, 0]


def test_minutes_are_drawn_at_the_median_speed():
    rows = [{**row("boat", how_much.BASE, steps), "minutes": 1.0} for steps in (1000, 2000, 8000)]
    assert list(how_much.draw(rows, 2000).axes[1].lines[0].get_xdata()) == [0.5, 1.0, 4.0]


def test_the_tables_have_a_row_per_training(tmp_path, monkeypatch):
    (tmp_path / "how_much.json").write_text(json.dumps({"rows": made_up(), "steps": 4000}))
    monkeypatch.setattr(result_tables, "RESULTS", tmp_path)
    data, training = result_tables.how_much_table().split("\n\n")
    assert data.count("\n| Boat |") == 6
    assert data.count("\n| FetchPush |") == 6
    assert training.count("| 100,000 |") == 2 * len(how_much.TRAININGS)
    assert "| Boat | 1,000,000 | 4,000 | 4.0 | 0.50 [0.25, 1.00] | 60.0 [50.0, 70.0] |" in data
