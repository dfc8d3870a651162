"""The agent's contract, on a tiny untrained model and a toy environment: no behaviour here depends on training."""

import copy

import gymnasium as gym
import numpy as np
import pytest
import torch
from df_planners.tracking import arc_lengths, point_at
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from toy_policy import (
    ANY_PLAN,
    CHECKPOINT,
    any_plan,
    asked,
    make_policy,
    make_policy_with_estimator,
    observations,
    path,
    row,
    stand,
)

from df_agent.agent_model import AgentModel
from df_agent.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from df_agent.policies import DiffusionForcingPolicy
from df_agent.policies.costs import Avoid, PassBy
from df_agent.policies.mpc import LARGEST_PENALTY
from studies.sanity import randomize_weights


def test_one_observation_without_a_batch_axis_gives_one_action():
    policy = make_policy()
    single = {k: v[0] for k, v in observations(1).items()}
    action, state = policy.predict(single, deterministic=True)
    batched, _ = policy.predict(observations(1), deterministic=True)
    assert action.shape == (2,)
    assert np.array_equal(action, batched[0])
    again, _ = policy.predict(single, state)
    assert again.shape == (2,)


def test_a_row_does_not_depend_on_what_runs_beside_it():
    """Batched equals looped; each row has its own noise, horizon and replans."""
    policy = make_policy(open_loop_horizon=3)
    steps = [observations(3, seed=k) for k in range(8)]
    for step in steps:
        step["desired_goal"] = steps[0]["desired_goal"]
    batched, state = [], None
    for step in steps:
        actions, state = policy.predict(step, state, deterministic=True)
        batched.append(actions)
    for i in range(3):
        state = None
        for k, step in enumerate(steps):
            actions, state = policy.predict(row(step, i), state, deterministic=True)
            np.testing.assert_allclose(actions[0], batched[k][i], atol=1e-4)


def test_a_guided_row_does_not_depend_on_what_runs_beside_it():
    """Rows that began at different times have different times left, so plans of different lengths."""
    options = {**STANDING, "open_loop_horizon": 4, "patience": 1000}  # they plan by the clock only
    policy = make_policy(planner="goal_guidance", max_steps=40, goal_guidance={"guidance_scale": 0.3}, **options)
    events = []
    policy.on_plan = events.append
    goal = np.array([[3.0, 3], [-3, 3], [3, -3]])
    steps = [{**observations(3, seed=k), "desired_goal": goal} for k in range(28)]
    starts = np.zeros((28, 3), bool)
    starts[0], starts[8, 1] = True, True
    paths, state = [], None
    for step, start in zip(steps, starts, strict=True):
        _, state = policy.predict(step, state, start, deterministic=True)
        paths.append(path(policy, state))
    lengths = {tuple(event.plan.lengths.tolist()) for event in events}
    assert (5, 7, 5) in lengths  # 2 and 3 tokens, at the length of 4
    assert (7, 9, 7) in lengths  # 3 tokens and, at that of 8, 4
    for i in range(3):
        state = None
        for k, step in enumerate(steps):
            _, state = policy.predict(row(step, i), state, starts[k, i : i + 1], deterministic=True)
            np.testing.assert_allclose(path(policy, state)[0], paths[k][i], atol=1e-4)


def test_deterministic_repeats_and_the_seed_matters():
    policy = make_policy()
    seen = observations(4)
    first, state = policy.predict(seen, deterministic=True)
    second, again = policy.predict(seen, deterministic=True)
    assert np.array_equal(first, second)
    assert np.array_equal(path(policy, state), path(policy, again))
    policy.set_random_seed(1)
    _, other = policy.predict(seen, deterministic=True)
    assert not np.array_equal(path(policy, state), path(policy, other))
    _, random_a = policy.predict(seen)
    _, random_b = policy.predict(seen)
    assert not np.array_equal(path(policy, random_a), path(policy, random_b))


def test_the_state_handed_in_is_not_written_to():
    policy = make_policy(open_loop_horizon=1)
    _, state = policy.predict(observations(2), deterministic=True)
    before = copy.deepcopy(state)
    policy.predict(observations(2, seed=1), state, deterministic=True)
    for held, was in ((state, before), (state.progress_to_goal, before.progress_to_goal)):
        for name, value in vars(was).items():
            assert name == "progress_to_goal" or np.array_equal(getattr(held, name), value), name


def count_plans(policy):
    seen = []
    policy.on_plan = lambda event: seen.append(event.rows.tolist())
    return seen


def test_rows_replan_on_their_own_occasions():
    """At an episode's start, when the goal moves, and by the clock; at no other time."""
    policy = make_policy(open_loop_horizon=5, deviation=1e9, hold_distance=0.0)
    seen, still = count_plans(policy), observations(3)
    _, state = policy.predict(still, deterministic=True)
    assert seen == [[0, 1, 2]]
    _, state = policy.predict(still, state, episode_start=np.array([False, True, False]), deterministic=True)
    assert seen[1:] == [[1]]
    moved = {**still, "desired_goal": still["desired_goal"] + [[0, 0], [0, 0], [0.1, 0]]}
    _, state = policy.predict(moved, state, deterministic=True)
    assert seen[2:] == [[2]]
    assert np.array_equal(state.goal, moved["desired_goal"])
    for _ in range(3):
        _, state = policy.predict(moved, state, deterministic=True)
    assert seen[3:] == [[0]]


def test_a_plan_starts_at_the_present_and_ends_at_the_goal():
    policy = make_policy(**ANY_PLAN)
    seen = observations(5)
    _, state = policy.predict(seen, deterministic=True)
    np.testing.assert_allclose(path(policy, state)[:, 0], seen["achieved_goal"], atol=1e-5)
    np.testing.assert_allclose(path(policy, state)[:, -1], seen["desired_goal"], atol=1e-5)


@pytest.mark.parametrize("planner", ["shortest_feasible", "goal_guidance"])
@pytest.mark.parametrize("interval", [1, 1000])
def test_actions_stay_inside_the_action_space(planner, interval):
    policy = make_policy(planner=planner, open_loop_horizon=interval, max_steps=40)
    env = gym.make_vec("df-agent-test-point", 3)
    seen, _ = env.reset(seed=0)
    state, starts = None, np.ones(3, bool)
    for _ in range(45):  # past the episode's end
        actions, state = policy.predict(seen, state, starts)
        assert np.isfinite(actions).all()
        assert (np.abs(actions) <= 1).all()
        seen, _, terminated, truncated, _ = env.step(actions)
        starts = terminated | truncated


@pytest.mark.parametrize("mode", list(gym.vector.AutoresetMode))
def test_every_autoreset_mode_runs(mode):
    policy = make_policy()
    env = gym.make_vec("df-agent-test-point", 2, vector_kwargs={"autoreset_mode": mode})
    seen, _ = env.reset(seed=0)
    state, starts, plans = None, np.ones(2, bool), count_plans(policy)
    for _ in range(100):
        actions, state = policy.predict(seen, state, starts, deterministic=True)
        seen, _, terminated, truncated, _ = env.step(actions)
        starts = terminated | truncated
        if mode == gym.vector.AutoresetMode.DISABLED and starts.any():
            seen, _ = env.reset(options={"reset_mask": starts})
    assert [0, 1] in plans[1:]  # planned anew when the episodes began anew


def test_stable_baselines_evaluates_it_and_it_reaches_an_open_goal():
    """Without walls even an untrained model's plan ends at the goal, and the tracker brings the point there."""
    policy = make_policy(open_loop_horizon=1000, patience=1000, deviation=1e9, **any_plan(horizons=(2,)))
    env = Monitor(gym.make("df-agent-test-point", max_episode_steps=250))
    env.reset(seed=0)  # the starts that follow repeat
    rewards, lengths = evaluate_policy(policy, env, n_eval_episodes=3, return_episode_rewards=True)
    assert lengths == [250] * 3
    assert min(rewards) > 0


def test_bad_observations_are_named():
    policy, good = make_policy(), observations(2)
    with pytest.raises(ValueError, match=r"lacks \['desired_goal'\]"):
        policy.predict({"observation": good["observation"]})
    with pytest.raises(ValueError, match=r"expected 'observation' \(B, at least 4\)"):
        policy.predict({**good, "observation": good["observation"][:, :1]})
    with pytest.raises(ValueError, match=r"'desired_goal' is not finite in rows \[1\]"):
        policy.predict({**good, "desired_goal": np.array([[0, 0], [np.nan, 0]])})
    with pytest.raises(ValueError, match="expected a dict observation"):
        policy.predict(good["observation"])
    _, state = policy.predict(good)
    with pytest.raises(ValueError, match="state is for 2 environments, the observation for 3"):
        policy.predict(observations(3), state)


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="unknown planner 'a_star', available"):
        make_policy(planner="a_star")
    with pytest.raises(ValueError, match=r"unknown options \['stepz'\] for SamplingConfig"):
        make_policy(sampling={"stepz": 3})
    with pytest.raises(ValueError, match=r"patience and shortcut_penalty must be at least 1, got 20 and 0\.5"):
        make_policy(shortcut_penalty=0.5)
    with pytest.raises(ValueError, match="at least one horizon multiplier"):
        make_policy(shortest_feasible={"horizon_multipliers": ()})
    for options, message in (
        ({"velocity_indices": [2]}, "one channel per goal channel"),
        ({"control_period": 0}, "control_period is in seconds and must be positive"),
        ({"tracker": {"lookahead": -1}}, "lookahead and action_limit must be positive"),
        ({"sampling": {"steps": 0}}, "sampling steps of at least 1"),
        ({"sampling": {"temperature": -1}}, "temperature must be a number in"),
        ({"sampling": {"steps": 5000}}, "levels cannot take 5000 sampling steps"),
        ({"goal_guidance": {"guidance_scale": float("nan")}}, "guidance_scale must be a number, got nan"),
        ({"window": 100}, r"sees \d+ tokens at once, window=100 needs sampling.overlap, planner='tree_search' or a"),
        ({"window": 1}, "leaves no token to plan behind the 1 observed"),
        ({"planner": "best_of_n", "sampling": {"goal_weight": 2}}, "weighs the goal as a clean token"),
        ({"planner": "tree_search", "controller": "actions"}, "plans places without actions"),
        ({"observation_noise": np.inf}, "observation_noise must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            make_policy(**options)
    with pytest.raises(ValueError, match="give max_steps"):
        make_policy(planner="goal_guidance")
    with pytest.raises(ValueError, match=r"planner='reward_guidance' needs a model of rewards"):
        make_policy(planner="reward_guidance", max_steps=40)
    causal = {**CHECKPOINT, "network": {**CHECKPOINT["network"], "causal": True}}
    for planner in ("shortest_feasible", "fixed_horizon"):
        with pytest.raises(ValueError, match=r"a causal network does not see it; available for it: direct, goal"):
            DiffusionForcingPolicy.from_model(AgentModel.from_config(causal), causal, planner=planner)
    DiffusionForcingPolicy.from_model(AgentModel.from_config(causal), causal, planner="goal_guidance", max_steps=40)


def test_a_transformer_with_a_cache_that_looks_ahead_plans_without_it():
    own = {"name": "cached_transformer", "causal": False, "width": 16, "depth": 1, "heads": 2}
    network = {**own, **{key: CHECKPOINT["network"][key] for key in ("token_dim", "max_tokens")}}
    checkpoint = {**CHECKPOINT, "network": network}
    policy = DiffusionForcingPolicy.from_model(AgentModel.from_config(checkpoint), checkpoint)
    assert np.isfinite(policy.predict(observations(2), deterministic=True)[0]).all()
    with pytest.raises(ValueError, match=r"give windows.max_tokens instead"):
        AgentModel.from_config({**checkpoint, "network": {**network, "window": 4}})


def test_a_recurrent_model_plans_over_more_than_its_training_did():
    longest = CHECKPOINT["network"]["max_tokens"]
    own = {"name": "recurrent", "token_dim": CHECKPOINT["network"]["token_dim"], "width": 16, "state": 16}
    checkpoint = {**CHECKPOINT, "network": own}
    told = {
        "planner": "goal_guidance",
        "max_steps": 1000,
        "goal_guidance": {"guidance_scale": 0.1},
        "window": 3 * longest,
    }
    policy = DiffusionForcingPolicy.from_model(AgentModel.from_config(checkpoint), checkpoint, **told)
    plans = []
    policy.on_plan = plans.append
    policy.predict(observations(2), deterministic=True)
    assert policy.sampler.longest == 3 * longest - 1
    frames = CHECKPOINT["diffusion"]["frame_stack"] * policy.sampler.longest + 1
    assert (plans[0].plan.lengths == frames).all()


def test_the_present_may_stand_for_all_that_was_observed():
    policy = make_policy(present_only=True)
    assert (policy.frames_back == -1).all()
    assert len(policy.frames_back) == policy.tokenizer.config.context_frames


@pytest.mark.parametrize("half", [False, True])
def test_saving_and_loading_gives_the_same_agent(tmp_path, half):
    policy = make_policy(open_loop_horizon=7)
    if half:
        policy.model.diffusion.network.half().float()  # what fp16 can hold comes back exactly
    policy.save_pretrained(tmp_path / "saved", half=half, card="A toy.")
    loaded = DiffusionForcingPolicy.from_pretrained(tmp_path / "saved", precision="fp32", device="cpu")
    assert loaded.config == policy.config
    assert loaded.config.open_loop_horizon == 7
    seen = observations(3)
    assert np.array_equal(policy.predict(seen, deterministic=True)[0], loaded.predict(seen, deterministic=True)[0])


def test_what_is_saved_is_what_was_given_and_not_what_followed_from_it(tmp_path):
    policy = make_policy()
    assert policy.planner.config.horizons
    policy.save_pretrained(tmp_path / "saved")
    shorter = DiffusionForcingPolicy.from_pretrained(tmp_path / "saved", precision="fp32", device="cpu", window=4)
    assert max(shorter.planner.config.horizons) < max(policy.planner.config.horizons)
    shorter.predict(observations(1), deterministic=True)


@pytest.mark.filterwarnings("ignore:this cpu has no arithmetic for bf16")
def test_weights_that_were_rounded_for_speed_are_saved_as_they_were(tmp_path):
    policy = make_policy()
    policy.save_pretrained(tmp_path / "exact")
    rounded = DiffusionForcingPolicy.from_pretrained(tmp_path / "exact", precision="bf16", device="cpu")
    rounded.save_pretrained(tmp_path / "again")
    exact, again = (load_checkpoint(tmp_path / name).weights for name in ("exact", "again"))
    assert exact.keys() == again.keys()
    assert all(torch.equal(exact[key], again[key]) for key in exact)
    randomize_weights(rounded, 0)
    rounded.save_pretrained(tmp_path / "random")
    random = load_checkpoint(tmp_path / "random").weights
    assert not all(torch.equal(exact[key], random[key]) for key in exact)


def test_random_weights_and_no_goal_change_the_plans():
    seen = observations(3)
    policy = make_policy()
    _, trained = policy.predict(seen, deterministic=True)
    randomize_weights(policy, 0)
    _, random = policy.predict(seen, deterministic=True)
    assert not np.array_equal(path(policy, trained), path(policy, random))
    blind = make_policy(planner="unconditional")
    _, state = blind.predict(seen, deterministic=True)
    _, other = blind.predict({**seen, "desired_goal": seen["desired_goal"] * 0}, deterministic=True)
    assert path(blind, state).shape == path(blind, other).shape
    assert np.array_equal(path(blind, state)[:, 1:3], path(blind, _rerun(blind, seen))[:, 1:3])


def _rerun(policy, seen):
    return policy.predict(seen, deterministic=True)[1]


# --- what the agent does when it gets nowhere ---

STANDING = {"patience": 5, "open_loop_horizon": 1000, "deviation": 1e9, "hold_distance": 0.0}


def test_doubt_grows_when_a_plan_leads_nowhere():
    policy = make_policy(**ANY_PLAN, shortcut_penalty=1.1, **STANDING)
    seen, plans = observations(2), count_plans(policy)
    state = stand(policy, seen, 5)
    assert state.shortcut_penalty.tolist() == [1, 1]
    state = stand(policy, seen, 1, state)
    assert state.shortcut_penalty.tolist() == [1.1, 1.1]
    state = stand(policy, seen, 5, state)
    assert state.shortcut_penalty.tolist() == pytest.approx([1.1**2] * 2)
    assert plans == [[0, 1]] * 3
    assert stand(policy, seen, 100, state).shortcut_penalty.tolist() == [LARGEST_PENALTY] * 2


def test_doubt_ends_with_the_episode_or_the_goal():
    policy = make_policy(**ANY_PLAN, **STANDING)
    seen = observations(3)
    doubting = stand(policy, seen, 6)
    _, state = policy.predict(seen, doubting, np.array([False, True, False]), deterministic=True)
    assert state.shortcut_penalty.tolist() == [1.25, 1, 1.25]
    moved = {**seen, "desired_goal": seen["desired_goal"] + [[0, 0], [0, 0], [0.1, 0]]}
    _, state = policy.predict(moved, state, deterministic=True)
    assert state.shortcut_penalty.tolist() == [1.25, 1, 1]
    assert doubting.shortcut_penalty.tolist() == [1.25] * 3  # the state handed in is the caller's


def test_who_gets_on_does_not_doubt():
    policy = make_policy(**any_plan(horizons=(2,)), **STANDING)
    plans, seen = count_plans(policy), row(observations(1), 0)
    _, state = policy.predict(seen, deterministic=True)
    way = path(policy, state)[0].copy()
    arc = np.concatenate([[0], np.linalg.norm(np.diff(way, axis=0), axis=1).cumsum()])
    for k in range(1, 30):  # along the path, to 90 % of its length
        at = [np.interp(0.03 * k * arc[-1], arc, way[:, c]) for c in range(2)]
        seen["observation"] = np.array([[*at, 0, 0]])
        _, state = policy.predict(seen, state, deterministic=True)
    assert state.shortcut_penalty.tolist() == [1]
    assert plans == [[0]]


def test_progress_of_one_row_is_not_judged_by_the_plans_of_another():
    """Row 1 plans anew just before row 0 is looked at, which has come along all the while."""
    policy = make_policy(**any_plan(horizons=(2,)), **{**STANDING, "patience": 20})
    plans, seen = count_plans(policy), observations(2)
    _, state = policy.predict(seen, deterministic=True)
    way = path(policy, state)[0].copy()
    arc = np.concatenate([[0], np.linalg.norm(np.diff(way, axis=0), axis=1).cumsum()])
    for k in range(1, 22):
        at = [np.interp(0.03 * k * arc[-1], arc, way[:, c]) for c in range(2)]
        seen["observation"] = np.array([[*at, 0, 0], seen["observation"][1]])
        starts = np.array([False, k == 19])
        _, state = policy.predict(seen, state, starts, deterministic=True)
    assert state.shortcut_penalty.tolist() == [1, 1]
    assert plans == [[0, 1], [1]]


def test_without_a_way_in_sight_it_wanders():
    policy = make_policy(
        feasibility={"roughness_limit": 1e-6}, shortest_feasible={"reject_above": 1e-9}, open_loop_horizon=10
    )
    events = []
    policy.on_plan = events.append
    env = gym.make_vec("df-agent-test-point", 3)
    seen, _ = env.reset(seed=0)
    state = None
    for _ in range(30):
        actions, state = policy.predict(seen, state, deterministic=True)
        assert np.isfinite(actions).all()
        assert (np.abs(actions) <= 1).all()
        assert not state.settled.any()
        assert (np.linalg.norm(path(policy, state)[:, -1] - seen["desired_goal"], axis=1) > 1e-3).all()
        seen = env.step(actions)[0]
    assert len(events) > 2
    for event in events:
        frames = event.plan.observations
        assert (event.plan.lengths == frames.shape[1]).all()  # as far as the model can see, and not to the goal
        assert np.isfinite(frames).all()
        assert event.executed.all()


def test_a_way_in_sight_is_settled_on():
    state = stand(make_policy(**ANY_PLAN), observations(3), 1)
    assert state.settled.all()


def test_who_wanders_does_not_depend_on_what_runs_beside_it():
    """Rows 1 and 2 have goals out of this world, row 0 and 3 do not."""
    policy = make_policy(
        feasibility={**ANY_PLAN["feasibility"], "roughness_limit": 100.0}, shortest_feasible={"reject_above": 2.0}
    )
    seen = observations(4)
    seen["desired_goal"][1:3] = [[1e5, 0], [0, 2e5]]
    state = stand(policy, seen, 1)
    assert state.settled.tolist() == [True, False, False, True]
    for i in range(4):
        alone = stand(policy, row(seen, i), 1)
        np.testing.assert_allclose(path(policy, alone)[0], path(policy, state)[i], atol=1e-4)


# --- with an estimator of the time to the goal ---


def test_the_estimate_sets_the_horizons_and_doubt_lengthens_them():
    """30 steps are 3.75 tokens of 8 steps."""
    options = any_plan(horizon_multipliers=(0.4, 1.0, 1.3, 5.0), samples=2)
    policy = make_policy_with_estimator(steps=30.0, **options, **STANDING)
    calls = asked(policy)
    stand(policy, observations(1), 6)
    assert [call.tolist() for call in calls] == [[2, 2, 4, 4, 5, 5, 7, 7], [2, 2, 5, 5, 7, 7, 7, 7]]


def test_without_an_estimate_the_horizons_are_those_of_the_config():
    policy = make_policy(**any_plan(horizons=(3, 6), samples=1))
    calls = asked(policy)
    stand(policy, observations(2), 1)
    assert [call.tolist() for call in calls] == [[3, 6, 3, 6]]


def test_the_estimator_is_asked_in_its_own_units():
    policy, seen, places = make_policy_with_estimator(**ANY_PLAN), observations(3), []
    embed = policy.model.time_to_goal.embed
    policy.model.time_to_goal.embed = lambda place: places.append(place) or embed(place)
    stand(policy, seen, 1)
    start, goal = places[0]
    np.testing.assert_allclose(start, (seen["achieved_goal"] - [0.5, 0]) / [1, 2], atol=1e-6)
    np.testing.assert_allclose(goal, (seen["desired_goal"] - [0.5, 0]) / [1, 2], atol=1e-6)
    assert places[1].ndim == 3  # shortcuts are looked for on paths, too


def test_an_estimate_too_long_for_the_plans_makes_them_shortcuts():
    """Two places an age apart cannot lie on a plan of some steps, so none leads to the goal."""
    state = stand(make_policy_with_estimator(steps=1e6, **any_plan(reject_above=1e3)), observations(2), 1)
    assert state.settled.all()
    limits = {"roughness_limit": 1e9, "shortcut_limit": 1.5}
    state = stand(make_policy_with_estimator(steps=1e6, feasibility=limits), observations(2), 1)
    assert not state.settled.any()


def test_with_an_estimate_a_row_does_not_depend_on_what_runs_beside_it():
    """Rows of different doubt, too: rows 0 and 2 stand, row 1 jumps about."""
    policy = make_policy_with_estimator(**ANY_PLAN, patience=3, open_loop_horizon=4)
    steps = [observations(3, seed=k) for k in range(12)]
    for step in steps:
        step["desired_goal"] = steps[0]["desired_goal"]
        step["observation"][[0, 2]] = steps[0]["observation"][[0, 2]]
    batched, states, state = [], [], None
    for step in steps:
        actions, state = policy.predict(step, state, deterministic=True)
        batched.append(actions)
        states.append(state)
    assert states[-1].shortcut_penalty.max() > 1
    for i in range(3):
        state = None
        for k, step in enumerate(steps):
            actions, state = policy.predict(row(step, i), state, deterministic=True)
            np.testing.assert_allclose(actions[0], batched[k][i], atol=1e-4)
            assert state.shortcut_penalty[0] == states[k].shortcut_penalty[i]


def test_the_estimator_is_saved_and_loaded_with_the_agent(tmp_path):
    policy = make_policy_with_estimator(**ANY_PLAN)
    policy.save_pretrained(tmp_path / "saved")
    loaded = DiffusionForcingPolicy.from_pretrained(tmp_path / "saved", precision="fp32", device="cpu")
    loaded.model.time_to_goal.register_forward_hook(lambda module, pair, out: out + 30.0)  # as the other's says
    own, theirs = policy.model.time_to_goal.state_dict(), loaded.model.time_to_goal.state_dict()
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[key], theirs[key]) for key in own)
    seen = observations(3)
    assert np.array_equal(policy.predict(seen, deterministic=True)[0], loaded.predict(seen, deterministic=True)[0])
    randomize_weights(loaded, seed=1)
    assert not torch.equal(loaded.model.time_to_goal.mlp[0].weight, own["mlp.0.weight"])


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_deterministic_plans_repeat_with_noise_in_every_pass(eta):
    """DDPM's noise comes from the episode's seed too."""
    seen, plans = observations(3), []
    for _ in range(2):
        policy = make_policy(sampling={"steps": 3, "eta": eta})
        policy.on_plan = lambda event: plans.append(event.plan.observations)
        policy.predict(seen, deterministic=True)
    assert np.array_equal(*plans)


def test_velocities_that_are_not_observed_follow_from_two_positions():
    """One frame a token, so that planning needs the present alone."""
    checkpoint = copy.deepcopy(CHECKPOINT)
    checkpoint["policy"] = {}
    checkpoint["tokenizer"]["config"]["frame_stack"] = 1
    checkpoint["network"]["token_dim"] = 2
    checkpoint["diffusion"] = {**checkpoint["diffusion"], "frame_stack": 1}
    policy = DiffusionForcingPolicy.from_model(
        AgentModel.from_config(checkpoint).eval(), checkpoint, control_period=0.1
    )
    first = observations(2)
    later = {**first, "observation": first["observation"] + 0.05}
    _, state = policy.predict(first, deterministic=True)
    np.testing.assert_array_equal(policy.controller.motion(state, first["observation"])[1], 0)
    _, state = policy.predict(later, state, deterministic=True)
    np.testing.assert_allclose(policy.controller.motion(state, later["observation"])[1], 0.5)


def test_best_of_n_plans_without_the_goal_and_follows_the_candidate_that_comes_nearest():
    policy = make_policy(planner="best_of_n", best_of_n={"candidates": 8}, max_steps=40)
    plans = []
    policy.on_plan = plans.append
    for goal in ([1.0, 1.0], [-1.0, 1.0]):
        observation = {"observation": np.zeros((1, 4)), "desired_goal": np.array([goal])}
        policy.predict(observation, None, np.array([True]), deterministic=True)
    few = make_policy(planner="best_of_n", best_of_n={"candidates": 1}, max_steps=40)
    few.on_plan = plans.append
    few.predict(observation, None, np.array([True]), deterministic=True)

    def nearest(event):
        return np.linalg.norm(event.plan.observations[0] - goal, axis=-1).min()

    assert not np.array_equal(plans[0].plan.observations, plans[1].plan.observations)
    assert nearest(plans[1]) <= nearest(plans[2])
    end = np.linalg.norm(plans[1].plan.observations[0, -1] - goal)
    assert end == nearest(plans[1]), "the plan goes on behind the place nearest to the goal"


def test_whole_windows_round_horizons_up_to_the_lengths_of_training():
    policy = make_policy(**any_plan(whole_windows=True, samples=1))
    calls = asked(policy)
    policy.predict(observations(1))
    assert set(calls[0]) == {3, 7}, "windows have 4 and 8 tokens, the first of which is the present"
    too_far = make_policy(shortest_feasible={"whole_windows": True, "horizons": (9,)})
    with pytest.raises(ValueError, match=r"shortest_feasible.horizons must be at most 7 tokens, got 9"):
        too_far.predict(observations(1))


def test_waypoints_are_followed_at_the_plan_s_pace():
    policy = make_policy(controller="waypoints", **ANY_PLAN)
    plans = []
    policy.on_plan = plans.append
    observation = {"observation": np.zeros((1, 4)), "desired_goal": np.array([[1.0, 1.0]])}
    action, _ = policy.predict(observation, None, np.array([True]), deterministic=True)
    ahead = plans[0].plan.observations[0, 1] / 4  # four control steps per frame, the first frame is at the origin
    c = policy.config.tracker
    np.testing.assert_allclose(action[0], np.clip(c.position_gain * ahead + c.velocity_gain * ahead, -1, 1), atol=1e-6)
    with pytest.raises(ValueError, match="unknown controller 'pid'"):
        make_policy(controller="pid")


def test_a_baseline_s_checkpoint_is_refused_by_name(tmp_path):
    save_checkpoint(tmp_path / "other", {"w": torch.zeros(1)}, {"algorithm": "gcbc"})
    with pytest.raises(CheckpointError, match="the baseline gcbc, not of Diffusion Forcing"):
        DiffusionForcingPolicy.from_pretrained(tmp_path / "other")


def make_acting_policy(**options):
    """One whose model plans actions too."""
    checkpoint = copy.deepcopy(CHECKPOINT)
    checkpoint["tokenizer"]["config"] |= {"include_actions": True, "action_dim": 3}
    checkpoint["tokenizer"] |= {"mean": [0.0] * 14, "std": [1.0] * 14}
    checkpoint["network"]["token_dim"] = 28
    checkpoint["statistics"] |= {"least": [-9.0, -9.0, -0.1], "most": [9.0, 9.0, 0.1]}
    torch.manual_seed(0)
    model = AgentModel.from_config(checkpoint).requires_grad_(False).eval()
    torch.nn.init.normal_(model.diffusion.network.head.weight, std=0.2)
    options = {"planner": "fixed_horizon", **options}
    return DiffusionForcingPolicy.from_model(model, checkpoint, controller="actions", **options)


def test_planned_actions_are_executed_as_they_are():
    policy = make_acting_policy(open_loop_horizon=6)
    plans, done, state = [], [], None
    policy.on_plan = lambda event: plans.append(event.plan)
    observation = observations(3)
    for _ in range(13):
        actions, state = policy.predict(observation, state, deterministic=True)
        done.append(actions)
    assert len(plans) == 3  # at steps 0, 6 and 12
    assert plans[0].actions.shape == (3, 7 * 2 * 4, 3)  # of every control step, ahead of the present
    assert plans[0].action_lengths.tolist() == [6 * 2 * 4] * 3  # the goal token holds none
    planned = np.concatenate([plans[0].actions[:, :6], plans[1].actions[:, :6], plans[2].actions[:, :1]], 1)
    planned[..., 2] = planned[..., 2].clip(-0.1, 0.1)  # the third stays within what the data did
    assert np.abs(planned[..., :2]).max() < 9
    assert np.stack(done, 1) == pytest.approx(planned)


def test_who_wanders_acts_as_it_wanders():
    wanderer = {
        "planner": "shortest_feasible",
        "feasibility": {"roughness_limit": 1e-6},
        "shortest_feasible": {"reject_above": 1e-9},
    }
    policy = make_acting_policy(open_loop_horizon=6, **wanderer)
    events = []
    policy.on_plan = events.append
    policy.predict(observations(2), deterministic=True)
    (plan,) = (event.plan for event in events)
    skip = policy.tokenizer.config.frame_skip
    assert (plan.action_lengths == (plan.lengths - 1) * skip).all(), "the actions of all its way, for it has no goal"


def test_a_plan_whose_actions_are_used_up_is_made_anew():
    policy = make_acting_policy(open_loop_horizon=50, fixed_horizon={"horizon": 2})
    steps, done, state = [], [], None
    policy.on_plan = lambda event: steps.append(len(done))
    for _ in range(20):
        action, state = policy.predict(observations(1), state, deterministic=True)
        done.append(action)
    assert steps == [0, 8, 16]  # two tokens are two frames of four steps, and the goal's


def test_a_new_goal_ends_a_plan_of_actions():
    policy = make_acting_policy(open_loop_horizon=50)
    rows = []
    policy.on_plan = lambda event: rows.append(event.rows.tolist())
    first, second = observations(2), observations(2)
    second["desired_goal"][1] += 1
    _, state = policy.predict(first, deterministic=True)
    policy.predict(second, state, deterministic=True)
    assert rows == [[0, 1], [1]]


def test_actions_need_a_model_of_actions():
    with pytest.raises(ValueError, match=r"train it with tokenizer\.include_actions"):
        make_policy(controller="actions")


@pytest.mark.parametrize(("horizon", "tokens"), [(0, 7), (3, 3), (99, 7)])
def test_a_fixed_horizon_puts_the_goal_always_equally_far_ahead(horizon, tokens):
    policy, plans = make_policy(planner="fixed_horizon", fixed_horizon={"horizon": horizon}), []
    policy.on_plan = lambda event: plans.append(event.plan)
    observation = observations(2)
    policy.predict(observation, deterministic=True)
    assert plans[0].lengths.tolist() == [2 * tokens + 1] * 2
    assert plans[0].observations[:, -1] == pytest.approx(observation["desired_goal"])


def plans_with(costs, **options):
    options = {**any_plan(horizons=[5], samples=1), "sampling": {"steps": 5}, **options}
    policy, plans = make_policy(costs=costs, **options), []
    policy.on_plan = lambda event: plans.append(event.plan)
    policy.predict(observations(3), deterministic=True)
    return policy.planner, plans[0]


@pytest.mark.parametrize("planner", ["shortest_feasible", "fixed_horizon"])
def test_costs_guide_the_sampling(planner):
    costs = [Avoid((0.0, 0.0), 1.0)]
    judge, free = plans_with(costs, cost_scale=0.0, planner=planner)
    _, same = plans_with([], planner=planner)
    assert np.array_equal(free.observations, same.observations)
    _, guided = plans_with(costs, cost_scale=1e-4, planner=planner)
    assert (judge.cost(guided) != judge.cost(free)).any()  # test_proposals tells that it goes the right way
    assert guided.observations[:, -1] == pytest.approx(free.observations[:, -1])  # still to the goal


def test_the_candidate_is_taken_that_is_least_in_time_and_costs():
    options = any_plan(horizons=[3, 4, 5, 6, 7], samples=2)
    seen = []

    def upwards(frames, valid):
        seen.append((frames.clone(), valid))
        return 1e6 * (frames[..., 1] * valid).mean(1)

    _, plan = plans_with([upwards], cost_scale=0.0, **options)
    frames, valid = next(pair for pair in seen if len(pair[0]) == 30)  # all candidates, when they are judged
    judged = (frames[..., 1] * valid).mean(1).reshape(3, 10)
    taken = (plan.observations[..., 1] * (np.arange(15) < plan.lengths[:, None])).mean(1)
    assert taken == pytest.approx(judged.amin(1).numpy())
    assert not np.allclose(judged.amin(1), judged[:, 0])


def test_a_row_s_costs_do_not_depend_on_what_runs_beside_it():
    policy = make_policy(costs=[PassBy((0.5, 0.5), 0.1)], **any_plan(horizons=[3, 5], samples=2))
    batch = observations(3)
    together, _ = policy.predict(batch, deterministic=True)
    alone = [policy.predict(row(batch, i), deterministic=True)[0][0] for i in range(3)]
    assert together == pytest.approx(np.stack(alone), abs=1e-5)


def fed(policy, steps):
    """What the model is told of each step's observation: (frames, levels) of the last plan."""
    seen, sample_plans, state = [], policy.sampler.sample_plans, None

    def spy(request, rows, horizons, **more):
        seen.append((request.history[0], request.level[0]))
        return sample_plans(request, rows, horizons, **more)

    policy.sampler.sample_plans = spy
    for observation in steps:
        _, state = policy.predict(observation, state, deterministic=True)
    return seen[-1]


def walk(n):
    """One environment in which the ball moves by (1, 0) each step."""
    goal = np.array([[50.0, 50.0]])
    return [{"observation": np.array([[t, 0.0, 0.0, 0.0]]), "desired_goal": goal} for t in np.arange(float(n))]


def make_remembering_policy(**options):
    checkpoint = copy.deepcopy(CHECKPOINT)
    checkpoint["tokenizer"]["config"] |= {"context": 3, "frame_stack": 1}
    checkpoint["diffusion"] |= {"context": 3, "frame_stack": 1}
    checkpoint["network"]["token_dim"] = 2
    model = AgentModel.from_config(checkpoint).requires_grad_(False).eval()
    return DiffusionForcingPolicy.from_model(
        model, checkpoint, planner="fixed_horizon", controller="waypoints", open_loop_horizon=1, **options
    )


def test_who_follows_a_plans_clock_follows_the_newest_plan():
    """The clock begins anew with each plan, so going on with an old one would go back to where that began."""
    options = {"open_loop_horizon": 2, **ANY_PLAN, "switch_ratio": 1e-9}  # no new plan is fast enough
    taken = {}
    for controller in ("path", "waypoints"):
        policy, events, state = make_policy_with_estimator(controller=controller, **options), [], None
        policy.on_plan, batch = events.append, observations(4)
        for _ in range(8):
            _, state = policy.predict(batch, state, deterministic=True)
            way = path(policy, state)
            batch["observation"][:, :2] = point_at(way, arc_lengths(way), state.progress + 0.2)  # it is not stuck
        taken[controller] = np.concatenate([event.executed for event in events[1:]])
    assert not taken["path"].all()
    assert taken["waypoints"].all()


def test_executed_history_is_shown_to_the_model():
    frames, level = fed(make_remembering_policy(), walk(12))
    assert frames[:, 0].tolist() == [3, 7, 11]  # every fourth step, the present last
    assert level.tolist() == [0, 0, 0]
    frames, _ = fed(make_remembering_policy(), walk(2))
    assert frames[:, 0].tolist() == [0, 0, 1]  # there was nothing before


def test_missing_observations_are_fed_as_such_and_steered_by_as_last_seen():
    steps = walk(12)
    steps[7]["observation"][:] = np.nan
    steps[11]["observation"][0, 0] = np.nan
    frames, level = fed(make_remembering_policy(missing=True), steps)
    assert frames[:, 0].tolist() == [3, 6, 10]
    assert level.tolist() == [0, 50, 50]
    with pytest.raises(ValueError, match="'observation' is not finite in rows"):
        fed(make_remembering_policy(), steps)


def test_noisy_observations_are_fed_at_the_level_that_is_as_noisy():
    policy = make_remembering_policy(observation_noise=0.5)
    _, level = fed(policy, walk(3))
    alpha_bar = policy.model.diffusion.alpha_bar[int(level[0])]
    assert (level == level[0]).all()
    assert float((1 / alpha_bar - 1).sqrt()) == pytest.approx(0.5, abs=0.05)
    assert make_remembering_policy().level == 0


def test_sensors_may_say_how_far_off_they_are():
    policy, steps = make_remembering_policy(), walk(12)
    for step, noise in zip(steps, [0.0] * 7 + [np.inf] + [0.0] * 3 + [0.5], strict=True):
        step["noise"] = np.array([noise])
    frames, level = fed(policy, steps)
    assert frames[:, 0].tolist() == [3, 6, 11]  # what says nothing is not looked at
    assert level.tolist() == [0, 50, policy.level_of(0.5)]
    steps[-1]["noise"] = np.array([np.nan])
    with pytest.raises(ValueError, match="'noise' must be 1 numbers from 0 to inf"):
        fed(policy, steps)


def test_velocities_that_are_missing_follow_from_what_was_seen_last():
    policy, batch = make_policy(missing=True), observations(2)
    _, state = policy.predict(batch, deterministic=True)
    batch["observation"][1] = np.nan
    actions, _ = policy.predict(batch, state, deterministic=True)
    assert np.isfinite(actions).all()


def test_a_velocity_of_an_observation_that_says_nothing_is_not_steered_by():
    policy, batch = make_policy(), observations(2)
    batch["noise"] = np.zeros(2)
    _, state = policy.predict(batch, deterministic=True)
    batch["noise"][1] = np.inf
    wrong = {**batch, "observation": batch["observation"].copy()}
    wrong["observation"][1, 2:] = 50.0
    said, _ = policy.predict(batch, state, deterministic=True)
    assert np.array_equal(policy.predict(wrong, state, deterministic=True)[0][1], said[1])


@pytest.mark.parametrize("noise", [0.0, 1.0, np.inf])
def test_plans_begin_where_the_agent_was_last_seen(noise):
    policy, batch = make_policy(**ANY_PLAN), observations(3)
    batch["noise"] = np.full(3, 0.0)
    _, state = policy.predict(batch, deterministic=True)
    events, batch = [], {**batch, "observation": batch["observation"] + 0.3, "desired_goal": -batch["desired_goal"]}
    policy.on_plan, batch["noise"] = events.append, np.full(3, noise)
    seen = state.history[:, -1] if np.isinf(noise) else batch["observation"][:, : state.history.shape[2]]
    policy.predict(batch, state, deterministic=True)
    np.testing.assert_allclose(events[0].plan.observations[:, 0], seen, atol=1e-5)


@pytest.mark.parametrize(
    "cost", [lambda frames, valid: frames[..., 0], lambda frames, valid: torch.full((len(frames),), torch.nan)]
)
def test_a_cost_that_is_no_number_per_plan_is_named(cost):
    with pytest.raises(ValueError, match=r"the cost <lambda> must return .* finite numbers, one per plan"):
        plans_with([cost], cost_scale=0.0)
