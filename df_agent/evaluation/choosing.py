"""How an agent acts, where nobody has said it: ways to act are tried on validation episodes, and the best is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from df_agent.agent_model import AgentModel
from df_agent.evaluation.validation import Validation
from df_agent.policies import DiffusionForcingPolicy

AS_QUICK = 1.02
PACES = (0.35, 0.5, 0.7, 1.0)
REACHES = (2, 4)  # frames, how far ahead on a plan
FIRST_PACE = 0.7  # before anything has been tried
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Tried:
    """A way to act, and what it gave.

    Attributes:
        name: in plain words.
        options: of `PolicyConfig`.
        success: share of the episodes in which the goal was reached.
        steps: mean time to the goal, timeouts as the limit [control steps].
    """

    name: str
    options: Options
    success: float
    steps: float


def local_options(pace: float, planner: str, **more: Any) -> dict[str, Any]:
    """Return the options by which the local policy acts, asked to take `pace` of the clock's time."""
    return {"planner": planner, "controller": "local_policy", "local_policy": {"pace": pace, **more}}


class LocalPolicyLook:
    """How good the agent is before its diffusion model is trained: the local policy aimed at the goal itself.

    Args:
        validation: the episodes.
    """

    def __init__(self, validation: Validation) -> None:
        self.validation = validation

    def __call__(self, model: nn.Module, checkpoint: Mapping[str, Any]) -> tuple[str, dict[str, float]]:
        """Return a line that says it, and the numbers of `Validation`."""
        policy = DiffusionForcingPolicy.from_model(
            model,  # type: ignore[arg-type]
            dict(checkpoint),
            max_steps=self.validation.limit,
            **local_options(FIRST_PACE, "direct"),
        )
        numbers, _ = self.validation(policy)
        success, steps = numbers["success_rate"], numbers["time_to_goal"]
        return f"local policy aimed at the goal: success {success:.2f}, {steps:.1f} steps", numbers


def choose_policy(
    model: AgentModel,
    checkpoint: dict[str, Any],
    validation: Validation,
    note: Callable[[Tried], None] = lambda tried: None,
) -> tuple[Tried, list[Tried]]:
    """Try ways to plan and act; return the best one, and all.

    First the local policy alone at several paces, then plans, which it follows at the best of these, near and further
    ahead, and the actions that were planned. For which is best see `best_of`.

    Args:
        model: the trained model.
        checkpoint: the config that is stored beside its weights.
        validation: the episodes.
        note: called with each as soon as it is known.
    """
    tried: list[Tried] = []
    frame_skip = checkpoint["tokenizer"]["config"]["frame_skip"]

    def measure(name: str, **options: Any) -> None:
        try:
            policy = DiffusionForcingPolicy.from_model(model, checkpoint, max_steps=validation.limit, **options)
        except ValueError:  # a way that this model cannot serve, say plans to a goal that a causal network does not see
            return
        numbers, _ = validation(policy)
        tried.append(Tried(name, options, numbers["success_rate"], numbers["time_to_goal"]))
        note(tried[-1])

    if model.local_policy is not None:
        for pace in PACES:
            measure(f"the goal itself, pace {pace}", **local_options(pace, "direct"))
        pace = best_of(tried, validation.episodes).options["local_policy"]["pace"]
        for reach in (frames * frame_skip for frames in REACHES):
            measure(
                f"shortest feasible plans, followed {reach} steps ahead by the local policy at pace {pace}",
                **local_options(pace, "shortest_feasible", reach=reach),
            )
    if checkpoint["tokenizer"]["config"]["include_actions"]:
        for planner in ("shortest_feasible", "fixed_horizon"):
            name = f"planned actions, {planner.replace('_', ' ')}"
            measure(name, planner=planner, controller="actions", open_loop_horizon=frame_skip)
    if not tried:
        measure("as its configuration says")
    return best_of(tried, validation.episodes), tried


def best_of(tried: list[Tried], episodes: int) -> Tried:
    """Return the quickest of those that fail in at most one of the episodes more than the most successful.

    Of those that are about as quick, within a fiftieth, it is the first: they are in the order of what they compute.
    """
    enough = max(one.success for one in tried) - 1.01 / episodes
    able = [one for one in tried if one.success >= enough]
    quickest = min(one.steps for one in able)
    return next(one for one in able if one.steps <= AS_QUICK * quickest)
