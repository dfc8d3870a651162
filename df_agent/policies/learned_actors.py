"""Policies around a trained actor: goal-conditioned behaviour cloning, implicit Q-learning, and SAC or TD3."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from df_agent.baselines import load_as, load_learner
from df_agent.baselines.goal_conditioned import GoalLearner
from df_agent.baselines.sac_her import ALGORITHM, Actor
from df_agent.data.goal_spec import GoalSpec, validated
from df_agent.options import make
from df_agent.options.baselines import GoalConfig
from df_agent.policies.observations import beginning_rows, read_observation
from df_agent.runtime import building, choose_device, own_modes
from df_agent.types import Observation

Array = NDArray[Any]
# Observations (B, Do) and goals (B, G) in environment units -> the next K actions (B, K, Da)
ActionChunks = Callable[[Tensor, Tensor], Tensor]
PLAIN = GoalSpec()


@dataclass
class ChunkState:
    """What a policy of action chunks remembers, a row per environment.

    Attributes:
        actions: (B, K, Da) the chunk that is being executed.
        step: (B,) actions of it that were executed.
        goal: (B, G) the goal that it was chosen for.
    """

    actions: Array
    step: NDArray[np.int64]
    goal: Array


class GoalPolicy:
    """Executes an actor's action chunks; a row asks for a new one after `execute` steps or with a new goal.

    Nothing is drawn at random, so `deterministic` makes no difference.

    Args:
        actor: the next actions, given observations and goals.
        execute: actions of a chunk that are executed before the next one is asked for.
        device: where the actor lies.
        goal_spec: what the actor sees of an observation.
    """

    def __init__(
        self,
        actor: ActionChunks,
        execute: int = 1,
        device: torch.device | str = "cpu",
        goal_spec: GoalSpec = PLAIN,
    ) -> None:
        if execute < 1:
            raise ValueError(f"execute is a number of control steps, at least 1, got {execute}")
        self.actor, self.execute, self.device, self.goal_spec = actor, execute, device, goal_spec

    @own_modes()
    def predict(
        self,
        observation: Observation,
        state: ChunkState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Array, ChunkState]:
        """Return the next actions, (B, Da) or (Da,) for a single observation, and the state.

        Args:
            observation: dict with "observation" (B, Do) and "desired_goal" (B, G), or without the leading axis; or
                what the `goal_spec` makes one of.
            state: what the last call returned; None begins all episodes.
            episode_start: (B,) True for rows whose observation begins an episode.
            deterministic: makes no difference.

        Raises:
            ValueError: an observation that is not such a dict, has a wrong shape or is not finite; a state of another
                number of environments.
        """
        values, goal, single = read_observation(self.goal_spec.model_observation(observation))
        starts = beginning_rows(None if state is None else len(state.step), len(values), episode_start)
        if state is None:
            state = ChunkState(self._act(values, goal), np.zeros(len(goal), dtype=np.int64), goal.copy())
        else:
            state = self._renewed(state, values, goal, starts)
        actions = state.actions[np.arange(len(goal)), state.step]
        state = ChunkState(state.actions, state.step + 1, state.goal)
        return (actions[0] if single else actions), state

    def _renewed(self, state: ChunkState, values: Array, goal: Array, starts: NDArray[np.bool_]) -> ChunkState:
        """Ask for new chunks where the old ones are used up or void."""
        void = starts | (state.step >= self.execute) | (state.goal != goal).any(axis=1)
        rows = np.flatnonzero(void)
        if not len(rows):
            return state
        actions, step = state.actions.copy(), state.step.copy()
        actions[rows], step[rows] = self._act(values[rows], goal[rows]), 0
        return ChunkState(actions, step, np.where(void[:, None], goal, state.goal))

    @torch.no_grad()
    def _act(self, values: Array, goal: Array) -> Array:
        """Chunks of actions, (B, K, Da), within the bounds of [-1, 1]."""
        inputs = (torch.as_tensor(x, dtype=torch.float32, device=self.device) for x in (values, goal))
        actions = self.actor(*inputs)
        check_execute(self.execute, actions.shape[1])
        chunk: Array = actions.clamp(-1, 1).cpu().numpy()
        return chunk


class LearnedGoalPolicy(GoalPolicy):
    """A trained learner's actor as a policy.

    Args:
        learner: the trained module.
        execute: actions of a chunk that are executed before the next one is predicted.
        goal_spec: what the learner saw of the observations.
    """

    algorithm: ClassVar[str]

    def __init__(self, learner: GoalLearner, execute: int = 1, goal_spec: GoalSpec = PLAIN) -> None:
        check_execute(execute, learner.goals.chunk)
        super().__init__(learner.act, execute, next(learner.parameters()).device, goal_spec)

    @classmethod
    @building()
    def from_pretrained(cls, name: str | Path, *, device: str | torch.device | None = "auto", execute: int = 1) -> Self:
        """Load the policy from a checkpoint: a folder, the name of one that ships, or a Hub id.

        Raises:
            CheckpointError: there is none, or it holds another algorithm's.
            ValueError: it reads goals by code that is not imported.
        """
        checkpoint = load_as(name, cls.algorithm)
        goal_spec = make(GoalSpec, validated(checkpoint.config.get("goal")))
        own = {key: value for key, value in checkpoint.weights.items() if key.startswith("actor.")}
        learner = replace(checkpoint, weights=own).build(
            lambda: GoalLearner.from_config(acting_part(checkpoint.config["learner"])), "a baseline", "learner"
        )
        return cls(learner.requires_grad_(False).eval().to(choose_device(device)), execute, goal_spec)


class GCBCPolicy(LearnedGoalPolicy):
    """A trained GCBC as a policy."""

    algorithm = "gcbc"


class GCIQLPolicy(LearnedGoalPolicy):
    """A trained GCIQL's actor as a policy."""

    algorithm = "gciql"


class SACHERPolicy(GoalPolicy):
    """The actor as a policy; its action is the mean, as Stable-Baselines3's with deterministic=True."""

    def __init__(self, actor: Actor) -> None:
        super().__init__(actor, device=next(actor.parameters()).device)

    @classmethod
    @building()
    def from_pretrained(cls, name: str | Path, *, device: str | torch.device | None = "auto") -> SACHERPolicy:
        """Load the policy from a checkpoint: a folder, the name of one that ships, or a Hub id.

        Raises:
            CheckpointError: there is none, or it holds another algorithm's.
        """
        return cls(load_learner(name, ALGORITHM, Actor).to(choose_device(device)))


def check_execute(execute: int, chunk: int) -> None:
    """Raise ValueError if more actions are to be executed than are predicted at once."""
    if execute > chunk:
        raise ValueError(f"execute={execute} is more than the {chunk} actions of a chunk")


def acting_part(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a learner that has the actor of this one, and nothing that only training needs."""
    sizes = {field.name: config["options"][field.name] for field in fields(GoalConfig)}
    return {**config, "options": sizes}
