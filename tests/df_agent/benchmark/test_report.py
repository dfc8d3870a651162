"""The report from real episodes: the oracle and random actions in the smallest maze, and variants made from them."""

import csv
import re
from dataclasses import replace
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from df_envs.maps import wall_boxes
from df_envs.oracle import OraclePolicy, lower_bound_steps, oracle_steps
from PIL import Image

from df_agent.benchmark.document import as_markdown
from df_agent.benchmark.origin import origin_blocks
from df_agent.benchmark.path_plots import far_start
from df_agent.benchmark.plots import plot_successes
from df_agent.benchmark.report import readme_table, write_comparison
from df_agent.benchmark.rows import EnvComparison, PolicyRows
from df_agent.benchmark.style import COLOURS, looks
from df_agent.benchmark.tables import make_tables
from df_agent.evaluation.records import PlanRecord
from df_agent.evaluation.references import References
from df_agent.evaluation.rollout import rollout
from df_agent.policies.random import RandomPolicy

ENV = "maze2d-umaze"


@pytest.fixture(scope="module")
def comparison():
    run = partial(rollout, env_id=ENV, seed=1000)
    oracle = run(OraclePolicy(ENV), episodes=16, policy_name="oracle")
    random = run(RandomPolicy(gym.make(ENV).action_space), episodes=16, policy_name="random")
    alone = run(OraclePolicy(ENV), episodes=1, num_envs=1, policy_name="oracle")
    planned = [replace(record, plans=[PlanRecord(0, 0, 0.05, 1), PlanRecord(1, 50, 0.07, 1)]) for record in alone]
    late = [replace(r, policy="late", time_to_goal=min(r.time_to_goal + 25, 300)) for r in oracle]
    return EnvComparison(
        ENV,
        [
            PolicyRows("ours", "data", oracle, planned, what="the agent that is tested"),
            PolicyRows("ours@1", "data", late),
            PolicyRows("late", "simulator, map", late[:6], planned),
            PolicyRows("oracle", "map", oracle, alone),
            PolicyRows("random", "nothing", random),
            PolicyRows("broken", "data", [], error="ValueError: <no> weights"),
        ],
        References(
            oracle_steps=partial(oracle_steps, ENV),
            lower_bound_steps=partial(lower_bound_steps, ENV),
            walls=wall_boxes(ENV),
            goal_radius=0.5,
            score_references=(23.85, 161.86),
            control_period=0.01,
        ),
        curves={"ours": [{"step": 10.0, "success_rate": 0.5, "time_to_goal": 90.0}], "none": []},
        tuning=[{"policy": "ours", "settings": 3}, {"policy": "late", "compute": "1 h"}],
    )


@pytest.fixture(scope="module")
def report(comparison, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    film = folder.parent / "film.mp4"
    film.write_bytes(b"film")
    write_comparison(folder, [replace(comparison, videos={"How it plans": film})])
    return folder


def test_the_folder_is_complete(report):
    names = {path.name for path in report.iterdir()}
    pictures = {f"{kind}-{ENV}.png" for kind in ("arrivals", "paired", "distance", "speed", "paths")}
    tables = {f"{kind}-{ENV}.csv" for kind in ("summary", "paired", "distance")}
    others = {"report.md", "report.html", "failures.html", "failures", "film.mp4", "curves.png"}
    assert names == others | pictures | tables
    for name in pictures:
        with Image.open(report / name) as image:
            assert min(image.size) > 200
            assert len(image.convert("RGB").getcolors(1_000_000)) > 20


def test_the_pages_hold_everything_and_load_nothing(report):
    for name in ("report.html", "failures.html"):
        page = (report / name).read_text()
        sources = re.findall(r'src="([^"]{0,30})', page)
        assert sources
        assert all(source.startswith(("data:image/png;base64,", "data:video/mp4;base64,")) for source in sources)
        assert not re.search(r'(?:src|href)="(?:https?:)?//', page)
    page = (report / "report.html").read_text()
    assert page.count("<img") == 6
    assert page.count("<video") == 1
    assert "ValueError: &lt;no&gt; weights" in page
    assert "<no>" not in page


def test_the_report_says_who_is_faster_and_on_how_many_starts(report, comparison):
    text = (report / "report.md").read_text()
    # On so few starts even six later arrivals out of six show nothing, once three policies are compared.
    assert "| late | no difference is shown: +25.0 steps [+25.0, +25.0] on the same 6 starts" in text
    assert "| oracle | no difference is shown: +0.0 steps [+0.0, +0.0] on the same 16 starts" in text
    assert re.search(r"\| random \| ours is faster by \d+\.\d steps .* on the same 16 starts", text)
    assert "late† | simulator, map | 6 of 16" in text
    assert "ours | data | 16 |" in text
    assert "| ours | the agent that is tested | data |" in text
    assert re.search(r"\| oracle \| \+0.0 \[\+0.0, \+0.0\] \| -25.0 \[-25.0, -25.0\] \|", text), "by run of ours"
    assert "1.00 [1.00, 1.00]" in text  # the oracle against itself
    assert "> 300" in text  # fewer than half of the random episodes arrive
    assert "| broken | ValueError: <no> weights |" in text
    assert "| late | – | 1 h |" in text
    for picture in re.findall(r"!\[[^]]*\]\(([^)]*)\)", text):
        assert (report / picture).exists()


def test_the_csv_holds_the_numbers(report):
    with (report / f"summary-{ENV}.csv").open() as file:
        rows = {row["policy"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"ours", "late", "oracle", "random"}
    assert float(rows["oracle"]["oracle_ratio"]) == 1.0
    assert float(rows["ours"]["plan_ms_p50"]) == pytest.approx(60)
    assert rows["random"]["plan_ms_p50"] == ""
    assert float(rows["random"]["restricted_mean_low"]) < float(rows["random"]["restricted_mean"])
    assert float(rows["random"]["median"]) == np.inf


def test_failures_are_told_with_their_kinds(report):
    page = (report / "failures.html").read_text()
    number = int(re.search(r"<h3 id=\"maze2d-umaze--random\">.*?<p>(\d+) of 16 episodes failed", page, re.S)[1])
    assert 8 < number <= 16
    assert re.search(r"<p>\d+ of 16 episodes failed: [^.]*\d+ (lost|near|stuck)", page)
    assert re.search(r"\| random \| \d+ of 16 \| \d+ (lost|near|stuck)", (report / "report.md").read_text())
    assert [path.name for path in (report / "failures").iterdir()] == [f"{ENV}-random.png"]


def test_rows_without_paths_still_make_a_report(comparison, tmp_path):
    bare = [replace(rows, records=[replace(r, path=[]) for r in rows.records]) for rows in comparison.policies]
    write_comparison(tmp_path, [replace(comparison, policies=bare, curves={}, tuning=())])
    text = (tmp_path / "report.md").read_text()
    assert "No paths were recorded." in text
    assert "Training curves" not in text
    assert "its path was not recorded" in (tmp_path / "failures.html").read_text()


def test_the_report_speaks_of_the_policies_that_were_compared(comparison):
    rows = [{"step": 1.0, "success_rate": 0.5}]
    given = dict.fromkeys(("ours", "late@2", "broken", "stranger"), rows) | {"random": []}
    found = replace(comparison, curves=given, tuning=[{"policy": name} for name in given])
    assert list(found.curves) == ["ours", "late@2"]
    assert [row["policy"] for row in found.tuning] == ["ours", "late@2", "random"]


def test_the_readme_has_a_line_per_policy_and_a_column_per_environment(comparison):
    other = replace(comparison, env="elsewhere", policies=comparison.policies[:1])
    inside = replace(comparison.policies[3].records[0], time_to_goal=0)
    other = replace(other, policies=[replace(other.policies[0], records=[inside, *other.policies[0].records[1:]])])
    lines = readme_table([comparison, other]).splitlines()
    assert lines[0] == "| policy | sees | maze2d-umaze | elsewhere | computed / simulated time |"
    cells = {line.split(" | ")[0].removeprefix("| "): line.split(" | ") for line in lines[2:-2]}
    assert re.fullmatch(r"Starts inside the goal, which count as 0 steps: \d of 16 / [1-9] of 16.", lines[-1])
    assert set(cells) == {"ours", "late†", "oracle†", "random"}
    assert cells["ours"][2].startswith("1.00 · ")
    assert cells["late†"][2].endswith("(6)")
    theirs, ours = map(int, re.fullmatch(r"1.00 · (\d+) / (\d+) · .*", cells["late†"][2]).groups())
    assert theirs == ours + 25, "beside its mean is the reference's from the same six starts"
    assert cells["late†"][3] == "–"
    assert list(cells)[-1] == "random", "the slowest comes last"
    assert re.fullmatch(r"1.00 · \d+", cells["ours"][2]), "the reference has no difference to itself"
    assert cells["late†"][2].split(" · ")[2].startswith("+"), "late on the starts that both ran"
    assert re.fullmatch(r"[\d.e-]+ \|", cells["ours"][4])


def test_the_readme_says_nothing_of_starts_inside_the_goal_where_none_counts_as_such(comparison):
    moved = [
        replace(rows, records=[replace(r, time_to_goal=max(r.time_to_goal, 1)) for r in rows.records])
        for rows in comparison.policies
    ]
    assert "Starts inside" not in readme_table([replace(comparison, policies=moved)])


def test_the_readme_says_in_bold_who_is_faster_than_the_reference(comparison):
    by_name = {rows.policy: rows for rows in comparison.policies}
    fast = replace(comparison, policies=[by_name[name] for name in ("ours@1", "oracle", "random")])
    rows = [line.split(" | ") for line in readme_table([fast]).splitlines()[2:-2]]
    cells = {row[0].removeprefix("| "): row[2] for row in rows}
    assert re.search(r"· \*\*-\d+\.\d \[-.*\]\*\*$", cells["oracle†"])
    assert "**" not in cells["random"]
    assert list(cells).index("oracle†") < list(cells).index("ours@1")


def test_the_start_that_is_drawn_is_the_farthest_that_most_policies_ran(comparison):
    tables = make_tables(comparison)
    shared = comparison.policies[2].records
    steps = oracle_steps(ENV, [r.start for r in shared], [r.goal for r in shared])
    assert far_start(tables) == shared[int(np.argmax(steps))].seed

    def bare(rows):
        return replace(rows, records=[replace(record, path=[]) for record in rows.records])

    ours, *others = comparison.policies
    mixed = make_tables(replace(comparison, policies=[ours, *map(bare, others)]))
    assert far_start(mixed) == shared[int(np.argmax(steps))].seed, "not of all that those with paths ran"


def test_a_crowd_of_curves_is_drawn_in_two_panels(comparison, tmp_path):
    ours = comparison.policies[0]
    crowd = [replace(ours, policy=f"policy{i}") for i in range(10)]
    tables = make_tables(replace(comparison, policies=[*comparison.policies, *crowd]))
    names = [episodes.name for episodes in tables.episodes]
    few = plot_successes(make_tables(comparison), looks(names), tmp_path / "few.png")
    many = plot_successes(tables, looks(names), tmp_path / "many.png")
    with Image.open(few) as one, Image.open(many) as two:
        assert two.size[0] == one.size[0]
        assert two.size[1] > 1.7 * one.size[1]


def test_latencies_that_were_not_measured_alike_are_named(comparison):
    about = {"commit": "c", "hardware": {"processor": "P", "cores": 2, "system": "S"}}
    threads = {
        n: {"about": about, "timed": {"hardware": {**about["hardware"], "torch_threads": n}} if n else None}
        for n in (0, 1, 2)
    }
    timed = comparison.policies[0].timing

    def said(*numbers):
        policies = [PolicyRows(f"p{n}", "data", [], timed, provenance=threads[n]) for n in numbers]
        return as_markdown(origin_blocks([EnvComparison(ENV, policies)]))

    assert "not measured alike" not in said(2)
    text = said(1, 2, 0)
    assert "| maze2d-umaze | P, 2 cores, 1 thread, no accelerator, S | p1 |" in text
    assert "| maze2d-umaze | not recorded | p0 |" in text


def test_looks_stay_apart_and_relatives_share_a_colour():
    names = ["ours", "ours_v15", "diffuser", "diffuser_ddim", "gcbc", "oracle", "diffuser_replan"]
    found = looks(names)
    assert found["ours"].colour == found["ours_v15"].colour == COLOURS[0]
    assert len({found[name].colour for name in ("ours", "diffuser", "gcbc", "oracle")}) == 4
    relatives = [found[name] for name in ("diffuser", "diffuser_ddim", "diffuser_replan")]
    assert len({str(look.dashes) for look in relatives}) == len({look.marker for look in relatives}) == 3
    assert found["ours"].width > found["gcbc"].width
    many = looks([f"policy{i}" for i in range(24)])
    assert len({(look.colour, str(look.dashes)) for look in many.values()}) == 24


def test_only_paths_that_are_known_are_drawn_and_who_has_none_is_said(comparison, tmp_path):
    def bare(rows, keep=lambda record: False):
        return replace(rows, records=[r if keep(r) else replace(r, path=[]) for r in rows.records])

    by_name = {rows.policy: rows for rows in comparison.policies}
    first = next(r.seed for r in by_name["random"].records if not r.success)
    policies = [by_name["ours"], bare(by_name["oracle"]), bare(by_name["random"], lambda r: r.seed == first)]
    write_comparison(tmp_path, [replace(comparison, policies=policies)])
    assert "No path of it was kept of oracle." in (tmp_path / "report.md").read_text()
    page = (tmp_path / "failures.html").read_text()
    assert re.search(r"\d+ of 16 episodes failed, known paths: 1:", page)
    assert "Drawn: 1" in page

    write_comparison(tmp_path, [replace(comparison, policies=[policies[0], bare(by_name["random"])])])
    assert not list((tmp_path / "failures").glob("*.png"))
