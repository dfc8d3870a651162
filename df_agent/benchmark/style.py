"""One look per policy, the same in every picture: relatives share a colour and differ by dashes and markers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from df_agent.evaluation.plots import INK, MUTED
from df_agent.files import naming

# Distinguishable with red-green blindness and dark enough on white (after Okabe and Ito 2008, and Paul Tol).
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#999933", "#332288", "#44AA99",
)  # fmt: skip
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.4, 1.2, 1.4)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
# The ends of the scale are no rivals: they stay grey.
REFERENCES = {
    "oracle": (INK, DASHES[1]),
    "time_optimal": (INK, DASHES[2]),
    "tracker_map": (INK, DASHES[3]),
    "random": (MUTED, DASHES[2]),
}


@dataclass(frozen=True)
class Look:
    """How a policy is drawn."""

    colour: str
    dashes: Any
    marker: str
    width: float = 1.6


def looks(names: Sequence[str]) -> dict[str, Look]:
    """Give every policy a look; the first one, the reference, gets the broadest line.

    "diffuser_ddim" is a relative of "diffuser" if that is among the names too: it gets the same colour.
    """
    rivals = [name for name in dict.fromkeys(names) if name not in REFERENCES]
    families = {name: _family(name, rivals) for name in rivals}
    heads = list(dict.fromkeys(families.values()))
    found: dict[str, Look] = {}
    for name in dict.fromkeys(names):
        if name in REFERENCES:
            found[name] = Look(*REFERENCES[name], marker="|", width=1.4)
            continue
        head = families[name]
        place = heads.index(head)
        rank = [other for other in rivals if families[other] == head].index(name) + place // len(COLOURS)
        marker = MARKERS[(place + 3 * rank) % len(MARKERS)]
        width = 2.8 if name == names[0] else 1.6
        found[name] = Look(COLOURS[place % len(COLOURS)], DASHES[rank % len(DASHES)], marker, width)
    return found


def _family(name: str, names: Sequence[str]) -> str:
    heads = [other for other in names if name == other or name.startswith(other + "_")]
    return min(heads, key=len)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, in 256 colours: a third of the size, since reports are kept and sent around."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    with naming(path):
        picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    return path


def header(figure: Figure, title: str, subtitle: str) -> None:
    """Write title and subtitle into the upper left corner, 0.24 and 0.46 inches below the edge."""
    width, height = figure.get_size_inches()
    left = 0.15 / width
    fitting = 72 * (width - 0.3) / (0.56 * max(len(subtitle), 1))  # letters are about 0.56 of their size wide
    figure.text(left, 1 - 0.24 / height, title, fontsize=12, color=INK, weight="bold", va="center")
    figure.text(left, 1 - 0.48 / height, subtitle, fontsize=min(9, fitting), color=MUTED, va="center")
