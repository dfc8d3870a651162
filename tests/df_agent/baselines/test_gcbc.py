"""Goal-conditioned behaviour cloning: recovers a known controller; chunks are executed as they should be."""

import numpy as np
import pytest
import torch

from df_agent.baselines.goal_conditioned import GCBC
from df_agent.checkpoint import CheckpointError, save_checkpoint
from df_agent.data.episodes import Episodes
from df_agent.policies.learned_actors import GCBCPolicy, GoalPolicy
from df_agent.training.config import TrainConfig
from df_agent.training.trainer import Trainer


def one_step_walks(episodes=3000, seed=0):
    """Walks of one step x' = x + a, so that a = goal - x is the only way to a goal that was reached."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (episodes, 2)).astype(np.float32)
    a = rng.uniform(-0.9, 0.9, (episodes, 2)).astype(np.float32)
    rows = np.stack([x, x + a], axis=1).reshape(-1, 2)
    actions = np.stack([a, np.zeros_like(a)], axis=1).reshape(-1, 2)
    zeros = np.zeros(len(rows), dtype=np.float32)
    return Episodes(rows, actions, zeros, None, rows, np.arange(0, len(rows) + 1, 2))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    torch.manual_seed(0)
    learner, sampler = GCBC.from_data(one_step_walks(), width=64, depth=2)
    config = TrainConfig(
        steps=400, batch_size=128, learning_rate=3e-3, warmup_steps=20, ema_decay=0.9, precision="fp32", log_every=200
    )
    run_dir = tmp_path_factory.mktemp("gcbc")
    return Trainer(learner, sampler, config, run_dir, {"learner": learner.config}).fit(), run_dir


def dicts(x, goal):
    return {"observation": np.asarray(x), "achieved_goal": np.asarray(x), "desired_goal": np.asarray(goal)}


def test_recovers_a_linear_controller(trained):
    policy = GCBCPolicy(trained[0])
    rng = np.random.default_rng(1)
    x, a = rng.uniform(-0.8, 0.8, (200, 2)), rng.uniform(-0.8, 0.8, (200, 2))
    actions, _ = policy.predict(dicts(x, x + a))
    assert np.abs(actions - a).mean() < 0.04  # a policy that ignores the goal is off by 0.4


def test_a_checkpoint_gives_the_same_policy(trained, tmp_path):
    learner, _ = trained
    config = {"algorithm": "gcbc", "learner": learner.config}
    save_checkpoint(tmp_path / "gcbc", learner.state_dict(), config)
    observation = dicts([[0.1, 0.2]], [[0.5, -0.4]])
    expected, _ = GCBCPolicy(learner).predict(observation)
    actions, _ = GCBCPolicy.from_pretrained(tmp_path / "gcbc", device="cpu").predict(observation)
    np.testing.assert_array_equal(actions, expected)
    save_checkpoint(tmp_path / "other", learner.state_dict(), {**config, "algorithm": "gciql"})
    with pytest.raises(CheckpointError, match="the baseline gciql, not the baseline gcbc"):
        GCBCPolicy.from_pretrained(tmp_path / "other")


def test_the_loss_compares_each_action_of_the_chunk_with_its_own():
    data = one_step_walks(4)
    long = Episodes(data.observations, data.actions, data.rewards, None, data.achieved_goals, np.array([0, 8]))
    learner, sampler = GCBC.from_data(long, goals={"chunk": 3}, width=8, depth=1)
    batch = sampler(16, torch.Generator().manual_seed(0))
    with torch.no_grad():
        learner.actor[-1].weight.zero_()
        learner.actor[-1].bias.copy_(torch.tensor([1.0, 2, 3, 4, 5, 6]))
    expected = (batch.actions - torch.tensor([[1.0, 2], [3, 4], [5, 6]])).square().mean()
    torch.testing.assert_close(learner.loss(batch, torch.Generator())[0], expected)


class Counting:
    """An actor whose action k of a chunk is 0.1 k plus 0.01 times how often it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, observation, goal):
        self.asked.append(observation[:, 0].tolist())
        chunk = 0.1 * torch.arange(4.0) + 0.01 * len(self.asked)
        return chunk[None, :, None].expand(len(goal), 4, 2)


def test_a_chunk_is_executed_in_order_and_then_renewed():
    actor = Counting()
    policy, state, seen = GoalPolicy(actor, execute=3), None, []
    for step in range(7):
        action, state = policy.predict(dicts([[float(step)]], [[1.0, 1.0]]), state)
        seen.append(action[0, 0])
    assert seen == pytest.approx([0.01, 0.11, 0.21, 0.02, 0.12, 0.22, 0.03])
    assert actor.asked == [[0.0], [3.0], [6.0]]


def test_rows_renew_their_chunks_alone_and_old_states_stay_as_they_were():
    actor = Counting()
    policy = GoalPolicy(actor, execute=4)
    goal = np.zeros((3, 2))
    _, begun = policy.predict(dicts([[0.0], [1.0], [2.0]], goal))
    moved = goal.copy()
    moved[2] = 1.0
    second, after = policy.predict(dicts([[0.0], [1.0], [2.0]], moved), begun, np.array([False, True, False]))
    assert actor.asked[1] == [1.0, 2.0]  # an episode began in row 1, the goal changed in row 2
    assert second[:, 0] == pytest.approx([0.11, 0.02, 0.02])
    third, _ = policy.predict(dicts([[0.0], [1.0], [2.0]], moved), after)
    assert third[:, 0] == pytest.approx([0.21, 0.12, 0.12])
    again, _ = policy.predict(dicts([[0.0], [1.0], [2.0]], goal), begun)
    assert again[:, 0] == pytest.approx([0.11] * 3)


def test_one_observation_without_a_batch_axis():
    policy = GoalPolicy(lambda observation, goal: 5 * torch.ones(len(goal), 1, 2))
    action, state = policy.predict(dicts([0.0], [1.0, 1.0]))
    assert action.tolist() == [1.0, 1.0]  # within the bounds
    action, _ = policy.predict(dicts([0.0], [1.0, 1.0]), state)
    assert action.shape == (2,)


def test_mistakes_are_named():
    policy = GoalPolicy(Counting(), execute=5)
    with pytest.raises(ValueError, match="execute=5 is more than the 4 actions"):
        policy.predict(dicts([[0.0]], [[1.0, 1.0]]))
    policy = GoalPolicy(Counting())
    _, state = policy.predict(dicts([[0.0]], [[1.0, 1.0]]))
    with pytest.raises(ValueError, match="state is for 1 environments, the observation for 2"):
        policy.predict(dicts([[0.0]] * 2, [[1.0, 1.0]] * 2), state)
    with pytest.raises(ValueError, match="desired_goal"):
        policy.predict(np.zeros((1, 4)))
    with pytest.raises(ValueError, match="at least 1"):
        GoalPolicy(Counting(), execute=0)
