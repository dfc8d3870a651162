"""The processes of a run: one, or those that `torchrun` or `accelerate launch` started."""

from __future__ import annotations

import torch
from accelerate import Accelerator


def make_accelerator() -> Accelerator:
    """Return accelerate's view of this process. Repeated calls share one state.

    Without being told, accelerate does not see that CPU processes belong together: each would think that it
    is alone and write into the same folder.
    """
    # Precision is the trainer's own business, whatever accelerate's environment says.
    return Accelerator(cpu=not torch.accelerator.is_available(), mixed_precision="no")
