"""Memory that was freed is handed out again without a page fault."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Passes over activations of 40 MB, which glibc maps anew each time as it comes; in another process, since the setting
# stays. Now and then a block does not fit where one was, so that the heap still grows a little.
FAULTS = """
import resource
import torch
from df_agent.runtime import keep_freed_memory

said = keep_freed_memory() if {kept} else None

def faults():
    x = torch.ones(10 << 20)
    for _ in range(2):
        x = (x + 1) * (x - 1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

counts = [faults() for _ in range(16)]
print(said, counts[-1] - counts[5])
"""


def _faults(kept: bool) -> tuple[str, int]:
    command = [sys.executable, "-c", FAULTS.format(kept=kept)]
    said, faults = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return said, int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the setting is glibc's")
def test_freed_memory_is_kept() -> None:
    said, faults = _faults(kept=True)
    if said == "False":
        pytest.skip("this C library cannot be asked")
    assert faults < _faults(kept=False)[1] / 3


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import ctypes

    from df_agent.runtime import keep_freed_memory

    def missing(name: object) -> object:
        raise OSError("no such library")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert keep_freed_memory() is False
