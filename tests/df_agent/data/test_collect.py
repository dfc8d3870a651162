import os
import resource
import subprocess
import sys
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path

import df_envs  # noqa: F401
import gymnasium as gym
import minari
import numpy as np
import pytest
from df_envs.waypoints import demonstrator

from df_agent.cli.app import main
from df_agent.cli.collect import report
from df_agent.cli.collecting import Job
from df_agent.data.collect import collect, record
from df_agent.data.datasets import load_episodes
from df_agent.files import folder_lock

ROOT = Path(__file__).parents[3]


class Drift(gym.Env):
    """A number that the action moves; terminates beyond 3, has a Box observation and no goal."""

    observation_space = gym.spaces.Box(-10.0, 10.0, (1,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-0.5, 0.5, 1).astype(np.float32)
        return self.x.copy(), {}

    def step(self, action):
        self.x = self.x + np.asarray(action, dtype=np.float32)
        return self.x.copy(), float(self.x[0]), bool(self.x[0] > 3), False, {}


class Push:
    """Moves right by 0.8, and counts what it is told."""

    def __init__(self, fail_after=None):
        self.calls, self.starts, self.fail_after = 0, 0, fail_after

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        self.calls += 1
        self.starts += int(episode_start[0])
        if self.calls == self.fail_after:
            raise KeyboardInterrupt
        assert (state is None) == (self.calls == 1)
        return np.array([0.8]), self.calls


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "store"))
    return tmp_path / "store"


def walk(steps, seed=0, **kwargs):
    env = gym.make("walk2d-umaze").unwrapped
    return list(record(env, demonstrator("walk2d-umaze", seed=seed), steps, seed=seed, **kwargs))


def test_any_policy_in_any_environment_comes_back_from_the_store():
    policy, seen = Push(), []
    lengths = collect(Drift(), policy, 1017, "mine/drift-v0", seed=3, on_progress=seen.append)
    assert (sum(seen), len(seen)) == (1017, 2)
    assert (lengths.sum(), policy.calls, policy.starts) == (1017, 1017, len(lengths))
    episodes = load_episodes("mine/drift-v0")
    assert (episodes.steps, len(episodes)) == (1017, len(lengths))
    assert (np.diff(episodes.starts) - 1 == lengths).all()
    assert episodes.desired_goals is None
    assert episodes.achieved_goals is None
    ends = episodes.starts[1:] - 1
    assert (episodes.observations[ends[:-1], 0] > 3).all()
    assert np.allclose(np.diff(episodes.observations[:, 0])[: lengths[0]], 0.8, atol=1e-5)
    assert (episodes.actions[ends] == 0).all()
    stored = list(minari.load_dataset("mine/drift-v0").iterate_episodes())
    assert stored[0].terminations[-1]
    assert not stored[0].truncations[-1]
    assert stored[-1].truncations[-1] != stored[-1].terminations[-1]


def test_what_the_environment_or_the_policy_writes_over_is_kept():
    class Reusing(Drift):
        def step(self, action):
            self.x += np.asarray(action, dtype=np.float32)
            return self.x, 0.0, False, False, {}

        def reset(self, *, seed=None, options=None):
            self.x = np.zeros(1, np.float32)
            return self.x, {}

    class Growing:
        push = np.zeros(1)

        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            self.push += 0.25
            return self.push, None

    (episode,) = record(Reusing(), Growing(), steps=3)
    assert np.ravel(episode.actions).tolist() == [0.25, 0.5, 0.75]
    assert episode.observations.ravel().tolist() == [0, 0.25, 0.75, 1.5]


@pytest.mark.parametrize(
    ("infos", "shown"),
    [
        ([{}, {"successes": 3}], ("unknown", "–")),
        ([{}, {"success": False}], ("0.000", "–")),
        ([{"is_success": True}, {}], ("1.000", "1.0")),
    ],
)
def test_success_is_unknown_where_the_environment_does_not_say_it(infos, shown, capsys):
    class Saying(Drift):
        steps = 0

        def step(self, action):
            self.steps += 1
            return np.zeros(1, np.float32), 0.0, False, False, infos[self.steps - 1]

    job = Job(Saying(), Push(), "saying-v0", {})
    for episode in record(job.env, job.policy, steps=2):
        job.note(episode)
    report(job, np.array([2]), 1.0)
    row = capsys.readouterr().out.splitlines()[-2]
    assert tuple(cell.strip() for cell in row.split("│")[-3:-1]) == shown


def test_the_same_seed_gives_the_same_data_and_another_does_not():
    collect(Drift(), Push(), 50, "a-v0", seed=1)
    collect(Drift(), Push(), 50, "b-v0", seed=1)
    collect(Drift(), Push(), 50, "c-v0", seed=2)
    a, b, c = (load_episodes(f"{name}-v0").observations for name in "abc")
    assert (a == b).all()
    assert a.shape != c.shape or (a != c).any()


def test_an_interrupted_collection_leaves_the_store_as_it_was(store):
    collect(Drift(), Push(), 20, "mine/drift-v0")
    before = load_episodes("mine/drift-v0").observations
    for dataset, overwrite in (("mine/drift-v0", True), ("mine/other-v0", False)):
        with pytest.raises(KeyboardInterrupt):
            collect(Drift(), Push(fail_after=500), 1000, dataset, seed=9, overwrite=overwrite)
    assert list(minari.list_local_datasets()) == ["mine/drift-v0"]
    assert (load_episodes("mine/drift-v0").observations == before).all()
    assert not [path for path in store.iterdir() if path.name.startswith(".")]


def test_an_existing_dataset_is_only_replaced_on_request():
    collect(Drift(), Push(), 20, "mine/drift-v0")
    with pytest.raises(FileExistsError, match="already has 'mine/drift-v0'"):
        collect(Drift(), Push(), 30, "mine/drift-v0")
    collect(Drift(), Push(), 30, "mine/drift-v0", overwrite=True)
    assert load_episodes("mine/drift-v0").steps == 30


@pytest.mark.parametrize(("steps", "dataset"), [(0, "mine/drift-v0"), (10, "no version")])
def test_bad_requests_fail_before_the_work(steps, dataset):
    policy = Push()
    with pytest.raises(ValueError, match=r"steps must be|Malformed"):
        collect(Drift(), policy, steps, dataset)
    assert policy.calls == 0


def test_segments_of_the_walk_resemble_minaris():
    lengths = np.array([len(episode) for episode in walk(40_000)][:-1])
    # Minari's D4RL/pointmaze/umaze-v2: mean 75.7, longest 190.
    assert abs(lengths.mean() - 75.7) < 4 * lengths.std() / np.sqrt(len(lengths))
    assert 150 < lengths.max() < 230


def test_segments_continue_each_other_and_show_their_own_goal():
    episodes = walk(3000)
    assert len(episodes) > 20
    for one, two in pairwise(episodes):
        last, first = one.observations, two.observations
        assert (last["observation"][-1] == first["observation"][0]).all()
        for segment in (last, first):
            assert len(np.unique(segment["desired_goal"], axis=0)) == 1
        distance = np.linalg.norm(last["achieved_goal"] - last["desired_goal"], axis=1)
        assert distance[-1] <= 0.45 < distance[:-1].min()


def test_the_script_collects_reports_and_packs(tmp_path):
    command = [sys.executable, str(ROOT / "scripts" / "collect.py"), "env=maze2d-medium", "steps=3000"]
    result = subprocess.run(
        [*command, f"pack={tmp_path}/pack.npz"], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert "210.4" in result.stdout
    assert list(minari.list_local_datasets()) == ["df-agent/maze2d-medium-dfs-v0"]
    packed, loaded = load_episodes(tmp_path / "pack.npz"), load_episodes("df-agent/maze2d-medium-dfs-v0")
    assert (packed.steps, len(packed)) == (3000, 1)  # one endless walk
    assert (packed.observations == loaded.observations).all()
    assert not [path for path in tmp_path.iterdir() if path.name not in ("pack.npz", "store")]
    again = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert again.returncode == 2
    assert "overwrite=true" in again.stderr
    assert "Traceback" not in again.stderr


@pytest.mark.parametrize("room", [100 << 10, 3 << 20])  # full at once, full on the way
def test_a_full_disk_is_said_in_one_line_and_leaves_nothing(store, room, capsys):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(SystemExit) as ended:
            main("collect", arguments=["env=maze2d-umaze", "policy=random", "steps=9000", "dataset=mine/big-v0"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"df-agent collect: {store / 'mine' / 'big-v0'}: File too large"
    assert not [path for path in store.iterdir() if path.name.startswith(".")]
    assert not (store / "mine" / "big-v0").exists()


def test_what_a_killed_collection_left_goes_with_the_next_and_a_running_one_is_left_alone(store):
    (store / ".incomplete-killed").mkdir(parents=True)
    (running := store / ".incomplete-mine+other-v0").mkdir()
    with folder_lock(running) as held:
        assert held
        collect(Drift(), Push(), 20, "mine/drift-v0")
        with pytest.raises(FileExistsError, match="another process"):
            collect(Drift(), Push(), 20, "mine/other-v0")
    assert {path.name for path in store.iterdir() if path.name.startswith(".")} == {running.name}


@pytest.mark.parametrize("moment", range(4))
def test_the_old_set_stays_until_the_new_one_is_in_place(store, monkeypatch, moment):
    """Where the file system cannot exchange folders, the next collection brings the old set back."""
    collect(Drift(), Push(), 20, "mine/drift-v0")
    old = load_episodes("mine/drift-v0").observations
    replace, calls = os.replace, []

    def killed(*paths):
        calls.append(paths)
        if len(calls) == moment:
            raise SystemExit
        replace(*paths)

    with monkeypatch.context() as patched:
        patched.setattr("os.replace", killed)
        patched.setattr("df_agent.data.collect.shutil.rmtree", lambda *_, **__: None)
        if moment:
            patched.setattr("df_agent.files._exchange", lambda one, other: False)
        with pytest.raises(SystemExit) if moment in (1, 2) else nullcontext():  # before or between the two renames
            collect(Drift(), Push(), 20, "mine/drift-v0", seed=1, overwrite=True)
    collect(Drift(), Push(), 20, "mine/other-v0")
    same = load_episodes("mine/drift-v0").observations.tolist() == old.tolist()
    assert same == (moment in (1, 2))
