import df_envs  # noqa: F401
import gymnasium as gym
import numpy as np
import pytest
from df_envs.maps import MAZES
from df_envs.oracle import lower_bound_steps, oracle_steps
from df_envs.physics import Physics
from df_envs.time_optimal import TimeOptimalPolicy, ValueTable, load_table, solve, time_optimal_steps

IDS = [f"maze2d-{name}" for name in MAZES]


def draws(env_id, number, seed=2000):
    env = gym.make(env_id)
    resets = [env.reset(seed=seed + i)[0] for i in range(number)]
    return np.array([r["observation"] for r in resets]), np.array([r["desired_goal"] for r in resets])


@pytest.mark.parametrize("env_id", IDS)
def test_it_lies_between_the_bound_and_the_oracle(env_id):
    starts, goals = draws(env_id, 40)
    steps, oracle = time_optimal_steps(env_id, starts, goals), oracle_steps(env_id, starts, goals)
    assert (steps <= oracle + 1).all()
    assert (steps >= lower_bound_steps(env_id, starts, goals)).all()
    assert 0.6 < steps.mean() / oracle.mean() < 0.85  # 0.78, 0.69, 0.66 over 50 starts
    assert ((steps == 0) == (oracle == 0)).all()


@pytest.mark.parametrize("env_id", ["maze2d-umaze", "maze2d-large"])
def test_the_steps_are_what_the_policy_takes_in_the_environment_where_it_then_stays(env_id):
    starts, goals = draws(env_id, 3)
    env, policy = gym.make(env_id), TimeOptimalPolicy(env_id)
    for start, goal, steps in zip(starts, goals, time_optimal_steps(env_id, starts, goals), strict=True):
        observation, info = env.reset(options={"state": start})
        assert (observation["desired_goal"] == goal).all()
        state, successes = None, [info["success"]]
        for _ in range(int(steps) + 150):
            action, state = policy.predict(observation, state, np.array([state is None]))
            observation, _, _, _, info = env.step(action)
            successes.append(info["success"])
        assert np.argmax(successes) == steps
        assert all(successes[-50:])


def test_rows_are_independent_and_restart():
    starts, goals = draws("maze2d-medium", 5)
    observation = {"observation": starts, "desired_goal": goals}
    policy = TimeOptimalPolicy("df_envs:maze2d-medium")
    actions, _ = policy.predict(observation)
    single, state = policy.predict({key: value[2] for key, value in observation.items()})
    assert (single == actions[2]).all()
    assert state.shape == (1,)
    # A row that has arrived holds the goal, until its next episode.
    held, state = policy.predict(observation, np.array([False, True, False, False, False]))
    assert (held[1] == np.clip(10 * (goals[1] - starts[1, :2]) - starts[1, 2:], -1, 1)).all()
    assert (held[[0, 2, 3, 4]] == actions[[0, 2, 3, 4]]).all()
    assert state.tolist() == [False, True, False, False, False]
    again, state = policy.predict(observation, state, np.ones(5, dtype=bool))
    assert (again == actions).all()
    assert not state.any()


def test_remembered_steps_are_the_same_and_inputs_are_checked():
    starts, goals = draws("maze2d-umaze", 6)
    first = time_optimal_steps("maze2d-umaze", starts, goals)
    assert (time_optimal_steps("maze2d-umaze", starts[::-1], goals)[::-1] == first).all()
    assert time_optimal_steps("maze2d-umaze", np.zeros((0, 4)), np.zeros((0, 2))).shape == (0,)
    with pytest.raises(ValueError, match=r"starts \(N, 4\)"):
        time_optimal_steps("maze2d-umaze", starts[:, :2], goals)
    with pytest.raises(ValueError, match="solved for the goal"):
        time_optimal_steps("maze2d-umaze", starts, goals + 0.1)
    with pytest.raises(ValueError, match="fixed goal, so it knows maze2d-umaze"):
        TimeOptimalPolicy("multi2d-umaze")
    with pytest.raises(TypeError, match="dict observations"):
        TimeOptimalPolicy("maze2d-umaze").predict(starts)


def test_solving_gives_what_ships_and_down_a_corridor_the_known_answer():
    table = solve(MAZES["umaze"])
    assert table.steps == pytest.approx(load_table("umaze").steps, abs=0.1)  # it ships in half precision
    # From a cell's centre to the disc's edge 1.5 m away, from rest.
    physics, (x, y) = Physics(MAZES["umaze"]), MAZES["umaze"].centre((1, 3))
    physics.set_state(x, y, 0.0, 0.0)
    goal_x, steps = x - 2.0, 0
    while x - goal_x > 0.5:
        x, steps = physics.step(-1.0, 0.0)[0], steps + 1
    start = np.array([[*MAZES["umaze"].centre((1, 3)), 0.0, 0.0]])
    assert table(start)[0] == pytest.approx(steps, abs=2.5)
    # A run-up saves what gathering speed takes; the wrong way costs braking.
    moving = np.repeat(start, 2, axis=0)
    moving[:, 2] = -5, 5
    fast, slow = table(moving)
    assert fast < steps - 8
    assert slow > steps + 8


def test_tables_round_trip_and_say_when_they_do_not_fit(tmp_path):
    table = ValueTable.empty(MAZES["umaze"], 0.25, 2.5)
    table.steps[:] = np.random.default_rng(0).uniform(0, 100, table.steps.shape)
    states = table.states()
    assert table(states) == pytest.approx(table.steps.ravel())  # on the nodes it is what is stored
    table.save(tmp_path / "maze2d-umaze.npz")
    loaded = load_table("maze2d-umaze", tmp_path)
    assert loaded.spacing == 0.25
    assert loaded(states) == pytest.approx(table(states), rel=1e-3)
    (tmp_path / "maze2d-medium.npz").write_bytes((tmp_path / "maze2d-umaze.npz").read_bytes())
    with pytest.raises(ValueError, match=r"another map.*solve_time_optimal.py maze2d-medium"):
        load_table("medium", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"solve_time_optimal.py maze2d-large"):
        load_table("large", tmp_path)


def test_interpolation_is_exact_for_linear_functions_and_flat_into_walls():
    table = ValueTable.empty(MAZES["large"], 0.1, 1.0)
    weights = np.array([3.0, -2.0, 0.7, 0.4])
    table.steps = (table.states() @ weights).reshape(table.steps.shape)
    x, y = MAZES["large"].centre((3, 3))
    inside = np.array([[x + 0.31, y - 0.02, 1.3, -4.6], [x - 0.7, y + 0.11, 4.9, 0.05]])
    assert table(inside) == pytest.approx(inside @ weights, abs=1e-5)
    top = np.array([[x, y + 0.45, 0, 0], [x, y + 0.49, 0, 0]])  # a wall is above
    assert table(top)[1] == pytest.approx(table(top)[0], abs=1e-5)
    too_fast = np.array([[x, y, 5.2, 0], [x, y, 5.0, 0]])  # the environment clips before it integrates
    assert table(too_fast)[0] == pytest.approx(table(too_fast)[1])
