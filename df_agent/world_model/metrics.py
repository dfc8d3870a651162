"""How near predicted frames are to true ones. Values are those of uint8 pictures, 0 to 255, throughout.

The original code scored frames in [0, 1] with constants for [-1, 1], and with a red border painted into the truth.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional.image import structural_similarity_index_measure

RANGE = 255.0
Frames = NDArray[np.uint8]
Positions = NDArray[np.float64]


def _checked(predicted: Frames, true: Frames) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    for name, frames in (("predicted", predicted), ("true", true)):
        if frames.dtype != np.uint8:
            raise ValueError(f"{name} frames must be uint8, with values of 0 to 255; got {frames.dtype}")
    if predicted.shape != true.shape or predicted.ndim != 5:
        raise ValueError(f"both must be pictures (B, T, H, W, C), got {predicted.shape} and {true.shape}")
    return predicted.astype(np.float64), true.astype(np.float64)


def mse(predicted: Frames, true: Frames) -> NDArray[np.float64]:
    """Return the mean squared error of each frame, (B, T), of pictures (B, T, H, W, C)."""
    a, b = _checked(predicted, true)
    return np.asarray(((a - b) ** 2).mean((2, 3, 4)))


def psnr(predicted: Frames, true: Frames) -> NDArray[np.float64]:
    """Return the peak signal to noise ratio of each frame [dB], (B, T); infinite where nothing differs."""
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(RANGE**2 / mse(predicted, true)))


def ssim(predicted: Frames, true: Frames, window: int = 7) -> NDArray[np.float64]:
    """Return the structural similarity of each frame (Wang et al. 2004), (B, T), over uniform windows."""
    a, b = _checked(predicted, true)
    shape = a.shape[:2]

    def as_images(frames: NDArray[np.float64]) -> torch.Tensor:
        return torch.from_numpy(frames.reshape(-1, *frames.shape[2:])).movedim(-1, 1).float()

    values: Any = structural_similarity_index_measure(
        as_images(a), as_images(b), gaussian_kernel=False, kernel_size=window, data_range=RANGE, reduction="none"
    )
    return np.asarray(values.reshape(shape).double().numpy())


def crop(frames: Frames, centres: NDArray[np.int64], size: int) -> Frames:
    """Return the windows (B, T, size, size, C) around pixels (B, T, 2), row and column, kept inside the picture."""
    height, width = frames.shape[2:4]
    first = np.clip(centres - size // 2, 0, [height - size, width - size])
    rows = first[..., 0, None] + np.arange(size)
    columns = first[..., 1, None] + np.arange(size)
    b, t = np.ogrid[: frames.shape[0], : frames.shape[1]]
    cut: Frames = frames[b[..., None, None], t[..., None, None], rows[..., :, None], columns[..., None, :]]
    return cut


def position_errors(predicted: Positions, true: Positions) -> NDArray[np.float64]:
    """Return the distances (B, T) of positions (B, T, 2); NaN where none was found in the prediction."""
    return np.asarray(np.linalg.norm(predicted - true, axis=-1))


def carried(found: Positions, last: Positions) -> NDArray[np.float64]:
    """Return positions (B, T, 2) with those that were not found (NaN) replaced by the last that was.

    Args:
        found: (B, T, 2).
        last: (B, 2) before the first.
    """
    out = np.concatenate([last[:, None], found], 1)
    for t in range(1, out.shape[1]):
        lost = np.isnan(out[:, t]).any(-1)
        out[lost, t] = out[lost, t - 1]
    return np.asarray(out[:, 1:])


def lpips_if_here(folder: Path | None) -> Callable[[Frames, Frames], NDArray[np.float64]] | str:
    """Return the learned perceptual distance, or a line that says what to download for it."""
    missing = (
        "LPIPS left out: it needs torchvision and the weights alexnet-owt-7be5be79.pth of PyTorch's model zoo in "
        "$TORCH_HOME/hub/checkpoints"
    )
    found = folder or Path(torch.hub.get_dir()) / "checkpoints"
    if not (found / "alexnet-owt-7be5be79.pth").is_file():
        return missing
    try:
        from torchmetrics.functional.image import learned_perceptual_image_patch_similarity as distance

        def measure(predicted: Frames, true: Frames) -> NDArray[np.float64]:
            a, b = (
                torch.from_numpy(f.reshape(-1, *f.shape[2:]) / RANGE).movedim(-1, 1).float() for f in (predicted, true)
            )
            each = [
                float(distance(x[None], y[None], net_type="alex", normalize=True)) for x, y in zip(a, b, strict=True)
            ]
            return np.array(each).reshape(predicted.shape[:2])

        return measure
    except (ImportError, ModuleNotFoundError):
        return missing


def fvd_if_here(path: Path | None) -> Callable[[Frames, Frames], float] | str:
    """Return the Fréchet video distance (Unterthiner et al. 2018), or a line that says what to download for it.

    Args:
        path: of the I3D network as TorchScript, as StyleGAN-V's authors distribute it.
    """
    if path is None or not path.is_file():
        return (
            "FVD left out: it needs the I3D network as TorchScript (i3d_torchscript.pt, from the StyleGAN-V project); "
            "give its path with i3d="
        )
    load: Any = torch.jit.load
    network = load(str(path)).eval()

    @torch.no_grad()
    def features(frames: Frames) -> NDArray[np.float64]:
        clips = torch.from_numpy(frames).float().movedim(-1, 1)  # (B, C, T, H, W)
        clips = torch.nn.functional.interpolate(clips, size=(clips.shape[2], 224, 224), mode="trilinear")
        out = network(clips / 127.5 - 1, rescale=False, resize=False, return_features=True)
        return np.asarray(out.double().numpy())

    return lambda predicted, true: frechet_distance(features(predicted), features(true))


def frechet_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the Fréchet distance of two sets of features (N, F) taken as Gaussians (Dowson & Landau 1982)."""
    from scipy.linalg import sqrtm

    mean = a.mean(0) - b.mean(0)
    first, second = np.atleast_2d(np.cov(a, rowvar=False)), np.atleast_2d(np.cov(b, rowvar=False))
    root = np.real(sqrtm(first @ second))
    return float(mean @ mean + np.trace(first + second - 2 * root))
