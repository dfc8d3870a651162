import socket

import gymnasium as gym
import minari
import numpy as np
import pytest
from minari.data_collector import EpisodeBuffer

import df_agent.data.episodes as episodes_module
from df_agent.data.datasets import load_episodes
from df_agent.data.episodes import Episodes, from_segments

# Minari says so of every set made without an environment.
pytestmark = pytest.mark.filterwarnings("ignore:env_spec is None")

CHECK_REACHABLE = episodes_module._check_reachable
STALE = "D4RL/pointmaze/tiny-v2"


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "store"))
    monkeypatch.setattr(episodes_module, "_check_reachable", lambda: None)
    return tmp_path / "store"


def segment(first, length, goal=None):
    """A straight line of observations; goals as given."""
    observations = first + np.arange(length + 1.0)[:, None] * [1.0, 0.5]
    made = {"observations": observations, "actions": np.full((length, 1), first), "rewards": np.arange(length)}
    if goal is not None:
        made["desired_goals"] = np.full((length + 1, 2), goal)
        made["achieved_goals"] = observations
    return made


def walk(goals=True):
    """Two segments that continue each other, and one elsewhere."""
    two = segment(0.0, 3, 7.0 if goals else None)
    three = segment(0.0, 2, 8.0 if goals else None)
    three["observations"] = three["observations"] + two["observations"][-1]
    if goals:
        three["achieved_goals"] = three["observations"]
    return [two, three, segment(50.0, 4, 9.0 if goals else None)]


def write(dataset_id, segments, *, goal_env=True, stale=False):
    """Write segments to the local store as Minari does; `stale` puts the goal just reached into first frames."""
    boxes = {key: gym.spaces.Box(-np.inf, np.inf, (2,)) for key in ("observation", "achieved_goal", "desired_goal")}
    buffers, before = [], None
    for made in segments:
        observations = made["observations"]
        if goal_env:
            desired = made["desired_goals"].copy()
            if stale and before is not None:
                desired[0] = before
            before = desired[-1]
            observations = {"observation": observations, "achieved_goal": observations, "desired_goal": desired}
        flags = np.zeros(len(made["rewards"]), dtype=bool)
        buffers.append(
            EpisodeBuffer(
                observations=observations,
                actions=made["actions"],
                rewards=made["rewards"],
                terminations=flags,
                truncations=flags,
            )
        )
    minari.create_dataset_from_buffers(
        dataset_id,
        buffers,
        observation_space=gym.spaces.Dict(boxes) if goal_env else boxes["observation"],
        action_space=gym.spaces.Box(-1, 100, (1,)),
        code_permalink="x",
        author="x",
        author_email="x",
        algorithm_name="x",
        description="x",
        eval_env="CartPole-v1",
    )


def same(one, two):
    for name in ("observations", "actions", "rewards", "desired_goals", "achieved_goals", "starts"):
        a, b = getattr(one, name), getattr(two, name)
        if a is None or b is None:
            assert a is b
        else:
            assert a.dtype == b.dtype
            assert (a == b).all()


def test_segments_that_continue_each_other_become_one_trajectory():
    episodes = from_segments(walk())
    assert (len(episodes), episodes.steps) == (2, 9)
    assert episodes.starts.tolist() == [0, 6, 11]
    assert episodes.observations[:6, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert episodes.rewards.tolist() == [0, 1, 2, 0, 1, 0, 0, 1, 2, 3, 0]
    # The shared row has the goal pursued from there on, and the action taken there.
    assert episodes.desired_goals[:, 0].tolist() == [7, 7, 7, 8, 8, 8, 9, 9, 9, 9, 9]
    assert episodes.actions[:, 0].tolist() == [0] * 6 + [50, 50, 50, 50, 0]
    assert episodes.observations.dtype == np.float32
    apart = from_segments(walk(), join_continuing=False)
    assert apart.starts.tolist() == [0, 4, 7, 12]
    assert apart.steps == 9


@pytest.mark.parametrize("goals", [True, False])
def test_a_pack_comes_back_as_it_was(tmp_path, goals):
    episodes = from_segments(walk(goals))
    episodes.save(tmp_path / "deep" / "pack.npz")
    same(load_episodes(tmp_path / "deep" / "pack.npz"), episodes)
    same(load_episodes(str(tmp_path / "deep" / "pack.npz")), episodes)
    with pytest.raises(ValueError, match=r"ends in \.npz"):
        episodes.save(tmp_path / "pack")


def test_truncated_foreign_and_missing_packs_are_clear_errors(tmp_path):
    whole = tmp_path / "pack.npz"
    from_segments(walk()).save(whole)
    content = whole.read_bytes()
    for cut in (0, 10, len(content) // 2, len(content) - 3):
        (tmp_path / "cut.npz").write_bytes(content[:cut])
        with pytest.raises(ValueError, match=r"cut\.npz' is no complete episodes pack"):
            load_episodes(tmp_path / "cut.npz")
    damaged = bytearray(content)
    damaged[content.index(b"observations.npy") + 200] ^= 1
    (tmp_path / "damaged.npz").write_bytes(damaged)
    with pytest.raises(ValueError, match="no complete episodes pack"):
        load_episodes(tmp_path / "damaged.npz")
    np.savez(tmp_path / "foreign.npz", images=np.zeros(3))
    with pytest.raises(ValueError, match="lacks observations, actions, rewards, starts and holds images"):
        load_episodes(tmp_path / "foreign.npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    with pytest.raises(ValueError, match="no complete episodes pack"):
        load_episodes(tmp_path / "array.npz")
    with pytest.raises(FileNotFoundError, match=r"no episodes pack '.*none\.npz'"):
        load_episodes(tmp_path / "none.npz")


def test_a_failed_save_leaves_the_old_pack(tmp_path, monkeypatch):
    path = tmp_path / "pack.npz"
    episodes = from_segments(walk())
    episodes.save(path)

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        from_segments([segment(1.0, 3)]).save(path)
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["pack.npz"]
    same(load_episodes(path), episodes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"actions": np.zeros((5, 1), np.float32)}, "actions must have 2 axes and 11 rows"),
        ({"rewards": np.zeros((11, 1), np.float32)}, "rewards must have 1 axes"),
        ({"observations": np.full((11, 2), np.nan, np.float32)}, "observations holds NaN"),
        ({"starts": np.array([0, 6, 12])}, "starts must ascend from 0 to 11"),
        ({"starts": np.array([0, 10, 11])}, "starts must ascend"),
    ],
)
def test_inconsistent_episodes_are_refused(change, message):
    good = from_segments(walk())
    with pytest.raises(ValueError, match=message):
        Episodes(**{**vars(good), **change})


def test_only_actions_and_rewards_lack_a_row():
    for column in ("observations", "desired_goals", "achieved_goals"):
        short = segment(0.0, 3, 7.0)
        short[column] = short[column][:-1]
        with pytest.raises(ValueError, match=rf"episode 1: {column} must have 4 rows for 3 steps, got 3"):
            from_segments([segment(9.0, 2, 7.0), short])
    with pytest.raises(ValueError, match=r"episode 0: actions must have 3 rows for 3 steps, got 4"):
        from_segments([{**segment(0.0, 3), "actions": np.ones((4, 1))}])


def test_an_empty_dataset_is_refused():
    with pytest.raises(ValueError, match="no steps"):
        from_segments([])


def test_a_users_own_sets_load_by_name_and_by_folder(store):
    write("mine/walk-v0", walk())
    expected = from_segments(walk())
    same(load_episodes("mine/walk-v0"), expected)
    same(load_episodes(store / "mine" / "walk-v0"), expected)
    same(load_episodes(store / "mine" / "walk-v0" / "data"), expected)
    assert len(load_episodes("mine/walk-v0", join_continuing=False)) == 3
    write("mine/flat-v0", walk(goals=False), goal_env=False)
    same(load_episodes("mine/flat-v0"), from_segments(walk(goals=False)))
    with pytest.raises(FileNotFoundError, match=r"no metadata\.json"):
        load_episodes(store)


def test_an_unknown_name_says_what_there_is(monkeypatch):
    monkeypatch.setattr(minari, "download_dataset", lambda name: pytest.fail("nothing to download"))
    with pytest.raises(FileNotFoundError, match="store holds none"):
        load_episodes("maze2d-large")
    write("df-agent/maze2d-large-dfs-v0", walk())
    write("mine/other-v0", walk())
    with pytest.raises(FileNotFoundError, match=r"holds df-agent/maze2d-large-dfs-v0, mine/other-v0\. Did you mean"):
        load_episodes("df-agent/maze2d-larg-dfs-v0")


def test_no_network_and_no_such_remote_set_are_told_apart(monkeypatch):
    def offline(name):
        raise OSError("Name or service not known")

    monkeypatch.setattr(minari, "download_dataset", offline)
    with pytest.raises(
        ConnectionError, match=r"(?s)'D4RL/pointmaze/large-v2'.*is there a network\?.*service not known"
    ):
        load_episodes("D4RL/pointmaze/large-v2")

    def unknown(name):
        raise ValueError("Couldn't find any version")

    monkeypatch.setattr(minari, "download_dataset", unknown)
    with pytest.raises(FileNotFoundError, match="server does not have it either: Couldn't find"):
        load_episodes("D4RL/pointmaze/huge-v2")


def test_a_published_set_is_downloaded_once_and_its_first_goals_set_right(monkeypatch):
    downloads = []

    def stand_in(name):
        downloads.append(name)
        write(name, walk(), stale=True)

    monkeypatch.setattr(minari, "download_dataset", stand_in)
    expected = from_segments(walk())
    same(load_episodes(STALE), expected)
    same(load_episodes(STALE), expected)
    assert downloads == [STALE]
    apart = load_episodes(STALE, join_continuing=False)
    assert apart.desired_goals[:, 0].tolist() == [7] * 4 + [8] * 3 + [9] * 5


def test_a_goal_that_moves_all_the_time_is_left_alone():
    made = segment(0.0, 4, 1.0)
    made["desired_goals"] = np.arange(10.0).reshape(5, 2)
    write("mine/moving-v0", [made])
    assert (load_episodes("mine/moving-v0").desired_goals == made["desired_goals"]).all()


def test_dicts_without_an_observation_are_refused():
    boxes = gym.spaces.Dict({"camera": gym.spaces.Box(-1, 1, (2,))})
    flags = np.zeros(2, dtype=bool)
    buffer = EpisodeBuffer(
        observations={"camera": np.zeros((3, 2))},
        actions=np.zeros((2, 1)),
        rewards=np.zeros(2),
        terminations=flags,
        truncations=flags,
    )
    with pytest.warns(UserWarning, match="set to None"):
        minari.create_dataset_from_buffers(
            "mine/camera-v0", [buffer], observation_space=boxes, action_space=gym.spaces.Box(-1, 1, (1,))
        )
    with pytest.raises(ValueError, match=r"'observation' entry.*has camera"):
        load_episodes("mine/camera-v0")


def test_a_published_dataset_without_a_network_is_missing_at_once(monkeypatch):
    asked = []

    def unreachable(address, timeout):
        asked.append(address)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(episodes_module, "_check_reachable", CHECK_REACHABLE)
    monkeypatch.setattr(socket, "create_connection", unreachable)
    monkeypatch.setattr(episodes_module, "getproxies", dict)
    monkeypatch.setattr(minari, "download_dataset", lambda name: pytest.fail("it would try five times"))
    for name in ("D4RL/nothing/here-v9", "D4RL/pointmaze/large-v2", "mujoco/ant-v0"):
        with pytest.raises(ConnectionError, match="is there a network"):
            load_episodes(name)
    assert len(asked) == 3
