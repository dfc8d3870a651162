import os
import subprocess

import pytest
from df_envs import rendering


@pytest.fixture
def headless(monkeypatch):
    hidden = ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY")
    # A copy, which what is chosen here does not outlive.
    monkeypatch.setattr(rendering.os, "environ", {k: v for k, v in os.environ.items() if k not in hidden})
    monkeypatch.setattr(rendering.sys, "platform", "linux")
    tried = []

    def works(*backends):
        def run(command, env, **options):
            tried.append(env["MUJOCO_GL"])
            return subprocess.CompletedProcess(command, 0 if env["MUJOCO_GL"] in backends else 1)

        monkeypatch.setattr(rendering.subprocess, "run", run)

    works.tried = tried
    return works


@pytest.mark.parametrize(("there", "chosen"), [(("egl", "osmesa"), "egl"), (("osmesa",), "osmesa"), ((), None)])
def test_without_a_display_egl_is_tried_first_and_then_osmesa(headless, there, chosen):
    headless(*there)
    assert not rendering.has_display()
    assert rendering.opengl_backend() == chosen
    assert rendering.os.environ.get("MUJOCO_GL") == chosen
    assert headless.tried == ["egl", "osmesa"][: 1 if chosen == "egl" else 2]


def test_what_is_chosen_already_stays(headless):
    headless()
    rendering.os.environ["MUJOCO_GL"] = "osmesa"
    assert rendering.opengl_backend() == "osmesa"
    del rendering.os.environ["MUJOCO_GL"]
    rendering.os.environ["DISPLAY"] = ":0"
    assert rendering.has_display()
    assert rendering.opengl_backend() == "glfw"
    assert not headless.tried
