import pytest
import torch

from df_agent.diffusion.conditioning import Weighted
from df_agent.diffusion.config import DiffusionForcingConfig
from df_agent.diffusion.diffusion_forcing import DiffusionForcing
from df_agent.diffusion.noise_schedule import add_noise, alpha_bar_table
from df_agent.diffusion.objectives import goal_objective
from df_agent.diffusion.sampler import ddim_step, guided, sample
from df_agent.diffusion.scheduling_matrix import MATRICES, scheduling_matrix, to_levels
from df_agent.models.transformer import Transformer
from df_agent.options.networks import TransformerConfig


def levels_of(name, tokens, steps, levels, uncertainty=1.0):
    return torch.as_tensor(to_levels(scheduling_matrix(name, tokens, steps, uncertainty), steps, levels))


@pytest.fixture(scope="module")
def network():
    """A model with random weights, the head included, so that its outputs depend on everything."""
    torch.manual_seed(0)
    transformer = Transformer(TransformerConfig(token_dim=3, max_tokens=8, width=16, depth=2, heads=2))
    torch.nn.init.normal_(transformer.head.weight, std=0.3)
    return DiffusionForcing(transformer, DiffusionForcingConfig(prediction_type="v")).requires_grad_(False)


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# --- one step ---


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_a_step_of_tokens_is_the_step_of_each_token_alone(eta):
    table = alpha_bar_table("cosine")
    now = table[torch.tensor([[1000, 700, 700, 300, 20, 0]])]
    then = table[torch.tensor([[900, 700, 0, 299, 0, 0]])]
    x, x0, eps, z = (noise(1, 6, 3, seed=s) for s in range(4))
    together = ddim_step(x, x0, eps, now, then, eta, z)
    for t in range(6):
        one = slice(t, t + 1)
        alone = ddim_step(x[:, one], x0[:, one], eps[:, one], now[:, one], then[:, one], eta, z[:, one])
        assert torch.equal(together[:, one], alone)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_step_against_the_scalar_formula(eta):
    x, x0, eps, z, now, then = 0.7, -0.2, 1.1, 0.4, 0.3, 0.6
    sigma = eta * ((1 - then) / (1 - now) * (1 - now / then)) ** 0.5
    expected = then**0.5 * x0 + (1 - then - sigma**2) ** 0.5 * eps + sigma * z

    def full(value):
        return torch.full((1, 1, 1), value, dtype=torch.float64)

    got = ddim_step(full(x), full(x0), full(eps), full(now)[..., 0], full(then)[..., 0], eta, full(z))
    assert got.item() == pytest.approx(expected, rel=1e-12)


def test_one_ancestral_step_is_the_posterior_of_ddpm():
    table = alpha_bar_table("linear").double()
    now, then = table[400], table[399]
    x0, x = 0.3, -1.2
    eps = (x - now.sqrt() * x0) / (1 - now).sqrt()
    alpha, beta = now / then, 1 - now / then
    mean = (then.sqrt() * beta * x0 + alpha.sqrt() * (1 - then) * x) / (1 - now)
    deviation = (beta * (1 - then) / (1 - now)).sqrt()

    def full(value):
        return torch.as_tensor(value, dtype=torch.float64).reshape(1, 1, 1)

    for z in (-1.0, 0.0, 2.0):
        got = ddim_step(full(x), full(x0), full(eps), full(now)[..., 0], full(then)[..., 0], 1.0, full(z))
        assert got.item() == pytest.approx((mean + deviation * z).item(), rel=1e-9)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_a_waiting_token_comes_back_bit_for_bit(eta, zero_terminal_snr):
    table = alpha_bar_table("cosine", zero_terminal_snr=zero_terminal_snr)
    level = torch.tensor([[1000, 613, 1, 0, 1000]])
    then = torch.tensor([[1000, 613, 1, 0, 500]])
    x = noise(1, 5, 3)
    moved = ddim_step(x, noise(1, 5, 3, seed=1), noise(1, 5, 3, seed=2), table[level], table[then], eta, noise(1, 5, 3))
    assert torch.equal(moved[:, :4], x[:, :4])
    assert (moved[:, 4] != x[:, 4]).all()
    assert moved.isfinite().all()


def test_random_steps_ask_for_their_noise():
    half = torch.full((1, 1), 0.5)
    with pytest.raises(ValueError, match="needs `noise`"):
        ddim_step(noise(1, 1, 1), noise(1, 1, 1), noise(1, 1, 1), half, half + 0.1, eta=1.0)


# --- whole runs with a network ---


def test_equal_levels_are_ordinary_diffusion(network):
    """The sampler against a plain DDIM loop with one level for the whole sequence."""
    start, steps = noise(4, 6, 3), 10
    got = sample(network, start, levels_of("full_sequence", 6, steps, 1000))
    x, table = start, network.alpha_bar
    for step in range(steps, 0, -1):
        level, following = 100 * step, 100 * (step - 1)
        a, b = table[level].item(), table[following].item()
        v = network.network(x, torch.full((4, 6), level))
        x0 = a**0.5 * x - (1 - a) ** 0.5 * v
        eps = (1 - a) ** 0.5 * x + a**0.5 * v
        x = b**0.5 * x0 + (1 - b) ** 0.5 * eps
    torch.testing.assert_close(got, x, rtol=1e-4, atol=1e-5)
    assert (got - start).abs().max() > 0.1


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("stabilization_level", [0, 20])
@pytest.mark.parametrize("name", MATRICES)
def test_given_tokens_and_pads_come_back_unmodified(network, name, eta, stabilization_level):
    x = noise(2, 6, 3)
    levels = levels_of(name, 6, 5, 1000)
    levels[:, [0, 3]] = 0
    levels[:, 5] = 1000
    generator = torch.Generator().manual_seed(1)
    out = sample(network, x, levels, eta=eta, stabilization_level=stabilization_level, generator=generator)
    assert torch.equal(out[:, [0, 3, 5]], x[:, [0, 3, 5]])
    assert (out[:, [1, 2, 4]] != x[:, [1, 2, 4]]).all()


def test_rows_may_have_levels_of_their_own(network):
    """Two rows with different goals and pads give what each gives alone."""
    x = noise(2, 6, 3)
    levels = levels_of("full_sequence", 6, 5, 1000)[:, None].repeat(1, 2, 1)
    levels[:, 0, 2], levels[:, 0, 3:] = 0, 1000
    levels[:, 1, 5] = 0
    together = sample(network, x, levels)
    for row in range(2):
        alone = sample(network, x[row : row + 1], levels[:, row])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-5, atol=1e-6)


def test_stabilisation_shows_clean_tokens_scaled_and_at_its_level(gaussian_world):
    world = gaussian_world(tokens=3)
    x = noise(1, 3, 1, dtype=torch.float64)
    levels = torch.tensor([[0, 1000, 500], [0, 500, 0]])
    sample(world, x, levels, stabilization_level=15)
    ((shown, level),) = world.seen
    assert level.tolist() == [[15, 1000, 500]]
    assert torch.equal(shown[:, 0], world.alpha_bar[15].sqrt() * x[:, 0])
    assert torch.equal(shown[:, 1:], x[:, 1:])


def test_callback_sees_every_pass(network):
    rows, last = [], []
    levels = levels_of("pyramid", 4, 3, 1000)
    out = sample(network, noise(1, 4, 3), levels, callback=lambda row, x, x0: (rows.append(row), last.append((x, x0))))
    assert rows == list(range(len(levels) - 1))
    assert torch.equal(last[-1][0], out)
    assert all(x0.shape == out.shape for _, x0 in last)


def test_stopped_it_returns_the_estimates_of_what_was_on_its_way(network):
    """A given token, two that are denoised, and a pad: five passes, of which two are made."""
    levels = torch.tensor([[0, k, k, 1000] for k in (1000, 800, 600, 400, 200, 0)])
    x, seen = noise(1, 4, 3), []
    out = sample(network, x, levels, callback=lambda row, x, x0: seen.append(x0), stop=lambda: len(seen) == 2)
    assert len(seen) == 2
    assert torch.equal(out[:, 1:3], seen[1][:, 1:3])
    assert torch.equal(out[:, [0, 3]], x[:, [0, 3]])
    assert torch.equal(sample(network, x, levels, stop=lambda: False), sample(network, x, levels))


def test_random_sampling_repeats_under_its_generator(network):
    x, levels = noise(2, 4, 3), levels_of("pyramid", 4, 5, 1000)
    runs = [sample(network, x, levels, eta=1.0, generator=torch.Generator().manual_seed(s)) for s in (3, 3, 4)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


# --- whole runs with the best possible denoiser ---


def affine_map(world, levels, x=None):
    """DDIM under this denoiser is affine in the initial noise: return its value at 0 noise and its matrix.

    So its mean and covariance are exact, without drawing samples. `x` holds the values of given tokens.
    """
    size = world.tokens
    start = torch.cat([torch.zeros(1, size), torch.eye(size)]).double()
    if x is not None:
        start = torch.where(x.isnan(), start, x)
    out = sample(world, start[..., None], levels)[..., 0]
    return out[0], (out[1:] - out[0]).T


@pytest.mark.parametrize("name", MATRICES)
def test_ddim_recovers_mean_and_covariance_under_every_matrix(gaussian_world, name):
    errors = []
    for steps in (100, 300):
        world = gaussian_world(tokens=5, levels=steps)
        mean, matrix = affine_map(world, levels_of(name, 5, steps, steps))
        assert (mean - world.mean).abs().max() < 2e-3
        errors.append((matrix @ matrix.T - world.covariance).abs().max().item())
    # What is left is the size of the steps, and shrinks with it.
    assert errors[1] < 0.015
    assert errors[1] < 0.4 * errors[0]


@pytest.mark.parametrize("name", MATRICES)
def test_ancestral_sampling_recovers_mean_and_covariance_under_every_matrix(gaussian_world, name):
    steps, draws = 100, 8000
    world = gaussian_world(tokens=3, levels=steps)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(draws, 3, 1, generator=generator, dtype=torch.float64)
    out = sample(world, x, levels_of(name, 3, steps, steps), eta=1.0, generator=generator)[..., 0]
    # 4 standard errors of a mean, and the 0.05 that 100 steps cost beside 2 of a variance
    assert (out.mean(0) - world.mean).abs().max() < 4 / draws**0.5
    assert (torch.cov(out.T) - world.covariance).abs().max() < 0.05 + 2 * (2 / draws) ** 0.5


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("values", [{0: 1.5}, {0: 1.5, 4: -2.0}, {2: 3.0}, {1: 0.0, 3: 4.0}])
def test_clean_tokens_anywhere_condition_the_others_exactly(gaussian_world, name, values):
    world = gaussian_world(tokens=5, levels=200)
    levels = levels_of(name, 5, 200, 200)
    known = torch.full((5,), torch.nan, dtype=torch.float64)
    for token, value in values.items():
        known[token], levels[:, token] = value, 0
    mean, matrix = affine_map(world, levels, known)
    expected_mean, expected_covariance = world.given(values)
    torch.testing.assert_close(mean, expected_mean, rtol=0, atol=3e-3)
    torch.testing.assert_close(matrix @ matrix.T, expected_covariance, rtol=0, atol=0.02)


def test_pads_at_the_top_do_not_sway_the_best_denoiser(gaussian_world):
    world = gaussian_world(tokens=5, levels=200)
    levels = levels_of("full_sequence", 5, 200, 200)
    levels[:, 3:] = 200
    mean, matrix = affine_map(world, levels)
    torch.testing.assert_close((matrix @ matrix.T)[:3, :3], world.covariance[:3, :3], rtol=0, atol=0.02)
    assert matrix[:3, 3:].abs().max() < 1e-3
    torch.testing.assert_close(mean[:3], world.mean[:3], rtol=0, atol=2e-3)


# --- guidance ---


def to_goal(goal, horizon, rows=1):
    """Guidance of one-channel tokens to `goal`."""
    goals = torch.full((rows, 1), goal, dtype=torch.float64)
    return goal_objective(goals, torch.full((rows,), horizon), 1, (0,))


def test_guidance_scale_zero_is_bitwise_unguided(network):
    objective = goal_objective(torch.zeros(2, 2), torch.tensor([5, 3]), 1, (0, 1))
    levels = levels_of("pyramid", 6, 5, 1000)
    x = noise(2, 6, 3)
    plain = sample(network, x, levels)
    assert torch.equal(sample(network, x, levels, objective=objective, guidance_scale=0.0), plain)
    assert not torch.equal(sample(network, x, levels, objective=objective, guidance_scale=0.5), plain)


def test_guidance_of_scale_zero_does_not_ask_its_objective(network):
    def refuse(tokens):
        raise AssertionError("asked")

    levels = levels_of("full_sequence", 4, 2, 1000)
    sample(network, noise(1, 4, 3), levels, objective=refuse, guidance_scale=0.0)
    with pytest.raises(AssertionError, match="asked"):
        sample(network, noise(1, 4, 3), levels, objective=refuse, guidance_scale=0.1)


def test_guidance_shifts_noise_by_the_gradient_of_the_objective(gaussian_world):
    """eps' = eps - sqrt(1 - alpha_bar) * scale * dJ(x0(x))/dx, the gradient by finite differences."""
    world, scale = gaussian_world(tokens=4), 0.7
    level = torch.tensor([[0, 100, 400, 800]])
    x = noise(1, 4, 1, dtype=torch.float64)
    objective = to_goal(1.5, horizon=2)
    gradient, h = torch.zeros_like(x), 1e-5
    for t in range(4):
        step = torch.zeros_like(x)
        step[0, t] = h
        ahead, behind = (objective(world.denoise(x + s * step, level)[0]) for s in (1, -1))
        gradient[0, t] = (ahead - behind) / (2 * h)
    x0, eps = world.denoise(x, level)
    guided_x0, guided_eps = guided(world, x, level, None, objective, scale)
    alpha_bar = world.alpha_bar[level][..., None]
    expected = (1 - alpha_bar).sqrt() * scale * gradient
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(eps - guided_eps, expected, rtol=1e-5, atol=1e-8)
    # x0' and eps' still describe the same noisy tokens.
    torch.testing.assert_close(add_noise(guided_x0, guided_eps, alpha_bar[..., 0])[:, 1:], x[:, 1:])
    assert torch.equal(guided_x0[:, 0], x0[:, 0])


def test_guidance_does_not_explode_where_no_signal_is_left(network):
    """A network's gradient does not vanish with the signal; dividing by sqrt(2e-9) led plans out of the maze."""
    x, objective = noise(8, 6, 3), goal_objective(torch.zeros(8, 2), torch.full((8,), 5), 1, (0, 1))
    shift = {}
    for top in (990, 1000):
        level = torch.full((8, 6), top)
        x0, _ = network.denoise(x, level)
        shift[top] = (guided(network, x, level, None, objective, 1.0)[0] - x0).abs().max().item()
    assert 0 < shift[1000] < 3 * shift[990]


def test_guidance_of_a_row_depends_on_that_row_alone(network):
    """The original took the mean over the batch, so that guidance weakened as the batch grew."""
    goals, horizon = noise(16, 2, seed=5), torch.randint(1, 6, (16,), generator=torch.Generator().manual_seed(6))
    x = noise(16, 6, 3)
    levels = levels_of("full_sequence", 6, 5, 1000)
    together = sample(network, x, levels, objective=goal_objective(goals, horizon, 1, (0, 1)), guidance_scale=0.3)
    others = x.clone()
    others[1:] = 10
    among = sample(network, others, levels, objective=goal_objective(goals, horizon, 1, (0, 1)), guidance_scale=0.3)
    objective = goal_objective(goals[:1], horizon[:1], 1, (0, 1))
    alone = sample(network, x[:1], levels, objective=objective, guidance_scale=0.3)
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(among[:1], alone, rtol=1e-4, atol=1e-5)


def test_objective_ignores_the_present_and_the_pads():
    tokens = noise(2, 7, 4).requires_grad_()  # two frames of two channels
    horizon = torch.tensor([3, 5])
    goal = torch.tensor([[0.5, -0.5], [1.0, 0.0]])
    (gradient,) = torch.autograd.grad(goal_objective(goal, horizon, 2, (0, 1))(tokens).sum(), tokens)
    assert (gradient[:, 0] == 0).all()
    assert (gradient[0, 4:] == 0).all()
    assert (gradient[1, 6:] == 0).all()
    assert (gradient[0, 1:4] != 0).all()
    assert (gradient[1, 1:6] != 0).all()
    shorter = tokens.detach()[:, :6].requires_grad_()
    (fewer,) = torch.autograd.grad(goal_objective(goal, horizon, 2, (0, 1))(shorter).sum(), shorter)
    assert torch.equal(fewer, gradient[:, :6])


def test_objective_reads_the_goal_channels_only_and_sums_over_frames():
    tokens = torch.zeros(1, 3, 6)  # two frames of three channels
    goal = torch.tensor([[3.0, 4.0]])
    objective = goal_objective(goal, torch.tensor([2]), 2, (2, 0))  # its x is channel 2, its y channel 0
    assert objective(tokens).item() == pytest.approx(-4 * torch.tanh(torch.tensor(2.5)).item())
    tokens[:, 1:, [2, 5]], tokens[:, 1:, [0, 3]] = 3.0, 4.0
    assert objective(tokens).item() == pytest.approx(0, abs=1e-5)
    tokens[..., [1, 4]] = 100.0
    assert objective(tokens).item() == pytest.approx(0, abs=1e-5)


def test_guidance_is_finite_at_the_goal():
    tokens = torch.ones(1, 3, 2).requires_grad_()
    (gradient,) = torch.autograd.grad(goal_objective(torch.ones(1, 2), torch.tensor([2]), 1, (0, 1))(tokens), tokens)
    assert gradient.isfinite().all()
    assert gradient.abs().max() < 1


def test_more_guidance_ends_nearer_to_the_goal(gaussian_world):
    world, goal = gaussian_world(tokens=4, levels=50), 4.0
    x = noise(500, 4, 1, dtype=torch.float64)
    levels = levels_of("full_sequence", 4, 50, 50)
    levels[:, 0] = 0
    distances = []
    for scale in (0.0, 0.5, 2.0, 5.0):
        out = sample(world, x, levels, objective=to_goal(goal, 3, rows=500), guidance_scale=scale)
        assert torch.equal(out[:, 0], x[:, 0])
        distances.append((out[:, 1:] - goal).abs().mean().item())
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.7 * distances[0]


def test_guidance_works_where_gradients_are_off(network):
    objective = goal_objective(torch.zeros(1, 2), torch.tensor([3]), 1, (0, 1))
    with torch.no_grad():
        out = sample(network, noise(1, 4, 3), levels_of("pyramid", 4, 3, 1000), objective=objective, guidance_scale=0.1)
    assert not out.requires_grad
    assert out.isfinite().all()


# --- Monte-Carlo guidance ---


def bent(tokens):
    """An objective whose gradient depends on what the future turns out to be."""
    return -(tokens[:, -3:].sum((1, 2)) - 1).square() - (tokens[:, 1] * tokens[:, -1]).sum(-1).square()


def test_one_future_is_plain_guidance(network):
    x, levels = noise(2, 8, 3), levels_of("pyramid", 8, 4, 1000)
    plain = sample(network, x, levels, objective=bent, guidance_scale=0.3, generator=torch.Generator().manual_seed(5))
    one = sample(network, x, levels, objective=bent, guidance_scale=0.3, futures=1)
    assert torch.equal(plain, one)
    four = sample(
        network, x, levels, objective=bent, guidance_scale=0.3, futures=4, generator=torch.Generator().manual_seed(5)
    )
    assert not torch.equal(plain, four)


def test_where_all_tokens_are_equally_near_there_are_no_futures_to_draw(network):
    x, levels = noise(2, 8, 3), levels_of("full_sequence", 8, 4, 1000)
    draws = torch.Generator().manual_seed(5)
    several = sample(network, x, levels, objective=bent, guidance_scale=0.3, futures=4, generator=draws)
    torch.testing.assert_close(several, sample(network, x, levels, objective=bent, guidance_scale=0.3))


def test_the_mean_of_more_futures_varies_as_one_over_their_number(network):
    levels = torch.tensor([[0, 200, 600, 700, 800, 900, 950, 1000]])
    x = noise(1, 8, 3)
    _, clean = network.denoise(x, levels)
    later = torch.arange(8)[None] > 1

    def shift(count, seed):
        """How guidance moves the noise estimate of the near token, with `count` futures besides the one at hand."""
        draws = [noise(1, 8, 3, seed=1000 * seed + n) for n in range(count)]
        _, eps = guided(network, x, levels, None, bent, 1.0, draws, later)
        return (eps - clean)[0, 1] * (1 + count)  # the sum of the gradients, of which the first is always the same

    spread = {
        count: torch.stack([shift(count, seed) for seed in range(200)]).var(0).sum() / count**2 for count in (1, 4, 16)
    }
    assert float(spread[1] / spread[4]) == pytest.approx(4, rel=0.4)
    assert float(spread[1] / spread[16]) == pytest.approx(16, rel=0.4)
    assert float(spread[1]) > 0


def test_futures_of_a_row_do_not_depend_on_the_other_rows(network):
    x, levels = noise(3, 8, 3), levels_of("pyramid", 8, 4, 1000)

    def run(rows):
        def drawn(k):
            return torch.stack([noise(8, 3, seed=100 * k + row) for row in rows])

        return sample(network, x[rows], levels, objective=bent, guidance_scale=0.3, futures=3, noise=drawn)

    together = run([0, 1, 2])
    torch.testing.assert_close(run([1]), together[1:2], rtol=1e-4, atol=1e-5)


def test_futures_leave_what_was_observed_as_it_is(network):
    """An observation may be noisier than the next tokens, or less noisy; it is neither drawn anew nor the nearest."""
    free = levels_of("pyramid", 6, 4, 1000)
    levels = torch.cat([torch.full((len(free), 2), 600), free], 1)
    x, told = noise(2, 8, 3), []

    class Watched:
        alpha_bar = network.alpha_bar

        def denoise(self, x, level, cond=None):
            told.append(x.detach().clone())
            return network.denoise(x, level, cond)

    draws = torch.Generator().manual_seed(5)
    sample(Watched(), x, levels, objective=bent, guidance_scale=0.3, futures=3, generator=draws)
    for own, *drawn in zip(told[::3], told[1::3], told[2::3], strict=True):
        nearest = 2  # in the first row all wait, then it is the least noisy
        for other in drawn:
            assert torch.equal(other[:, : nearest + 1], own[:, : nearest + 1])
    assert not torch.equal(told[3 * 1][:, 4:], told[3 * 1 + 1][:, 4:])


# --- the weight of what is given ---


def test_a_given_token_counts_as_much_as_it_is_told_to(network):
    x, level = noise(2, 8, 3), torch.full((2, 8), 600)
    given = torch.zeros(2, 8, dtype=torch.bool)
    given[:, -1] = True
    level[:, -1] = 0
    hidden, top = x.clone(), level.clone()
    hidden[:, -1], top[:, -1] = noise(2, 3, seed=9), 1000
    with_it, without = network.denoise(x, level)[0], network.denoise(hidden, top)[0]
    assert not torch.allclose(with_it[:, :-1], without[:, :-1])
    for weight in (0.0, 1.0, 2.5):
        model = Weighted(network, given, weight, hidden)
        x0, eps = model.denoise(x, level)
        torch.testing.assert_close(x0, without + weight * (with_it - without), rtol=1e-4, atol=1e-4)
        assert eps.shape == x.shape
