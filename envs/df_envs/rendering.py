"""What MuJoCo can draw with on this machine."""

from __future__ import annotations

import os
import subprocess
import sys

BACKENDS = ("egl", "osmesa")


def has_display() -> bool:
    """Whether windows can be opened."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def opengl_backend() -> str | None:
    """Choose what MuJoCo draws pictures with, unless MUJOCO_GL says it, and set MUJOCO_GL; None if nothing works.

    Each is tried in a process of its own: after one has failed in a process, the others fail there too.
    """
    if chosen := os.environ.get("MUJOCO_GL"):
        return chosen
    if has_display():
        return "glfw"
    for backend in BACKENDS:
        attempt = f"from mujoco.{backend} import GLContext; GLContext(8, 8).make_current()"
        environment = {**os.environ, "MUJOCO_GL": backend}
        done = subprocess.run([sys.executable, "-c", attempt], env=environment, capture_output=True, check=False)
        if done.returncode == 0:
            os.environ["MUJOCO_GL"] = backend
            return backend
    return None
