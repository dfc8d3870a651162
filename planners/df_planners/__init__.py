"""Planners: what makes plans for a policy. They see neither models nor maps, and import nothing else of ours.

A planner is a class with `plan(request) -> Plan` and a dataclass `Config`. Those below are known by name, and those of
an agent have their options in a section of that name in `df_agent.policies.config.PolicyConfig`; one of your own is
named "module:Class", or made known by `PLANNERS["name"] = Class`.
"""

from df_planners.best_of_n import BestOfN
from df_planners.cem import CEM
from df_planners.direct import Direct
from df_planners.fixed_horizon import FixedHorizon
from df_planners.guidance import GoalGuidance, RewardGuidance, Unconditional
from df_planners.model_planner import ModelPlanner, PlanSampler
from df_planners.mppi import MPPI
from df_planners.plan import Plan, PlanEvent, Planner, PlanRequest
from df_planners.shortest_feasible import ShortestFeasible
from df_planners.tree_search import TreeSearch

__all__ = ["PLANNERS", "ModelPlanner", "Plan", "PlanEvent", "PlanRequest", "PlanSampler", "Planner"]

PLANNERS: dict[str, type[Planner]] = {
    "shortest_feasible": ShortestFeasible,
    "tree_search": TreeSearch,
    "fixed_horizon": FixedHorizon,
    "direct": Direct,
    "goal_guidance": GoalGuidance,
    "reward_guidance": RewardGuidance,
    "best_of_n": BestOfN,
    "unconditional": Unconditional,
    "mppi": MPPI,
    "cem": CEM,
}
