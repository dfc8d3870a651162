"""What benchmark.py times: plans of ours and of the original methods, whole loops, and what a plan costs at least."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import df_envs  # noqa: F401 - registers the mazes
import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from df_agent.agent_model import AgentModel
from df_agent.baselines.diffuser import Diffuser
from df_agent.diffusion.objectives import goal_objective
from df_agent.diffusion.sampler import sample
from df_agent.diffusion.scheduling_matrix import scheduling_matrix, to_levels
from df_agent.evaluation.rollout import episode_seed
from df_agent.options.baselines import DiffuserConfig
from df_agent.policies import DiffusionForcingPolicy
from df_agent.training.config import TrainConfig
from df_agent.training.trainer import Trainer
from df_agent.types import Batch

# What the public code takes for one plan on two CPU cores in fp32, at batch 1 and 16 [s].
ORIGINALS = {("v1.5", 1): 2.26, ("v1.5", 16): 21.9, ("diffuser", 1): 3.08, ("diffuser", 16): 16.8}
LEVELS = 1000


def v15(batch: int, device: torch.device) -> Callable[[], object]:
    """One plan in v1.5's setting: 81 tokens of ten positions, a pyramid of 50 steps, all 129 passes guided."""
    config = {
        "network": {"token_dim": 20, "max_tokens": 81, "width": 128, "depth": 12, "heads": 4},
        "diffusion": {"schedule": "linear", "prediction_type": "x0", "frame_stack": 10, "levels": LEVELS},
    }
    model = AgentModel.from_config(config).diffusion.requires_grad_(False).eval().to(device)
    free = torch.as_tensor(to_levels(scheduling_matrix("pyramid", 80, 50, 1.0), 50, LEVELS))
    levels = torch.cat([torch.zeros_like(free[:, :1]), free], 1)
    places, ends = torch.zeros(batch, 2, device=device), torch.full((batch,), 80, device=device)
    objective = goal_objective(places, ends, 10, (0, 1))
    x = torch.randn(batch, 81, 20).to(device)
    return lambda: sample(model, x, levels, objective=objective, guidance_scale=1.0, stabilization_level=10).cpu()


def diffuser(batch: int, device: torch.device, steps: int | None = None) -> Callable[[], object]:
    """One plan of Diffuser, horizon 384: 256 passes by ancestral sampling, or `steps` by DDIM."""
    limits = (5.0, 5.0, 5.0, 5.0, 1.0, 1.0)
    model = Diffuser(DiffuserConfig(384, 256, tuple(-x for x in limits), limits, observation_dim=4)).eval().to(device)
    ends = torch.zeros(batch, 4, device=device)
    return lambda: model.sample(ends, ends, 384, lambda k: torch.randn(batch, 384, 6), steps).cpu()


def starts(env_id: str, batch: int, seed: int) -> dict[str, NDArray[Any]]:
    """First observations of `batch` episodes."""
    env = gym.make(env_id)
    seen = [env.reset(seed=episode_seed(seed, episode))[0] for episode in range(batch)]
    env.close()
    return {key: np.stack([one[key] for one in seen]) for key in seen[0]}


def first_plan(policy: DiffusionForcingPolicy, observation: dict[str, NDArray[Any]]) -> Callable[[], object]:
    """One plan of our agent for every start: all candidates, their judgement and the choice."""
    begin = np.full(len(observation["observation"]), True)
    return lambda: policy.predict(observation, None, begin, deterministic=True)


def seconds(plan: Callable[[], object], repeats: int) -> list[float]:
    """Return the wall times of `plan`, after one call to warm up [s]."""
    plan()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        plan()
        times.append(time.perf_counter() - began)
    return times


def quantiles(times: Sequence[float]) -> dict[str, float]:
    """Return p50, p95 and p99 of times [s], in milliseconds."""
    values = 1e3 * np.quantile(times, [0.5, 0.95, 0.99])
    return dict(zip(("p50", "p95", "p99"), map(float, values), strict=True))


@dataclass
class Work:
    """What a network has been asked: passes, tokens in all, and the operations and bytes of weights these take."""

    passes: int = 0
    tokens: int = 0
    operations: float = 0.0
    bytes: float = 0.0


def count_work(policy: DiffusionForcingPolicy, plan: Callable[[], object]) -> Work:
    """Return what a plan asks of the network: two operations per weight and token, and those of attention."""
    network, work = policy.model.diffusion.network, Work()
    matrices = [p for name, p in network.named_parameters() if p.ndim == 2 and "position" not in name]
    weights = sum(p.numel() for p in matrices)
    config: Any = network.config

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        n, t = inputs[0].shape[:2]
        work.passes += 1
        work.tokens += n * t
        work.operations += n * t * (2 * weights + 4 * t * config.width * config.depth)
        work.bytes += weights * matrices[0].element_size()

    hook = network.register_forward_hook(count)
    plan()
    hook.remove()
    return work


def peak(dtype: torch.dtype, device: torch.device, size: int = 1024) -> float:
    """Return the operations a second that this machine does in a large matrix product."""
    a = torch.ones(size, size, dtype=dtype, device=device)
    best = min(seconds(lambda: float((a @ a)[0, 0]), 10))
    return 2 * size**3 / best


class _Rate:
    """A tracker that only remembers how fast training went."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def start(self, step: int) -> None:
        """Begin."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Remember the rate."""
        self.rates.append(metrics["steps_per_second"])

    def image(self, step: int, name: str, image: Any) -> None:
        """Pictures are not for this."""

    def close(self) -> None:
        """Nothing is held open."""


def training_rate(checkpoint: Mapping[str, Any], device: torch.device, precision: str) -> float:
    """Return optimiser steps a second on batches of 64 windows as long as those of training, compiled if possible."""
    model, rate = AgentModel.from_config(checkpoint), _Rate()
    windows, config = checkpoint["windows"], checkpoint["network"]
    lengths = [windows["max_tokens"], *windows.get("short_tokens", ())]

    def batch(size: int, generator: torch.Generator) -> Batch:
        tokens = lengths[int(torch.randint(len(lengths), (1,), generator=generator))]
        x = torch.randn(size, tokens, config["token_dim"], generator=generator)
        return Batch(x, torch.ones(size, tokens, dtype=torch.bool))

    options = TrainConfig(
        steps=160, log_every=40, warmup_steps=10, precision=precision, compile=True, checkpoint_every=10_000
    )
    with tempfile.TemporaryDirectory() as folder:
        Trainer(model.to(device), batch, options, folder, {}, rate).fit()
    return statistics.median(rate.rates[1:])
