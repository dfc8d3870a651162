import tempfile

import gymnasium as gym
import gymnasium_robotics
import numpy as np
import pytest
from df_envs.maps import MAZES
from df_envs.oracle import MAX_AXIS_STEP
from df_envs.physics import Physics

gym.register_envs(gymnasium_robotics)
PUBLISHED = {"umaze": "PointMaze_UMaze-v3", "medium": "PointMaze_Medium-v3", "large": "PointMaze_Large-v3"}


@pytest.mark.parametrize("name", MAZES)
def test_every_step_is_the_published_environments_step(name, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # it leaves a file behind
    theirs = gym.make(PUBLISHED[name]).unwrapped
    observation, _ = theirs.reset(seed=3)
    ours = Physics(MAZES[name])
    ours.set_state(*observation["observation"])
    random = np.random.default_rng(0)
    touched = 0
    for step in range(1500):
        if step % 40 == 0:  # long pushes, so that it runs into walls at full speed
            push = random.uniform(-1.5, 1.5, 2)
        action = np.clip(push + random.normal(0, 0.3, 2), -1, 1)
        expected = theirs.step(action)[0]["observation"]
        assert ours.step(*action) == tuple(expected)
        touched += ours.data.ncon > 1  # one is with the floor
    assert touched > 50
    theirs.close()


def test_the_speed_limit_is_per_axis():
    ours = Physics(MAZES["large"])
    x, y = MAZES["large"].centre((3, 1))
    ours.set_state(x, y, 0.0, 0.0)
    before, largest = x, 0.0
    for _ in range(90):
        position = ours.step(1.0, 0.0)[0]
        largest, before = max(largest, position - before), position
    assert ours.data.ncon == 1  # the floor; no wall yet
    assert MAX_AXIS_STEP - 0.0005 < largest <= MAX_AXIS_STEP


def test_setting_a_state_forgets_the_past():
    ours = Physics(MAZES["umaze"])

    def run():
        ours.set_state(-1.0, 1.0, 2.0, 3.0)
        return [ours.step(0.7, 1.0) for _ in range(60)]

    first = run()
    for _ in range(77):
        ours.step(-1.0, 1.0)
    assert run() == first


def test_no_files_are_left(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    Physics(MAZES["medium"]).step(1.0, 1.0)
    assert not list(tmp_path.iterdir())
