"""Tree search over plans: beginnings are grown piece by piece, and the most promising ones are tried out to the end.

In the manner of Monte Carlo Tree Diffusion (Yoon et al. 2025): a node is a plan whose beginning is made and whose rest
is still noise; its children go on from there by one segment each, guided towards the goal with different strengths; a
jump makes the whole rest at once, in one go, and is worth something if it arrives by a way that the data allows. Where
that method rolls dice for what a beginning is worth, here an estimate of the time that is left says so, and the search
is best-first (Hart et al. 1968): the time spent so far and the time left. Many nodes of many environments are expanded
as one batch.

The planner knows nothing of diffusion or mazes; a sampler gives it continuations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from df_planners.feasibility import travel_time
from df_planners.model_planner import ModelPlanner, PlanSampler
from df_planners.plan import Array, IntArray, Plan, PlanRequest


@dataclass(frozen=True)
class TreeSearchConfig:
    """How the tree grows.

    Attributes:
        segment: tokens by which a child is longer than its parent.
        strengths: of the guidance of a node's children, one child each.
        horizon_multipliers: horizons of the jumps from a node, as multiples of the estimated time to the goal, one
            jump each.
        jump: longest jump that is tried, in tokens; 0 for as far as can be sampled at once.
        width: nodes per environment that are expanded at a time.
        rounds: of expansion at most.
        min_separation: a node that ends within so many steps, at full speed, of another, and is there no more than as
            many steps sooner, is dropped, so that the search spreads out where the estimate misleads it
            [control steps].
        reject_above: a continuation that exceeds a limit this many times is dropped. One that exceeds it by less takes
            as many times its time, so that it gains nothing by it.
        heuristic_weight: by how much the time left counts more than the time spent; 1 looks longest for the fastest
            plan, more takes a good one sooner.
        stop_ratio: a complete plan is taken once no beginning promises to take less than this share of its time.
    """

    segment: int = 6
    strengths: tuple[float, ...] = (0.0, 0.0, 0.0, 0.1, 0.1, 0.1, 0.3, 0.3)
    horizon_multipliers: tuple[float, ...] = (1.0, 1.15, 1.3, 1.5)
    jump: int = 0
    width: int = 4
    rounds: int = 20
    min_separation: float = 8.0
    reject_above: float = 1.5
    heuristic_weight: float = 1.2
    stop_ratio: float = 0.95

    def __post_init__(self) -> None:
        for name in ("strengths", "horizon_multipliers"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if min(self.segment, self.width, self.rounds) < 1 or min(self.jump, self.min_separation) < 0:
            raise ValueError(
                "segment, width and rounds must be at least 1, jump and min_separation not negative, got "
                f"{self.segment}, {self.width}, {self.rounds}, {self.jump} and {self.min_separation}"
            )
        lacking = not self.strengths or not self.horizon_multipliers
        if lacking or min(*self.strengths, 0) < 0 or min(*self.horizon_multipliers, 1) <= 0:
            raise ValueError(
                "need at least one strength, none negative, and one horizon multiplier, all positive, got "
                f"strengths={self.strengths}, horizon_multipliers={self.horizon_multipliers}"
            )
        if min(self.heuristic_weight, self.reject_above) < 1 or not 0 < self.stop_ratio <= 1:
            raise ValueError(
                f"heuristic_weight and reject_above must be at least 1 and stop_ratio in (0, 1], got "
                f"{self.heuristic_weight}, {self.reject_above} and {self.stop_ratio}"
            )


@dataclass
class Node:
    """A plan's beginning.

    Attributes:
        frames: (F + n, Do) what was observed, the present last, and n planned frames.
        end: (G,) where it ends.
        tokens: how many of those are planned.
        spent: control steps that the beginning takes.
        left: estimated control steps from its end to the goal.
    """

    frames: Array
    end: Array
    tokens: int
    spent: float
    left: float


class Tree:
    """One environment's nodes that are not expanded yet, and the fastest complete plan so far.

    Attributes:
        open: nodes to be expanded.
        nodes: all of them.
        nearest: the node behind the root with the least time left, the one to follow if no plan arrives.
        best: (n, Do) frames of the plan, the present first; None as long as there is none.
        time: control steps that it takes.
    """

    def __init__(self, root: Node) -> None:
        self.open, self.nodes, self.nearest = [root], [root], root
        self.best: Array | None = None
        self.time = np.inf

    def add(self, node: Node, speed: Array, separation: float) -> None:
        """Take in a node, unless another ends there, or within `separation` control steps of it, as soon."""
        near = np.abs(np.stack([other.end for other in self.nodes]) - node.end) / speed < separation
        sooner = np.array([other.spent for other in self.nodes]) <= node.spent + separation
        if (near.all(1) & sooner).any():
            return
        self.open.append(node)
        self.nodes.append(node)
        if self.nearest is self.nodes[0] or node.left < self.nearest.left:
            self.nearest = node

    def pick(self, c: TreeSearchConfig) -> list[Node]:
        """Take out the most promising nodes; none if the plan there is will do."""
        self.open = [node for node in self.open if node.spent + node.left < c.stop_ratio * self.time]
        self.open.sort(key=lambda node: node.spent + c.heuristic_weight * node.left)
        picked, self.open = self.open[: c.width], self.open[c.width :]
        return picked


class TreeSearch(ModelPlanner):
    """Searches for the fastest feasible plan; rows without one follow the beginning that ends nearest to the goal."""

    Config = TreeSearchConfig
    ends_at_goal = settles = needs_time_to_goal = joins_pieces = True
    plans_actions = takes_costs = False

    def __init__(self, config: TreeSearchConfig, sampler: PlanSampler) -> None:
        super().__init__(config, sampler)
        composes = sampler.horizons[-1] > sampler.window
        if config.segment > sampler.window or (config.jump > sampler.window and not composes):
            raise ValueError(
                f"the model plans {sampler.window} tokens at once, got tree_search.segment={config.segment} and "
                f"tree_search.jump={config.jump}; longer jumps, not longer segments, can be composed with "
                "sampling.overlap"
            )

    def plan(self, request: PlanRequest) -> Plan:
        """Return complete plans where there are any; elsewhere beginnings, whose violation is infinite."""
        rows, history = np.arange(len(request)), request.history
        deadline = request.new_deadline()
        ends = history[:, -1, list(self.sampler.goal_channels)]
        left = self.sampler.time_to_goal(ends, request.goal)
        trees = [Tree(Node(history[row], ends[row], 0, 0.0, float(left[row]))) for row in rows]
        for number in range(self.config.rounds):
            if number and deadline is not None and deadline.over():
                break
            picked = [(int(row), node) for row in rows for node in trees[row].pick(self.config)]
            if not picked:
                break
            self._jump(request, picked, trees, number)
            self._grow(request, picked, trees, number)
        return self._best(trees, history.shape[1])

    def _jump(self, request: PlanRequest, picked: list[tuple[int, Node]], trees: list[Tree], number: int) -> None:
        """Try nodes out: make the rest of a plan at once, at several horizons, and keep what arrives feasibly."""
        c, s, tried = self.config, self.sampler, []
        observed = request.history.shape[1]
        for row, node in picked:
            horizons = [max(2, int(np.ceil(factor * node.left / s.span))) for factor in c.horizon_multipliers]
            furthest = min(c.jump or s.horizons[-1], s.longest - node.tokens)
            tried += [(row, node, h) for h in horizons if h <= furthest]
        if not tried:
            return
        rows, lengths = np.array([row for row, _, _ in tried]), np.array([h for _, _, h in tried])
        frames = np.stack([node.frames[-observed:] for _, node, _ in tried])
        plan = s.sample_plans(request, rows, lengths, frames=frames, number=2 * number + 1)
        over, time = self._judged(plan)
        for k in np.flatnonzero(over <= c.reject_above):
            node, tree = tried[k][1], trees[rows[k]]
            if (total := node.spent + float(time[k])) < tree.time:
                rest = plan.observations[k, 1 : plan.lengths[k]]
                tree.best, tree.time = np.concatenate([node.frames[observed - 1 :], rest]), total

    def _grow(self, request: PlanRequest, picked: list[tuple[int, Node]], trees: list[Tree], number: int) -> None:
        """Give nodes their children: feasible continuations, each guided with another strength."""
        c, s = self.config, self.sampler
        observed, children = request.history.shape[1], len(c.strengths)
        parents = [(row, node) for row, node in picked if node.tokens + c.segment <= s.longest]
        if not parents:
            return
        rows = np.repeat([row for row, _ in parents], children)
        frames = np.repeat(np.stack([node.frames[-observed:] for _, node in parents]), children, axis=0)
        plan = s.sample_plans(
            request,
            rows,
            np.full(len(rows), c.segment),
            to_goal=False,
            guide="time_to_goal",
            strength=np.tile(c.strengths, len(parents)),
            frames=frames,
            number=2 * number,
        )
        over, time = self._judged(plan)
        possible = (over <= c.reject_above).reshape(-1, children)
        for i in np.flatnonzero(~possible.any(1)):
            if parents[i][1].tokens == 0:  # of the root's children one stays, or there would be nothing to follow
                possible[i, over.reshape(-1, children)[i].argmin()] = True
        ends = plan.observations[np.arange(len(rows)), plan.lengths - 1][:, list(s.goal_channels)]
        left = s.time_to_goal(ends, request.goal[rows])
        order = np.argsort(left, kind="stable")  # of those that end together the best stays
        for k in order[possible.ravel()[order] & np.isfinite(left[order])]:
            parent, tree = parents[k // children][1], trees[rows[k]]
            made = np.concatenate([parent.frames, plan.observations[k, 1 : plan.lengths[k]]])
            node = Node(made, ends[k], parent.tokens + c.segment, parent.spent + float(time[k]), float(left[k]))
            tree.add(node, s.limits.speed, c.min_separation)

    def _judged(self, plan: Plan) -> tuple[Array, Array]:
        """Return how infeasible plans are, (N,), and the control steps that they are taken to take.

        Without a shortcut penalty: the limit is close to the data's own pace, and below that nothing would be left.
        """
        over = self.violation(plan)
        paths = plan.observations[..., list(self.sampler.goal_channels)]
        return over, travel_time(paths, self.sampler.limits.speed) * np.maximum(over, 1.0)

    def _best(self, trees: list[Tree], observed: int) -> Plan:
        """Return every tree's plan, all of one width; shorter ones repeat their last frame."""
        found = [tree.nearest.frames[observed - 1 :] if tree.best is None else tree.best for tree in trees]
        lengths: IntArray = np.array([len(frames) for frames in found])
        index = np.minimum(np.arange(max(int(lengths.max()), 2))[None], lengths[:, None] - 1)
        observations = np.stack([frames[at] for frames, at in zip(found, index, strict=True)])
        violation = np.array([0.0 if np.isfinite(tree.time) else np.inf for tree in trees])
        return Plan(observations, np.maximum(lengths, 2), self.sampler.frame_skip, violation=violation)
