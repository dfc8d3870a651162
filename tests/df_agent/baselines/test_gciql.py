"""Goal-conditioned IQL against known values: expectiles, a chain of states, the target network."""

import numpy as np
import pytest
import torch

from df_agent.baselines.gciql import GCIQL, expectile_loss
from df_agent.checkpoint import save_checkpoint
from df_agent.data.episodes import Episodes
from df_agent.options.baselines import GCIQLConfig
from df_agent.policies.learned_actors import GCIQLPolicy
from df_agent.training.config import TrainConfig
from df_agent.training.trainer import Trainer

DISCOUNT = 0.9


def chain(steps=3000, states=6, seed=0):
    """A random walk of steps +-1 on the numbers 0 ... states - 1; at the ends the wall holds."""
    rng = np.random.default_rng(seed)
    actions = rng.choice([-1.0, 1.0], steps).astype(np.float32)
    x = [states // 2]
    for a in actions:
        x.append(int(np.clip(x[-1] + a, 0, states - 1)))
    rows = np.array(x, dtype=np.float32)[:, None]
    actions = np.concatenate([actions, [0.0]]).astype(np.float32)[:, None]
    return Episodes(rows, actions, np.zeros(len(rows), dtype=np.float32), None, rows, np.array([0, len(rows)]))


def make(**options):
    torch.manual_seed(0)
    goals = {"discount": DISCOUNT, "radius": 0.5, "horizon": 10, **options.pop("goals", {})}
    return GCIQL.from_data(chain(), goals=goals, **{"width": 48, "depth": 2, **options})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    learner, sampler = make(expectile=0.95, polyak=0.05, alpha=0.3)
    config = TrainConfig(
        steps=1200, batch_size=128, learning_rate=3e-3, warmup_steps=20, ema_decay=0.98, precision="fp32", log_every=400
    )
    return Trainer(learner, sampler, config, tmp_path_factory.mktemp("gciql"), {"learner": learner.config}).fit()


def pairs():
    start, goal = np.meshgrid(np.arange(6.0), np.arange(6.0), indexing="ij")
    return start.reshape(-1, 1), goal.reshape(-1, 1)


def test_values_are_the_discounted_times_to_the_goal(trained):
    start, goal = pairs()
    n = trained.normalizer
    inputs = n.observation(torch.tensor(start).float()), n.goal(torch.tensor(goal).float())
    value = trained.value(*inputs)[:, 0].numpy()
    known = DISCOUNT ** np.abs(start - goal)[:, 0] - 1  # (1 - discount) times the sum of -1 per step
    assert np.abs(value - known).max() < 0.08
    assert np.abs(value - known).mean() < 0.03


def test_the_critic_knows_which_action_leads_where(trained):
    n = trained.normalizer
    observation, goal = n.observation(torch.tensor([[2.0], [2.0]])), n.goal(torch.tensor([[4.0], [4.0]]))
    right, left = trained.critic(observation, torch.tensor([[[1.0]], [[-1.0]]]), goal).amin(0).tolist()
    # One step, and then 1 or 3 more.
    assert right == pytest.approx(DISCOUNT**2 - 1, abs=0.05)
    assert left == pytest.approx(DISCOUNT**4 - 1, abs=0.05)


@pytest.mark.parametrize("actor", ["ddpg+bc", "awr"])
def test_the_actor_goes_to_the_goal(trained, actor, tmp_path):
    if actor == "awr":
        options = {"expectile": 0.95, "polyak": 0.05, "actor": "awr", "alpha": 3.0}
        learner, sampler = make(**options)
        config = TrainConfig(
            steps=800, batch_size=128, learning_rate=3e-3, warmup_steps=20, ema_decay=0.98, precision="fp32"
        )
        trained = Trainer(learner, sampler, config, tmp_path, {}).fit()
    start, goal = pairs()
    apart = (start != goal)[:, 0]
    actions, _ = GCIQLPolicy(trained).predict({"observation": start[apart], "desired_goal": goal[apart]})
    assert (np.sign(actions) == np.sign(goal - start)[apart]).all()


@pytest.mark.parametrize("tau", [0.5, 0.7, 0.9])
def test_expectiles_have_their_closed_form(tau):
    # The expectile e of samples y solves: tau * sum (y - e)+ = (1 - tau) * sum (e - y)+.
    samples = torch.tensor([0.0, 0.0, 0.0, 1.0])
    closed = tau / (tau + 3 * (1 - tau))
    below, at, above = torch.tensor([closed - 0.1, closed, closed + 0.1]).requires_grad_().unbind()
    slopes = [
        torch.autograd.grad(expectile_loss(samples - e, tau), e, retain_graph=True)[0].item()
        for e in (below, at, above)
    ]
    assert slopes[0] < -1e-2 < 1e-2 < slopes[2]
    assert slopes[1] == pytest.approx(0, abs=1e-6)


def test_the_target_follows_in_training_only():
    learner, sampler = make(polyak=0.25)
    batch = sampler(8, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for p in learner.critic.parameters():
            p.add_(1.0)
    before = [p.clone() for p in learner.target.parameters()]
    learner.eval().loss(batch, torch.Generator())
    assert all(torch.equal(a, b) for a, b in zip(before, learner.target.parameters(), strict=True))
    learner.train().loss(batch, torch.Generator())
    for old, new, goal in zip(before, learner.target.parameters(), learner.critic.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.25 * (goal - old))


def test_each_loss_trains_its_own_network_only():
    learner, sampler = make()
    batch = sampler(8, torch.Generator().manual_seed(0))
    for name in ("value", "critic", "actor"):
        learner.zero_grad(set_to_none=True)
        getattr(learner, f"{name}_loss")(batch)[0].backward()
        moved = {key.split(".")[0] for key, p in learner.named_parameters() if p.grad is not None and p.grad.any()}
        assert moved == {name}


def test_chunks_of_actions_are_valued_and_predicted_together(tmp_path):
    learner, sampler = make(goals={"chunk": 3})
    batch = sampler(5, torch.Generator().manual_seed(0))
    assert learner(batch.observation, batch.actor_goal).shape == (5, 3, 1)
    assert learner.loss(batch, torch.Generator())[0].isfinite()
    observation = {"observation": np.array([[1.0]]), "desired_goal": np.array([[3.0]])}
    expected, _ = GCIQLPolicy(learner).predict(observation)
    everything = learner.state_dict()
    actor = {key: value for key, value in everything.items() if key.startswith("actor.")}
    for weights in (everything, actor):  # to act, what only the losses need may be left out
        save_checkpoint(tmp_path / "gciql", weights, {"algorithm": "gciql", "learner": learner.config})
        policy = GCIQLPolicy.from_pretrained(tmp_path / "gciql", device="cpu", execute=3)
        np.testing.assert_array_equal(policy.predict(observation)[0], expected)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"'sac', available: ddpg\+bc, awr"):
        GCIQLConfig(1, 1, 1, actor="sac")
    with pytest.raises(ValueError, match="expectile"):
        GCIQLConfig(1, 1, 1, expectile=1.0)
    with pytest.raises(ValueError, match="unknown options"):
        make(tau=0.5)
