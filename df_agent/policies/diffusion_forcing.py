"""The agent: model predictive control with a Diffusion Forcing model as the source of plans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from df_planners import PLANNERS
from df_planners.feasibility import MotionLimits
from df_planners.model_planner import ModelPlanner

from df_agent.agent_model import SIDES, AgentModel
from df_agent.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from df_agent.data.goal_spec import GoalSpec, validated
from df_agent.data.samplers.side_models import displacement_scale
from df_agent.data.tokens import Tokenizer
from df_agent.options import find_class, make
from df_agent.options.kinds import check_value
from df_agent.options.ranges import Count
from df_agent.policies.checks import check_capabilities, check_names
from df_agent.policies.config import PolicyConfig, merge
from df_agent.policies.controller import Controller, Robot
from df_agent.policies.controllers import CONTROLLERS
from df_agent.policies.costs import Cost
from df_agent.policies.goals import goal_precision
from df_agent.policies.mpc import MPCPolicy
from df_agent.policies.observations import read_observation
from df_agent.policies.plan_sampler import PlanSampler
from df_agent.policies.state import Array, IntArray, Seen
from df_agent.runtime import building, choose_device
from df_agent.types import Observation


class DiffusionForcingPolicy(MPCPolicy):
    """A Diffusion Forcing model, a planner over its plans and a controller as a policy.

    Args:
        model: the trained model.
        tokenizer: its tokenizer and normaliser.
        limits: statistics of the training data, as `step_statistics` measures them.
        lengths: sequence lengths the model has been trained on.
        config: how to plan and act.
        max_steps: length of an episode [control steps], for planners that fill what is left of it.
        checkpoint: the dict the policy was loaded from, kept for `save_pretrained`.
        costs: what plans should be besides short, see `df_agent.policies.costs`; they are not saved.

    Raises:
        ValueError: options that this model cannot serve.
    """

    config: PolicyConfig

    def __init__(
        self,
        model: AgentModel,
        tokenizer: Tokenizer,
        limits: dict[str, list[float]],
        lengths: list[int],
        config: PolicyConfig,
        max_steps: int | None = None,
        checkpoint: dict[str, Any] | None = None,
        costs: Sequence[Cost] = (),
    ) -> None:
        check_value("max_steps", max_steps, Count | None)
        planner = find_class("planner", config.planner, PLANNERS, ModelPlanner)  # type: ignore[type-abstract]
        controller = find_class("controller", config.controller, CONTROLLERS, Controller)  # type: ignore[type-abstract]
        c = tokenizer.config
        check_capabilities(planner, controller, config, model, c, max_steps, len(costs))
        self.model, self.tokenizer, self.checkpoint = model, tokenizer, checkpoint or {}
        self.goal_spec = make(GoalSpec, validated(self.checkpoint.get("goal")))
        motion = MotionLimits(*(np.asarray(limits[k]) for k in ("step", "turn", "speed")))
        joins = config.sampling.overlap > 0 or planner.joins_pieces
        lengths = lengths_of(lengths, config.window, bool(getattr(model.diffusion.network, "any_length", False)), joins)
        longest = max(*lengths, config.window if joins else 0) - c.context
        if config.sampling.overlap > max(lengths) - c.context:
            raise ValueError(
                f"windows of {max(lengths)} tokens can share {max(lengths) - c.context} of them at most, got "
                f"overlap={config.sampling.overlap}"
            )
        if longest < 1:
            raise ValueError(f"window={config.window} leaves no token to plan behind the {c.context} observed")
        self.sampler = PlanSampler(model, tokenizer, motion, lengths, config, longest, costs)
        robot = Robot(
            c.goal_channels,
            c.frame_skip,
            config.velocity_indices,
            motion,
            (np.asarray(limits.get("least", -np.inf)), np.asarray(limits.get("most", np.inf))),
            self._inverse_dynamics,
            self._local_policy,
            self._steps_to,
            model.diffusion.config.levels,
        )
        frames_back = np.arange(-(c.context_frames - 1), 1) * c.frame_skip - 1  # into history, present last
        super().__init__(
            planner(config.options_of(planner), self.sampler),
            controller(config, robot),
            config,
            observed=list(c.observation_indices),
            frames_back=np.full_like(frames_back, -1) if config.present_only else frames_back,
            max_steps=max_steps,
            top_level=model.diffusion.config.levels,
            goal_precision=goal_precision(tokenizer.std[list(c.goal_channels)].numpy(), motion.speed),
        )
        self.level = self.level_of(config.observation_noise)

    @classmethod
    @building()
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        max_steps: int | None = None,
        device: str | torch.device | None = "auto",
        precision: str = "auto",
        costs: Sequence[Cost] = (),
        revision: str | None = None,
        **overrides: Any,
    ) -> DiffusionForcingPolicy:
        """Load a policy by the name of a shipped checkpoint, a folder, or a Hub id.

        Args:
            name: e.g. "maze2d-large", "runs/maze2d-large/final", "user/model".
            max_steps: length of an episode [control steps].
            device: "auto" takes CUDA, then Apple's MPS, then the CPU.
            precision: "fp32", "bf16", or "auto": bf16 where a short timing shows that it pays.
            costs: see the constructor.
            revision: branch, tag or commit, for the Hub only.
            **overrides: options of `PolicyConfig`, nested ones as dicts, over those in the checkpoint.

        Raises:
            CheckpointError: see `load_checkpoint`; or the checkpoint is a baseline's.
            ValueError: unknown options, which are named; or the checkpoint names code that is not repeated here.
        """
        checkpoint = load_checkpoint(str(name), revision)
        config = checkpoint.config
        if other := config.get("algorithm"):
            raise CheckpointError(f"{str(name)!r} holds a checkpoint of the baseline {other}, not of Diffusion Forcing")
        checkpoint.require("an agent", ("tokenizer", "windows", "statistics"))
        check_names(config.get("policy", {}), overrides)
        sections = ("network", "diffusion", *(name for name in SIDES if config.get(name)))
        model = checkpoint.build(lambda: AgentModel.from_config(config), "an agent", *sections)
        model.prepare(choose_device(device), precision)
        with checkpoint.read():
            return cls.from_model(model, config, max_steps=max_steps, costs=costs, **overrides)

    @classmethod
    def from_model(
        cls,
        model: AgentModel,
        checkpoint: dict[str, Any],
        *,
        max_steps: int | None = None,
        costs: Sequence[Cost] = (),
        **overrides: Any,
    ) -> DiffusionForcingPolicy:
        """Wrap a model in memory; `checkpoint` is the config that is stored beside its weights."""
        windows = checkpoint["windows"]
        lengths = sorted({windows["max_tokens"], *(windows.get("short_tokens") or ())})
        options = merge(checkpoint.get("policy", {}), overrides)
        return cls(
            model,
            Tokenizer.from_dict(checkpoint["tokenizer"]),
            checkpoint["statistics"],
            lengths,
            PolicyConfig.from_dict(options),
            max_steps,
            {**checkpoint, "policy": options},
            costs,
        )

    def save_pretrained(self, folder: str | Path, *, half: bool = False, card: str | None = None) -> None:
        """Write weights, config, normaliser and policy options to `folder`; `half` stores fp16 weights."""
        dtype, weights = torch.float16 if half else None, self.model.full_precision_weights()
        save_checkpoint(folder, weights, {**self.checkpoint, "policy": asdict(self.config)}, dtype=dtype, card=card)

    def _told(self) -> dict[str, Any]:
        weights = next(self.model.diffusion.network.parameters())
        trained = self.checkpoint.get("env")
        return {"trained_on": trained, **super()._told(), "device": weights.device, "precision": weights.dtype}

    def level_of(self, noise: float) -> int:
        """Return the level at which a token holds as much noise as `noise` times the data's standard deviation."""
        if np.isinf(noise):
            return self.model.diffusion.config.levels
        alpha_bar = self.model.diffusion.alpha_bar.cpu().double()
        return int(((1 / alpha_bar - 1).sqrt() - noise).abs().argmin())

    def read(self, observation: Observation) -> Seen:
        """Check an observation, as a gymnasium `GoalEnv` gives it or as the checkpoint's `GoalSpec` makes one of it.

        With "noise" (B,) besides, sensors say how far off they are, as `observation_noise` does for all; inf is an
        observation that says nothing.
        """
        assert self.observed is not None
        values, goal, single = read_observation(
            self.goal_spec.model_observation(observation),
            least_width=1 + max(*self.observed, *self.config.velocity_indices, *self._local_channels(), 0),
            goal_width=len(self.tokenizer.config.goal_channels),
            missing=self.config.missing,
        )
        return Seen(values, goal, self._levels(observation, values), single)

    def _local_channels(self) -> tuple[int, ...]:
        return () if self.model.local_policy is None else self.model.local_policy.config.observation_indices

    def _levels(self, observation: Observation, values: Array) -> IntArray:
        """Return the noise level, (B,), of an observation; the model's top level where it is missing."""
        level = np.full(len(values), self.level)
        if isinstance(observation, dict) and "noise" in observation:
            noise = np.asarray(observation["noise"], dtype=np.float64).reshape(-1)
            if noise.shape != (len(values),) or not (noise >= 0).all():
                raise ValueError(
                    f"'noise' must be {len(values)} numbers from 0 to inf, one per observation, got {noise}"
                )
            level = np.array([self.level_of(each) for each in noise], dtype=np.int64)
        level[np.isnan(values[:, self.observed]).any(1)] = self.top_level
        return level

    @torch.no_grad()
    def _inverse_dynamics(self, observed: Array, displacement: Array) -> Array:
        """Return the actions (B, Da) that lead, within a frame, from observations (B, Do) by displacements (B, G)."""
        inverse, robot = self.model.inverse_dynamics, self.controller.robot
        assert inverse is not None
        assert robot.limits is not None
        mean, std = (x[: observed.shape[1]].numpy() for x in (self.tokenizer.mean, self.tokenizer.std))
        most = robot.limits.step
        unit = displacement_scale(most.tolist()).numpy()
        inputs = ((observed - mean) / std, np.clip(displacement, -most, most) / unit)
        device = self.model.diffusion.alpha_bar.device
        observation, move = (torch.as_tensor(x, dtype=torch.float32, device=device) for x in inputs)
        return np.asarray(np.clip(inverse(observation, move).cpu().double().numpy(), *robot.action_limits))

    @torch.no_grad()
    def _local_policy(self, values: Array, places: Array, steps: Array) -> Array:
        """Return actions (B, Da) that lead from observations (B, Dv) to places (B, G) in steps (B,), see `Robot`."""
        assert self.model.local_policy is not None
        actions = self.model.local_policy(*self._local_inputs(values, places, steps)).cpu().double().numpy()
        return np.asarray(np.clip(actions, *self.controller.robot.action_limits))

    @torch.no_grad()
    def _steps_to(self, values: Array, places: Array) -> Array:
        """Return the control steps, (B,), from observations (B, Dv) to places (B, G), see `Robot`."""
        assert self.model.local_policy is not None
        return np.asarray(self.model.local_policy.steps(*self._local_inputs(values, places)).cpu().double().numpy())

    def _local_inputs(self, values: Array, *others: Array) -> list[torch.Tensor]:
        """Return what the local policy sees of observations (B, Dv), and the others, as its tensors."""
        seen = values[:, list(self._local_channels())]
        device = self.model.diffusion.alpha_bar.device
        return [torch.as_tensor(x, dtype=torch.float32, device=device) for x in (seen, *others)]


def lengths_of(trained: Sequence[int], window: int, any_length: bool, joins: bool) -> list[int]:
    """Return the sequence lengths that the model is asked about: those of training up to `window` tokens, and it.

    They are those of training where window is 0, or where longer plans are pieced together.

    Raises:
        ValueError: a longer one, of a network that has a window of its own.
    """
    if window == 0 or (joins and window > max(trained)):
        return list(trained)
    if window > max(trained) and not any_length:
        raise ValueError(
            f"the model sees {max(trained)} tokens at once, window={window} needs sampling.overlap, "
            "planner='tree_search' or a recurrent network"
        )
    return sorted({length for length in trained if length < window} | {window})
