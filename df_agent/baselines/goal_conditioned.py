"""What the goal-conditioned baselines share: their network, and the policy around an actor of action chunks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from df_agent.types import Observation

Array = NDArray[Any]
# Observations (B, Do) and goals (B, G) in environment units -> the next K actions (B, K, Da)
Actor = Callable[[Tensor, Tensor], Tensor]


class GoalMLP(nn.Sequential):
    """A perceptron with GELU and layer norm after each hidden layer, as in OGBench, over concatenated inputs.

    Args:
        inputs: channels of all inputs together.
        outputs: channels out.
        width: of the hidden layers.
        depth: number of hidden layers.
    """

    def __init__(self, inputs: int, outputs: int, width: int = 256, depth: int = 3) -> None:
        layers: list[nn.Module] = []
        for k in range(depth):
            layers += [nn.Linear(width if k else inputs, width), nn.GELU(), nn.LayerNorm(width)]
        super().__init__(*layers, nn.Linear(width, outputs))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Map inputs (B, ...), side by side, to (B, outputs)."""
        output = torch.cat([x.flatten(1) for x in inputs], -1)
        for layer in self:
            output = layer(output)
        return output


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
    """

    def __init__(self, actor: Actor, execute: int = 1, device: torch.device | str = "cpu") -> None:
        if execute < 1:
            raise ValueError(f"execute is a number of control steps, at least 1, got {execute}")
        self.actor, self.execute, self.device = actor, execute, device

    def predict(
        self,
        observation: Observation,
        state: ChunkState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Array, ChunkState]:
        """Return the next actions, (B, Da) or (Da,) for a single observation, and the state.

        Args:
            observation: dict with "observation" (B, Do) and "desired_goal" (B, G), or without the leading axis.
            state: what the last call returned; None begins all episodes.
            episode_start: (B,) True for rows whose observation begins an episode.
            deterministic: makes no difference.

        Raises:
            ValueError: an observation that is not such a dict, or a state of another number of environments.
        """
        if not isinstance(observation, dict) or not {"observation", "desired_goal"} <= observation.keys():
            found = sorted(observation) if isinstance(observation, dict) else type(observation).__name__
            raise ValueError(f"the observation must be a dict with 'observation' and 'desired_goal', got {found}")
        values, goal = np.asarray(observation["observation"]), np.asarray(observation["desired_goal"])
        single = goal.ndim == 1
        if single:
            values, goal = values[None], goal[None]
        if state is None:
            state = ChunkState(self._act(values, goal), np.zeros(len(goal), dtype=np.int64), goal.copy())
        elif len(state.step) != len(goal):
            raise ValueError(
                f"the state is for {len(state.step)} environments, the observation for {len(goal)}; pass state=None "
                f"to begin anew"
            )
        else:
            state = self._renewed(state, values, goal, episode_start)
        actions = state.actions[np.arange(len(goal)), state.step]
        state = ChunkState(state.actions, state.step + 1, state.goal)
        return (actions[0] if single else actions), state

    def _renewed(self, state: ChunkState, values: Array, goal: Array, starts: NDArray[np.bool_] | None) -> ChunkState:
        """Ask for new chunks where the old ones are used up or void."""
        void = (state.step >= self.execute) | (state.goal != goal).any(axis=1)
        if starts is not None:
            void |= np.asarray(starts, dtype=bool).reshape(len(goal))
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
        if actions.shape[1] < self.execute:
            raise ValueError(f"execute={self.execute} is more than the {actions.shape[1]} actions of a chunk")
        chunk: Array = actions.clamp(-1, 1).cpu().numpy()
        return chunk
