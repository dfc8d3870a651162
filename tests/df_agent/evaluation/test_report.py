import importlib
import json

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from df_agent.evaluation.plots import FLOOR, GOAL, WALL, drawing_bounds, plot_plans, plot_time_to_goal, positions
from df_agent.evaluation.provenance import content_hash, provenance
from df_agent.evaluation.records import read_records
from df_agent.evaluation.references import References
from df_agent.evaluation.report import EvaluationResult
from df_agent.evaluation.rollout import evaluate, rollout
from df_agent.evaluation.terminal import summary_rows
from df_agent.evaluation.video import Film, video_frames, write_video

WALLS = np.array([[-1.5, -1.5, -1.2, 1.5], [1.2, -1.5, 1.5, 1.5], [-1.5, -1.5, 1.5, -1.2], [-1.5, 1.2, 1.5, 1.5]])
TIMED = {"plan_ms", "plan_ms_single", "real_time_factor", "env_steps_per_second"}


@pytest.fixture
def references():
    return References(
        oracle_steps=lambda starts, goals: np.ceil(np.abs(goals - starts).max(axis=1) / 0.1),
        lower_bound_steps=lambda starts, goals: np.zeros(len(starts)),
        crosses_wall=lambda paths: np.abs(paths).max(axis=(1, 2)) > 1.2,
        walls=WALLS,
        goal_radius=0.15,
        score_references=(0.0, 30.0),
        control_period=0.04,
    )


def share_of_colour(image, colour, tolerance=4):
    wanted = 255 * np.array(to_rgb(colour))
    return float((np.abs(np.asarray(image, dtype=float)[..., :3] - wanted).max(axis=-1) <= tolerance).mean())


def test_evaluate_writes_the_whole_folder(tmp_path, straight, references):
    result = evaluate(straight, "toy-point", episodes=9, references=references, provenance={"a": 1})
    assert result.write(tmp_path) == tmp_path
    summary = result.summary
    files = {file.name for file in tmp_path.iterdir()}
    assert files == {"episodes.jsonl", "summary.json", "plans.png", "time_to_goal.png", "rollout.mp4"}
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert summary["provenance"] == {"a": 1}
    records = read_records(tmp_path / "episodes.jsonl")
    planned = np.mean([-(-record.time_to_goal // 10) for record in records])
    assert (summary["success_rate"], summary["wall_crossing_rate"], summary["plans_to_goal"]) == (1, 0, planned)
    assert summary["plan_ms"]["batch"] == 9
    assert summary["plan_ms"]["p50"] == pytest.approx(18.0)
    assert summary["plan_ms_single"]["p50"] == pytest.approx(2.0)
    assert 0 < summary["real_time_factor"] < 1
    assert len(records) == 9
    text = " ".join(f"{label} {value}" for label, value in summary_rows(summary))
    assert "oracle, same starts" in text
    assert "2 ms p50" in text


def test_a_result_says_in_a_line_how_it_went(straight):
    result = evaluate(straight, "toy-point", episodes=9, timing_episodes=0, policy_name="ours")
    text = repr(result)
    assert text.startswith("EvaluationResult(ours in toy-point, 9 episodes: success 1.000 [0.701, 1.000], steps")
    assert f"{result.summary['time_to_goal']['mean']:.1f} [" in text
    assert "\n" not in text


def test_the_summary_repeats_apart_from_timings(make_straight, references):
    def run():
        summary = evaluate(make_straight(), "toy-point", episodes=8, seed=5, references=references).summary
        return {key: value for key, value in summary.items() if key not in TIMED}

    assert run() == run()


def test_the_report_needs_nothing_but_records(tmp_path, straight, references):
    records = rollout(straight, "toy-point", episodes=4)
    EvaluationResult(records, references).write(tmp_path / "one", pictures=False)
    again = read_records(tmp_path / "one" / "episodes.jsonl")
    EvaluationResult(again, references).write(tmp_path / "two", pictures=False)
    one, two = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("one", "two"))
    assert one == two
    assert {file.name for file in (tmp_path / "two").iterdir()} == {"episodes.jsonl", "summary.json"}


def test_plans_png_shows_walls_floor_and_goals(tmp_path, straight, references):
    records = rollout(straight, "toy-point", episodes=5, seed=2)
    image = Image.open(plot_plans(records, tmp_path / "plans.png", references))
    # Four walls of 0.3 around a square of 3: 36 % of every panel's area, and panels fill most of the picture.
    wall, floor = share_of_colour(image, WALL), share_of_colour(image, FLOOR)
    assert 0.1 < wall < 0.5
    assert floor > 0.1
    assert wall / (wall + floor) == pytest.approx(0.36, abs=0.06)
    assert share_of_colour(image, GOAL) > 1e-4


def test_pictures_work_without_walls_plans_and_arrivals(tmp_path, make_record):
    missed = make_record(success=False, time_to_goal=100, plans=[], at_goal_at_end=False)
    for records in ([missed], [make_record(plans=[]), missed]):
        plans = plot_plans(records, tmp_path / "plans.png")
        curve = plot_time_to_goal(records, tmp_path / "curve.png")
        for path in (plans, curve):
            pixels = np.asarray(Image.open(path))
            assert pixels.std() > 5
        assert write_video(records, tmp_path / "rollout.mp4").stat().st_size > 1000


def test_without_paths_the_pictures_say_what_is_missing(tmp_path, make_record):
    with pytest.raises(ValueError, match="keep_paths=True"):
        plot_plans([make_record(path=[])], tmp_path / "plans.png")
    with pytest.raises(ValueError, match="keep_paths=True"):
        write_video([make_record(path=[])], tmp_path / "rollout.mp4")


def test_one_dimensional_goals_are_drawn_over_time():
    assert positions([[3.0], [4.0]]).tolist() == [[0.0, 3.0], [1.0, 4.0]]
    assert positions([[3.0, 1.0, 9.0]]).tolist() == [[3.0, 1.0]]


def test_drawing_bounds_hold_walls_or_else_paths_and_goals(make_record):
    assert drawing_bounds([], WALLS) == (-1.5, -1.5, 1.5, 1.5)
    xmin, ymin, xmax, ymax = drawing_bounds([make_record(goal=[-3.0, 2.0])], None)
    assert xmin < -3 < 1 < xmax
    assert ymin < 0 < 2 < ymax


def test_the_ball_in_the_video_is_where_the_record_says(make_record):
    record = make_record(path=[[-1.0 + 0.02 * i, 0.5] for i in range(101)], goal=[0.9, -0.9], time_to_goal=60)
    frames = list(video_frames([record], References(walls=WALLS), 20, 300))
    assert len(frames) == 6
    for frame, step in zip(frames, (0, 20, 40, 60, 80, 100), strict=True):
        assert frame.shape == frames[0].shape
        assert all(side % 2 == 0 for side in frame.shape[:2])
        blue = (frame[..., 2] > 200) & (frame[..., 0] < 80)  # the ball's ring
        y, x = np.nonzero(blue)
        expected_x = 10 + 300 * (-1.0 + 0.02 * step + 1.5) / 3
        expected_y = 26 + 300 * (1.5 - 0.5) / 3
        assert (x.mean(), y.mean()) == pytest.approx((expected_x, expected_y), abs=2.0)


def test_the_environments_own_pictures_stand_above_the_plans(straight):
    film = Film(width=40)
    records = rollout(straight, "toy-point", episodes=2, seed=2, num_envs=2, render_mode="rgb_array", on_frame=film.add)
    assert len(film.scenes) == 31  # the start, and after each of 30 steps
    plain = next(video_frames(records, References(), 5, 60))
    filmed = list(video_frames(records, References(), 5, 60, film))
    assert filmed[0].shape[0] - plain.shape[0] == pytest.approx(film.height, abs=12)
    for frame, step in ((filmed[0], 0), (filmed[2], 10), (filmed[-1], 30)):
        for i, record in enumerate(records):
            x = 10 + i * 70 + 30  # the middle of each column
            assert frame[26 + film.height // 2, x, 0] == pytest.approx(100 + 50 * record.path[step][0], abs=1.5)


def test_an_episode_that_has_ended_keeps_its_last_picture(make_record):
    film = Film(width=40)
    for step in range(7):  # the environment has begun another episode after the third step
        film.add([np.full((60, 80, 3), 30 * step, np.uint8)] * 2)
    short = make_record(length=3, time_to_goal=3, path=[[0.1 * i, 0.0] for i in range(4)])
    long = make_record(length=6, time_to_goal=6, path=[[0.1 * i, 0.0] for i in range(7)])
    *_, last = video_frames([short, long], References(), 1, 60, film)
    shown = last[26 + film.height // 2, [10 + 30, 10 + 70 + 30], 0]
    assert shown.tolist() == [90, 180]


def test_places_that_are_not_known_do_not_sink_the_report(tmp_path, make_record):
    path = [[0.01 * i, 0.01 * i] for i in range(101)]
    path[0] = path[50] = [np.nan, np.nan]
    records = [make_record(start=[np.nan, 0.0], path=path, success=False, time_to_goal=100), make_record()]
    EvaluationResult(records).write(tmp_path)
    assert np.isnan(read_records(tmp_path / "episodes.jsonl")[0].start[0])


def test_pictures_that_are_not_drawn_are_missed(straight):
    with pytest.raises(ValueError, match="render_mode='rgb_array'"):
        rollout(straight, "toy-point", episodes=1, on_frame=Film().add)


def test_a_film_becomes_part_of_the_report(tmp_path, straight):
    seen = []
    result = evaluate(straight, "toy-point", episodes=4, timing_episodes=0, scenes=2, on_stage=seen.append)
    result.write(tmp_path)
    assert seen == ["filming"]
    assert (tmp_path / "rollout.mp4").stat().st_size > 1000


def test_the_video_falls_back_to_gif_without_an_encoder(tmp_path, make_record, monkeypatch):
    real = importlib.import_module

    def without_ffmpeg(name, package=None):
        if name == "imageio_ffmpeg":
            raise ImportError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without_ffmpeg)
    path = write_video([make_record()], tmp_path / "rollout.mp4", frame_skip=20, panel_width=80)
    assert path == tmp_path / "rollout.gif"
    with Image.open(path) as image:
        assert image.n_frames == 5


def test_provenance_names_versions_machine_and_weights(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    origin = provenance({"seed": 1}, tmp_path)
    assert json.loads(json.dumps(origin)) == origin
    assert origin["versions"]["torch"]
    assert origin["hardware"]["cores"] >= 1
    assert origin["config"] == {"seed": 1}
    before = origin["checkpoint_sha256"]
    assert before == content_hash(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"Weights")
    assert content_hash(tmp_path) != before
    assert provenance()["checkpoint_sha256"] is None
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        content_hash(tmp_path / "nothing")
