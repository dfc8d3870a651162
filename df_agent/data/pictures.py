"""Pictures in the forms that environments draw them, as red, green and blue."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CHANNELS = (1, 3, 4)  # grey, colours, colours and how opaque they are


def as_rgb(pictures: Any, leading: int = 0) -> NDArray[np.uint8]:
    """Return pictures (..., H, W, 3) uint8 of such, of grey ones with or without a channel, or of transparent ones.

    Transparent ones are laid on white. Channels may come first, and numbers be floats, from 0 to 1 or to 255, or bools.

    Args:
        pictures: (..., H, W), (..., H, W, C) or (..., C, H, W).
        leading: axes before those of one picture.

    Raises:
        ValueError: they are none of these.
    """
    array = np.asarray(pictures)
    if array.ndim == leading + 2:
        array = array[..., None]
    elif array.ndim == leading + 3 and array.shape[-1] not in CHANNELS and array.shape[leading] in CHANNELS:
        array = np.moveaxis(array, leading, -1)
    if array.ndim != leading + 3 or array.shape[-1] not in CHANNELS or array.dtype.kind not in "biuf":
        raise ValueError(f"expected pictures (H, W), (H, W, C) or (C, H, W), C 1, 3 or 4, got {_shown(pictures)}")
    array = _bytes(array)
    if array.shape[-1] == 4:
        opaque = array[..., 3:] / 255
        array = np.rint(array[..., :3] * opaque + 255 * (1 - opaque)).astype(np.uint8)
    return np.broadcast_to(array, (*array.shape[:-1], 3)).copy() if array.shape[-1] == 1 else array


def _bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array * np.uint8(255)
    if not array.size or not np.isfinite(array).all() or array.min() < 0 or array.max() > 255:
        raise ValueError(f"a picture's numbers lie between 0 and 1, or 0 and 255, got {_shown(array)}")
    whole = array.dtype.kind == "f" and array.max() <= 1
    return np.rint(array * 255.0 if whole else array).astype(np.uint8)


def _shown(pictures: Any) -> str:
    array = np.asarray(pictures)
    numbers = array.dtype.kind in "biuf" and array.size
    return f"{array.dtype} {array.shape}" + (f" from {array.min()} to {array.max()}" if numbers else "")
