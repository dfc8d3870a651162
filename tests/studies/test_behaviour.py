"""The comparing part of studies/behaviour.py: a net that nothing is caught in would be worth nothing."""

import json
import math
import re

import numpy as np
import pytest

from studies import behaviour
from studies.behaviour_cases import Case
from studies.behaviour_compare import (
    Recording,
    difference,
    missing_cases,
    problems_of,
    runtime_ratio,
    slowest,
    verdict,
)
from studies.behaviour_models import MODELS
from studies.behaviour_recorder import Events, Watcher, no_threads


def recording(seconds=1.0, **changed):
    arrays = {"actions": np.arange(12.0).reshape(3, 2, 2), "plans: rows": np.array([0, 1, 0])}
    return Recording({**arrays, **changed}, seconds)


def test_equal_recordings_have_no_problems_and_their_actions_are_counted():
    found = verdict("g", "n", [recording(2.0), recording(1.0)], [recording(1.5), recording(3.0)])
    assert (found.problems, found.actions, found.before, found.after) == ((), 6, 1.0, 1.5)
    assert found.ratio == 1.5


def test_the_smallest_change_of_an_action_is_found_with_its_step_and_size():
    changed = recording().arrays["actions"].copy()
    changed[2, 1, 0] = np.nextafter(changed[2, 1, 0], 99)
    (problem,) = verdict("g", "n", [recording()], [recording(actions=changed)]).problems
    assert "actions: 1 of 12 numbers differ from index 2 on, by up to 1.78e-15" in problem
    assert not verdict("g", "n", [recording()], [recording(actions=changed)], tolerance=1e-9).problems


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_on_one_side_is_beyond_every_tolerance(value):
    changed = recording().arrays["actions"].copy()
    changed[0, 0, 0] = value
    assert "by up to inf" in difference("actions", recording().arrays["actions"], changed, tolerance=1e9)
    assert not difference("actions", changed, changed.copy())


def test_an_action_more_and_a_plan_less_are_found():
    longer = recording(actions=np.zeros((4, 2, 2)))
    assert problems_of(recording(), longer) == ["actions: (3, 2, 2) before, (4, 2, 2) after"]
    untold = Recording({"actions": recording().arrays["actions"]}, 1.0)
    assert problems_of(recording(), untold) == ["plans: rows: only before"]
    assert problems_of(untold, recording()) == ["plans: rows: only after"]


def test_a_case_that_raises_is_a_problem_also_if_it_raises_in_both():
    raised = Recording(error="ValueError: no such planner")
    assert problems_of(recording(), raised) == ["raised after: ValueError: no such planner"]
    assert problems_of(raised, recording()) == ["raised before: ValueError: no such planner"]
    assert len(problems_of(raised, raised)) == 2


def test_nothing_to_compare_is_a_problem():
    assert problems_of(None, recording()) == ["not recorded before"]
    assert verdict("g", "n", [recording()], []).problems == ("not recorded after",)
    assert "nothing to compare" in problems_of(Recording(), Recording())[0]


def test_a_case_that_does_not_repeat_is_a_problem():
    other = recording(actions=np.ones((3, 2, 2)))
    (problem,) = verdict("g", "n", [recording(), recording()], [recording(), other]).problems
    assert problem.startswith("does not repeat after: actions")


def test_runtimes_are_summed_over_the_cases_that_ran_in_both():
    fast, slow = (verdict("g", "n", [recording(1.0)], [recording(after)]) for after in (1.0, 1.2))
    failed = verdict("g", "n", [recording(9.0)], [Recording(error="E: x")])
    assert runtime_ratio([fast, slow, failed]) == pytest.approx(1.1)
    assert math.isnan(runtime_ratio([failed]))
    assert math.isnan(failed.ratio)
    assert slowest([fast, slow, failed], 1) == [slow]


CASES = [Case("g", "n", "p", "e")]


def test_the_status_tells_of_differences_missing_cases_and_slowness(tmp_path, capsys):
    fine = verdict("g", "n", [recording(1.0)], [recording(1.0)])
    slow = verdict("g", "n", [recording(1.0)], [recording(1.2)])
    wrong = verdict("g", "n", [recording()], [Recording(error="E: x")])
    assert missing_cases([("g", "n"), ("g", "m")], [fine]) == ["g: m"]
    output = tmp_path / "new" / "behaviour.json"
    assert behaviour.conclude(CASES, [fine], output, 1.05) == 0
    assert "1 cases, 6 actions compared, all equal; runtime ratio 1.000" in capsys.readouterr().out
    assert json.loads(output.read_text())["rows"][0]["name"] == "n"
    assert behaviour.conclude(CASES, [slow], None, 1.05) == 1
    assert behaviour.conclude(CASES, [wrong], None, 1.05) == 1
    assert behaviour.conclude(CASES, [], None, 1.05) == 1
    assert behaviour.conclude([*CASES, Case("g", "m", "p", "e")], [fine], None, 1.05) == 1


def test_a_recorder_that_dies_is_an_error_and_another_is_started(tmp_path, monkeypatch):
    stub = tmp_path / "stub.py"
    stub.write_text("import sys\nprint('out of memory', file=sys.stderr)\nsys.exit(3)\n")
    monkeypatch.setattr(behaviour, "RECORDER", stub)
    with behaviour.Recorder(tmp_path, tmp_path, tmp_path / "log") as recorder:
        for _ in range(2):
            assert recorder.record(CASES[0]).error == "the recorder ended with status 3: out of memory"


def test_cases_have_names_of_their_own_and_their_models_exist():
    cases = behaviour.all_cases()
    titles = [case.title for case in cases]
    assert len(set(titles)) == len(titles)
    assert {case.checkpoint.removeprefix("made:") for case in cases if case.checkpoint} == set(MODELS)
    assert behaviour.all_cases(re.escape(titles[3])) == [case for case in cases if titles[3] in case.title]
    json.dumps([case.request for case in cases])


def test_events_touch_the_rows_and_steps_they_are_meant_for():
    case = {"steps": 100, "num_envs": 3, "sensors": "", "shove": 1.0, "goals": True}
    place = np.arange(6.0).reshape(3, 2)
    first = {"observation": np.zeros((3, 4)), "achieved_goal": place, "desired_goal": np.full((3, 2), 9.0)}
    events = Events(case, first)
    assert events.observed(first, 0)["desired_goal"].tolist() == [[9.0, 9.0]] * 3
    trembling = events.observed(first, events.at["tremble"])["desired_goal"]
    assert 0 < np.abs(trembling - 9).max() < 1e-6
    goals = [events.observed(first, t)["desired_goal"] for t in range(100)]
    assert goals[-1][0].tolist() == place[1].tolist()
    steps = np.diff([goal[2, 0] for goal in goals[events.at["drift"] :]])
    assert steps.max() < 1e-6 < 5e-6 < goals[-1][2, 0] - 9
    shoved = events.observed(first, events.at["shove"])["observation"]
    assert shoved.tolist() == [[0.0] * 4, [0.0] * 4, [1.0, 1.0, 0.0, 0.0]]
    assert (first["observation"] == 0).all()
    starts = [events.starts(np.zeros(3, bool), t) for t in range(100)]
    assert [t for t in range(100) if starts[t].any()] == [0, events.at["anew"]]


def test_what_lies_behind_a_plans_end_is_not_noted_and_not_saying_means_executed():
    class Plan:
        observations, lengths, actions = np.arange(12.0).reshape(2, 3, 2), np.array([1, 3]), None

    class Event:
        plan, rows, executed = Plan(), np.array([4, 5]), None

    watcher = Watcher()
    watcher(Event())
    arrays = watcher.arrays()
    assert arrays["plans: frames"].tolist() == [[0, 1], [6, 7], [8, 9], [10, 11]]
    assert arrays["plans: executed"].tolist() == [True, True]


def test_threads_work_when_they_are_asked():
    from concurrent.futures import ThreadPoolExecutor

    with no_threads(), ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda x: x + 1, 1).done()
