"""What environments and policies answer, read once: numbers and truth values in all the forms that libraries give them.

Gymnasium asks for a float and two bools; environments give numpy's scalars, arrays of one element, tensors, 0 and 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

SUCCESS = ("success", "is_success")  # keys of a step's info that say whether the goal is reached, the first one first
Step = tuple[Any, float, bool, bool, dict[str, Any]]


def plain(values: Any) -> Any:
    """Return tensors as arrays on the CPU, everything else as it is."""
    if not hasattr(values, "detach"):
        return values
    values = values.detach().cpu()
    return (values.float() if str(values.dtype) == "torch.bfloat16" else values).numpy()


def number(value: Any, what: str) -> float:
    """Return the one number in a value; raises ValueError, which says `what` it is, for anything else."""
    if isinstance(value, float):  # as nearly always, and a hundred times a step
        return float(value)
    array = np.asarray(plain(value))
    if array.size != 1 or array.dtype.kind not in "biuf":
        raise ValueError(f"{what} must be one number, got {_shown(value)}")
    return float(array.item())


def truth(value: Any, what: str) -> bool:
    """Return the one truth value in a value, a number but 0 being true; raises ValueError for anything else."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    array = np.asarray(plain(value))
    if array.dtype == object and array.size == 1:  # as gymnasium's vectors hold what they do not know
        array = np.asarray(plain(array.item()))
    if array.size != 1 or array.dtype.kind not in "biuf" or array.item() != array.item():
        raise ValueError(f"{what} must be one truth value, got {_shown(value)}")
    return bool(array.item())


def success_of(info: Mapping[str, Any]) -> bool | None:
    """Return whether a step's info says that the goal is reached; None where it says nothing of it."""
    for key in SUCCESS:
        if info.get(key) is not None:
            return truth(info[key], f"info[{key!r}]")
    return None


def success_rows(info: Mapping[str, Any], n: int) -> NDArray[np.bool_] | None:
    """The same of the first n environments of a vector, (n,); False for those of which nothing is said."""
    for key in SUCCESS:
        if key in info:
            rows = info[key][:n]
            return np.array([row is not None and truth(row, f"info[{key!r}]") for row in rows], dtype=bool)
    return None


def read_step(answer: Any) -> Step:
    """Return what `env.step` answered: observation, reward, terminated, truncated, info.

    Raises:
        ValueError: it is not five values, or reward, terminated or truncated is not one number or truth value.
    """
    if not isinstance(answer, tuple | list) or len(answer) != 5:
        raise ValueError(
            "the environment's step must return (observation, reward, terminated, truncated, info), got "
            f"{_shown(answer)}"
        )
    observation, reward, terminated, truncated, info = answer
    return (
        observation,
        number(reward, "the environment's reward"),
        truth(terminated, "the environment's terminated"),
        truth(truncated, "the environment's truncated"),
        read_info(info),
    )


def frames_in_one(values: NDArray[Any], leading: int = 1) -> NDArray[Any]:
    """Return stacked frames (..., k, D), as of `FrameStackObservation`, as (..., k D), the newest first.

    So the channels that come first are what they would be without the stack. Pictures, and what is not stacked, stay.
    """
    if values.ndim != leading + 2 or values.dtype == np.uint8:
        return values
    return values[..., ::-1, :].reshape(*values.shape[:-2], -1)


def newest_frame(values: NDArray[Any], leading: int = 1) -> NDArray[Any]:
    """Return the newest of stacked frames (..., k, D), which is where a goal is now; what is not stacked stays."""
    return values if values.ndim != leading + 2 or values.dtype == np.uint8 else values[..., -1, :]


def read_prediction(answer: Any) -> tuple[Any, Any]:
    """Return what `policy.predict` answered, actions and state; raises ValueError if it is anything else."""
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise ValueError(f"predict must return (actions, state), got {type(answer)}")
    return plain(answer[0]), answer[1]


def read_info(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return a step's info with plain success; one that cannot be read stays, for it may never be asked for."""
    read = dict(info)
    for key in SUCCESS:
        try:
            if read.get(key) is not None:
                read[key] = truth(read[key], key)
        except ValueError:
            continue
    return read


def _shown(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return f"{type(value).__name__}{'' if shape is None else f' of shape {tuple(shape)}'}: {value!r}"[:200]
