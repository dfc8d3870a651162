"""Tree search over plans: beginnings are grown piece by piece, and the most promising ones are tried out to the end.

In the manner of Monte Carlo Tree Diffusion (Yoon et al. 2025): a node is a plan whose beginning is made and whose rest
is still noise; its children go on from there by one segment each, guided towards the goal with different strengths; a
jump makes the whole rest at once, in one go, and is worth something if it arrives by a way that the data allows. Where
that method rolls dice for what a beginning is worth, here an estimate of the time that is left says so, and the search
is best-first (Hart et al. 1968): the time spent so far and the time left. Many nodes of many environments are expanded
as one batch.

The planner knows nothing of diffusion, tokens or mazes; it is handed what makes continuations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from df_planners.plan import Plan
from df_planners.shortest_feasible import BestPlans, travel_time

Array = NDArray[np.float64]


class Extend(Protocol):
    """Goes on from the last frames (N, F, Do) of beginnings for environments `rows` (N,), by one segment.

    Guided towards the goal with `strengths` (N,). The plans' first frame is the last of the beginning. `number` tells
    the rounds of a search apart, which are to have noise of their own.
    """

    def __call__(self, rows: NDArray[np.int64], frames: Array, strengths: Array, number: int, /) -> Plan:
        """Return one continuation per entry."""
        ...


class Arrive(Protocol):
    """Goes on from the last frames (N, F, Do) of beginnings to the goal, in `horizons` (N,) tokens."""

    def __call__(self, rows: NDArray[np.int64], frames: Array, horizons: NDArray[np.int64], number: int, /) -> Plan:
        """Return one continuation per entry."""
        ...


class Infeasibility(Protocol):
    """Says how infeasible plans for environments `rows` (N,) are, (N,); at most 1 is feasible."""

    def __call__(self, rows: NDArray[np.int64], plan: Plan, /) -> Array:
        """Return it."""
        ...


class TimeLeft(Protocol):
    """Estimates the control steps, (N,), from places (N, G) to the goals of environments `rows` (N,)."""

    def __call__(self, rows: NDArray[np.int64], places: Array, /) -> Array:
        """Return the estimates."""
        ...


@dataclass(frozen=True)
class TreeSearchConfig:
    """How the tree grows.

    Attributes:
        segment: tokens by which a child is longer than its parent.
        strengths: of the guidance of a node's children, one child each.
        stretch: horizons of the jumps from a node, as multiples of the estimated time to the goal, one jump each.
        jump: longest jump that is tried, in tokens; 0 for as far as `TreeSearch.reach`.
        width: nodes per environment that are expanded at a time.
        rounds: of expansion at most.
        apart: a node that ends within so many steps, at full speed, of another, and is there no more than as many
            steps sooner, is dropped, so that the search spreads out where the estimate misleads it [control steps].
        hopeless: a continuation that exceeds a limit this many times is dropped. One that exceeds it by less takes as
            many times its time, so that it gains nothing by it.
        greed: by how much the time left counts more than the time spent; 1 looks longest for the fastest plan,
            more takes a good one sooner.
        enough: a complete plan is taken once no beginning promises to take less than this share of its time.
    """

    segment: int = 6
    strengths: tuple[float, ...] = (0.0, 0.0, 0.0, 0.1, 0.1, 0.1, 0.3, 0.3)
    stretch: tuple[float, ...] = (1.0, 1.15, 1.3, 1.5)
    jump: int = 0
    width: int = 4
    rounds: int = 20
    apart: float = 8.0
    hopeless: float = 1.5
    greed: float = 1.2
    enough: float = 0.95

    def __post_init__(self) -> None:
        for name in ("strengths", "stretch"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if min(self.segment, self.width, self.rounds) < 1 or min(self.jump, self.apart) < 0:
            raise ValueError(
                f"segment, width and rounds must be at least 1, jump and apart not negative, got {self.segment}, "
                f"{self.width}, {self.rounds}, {self.jump} and {self.apart}"
            )
        if not self.strengths or not self.stretch or min(*self.strengths, 0) < 0 or min(*self.stretch, 1) <= 0:
            raise ValueError(
                f"need at least one strength >= 0 and one stretch > 0, got strengths={self.strengths}, "
                f"stretch={self.stretch}"
            )
        if min(self.greed, self.hopeless) < 1 or not 0 < self.enough <= 1:
            raise ValueError(
                f"greed and hopeless must be at least 1 and enough in (0, 1], got {self.greed}, {self.hopeless} and "
                f"{self.enough}"
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

    def add(self, node: Node, speed: Array, apart: float) -> None:
        """Take in a node, unless another ends there, or within `apart` control steps of it, as soon."""
        near = np.abs(np.stack([other.end for other in self.nodes]) - node.end) / speed < apart
        sooner = np.array([other.spent for other in self.nodes]) <= node.spent + apart
        if (near.all(1) & sooner).any():
            return
        self.open.append(node)
        self.nodes.append(node)
        if self.nearest is self.nodes[0] or node.left < self.nearest.left:
            self.nearest = node

    def pick(self, c: TreeSearchConfig) -> list[Node]:
        """Take out the most promising nodes; none if the plan there is will do."""
        self.open = [node for node in self.open if node.spent + node.left < c.enough * self.time]
        self.open.sort(key=lambda node: node.spent + c.greed * node.left)
        picked, self.open = self.open[: c.width], self.open[c.width :]
        return picked


@dataclass(frozen=True)
class TreeSearch:
    """Searches for the fastest feasible plan.

    Attributes:
        extend, arrive: what makes continuations.
        time_left: the estimate by which beginnings are compared.
        infeasibility: judges continuations; see `TreeSearchConfig.hopeless` for what is above 1.
        channels: where the goal lies in a frame.
        speed: (G,) largest change per control step, for the time that plans take.
        frame_skip: control steps between two frames.
        span: control steps per token.
        longest: tokens of the longest plans.
        reach: tokens of the longest jumps.
        config: how to search.
    """

    extend: Extend
    arrive: Arrive
    time_left: TimeLeft
    infeasibility: Infeasibility
    channels: tuple[int, ...]
    speed: Array
    frame_skip: int
    span: int
    longest: int
    reach: int
    config: TreeSearchConfig

    def __call__(self, history: Array, over: Callable[[], bool] | None = None) -> BestPlans:
        """Search for B environments.

        Args:
            history: (B, F, Do) what was observed, the present last.
            over: asked before every round but the first; ends the search, with the best plans so far.

        Returns:
            Complete plans where there are any; elsewhere the beginning that ends nearest to the goal, which is as
            infeasible as can be (its `over` is infinite).
        """
        rows = np.arange(len(history))
        ends = history[:, -1, list(self.channels)]
        left = self.time_left(rows, ends)
        trees = [Tree(Node(history[row], ends[row], 0, 0.0, float(left[row]))) for row in rows]
        for number in range(self.config.rounds):
            if number and over is not None and over():
                break
            picked = [(int(row), node) for row in rows for node in trees[row].pick(self.config)]
            if not picked:
                break
            self._jump(picked, trees, history.shape[1], number)
            self._grow(picked, trees, history.shape[1], number)
        return self._choice(trees, history.shape[1])

    def _jump(self, picked: list[tuple[int, Node]], trees: list[Tree], observed: int, number: int) -> None:
        """Try nodes out: make the rest of a plan at once, at several horizons, and keep what arrives feasibly."""
        c, tried = self.config, []
        for row, node in picked:
            horizons = [max(2, int(np.ceil(stretch * node.left / self.span))) for stretch in c.stretch]
            furthest = min(c.jump or self.reach, self.longest - node.tokens)
            tried += [(row, node, h) for h in horizons if h <= furthest]
        if not tried:
            return
        rows = np.array([row for row, _, _ in tried])
        frames = np.stack([node.frames[-observed:] for _, node, _ in tried])
        plan = self.arrive(rows, frames, np.array([h for _, _, h in tried]), number)
        over, time = self._judged(rows, plan)
        for k in np.flatnonzero(over <= c.hopeless):
            node, tree = tried[k][1], trees[rows[k]]
            if (total := node.spent + float(time[k])) < tree.time:
                rest = plan.observations[k, 1 : plan.lengths[k]]
                tree.best, tree.time = np.concatenate([node.frames[observed - 1 :], rest]), total

    def _grow(self, picked: list[tuple[int, Node]], trees: list[Tree], observed: int, number: int) -> None:
        """Give nodes their children: feasible continuations, each guided with another strength."""
        c = self.config
        parents = [(row, node) for row, node in picked if node.tokens + c.segment <= self.longest]
        if not parents:
            return
        children = len(c.strengths)
        rows = np.repeat([row for row, _ in parents], children)
        frames = np.repeat(np.stack([node.frames[-observed:] for _, node in parents]), children, axis=0)
        plan = self.extend(rows, frames, np.tile(c.strengths, len(parents)), number)
        over, time = self._judged(rows, plan)
        possible = (over <= c.hopeless).reshape(-1, children)
        for i in np.flatnonzero(~possible.any(1)):
            if parents[i][1].tokens == 0:  # of the root's children one stays, or there would be nothing to follow
                possible[i, over.reshape(-1, children)[i].argmin()] = True
        ends = plan.observations[np.arange(len(rows)), plan.lengths - 1][:, list(self.channels)]
        left = self.time_left(rows, ends)
        order = np.argsort(left, kind="stable")  # of those that end together the best stays
        for k in order[possible.ravel()[order] & np.isfinite(left[order])]:
            parent, tree = parents[k // children][1], trees[rows[k]]
            made = np.concatenate([parent.frames, plan.observations[k, 1 : plan.lengths[k]]])
            spent = parent.spent + float(time[k])
            tree.add(Node(made, ends[k], parent.tokens + c.segment, spent, float(left[k])), self.speed, c.apart)

    def _judged(self, rows: NDArray[np.int64], plan: Plan) -> tuple[Array, Array]:
        """Return how infeasible plans are, (N,), and the control steps that they are taken to take."""
        over = self.infeasibility(rows, plan)
        time = travel_time(plan.observations[..., list(self.channels)], self.speed)
        return over, time * np.maximum(over, 1.0)

    def _choice(self, trees: list[Tree], observed: int) -> BestPlans:
        """Return every tree's plan, all of one width; shorter ones repeat their last frame."""
        found = [tree.nearest.frames[observed - 1 :] if tree.best is None else tree.best for tree in trees]
        lengths = np.array([len(frames) for frames in found])
        index = np.minimum(np.arange(max(int(lengths.max()), 2))[None], lengths[:, None] - 1)
        observations = np.stack([frames[at] for frames, at in zip(found, index, strict=True)])
        time = np.array([tree.time for tree in trees])
        plan = Plan(observations, np.maximum(lengths, 2), self.frame_skip)
        return BestPlans(plan, np.where(np.isfinite(time), 0.0, np.inf), time)
