"""What is wrong with data that an agent is to learn from, in a line each: what, the number, and what would help.

Thresholds are set such that the data of clumsy demonstrators which arrive gives no finding.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from df_agent.data.episodes import Episodes

Array = NDArray[Any]
DEGENERATE, COVERAGE, HORIZON, NOISE = "degenerate", "coverage", "horizon", "noise"
KINDS = (DEGENERATE, COVERAGE, HORIZON, NOISE)

PLACES, OWN = 4000, 500  # of the data, that distances are measured to; of these, for the data's own distances
NEIGHBOURS = 5
OUTSIDE = 2.0  # times the largest own distances, the rarest hundredth left out
FEW_OUTSIDE = 0.1  # share of the starts or goals
FEWEST = 30  # episodes
MOVED = 0.1  # of what goals ask for
SPAN = 0.5  # of the way
CORRELATED = 0.05
AT_BOUNDS, CHATTER = 0.95, 0.3
UNEXPLAINED = 0.9


@dataclass(frozen=True)
class Finding:
    """Something wrong with the data.

    Attributes:
        kind: one of `KINDS`.
        text: what is wrong, the number, and what would help.
    """

    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


@dataclass(frozen=True)
class Asked:
    """What an agent is asked for in its environment.

    Attributes:
        starts: (N, G) places where episodes begin, in the numbers of a goal.
        goals: (N, G) their goals.
        limit: of an episode [control steps].
    """

    starts: Array
    goals: Array
    limit: int


def inspect(episodes: Episodes, channels: list[int], asked: Asked | None = None) -> list[Finding]:
    """Return what is wrong with the data; nothing, if it is good.

    Args:
        episodes: the data, with what was achieved and desired where that is known.
        channels: G channels of the observation that goals are about.
        asked: starts and goals; None looks only at what the data says by itself.
    """
    if asked is not None and not asked.starts.shape[-1] == asked.goals.shape[-1] == len(channels):
        asked = None  # goals that are told in other words than places
    places = episodes.observations[:, channels].astype(np.float64)
    limit = int(np.diff(episodes.starts).max()) - 1 if asked is None else asked.limit
    found = degenerate(episodes)
    few = max(len(episodes), episodes.steps / max(limit, 1))
    if few < FEWEST:
        text = f"it holds {episodes.steps} steps, about {few:.0f} episodes; collect at least {FEWEST}, better hundreds"
        found.append(Finding(COVERAGE, text))
    pieces = cut(episodes.starts, limit)
    found += still_channels(places, pieces, channels, asked)
    if asked is not None:
        scale = scale_of(places, asked)
        found += outside(places / scale, pieces, asked, scale)
        found += short_ways(places / scale, pieces, asked, scale)
        found += cut_off(episodes, asked.limit)
    return found + (noise(episodes) if not any(f.kind == DEGENERATE for f in found) else [])


def degenerate(episodes: Episodes) -> list[Finding]:
    """Return whether no action ever changes, or episodes repeat each other."""
    found = []
    taken = episodes.actions[acting(episodes)]
    if not len(taken) or float(np.ptp(taken, axis=0).max(initial=0)) < 1e-6:
        text = f"none of the {episodes.actions.shape[1]} actions ever changes; collect with a policy that acts"
        found.append(Finding(DEGENERATE, text))
    seen, done = episodes.observations, episodes.actions
    distinct = {hash((seen[a:b].tobytes(), done[a:b].tobytes())) for a, b in pairwise(episodes.starts)}
    if len(distinct) <= len(episodes) / 2:
        text = (
            f"of {len(episodes)} episodes only {len(distinct)} differ; collect with starts, goals and seeds that vary"
        )
        found.append(Finding(DEGENERATE, text))
    return found


def cut(starts: Array, limit: int) -> Array:
    """Return bounds (S + 1,) of pieces: episodes, and of those that are much longer than `limit` parts of that length.

    Trajectories that were joined, one goal after the other, are so many episodes.
    """
    bounds = [0]
    for first, last in pairwise(starts.tolist()):
        count = max(1, round((last - first) / max(limit + 1, 2)))
        bounds += np.linspace(first, last, count + 1).round().astype(int)[1:].tolist()
    return np.array(bounds)


def scale_of(places: Array, asked: Asked) -> Array:
    """Return the unit, (G,), of each number of a goal: the data's deviation, or what is asked for where it has none."""
    deviation, wanted = places.std(axis=0), np.abs(asked.goals - asked.starts).max(axis=0)
    return np.asarray(np.where(deviation > 1e-6, deviation, np.where(wanted > 1e-6, wanted, 1.0)))


def still_channels(places: Array, pieces: Array, channels: list[int], asked: Asked | None) -> list[Finding]:
    """Return which numbers of a goal (N, G) hardly change within an episode, though goals ask for it."""
    moved = np.median([np.ptp(places[a:b], axis=0) for a, b in pairwise(pieces)], axis=0)
    if asked is None:
        wanted, still = None, np.ptp(places, axis=0) < 1e-6
    else:
        wanted = np.median(np.abs(asked.goals - asked.starts), axis=0)
        still = moved < MOVED * wanted
    found = []
    for i in np.flatnonzero(still):
        goals = "" if wanted is None else f", goals ask for {wanted[i]:.3g}"
        text = f"observation channel {channels[i]} is part of the goal and hardly moves: {moved[i]:.3g} in an episode"
        found.append(Finding(COVERAGE, f"{text}{goals}; collect data that moves it"))
    return found


def outside(places: Array, pieces: Array, asked: Asked, scale: Array) -> list[Finding]:
    """Return whether starts or goals lie where the data never was, by the distance to the fifth-nearest place.

    The data's own distances, which they are compared with, are those to other episodes: neighbours in time say nothing.

    Args:
        places: (N, G) in `scale`.
        pieces: (S + 1,) bounds of episodes.
        asked: starts and goals.
        scale: (G,) unit of places.
    """
    if len(pieces) < 3:
        return []
    rows = np.unique(np.linspace(0, len(places) - 1, PLACES).round().astype(int))
    piece = np.searchsorted(pieces, rows, side="right")
    some = np.unique(np.linspace(0, len(rows) - 1, OWN).round().astype(int))
    own = neighbour_distance(places[rows[some]], places[rows], piece[some][:, None] == piece[None])
    most = OUTSIDE * float(np.quantile(own, 0.99))
    found = []
    for name, wanted in (("starts", asked.starts), ("goals", asked.goals)):
        away = neighbour_distance(wanted / scale, places[rows])
        share = float((away > most).mean())
        if share > FEW_OUTSIDE:
            text = (
                f"{share:.0%} of the {name} asked for lie where the data never was, up to {away.max():.2g} standard "
                f"deviations from it (its own places are at most {most:.2g} apart); collect data there"
            )
            found.append(Finding(COVERAGE, text))
    return found


def neighbour_distance(asked: Array, places: Array, left_out: Array | None = None) -> Array:
    """Return the distance, (M,), of places (M, G) to the fifth-nearest of others (N, G); `left_out` (M, N) are not.

    Where there are fewer than that, to the farthest of them.
    """
    away = np.sqrt(np.maximum(0, (asked**2).sum(1)[:, None] - 2 * asked @ places.T + (places**2).sum(1)[None]))
    if left_out is not None:
        away = np.where(left_out, np.inf, away)
    nearest = np.partition(away, min(NEIGHBOURS, away.shape[1]) - 1, axis=1)[:, :NEIGHBOURS]
    return np.asarray(np.where(np.isfinite(nearest), nearest, -np.inf).max(axis=1))


def short_ways(places: Array, pieces: Array, asked: Asked, scale: Array) -> list[Finding]:
    """Return whether episodes reach only a small part of the way from starts to goals; arguments as of `outside`."""
    reached = [np.linalg.norm(places[a:b] - places[a], axis=1).max() for a, b in pairwise(pieces)]
    reach = float(np.quantile(reached, 0.9))
    way = float(np.median(np.linalg.norm((asked.goals - asked.starts) / scale, axis=1)))
    if reach >= SPAN * way:
        return []
    text = (
        f"episodes get {reach / way:.0%} as far from their start as goals are from theirs (nine in ten at most); "
        "collect longer episodes that go the whole way"
    )
    return [Finding(HORIZON, text)]


def cut_off(episodes: Episodes, limit: int) -> list[Finding]:
    """Return whether the time limit cuts most episodes before half of the way to the goal that they pursued."""
    achieved, desired = episodes.achieved_goals, episodes.desired_goals
    lengths = np.diff(episodes.starts) - 1
    if achieved is None or desired is None or achieved.shape != desired.shape or lengths.max() > 1.05 * limit:
        return []
    scale = np.where(achieved.std(0) > 1e-6, achieved.std(0), 1.0)
    away = np.linalg.norm((achieved - desired) / scale, axis=1)
    left = away[episodes.starts[1:] - 1] / np.maximum(away[episodes.starts[:-1]], 1e-9)
    share = float(((lengths >= 0.95 * limit) & (left > 0.5)).mean())
    if share <= 0.5:
        return []
    text = (
        f"the time limit of {limit} steps cuts {share:.0%} of the episodes before half of the way to their goal; "
        "collect with a quicker policy or a longer limit"
    )
    return [Finding(HORIZON, text)]


def noise(episodes: Episodes) -> list[Finding]:
    """Return whether actions look drawn at random: one says nothing of the next, or they jump between their bounds."""
    taken = acting(episodes)
    actions = episodes.actions.astype(np.float64)
    varied = np.ptp(actions[taken], axis=0) > 1e-6
    values = (actions - actions[taken].mean(0))[:, varied] / actions[taken].std(0)[varied]
    both = taken[:-1] & taken[1:]  # neighbours of one episode, since in the last row of each none is taken
    if not both.any():
        return []
    correlation = float((values[:-1] * values[1:])[both].mean())
    if correlation < CORRELATED:
        text = (
            f"an action says nothing of the next one (correlation {correlation:.2f}), as if drawn at random; collect "
            "with a policy that goes somewhere, or with less noise"
        )
        return [Finding(NOISE, text)]
    low, high = actions[taken].min(0), actions[taken].max(0)
    edge = 1e-3 * (high - low)
    share = float(((actions <= low + edge) | (actions >= high - edge))[taken][:, varied].mean())
    if share > AT_BOUNDS and correlation < CHATTER:
        text = (
            f"{share:.0%} of the actions lie at their bounds and jump between them (correlation {correlation:.2f}); "
            "collect with less noise or smaller gains"
        )
        return [Finding(NOISE, text)]
    return []


def unexplained(share: float) -> list[Finding]:
    """Return whether too much of the actions is left unexplained.

    Args:
        share: of the actions' variance, by a policy that was told the observation, where the action led and when.
    """
    if share <= UNEXPLAINED:
        return []
    text = (
        f"{share:.0%} of the variance of the actions follow neither from the observation nor from where they led; "
        "collect with less noise, or observe what the actions depend on"
    )
    return [Finding(NOISE, text)]


def acting(episodes: Episodes) -> NDArray[np.bool_]:
    """Return the rows, (N,), at which an action was taken: all but the last of each episode."""
    taken = np.ones(len(episodes.observations), dtype=bool)
    taken[episodes.starts[1:] - 1] = False
    return taken
