"""Policies, world models and training do the same whatever modes of torch their caller has set, and leave them set."""

import threading
from contextlib import contextmanager, nullcontext
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from toy_policy import any_plan, make_policy, make_policy_with_estimator, observations

from df_agent import DiffusionForcingPolicy
from df_agent.baselines import load_learner
from df_agent.baselines.sac_her import Actor
from df_agent.policies.learned_actors import GCBCPolicy
from df_agent.runtime import own_modes
from df_agent.training.config import TrainConfig
from df_agent.training.trainer import Trainer
from df_agent.types import Batch
from df_agent.world_model.compact import load_compact


@contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


MODES = {
    "float64": partial(default_dtype, torch.float64),
    "bfloat16": partial(default_dtype, torch.bfloat16),
    "autocast": partial(torch.autocast, "cpu", dtype=torch.bfloat16),
    "deterministic": deterministic,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "enable_grad": torch.enable_grad,
    "another device": partial(torch.device, "meta"),
}


def modes():
    """All that `own_modes` changes."""
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.are_deterministic_algorithms_enabled(),
    )


def acted(policy):
    action, state = policy.predict(observations(2), deterministic=True)
    return policy.predict(observations(2, seed=1), state, deterministic=True)[0], action


GUIDED = {"planner": "goal_guidance", "max_steps": 40, "goal_guidance": {"guidance_scale": 2.0}}
POLICIES = {
    "shortest": lambda: make_policy(**any_plan()),
    "guided": lambda: make_policy(**GUIDED),
    "estimator": lambda: make_policy_with_estimator(**any_plan()),
    "loaded": lambda: DiffusionForcingPolicy.from_pretrained("maze2d-umaze", device="cpu", precision="fp32"),
    "cloned": lambda: GCBCPolicy.from_pretrained("maze2d-umaze-gcbc", device=torch.device("cpu")),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", POLICIES)
def test_actions_are_the_same_in_any_mode(name, mode):
    policy = POLICIES[name]()
    expected = acted(policy)
    with MODES[mode]():
        before = modes()
        found = acted(policy)
        assert modes() == before
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("mode", [*MODES, "none"])
@pytest.mark.parametrize("name", ["loaded", "cloned"])
def test_what_is_loaded_in_any_mode_acts_the_same_and_draws_no_random_numbers(name, mode):
    expected, state = acted(POLICIES[name]()), torch.random.get_rng_state()
    with MODES.get(mode, nullcontext)():
        policy = POLICIES[name]()
        load_learner("maze2d-umaze-sac_her", "sac_her", Actor)
        load_compact("maze2d-umaze-compact", "cpu")
    np.testing.assert_array_equal(acted(policy), expected)
    assert torch.equal(torch.random.get_rng_state(), state)


class Line(nn.Module):
    """Learns that all is 1, with dropout, which draws from torch's global generator."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 1))

    def loss(self, batch, generator):
        loss = (self.network(batch.tokens) + 0.1 * torch.randn(1, generator=generator) - torch.ones(1)).square().mean()
        return loss, {}


def sample_batch(batch_size, generator):
    return Batch(torch.randn(batch_size, 4, generator=generator), torch.ones(batch_size, dtype=torch.bool))


def make_trainer(folder):
    options = {"steps": 3, "checkpoint_every": 3, "log_every": 3, "warmup_steps": 1, "precision": "fp32"}
    return Trainer(Line(), sample_batch, TrainConfig(batch_size=4, **options), folder, {"network": {}}, None)


@pytest.mark.parametrize("mode", MODES)
def test_training_gives_the_same_weights_in_any_mode(mode, tmp_path):
    expected = make_trainer(tmp_path / "plain").fit().state_dict()
    trainer = make_trainer(tmp_path / "mode")
    with MODES[mode]():
        found = trainer.fit().state_dict()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize("mode", MODES)
def test_pictures_are_read_alike_in_any_mode(mode):
    model, _ = load_compact("maze2d-umaze-compact", None)
    frames = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    expected = model.encode(frames)
    with MODES[mode]():
        assert torch.equal(model.encode(frames), expected)


def test_in_the_background_another_default_is_refused_in_a_line():
    policy = make_policy(background=True, **any_plan())
    with (
        MODES["float64"](),
        pytest.raises(ValueError, match=r"background=True computes in float32 .* default is torch\.float64"),
    ):
        policy.predict(observations(1))
    policy.predict(observations(1))


def test_the_default_is_the_callers_again_after_the_last_of_several_threads():
    inside, leave = threading.Event(), threading.Event()

    def stay():
        with own_modes():
            inside.set()
            leave.wait(timeout=60)
            found.append(torch.get_default_dtype())

    found, thread = [], threading.Thread(target=stay)
    with MODES["float64"]():
        thread.start()
        inside.wait(timeout=60)
        with own_modes():
            pass
        leave.set()
        thread.join(timeout=60)
        assert found == [torch.float32]
        assert torch.get_default_dtype() == torch.float64
