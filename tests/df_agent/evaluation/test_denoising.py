import gymnasium as gym
import numpy as np
import pytest
import torch

from df_agent.agent_model import AgentModel
from df_agent.evaluation.denoising import DenoisedPlan, DenoisingRecorder, denoising_frames, write_denoising_video
from df_agent.evaluation.records import PlanRecord
from df_agent.evaluation.references import NO_REFERENCES
from df_agent.evaluation.rollout import rollout
from df_agent.policies import DiffusionForcingPolicy

CHECKPOINT = {
    "network": {"token_dim": 4, "max_tokens": 8, "width": 16, "depth": 1, "heads": 2},
    "diffusion": {"levels": 50, "frame_stack": 2, "goal_channels": [0, 1]},
    "tokenizer": {
        "config": {"observation_indices": [0, 1], "goal_channels": [0, 1], "frame_skip": 4, "frame_stack": 2},
        "mean": [0.0, 0.0],
        "std": [0.5, 0.5],
    },
    "windows": {"max_tokens": 8, "short_tokens": [4]},
    "statistics": {"step": [0.3, 0.3], "turn": [0.2, 0.2], "speed": [0.05, 0.05]},
}
SEARCH = {"samples": 2, "horizons": (2, 5), "reject_above": 1e9}
ANY = {"roughness_limit": 1e9, "shortcut_limit": 1e9}


@pytest.fixture
def policy():
    torch.manual_seed(0)
    model = AgentModel.from_config(CHECKPOINT).requires_grad_(False).eval()
    torch.nn.init.normal_(model.network.head.weight, std=0.2)
    return DiffusionForcingPolicy.from_model(
        model, CHECKPOINT, shortest_feasible=SEARCH, feasibility=ANY, sampling={"steps": 3}
    )


def test_watching_changes_nothing_and_shows_every_pass(policy):
    plain = rollout(policy, "toy-point", episodes=2, num_envs=1, seed=7)
    watched = DenoisingRecorder(policy)
    records = rollout(watched, "toy-point", episodes=2, num_envs=1, seed=7)
    assert [record.path for record in records] == [record.path for record in plain]
    assert policy.sampler.on_denoise is None
    assert len(watched.episodes) == 2
    for record, plans in zip(records, watched.episodes, strict=True):
        assert [plan.step for plan in plans] == [plan.step for plan in record.plans]
        for plan in plans:
            assert plan.paths.shape == (4, 4, 11, 2)  # noise and 3 passes, 4 candidates, the longest has 5 tokens more
            assert sorted(plan.lengths.tolist()) == [5, 5, 11, 11]
            position = np.array(record.path[plan.step])
            assert np.abs(plan.paths[:, :, 0] - position).max() < 1e-3  # the present is given, not sampled


def test_it_begins_with_noise_and_ends_with_the_plans(policy):
    watched = DenoisingRecorder(policy)
    (record,) = rollout(watched, "toy-point", episodes=1, num_envs=1, seed=7)
    plan, made = watched.episodes[0][0], np.array(record.plans[0].path)
    free = plan.paths[0][plan.lengths == 11][:, 2:9]
    assert free.std() == pytest.approx(0.5, rel=0.35)  # standard normal noise in the data's units
    # The goal token holds copies of the goal; all before it is the plan that was followed.
    ends = [paths[: length - 2] for paths, length in zip(plan.paths[-1], plan.lengths, strict=True)]
    assert any(len(end) == len(made) - 2 and np.abs(end - made[:-2]).max() < 1e-3 for end in ends)


def test_only_one_environment_is_watched(policy):
    with pytest.raises(ValueError, match="watches one environment, got 2"):
        DenoisingRecorder(policy).predict({"observation": np.zeros((2, 2)), "desired_goal": np.zeros((2, 2))})


def test_the_video_shows_candidates_between_the_steps(tmp_path, make_record):
    record = make_record(plans=[PlanRecord(0, 0, 0.0, 1, True, [[0.0, 0.0], [1.0, 1.0]])], time_to_goal=60)
    noise = np.random.default_rng(0).normal(0.5, 0.3, (3, 4, 6, 2))
    plans = [
        DenoisedPlan(0, noise, np.full(4, 6)),
        DenoisedPlan(40, noise, np.full(4, 6)),
        DenoisedPlan(80, noise, np.full(4, 6)),
    ]
    frames = list(denoising_frames(record, plans, NO_REFERENCES, 20, 120))
    # Steps 0 to 100; two calls before the arrival: 3 pictures each, for 10 or 5 frames, and 10 of the choice.
    assert len(frames) == 6 + (3 * 10 + 10) + (3 * 5 + 10)
    orange = [int((frame[..., 0].astype(int) - frame[..., 2] > 12).sum()) for frame in frames]
    assert orange[0] == orange[9] < orange[10] == orange[19] < orange[20]  # dots, joined more with every pass
    assert (frames[0] != frames[40]).any()  # the plan alone
    assert all(side % 2 == 0 for side in frames[0].shape[:2])
    path = write_denoising_video(record, plans, tmp_path / "film.mp4", frame_skip=50, panel_width=120)
    assert path.stat().st_size > 1000
    with pytest.raises(ValueError, match="no path recorded"):
        write_denoising_video(make_record(path=[]), plans, tmp_path / "film.mp4")


assert "toy-point" in gym.registry  # by conftest
