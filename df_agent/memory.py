"""How this process takes memory from the operating system."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # glibc's malloc.h


def keep_freed_memory() -> bool:
    """Keep freed memory for the next allocation and return whether that can be asked for; it can with glibc only.

    PyTorch's tensors on the CPU are malloc's blocks. As it comes, glibc maps each large one anew and the kernel clears
    its pages one by one as they are touched, which in a U-Net with large batches is 12 % of a training step and 30 %
    of a pass. The price is that the process stays as large as it once was, so it is for programs and not for libraries.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, Windows
        return False
    return bool(mallopt(MMAP_MAX, 0)) and bool(mallopt(TRIM_THRESHOLD, -1))
