"""What scripts make of an untrained video model: files are complete, numbers are finite, options are checked."""

import json
from contextlib import closing

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from df_envs.rendering import opengl_backend

from df_agent.checkpoint import save_checkpoint
from df_agent.cli import evaluate_video, predict_video
from df_agent.cli.collecting import film_clips, job_of
from df_agent.cli.composing import configuration
from df_agent.data.collect import record
from df_agent.options.side_models import AutoencoderConfig
from df_agent.world_model.metrics import position_errors
from df_agent.world_model.training import describe
from df_agent.world_model.video_model import VideoModel, build_video_model
from studies import result_tables

pytestmark = pytest.mark.skipif(opengl_backend() is None, reason="nothing here can draw")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp("video") / "final", size=64, every=5)


def untrained(folder, size, every):
    torch.manual_seed(0)
    config = {
        "env": "maze2d-umaze",
        "dataset": "none",
        "length": 6,
        "every": every,
        "network": {"width": 16, "depth": 1, "heads": 2},
        "diffusion": {"levels": 20},
        "video": {},
        "rollout": {"steps": 1},
        "train": {},
    }
    described = describe(config, AutoencoderConfig(size, widths=(8, 8), latent_channels=4).to_dict(), [1.0] * 2 * every)
    save_checkpoint(folder, build_video_model(described).state_dict(), described)
    return folder


def test_clips_are_filmed_anew_for_each_seed():
    a, b, c = (film_clips("maze2d-umaze", 2, 6, seed) for seed in (0, 0, 1))
    assert a.frames.shape == (12, 64, 64, 3)
    assert a.actions.shape == (12, 10)
    assert a.starts.tolist() == [0, 6, 12]
    assert np.array_equal(a.frames, b.frames)
    assert not np.array_equal(a.frames, c.frames)
    assert not np.array_equal(a.frames[0], a.frames[6])


def test_what_is_filmed_is_not_what_a_model_was_trained_on():
    options = {"env": "maze2d-umaze", "pixels": 64, "seed": 0, "walk": 25}
    job = job_of(configuration("collect", [f"{key}={value}" for key, value in options.items()]))
    with closing(job.env):
        collected = next(iter(record(job.env, job.policy, 25, seed=0))).every(job.every)
    filmed = film_clips("maze2d-umaze", 1, 6, 0)
    assert collected.observations["pixels"].shape == filmed.frames.shape
    assert not np.array_equal(collected.observations["pixels"][0], filmed.frames[0])
    assert not np.array_equal(np.array(collected.actions), filmed.actions[1:])


def test_a_robot_is_filmed_by_the_same_command():
    clips = film_clips("FetchReach-v4", 2, 5, 0)
    assert clips.frames.shape == (10, 64, 64, 3)
    assert clips.actions.shape == (10, 4)
    with pytest.raises(ValueError, match="FetchReach-v4's episodes have 50"):
        film_clips("FetchReach-v4", 1, 80, 0)


def test_prediction_beside_truth(checkpoint, tmp_path, capsys):
    options = [f"checkpoint={checkpoint}", "env=maze2d-umaze", "clips=2", "frames=5", f"output={tmp_path}"]
    predict_video.run(configuration("predict-video", options))
    measured = json.loads((tmp_path / "measured.json").read_text())
    assert 0 < measured["mse"] < 255**2
    assert measured["frames_per_second"] > 0
    assert (tmp_path / "video.mp4").exists() or (tmp_path / "video.gif").exists()
    assert imageio.imread(tmp_path / "frames.png").shape[2] == 3
    assert "truth above, prediction below" in capsys.readouterr().out


def test_what_is_predicted_is_filmed_as_the_models_data_was(tmp_path):
    model = untrained(tmp_path / "model", size=32, every=2)
    options = [f"checkpoint={model}", "env=maze2d-umaze", "clips=1", "frames=2", f"output={tmp_path}"]
    predict_video.run(configuration("predict-video", options))
    assert imageio.imread(tmp_path / "frames.png").shape[1] == predict_video.ENLARGED * (32 + 2)


def test_all_ways_to_predict_are_measured_and_what_is_missing_is_said(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        evaluate_video, "trained", lambda env, name: str(checkpoint if name == "video" else tmp_path / name)
    )
    where = [f"output={tmp_path / 'x.json'}", f"picture={tmp_path / 'x.png'}", "device=cpu"]
    size = ["clips=3", "times=1.5", "long=12", "long_clips=2"]
    evaluate_video.main(configuration("evaluate-video", ["maze2d-umaze", *where, *size]))
    monkeypatch.setattr(result_tables, "RESULTS", tmp_path)
    lines = result_tables.video_table().splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| maze2d-umaze | copy | 0.")
    result = json.loads((tmp_path / "video-maze2d-umaze.json").read_text())
    assert f"{result['rows']['copy']['position']['mean'][-1]:.2f}" in lines[2]
    assert list(result["rows"]) == ["copy", "diffusion_forcing", "diffusion_forcing, not stabilised"]
    copy, ours = result["rows"]["copy"], result["rows"]["diffusion_forcing"]
    assert len(copy["mse"]["mean"]) == 9
    assert copy["ssim"]["mean"][0] > 0.9
    assert copy["one_ball"] == 1.0
    assert copy["position"]["mean"][0] < copy["position"]["mean"][-1]
    assert ours["frames_per_second"] > 0
    assert ours["long"]["frames"] == 12
    said = capsys.readouterr().out
    assert "regression left out" in said
    assert "LPIPS left out" in said
    assert "FVD left out" in said
    for name in ("video-maze2d-umaze.png", "video-maze2d-umaze-frames.png", "video-maze2d-umaze-futures.png"):
        assert imageio.imread(tmp_path / name).size
    assert (tmp_path / "video-maze2d-umaze.mp4").exists() or (tmp_path / "video-maze2d-umaze.gif").exists()


def test_what_ships_keeps_the_ball_and_knows_where_it_goes():
    seen, locate = 4, evaluate_video.locator("maze2d-umaze")
    film = evaluate_video.FilmedClips.of(film_clips("maze2d-umaze", 8, seen + 8, 0), True)
    errors = []
    for model in (None, VideoModel.from_pretrained("maze2d-umaze-video", device="cpu")):
        found, balls = locate(evaluate_video.Predictor("", model).predict(film, seen, 0))
        assert (balls == 1).all()
        errors.append(position_errors(found, film.places[:, seen:]).mean())
    assert errors[1] < 0.4 * errors[0]
