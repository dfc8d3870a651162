"""Rows on disk: appended as episodes end, the same after a crash, never mixed."""

import json
import shutil
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

from df_agent.benchmark.store import PolicyStore, StoreError, locked, stored
from df_agent.data.goal_spec import GoalSpec
from df_agent.evaluation.active_rows import PolicyError
from df_agent.evaluation.records import PlanRecord
from df_agent.training.run_folder import RunError

TIMINGS = ("policy_seconds", "policy_seconds_to_goal", "env_seconds", "wall_seconds")
IDENTITY = {"policy": {"speed": 1.0}, "code": {"mine": "abc"}, "versions": {"numpy": "2"}}


def content(store, seed=0):
    """The rows without their timings."""
    rows = [{key: value for key, value in vars(record).items() if key not in TIMINGS} for record in store.rows(seed)]
    for row in rows:
        row["plans"] = [{**vars(plan), "seconds": 0} for plan in row["plans"]]
    return rows


class Crowded:
    """Goes to the goal more slowly the more episodes began side by side, as a network's last digits depend on them."""

    def __init__(self):
        self.batches = []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        place, goal = observation["observation"], observation["desired_goal"]
        self.batches.append(len(place))
        began = np.full(len(place), len(place)) if state is None else state
        return np.clip((goal - place) / 0.1, -1, 1) / (1 + 0.1 * began)[:, None], began


class Dying(Crowded):
    """Stops at the given call."""

    def __init__(self, calls):
        super().__init__()
        self.left = calls

    def predict(self, *args, **kwargs):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().predict(*args, **kwargs)


def test_what_a_killed_refresh_left_is_no_policy_and_goes(store, monkeypatch):
    store.fill(Crowded(), seed=0, episodes=2, num_envs=2)
    root = store.folder.parents[2]
    film = store.folder / ".tmp-12-plans.mp4"
    film.touch()
    with monkeypatch.context() as patched:  # killed after the rename
        patched.setattr(shutil, "rmtree", lambda path: None)
        store.drop()
    PolicyStore(root / ".tmp-13-restored", store.env_id, "other").begin(IDENTITY, {})
    assert any(path.name.startswith(".tmp-") for path in store.folder.parent.iterdir())
    assert stored(root, store.env_id) == []
    with locked(root):
        assert not list(root.rglob(".tmp-*"))


@pytest.fixture
def store(tmp_path):
    store = PolicyStore(tmp_path, "toy-point-stop", "crowded")
    store.begin(IDENTITY, {})
    return store


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a run gives that nothing interrupts."""
    store = PolicyStore(tmp_path_factory.mktemp("whole"), "toy-point-stop", "crowded")
    store.begin(IDENTITY, {})
    store.fill(Crowded(), seed=0, episodes=10, num_envs=4)
    return content(store)


def test_rows_are_there_as_soon_as_their_episodes_end(store, whole):
    lengths = [row["length"] for row in whole[:4]]
    first = min(lengths)
    assert first < max(lengths), "all end together: choose another seed"
    with pytest.raises(KeyboardInterrupt):
        store.fill(Dying(first), seed=0, episodes=10, num_envs=4)
    assert [row["episode"] for row in content(store)] == np.flatnonzero(np.array(lengths) == first).tolist()


@pytest.mark.parametrize("calls", [1, 9, 14, 25, 40])
def test_a_run_that_was_interrupted_ends_with_the_same_rows(store, whole, calls):
    with pytest.raises(KeyboardInterrupt):
        store.fill(Dying(calls), seed=0, episodes=10, num_envs=4)
    assert len(content(store)) < 10
    store.fill(Crowded(), seed=0, episodes=10, num_envs=4)
    assert content(store) == whole
    path = store.folder / "seed0.jsonl"
    assert len(path.read_text().splitlines()) == 10


@pytest.mark.parametrize("share", [0.1, 0.35, 0.6, 0.95, 0.9999])
def test_a_torn_last_line_is_dropped(store, whole, share):
    store.fill(Crowded(), seed=0, episodes=10, num_envs=4)
    path = store.folder / "seed0.jsonl"
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert len(store.rows(0)) < 10
    store.fill(Crowded(), seed=0, episodes=10, num_envs=4)
    assert content(store) == whole


def test_what_is_there_is_not_run_again(store):
    store.fill(Crowded(), seed=0, episodes=4, num_envs=4)
    before = (store.folder / "seed0.jsonl").read_bytes()
    policy = Crowded()
    store.fill(policy, seed=0, episodes=4, num_envs=4)
    assert policy.batches == []
    store.fill(policy, seed=0, episodes=8, num_envs=4)
    assert max(policy.batches) == 4
    assert (store.folder / "seed0.jsonl").read_bytes().startswith(before)
    store.fill(policy, seed=7, episodes=4, num_envs=4)
    assert store.seeds() == [0, 7]
    assert [record.episode for record in store.rows(0)] == list(range(8))
    assert not {record.seed for record in store.rows(0)} & {record.seed for record in store.rows(7)}


def test_a_path_is_kept_whether_or_not_its_plans_were_followed(store):
    store.fill(Crowded(), seed=0, episodes=2, num_envs=2)
    rows = [replace(row, path=[], plans=[PlanRecord(0, 3, 0.1, 2)]) for row in store.rows(0)]  # as CSV gives them
    store.restore(store.run(), {0: rows}, [])
    traced = replace(rows[1], path=[[1.0, 2.0]], plans=[PlanRecord(9, 3, 0.2, 1, executed=False)])
    assert store.keep_path(0, traced)
    assert store.rows(0)[1].path == [[1.0, 2.0]]


def test_rows_of_an_environment_without_goals_are_made_by_a_view(tmp_path):
    class Flat(gym.ObservationWrapper):
        """The toy point as flat observations: where it is, and its goal."""

        def __init__(self, env):
            super().__init__(env)
            self.observation_space = gym.spaces.Box(-2.0, 2.0, (4,), np.float64)

        def observation(self, observation):
            return np.concatenate([observation["achieved_goal"], observation["desired_goal"]])

    if "toy-flat" not in gym.registry:
        gym.register("toy-flat", lambda **options: Flat(gym.make("toy-point-stop").unwrapped), max_episode_steps=30)

    class Ahead(Crowded):
        def predict(self, observation, *args, **kwargs):
            return super().predict({**observation, "observation": observation["achieved_goal"]}, *args, **kwargs)

    store, goal_spec = PolicyStore(tmp_path, "toy-flat", "ahead"), GoalSpec(achieved=(0, 1), desired=(2, 3))
    store.begin(IDENTITY, {})
    store.fill(Ahead(), seed=0, episodes=3, num_envs=3, goal_spec=goal_spec)
    store.time(Ahead(), seed=0, episodes=1, goal_spec=goal_spec)
    assert [record.success for record in [*store.rows(0), *store.timing()]] == [True] * 4
    assert all(record.goal == record.start[2:] for record in store.rows(0))


def test_latencies_are_measured_one_at_a_time_and_once(store):
    policy = Crowded()
    store.time(policy, seed=0, episodes=2)
    assert set(policy.batches) == {1}
    calls = len(policy.batches)
    store.time(policy, seed=0, episodes=2)
    assert len(policy.batches) == calls
    store.time(policy, seed=0, episodes=3)
    assert [record.episode for record in store.timing()] == [0, 1, 2]
    assert all(record.num_envs == 1 and record.path == [] for record in store.timing())
    assert store.seeds() == []
    store.drop_timing()
    assert store.untimed(2) == [0, 1]


def test_how_latencies_were_measured_is_kept_beside_what_rows_were_made_with(store):
    store.begin({"a": 1}, {"command": "rows"})
    store.time(Crowded(), seed=0, episodes=1, about={"command": "first"})
    store.time(Crowded(), seed=0, episodes=1, about={"command": "nothing to do"})
    assert store.run() == {"identity": {"a": 1}, "about": {"command": "rows"}, "timed": {"command": "first"}}


def test_rows_made_with_something_else_are_refused_by_name(store):
    store.fill(Crowded(), seed=0, episodes=2, num_envs=2)
    store.begin(IDENTITY, {})
    other = {**IDENTITY, "policy": {"speed": 2.0}}
    assert store.changes(other) == ["policy.speed: 1.0 there, 2.0 now"]
    with pytest.raises(StoreError, match=r"policy.speed: 1.0 there, 2.0 now"):
        store.begin(other, {})
    store.drop()
    assert store.rows(0) == []
    store.begin(other, {})
    assert store.run()["identity"] == other


def test_rows_of_the_first_version_are_read_under_todays_names(store):
    old = {"_target_": "df_agent.baselines.shooting.ShootingPolicy", "replan_every": 5}
    store.restore({"identity": {"make": old, "limit": 9}, "about": {}}, {}, [])
    new = {"_target_": "df_agent.policies.shooting.ShootingPolicy", "open_loop_horizon": 5}
    assert store.run()["identity"] == {"policy": new, "limit": 9}


def test_a_policy_that_never_made_a_row_may_begin_otherwise(store):
    other = {**IDENTITY, "policy": {"speed": 2.0}}
    assert store.changes(other) == []
    store.begin(other, {})
    assert store.run()["identity"] == other


def test_adopted_rows_say_what_they_were_made_with(store):
    store.fill(Crowded(), seed=0, episodes=2, num_envs=2)
    later = {**IDENTITY, "code": {"mine": "def"}}
    store.adopt(later)
    store.begin(later, {})
    run = json.loads((store.folder / "run.json").read_text())
    assert (run["identity"], run["earlier"]) == (later, [IDENTITY])


def test_a_faulty_policy_leaves_the_rows_of_earlier_waves(store):
    class Faulty(Crowded):
        def predict(self, *args, **kwargs):
            if len(self.batches) > 35:
                return np.full((1, 2), np.nan), None
            return super().predict(*args, **kwargs)

    with pytest.raises(PolicyError, match="'crowded'"):
        store.fill(Faulty(), seed=0, episodes=8, num_envs=2)
    assert 2 <= len(store.rows(0)) < 8


def test_two_comparisons_cannot_share_a_folder(tmp_path):
    with (
        locked(tmp_path / "new"),
        pytest.raises(RunError, match="another process is comparing"),
        locked(tmp_path / "new"),
    ):
        pass
    with locked(tmp_path / "new"):
        pass


def test_policies_with_rows_are_listed(store, tmp_path):
    other = PolicyStore(tmp_path, "toy-point-stop", "crowded@1")
    other.begin(IDENTITY, {})
    assert stored(tmp_path, "toy-point-stop") == []
    other.fill(Crowded(), seed=0, episodes=1, num_envs=1)
    store.time(Crowded(), seed=0, episodes=1)
    assert stored(tmp_path, "toy-point-stop") == ["crowded", "crowded@1"]
    assert stored(tmp_path, "toy-point") == []
