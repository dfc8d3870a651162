"""Which values an option takes, said beside its type: `episodes: Count = 100`, `share: Annotated[float, Range(0, 1)]`.

A limit is data that commands check and show; the dataclass itself takes what it is given.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any


class Limit(ABC):
    """What a value must be beside its type; `str` of it tells that in words, to stand behind those of the type."""

    @abstractmethod
    def holds(self, value: Any) -> bool:
        """Whether a value of the right type is one that is taken."""

    def hint(self, value: Any) -> str:
        """Return a sentence that names what was probably meant; nothing if nothing is near."""
        return ""


@dataclass(frozen=True)
class Range(Limit):
    """Numbers from `least` to `most`, both among them unless they are `open`.

    Attributes:
        least: the smallest.
        most: the largest.
        open: "" for neither, "left", "right" or "both": which end is left out.
    """

    least: float = -math.inf
    most: float = math.inf
    open: str = ""

    def holds(self, value: Any) -> bool:
        """Whether a number lies in it; NaN does not."""
        above = value > self.least if self.open in ("left", "both") else value >= self.least
        below = value < self.most if self.open in ("right", "both") else value <= self.most
        return bool(above and below)

    def __str__(self) -> str:
        if math.isinf(self.most):
            return f"above {self.least:g}" if self.open else f"of at least {self.least:g}"
        left, right = "(" if self.open in ("left", "both") else "[", ")" if self.open in ("right", "both") else "]"
        return f"in {left}{self.least:g}, {self.most:g}{right}"


class Among(Limit):
    """One of some texts.

    Args:
        *names: these.
    """

    def __init__(self, *names: str) -> None:
        self.names = names

    def holds(self, value: Any) -> bool:
        """Whether it is one of them."""
        return value in self.names

    def hint(self, value: Any) -> str:
        """Return a sentence that names the nearest."""
        close = get_close_matches(str(value), self.names, n=1)
        return f" Did you mean {close[0]}?" if close else ""

    def __str__(self) -> str:
        return self.names[0] if len(self.names) == 1 else f"one of {', '.join(self.names)}"


class DeviceName(Among):
    """What PyTorch calls a device that networks run on, or "auto"."""

    def __init__(self) -> None:
        super().__init__("auto", "cpu", "cuda", "mps")

    def holds(self, value: Any) -> bool:
        """Whether it is one of them, or one of several GPUs, as "cuda:1"."""
        return super().holds(value) or re.fullmatch(r"cuda:\d+", str(value)) is not None

    def hint(self, value: Any) -> str:
        """Return a sentence that names the nearest; a GPU is "cuda"."""
        return " Did you mean cuda?" if "gpu" in str(value).lower() else super().hint(value)


Count = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]  # 0 too
Positive = Annotated[float, Range(0, open="left")]
NotNegative = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]
InnerShare = Annotated[float, Range(0, 1, open="both")]  # neither none nor all
Device = Annotated[str, DeviceName()]
Precision = Annotated[str, Among("auto", "fp32", "bf16")]
Tracker = Annotated[str, Among("tensorboard", "wandb", "none")]
