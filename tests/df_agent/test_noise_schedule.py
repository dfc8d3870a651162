import pytest
import torch

from df_agent.diffusion.noise_schedule import (
    SCHEDULES,
    add_noise,
    alpha_bar_table,
    check_prediction_type,
    fused_snr_weight,
    min_snr_weight,
    target,
    to_x0_eps,
)

PREDICTION_TYPES = ("x0", "eps", "v")


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("levels", [2, 10, 50, 1000])
@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_signal_falls_from_one_at_every_level(name, levels, zero_terminal_snr):
    table = alpha_bar_table(name, levels, zero_terminal_snr)
    assert table.shape == (levels + 1,)
    assert table.dtype == torch.float32
    assert table[0] == 1
    assert (table.diff() < 0).all()
    assert table[-1] == 0 if zero_terminal_snr else table[-1] > 0


# What the tables of the original implementation hold at level 999 of its 0..999.
@pytest.mark.parametrize(("name", "top"), [("linear", 4.04e-5), ("sigmoid", 3.0e-7), ("cosine", 2.4e-9)])
def test_signal_left_at_the_top_level(name, top):
    assert alpha_bar_table(name)[-1].item() == pytest.approx(top, rel=0.03)


def test_linear_schedule_against_a_plain_loop():
    signal = 1.0
    for i in range(1000):
        signal *= 1 - (1e-4 + (0.02 - 1e-4) * i / 999)
        if i + 1 in (1, 500, 1000):
            assert alpha_bar_table("linear")[i + 1].item() == pytest.approx(signal, rel=1e-5)


def test_cosine_schedule_follows_its_curve_where_beta_is_not_clipped():
    t = torch.arange(0, 991, dtype=torch.float64) / 1000
    curve = torch.cos((t + 0.008) / 1.008 * torch.pi / 2) ** 2
    torch.testing.assert_close(alpha_bar_table("cosine")[:991].double(), curve / curve[0], rtol=1e-5, atol=0)


def test_zero_terminal_snr_keeps_the_first_level():
    plain, shifted = alpha_bar_table("linear"), alpha_bar_table("linear", zero_terminal_snr=True)
    assert shifted[1].item() == pytest.approx(plain[1].item(), rel=1e-6)


def test_unknown_names_are_answered_with_what_there_is():
    with pytest.raises(ValueError, match=r"'cosin'.*'cosine', 'linear', 'sigmoid'.*mean 'cosine'"):
        alpha_bar_table("cosin")
    with pytest.raises(ValueError, match="at least 2 levels, got 1"):
        alpha_bar_table("linear", 1)
    with pytest.raises(ValueError, match=r"'epsilon', available: \['eps', 'v', 'x0'\]"):
        check_prediction_type("epsilon")


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_perfect_output_gives_back_data_and_noise(prediction_type, name):
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 1, 999, 3, generator=generator, dtype=torch.float64)
    alpha_bar = alpha_bar_table(name).double()[1:1000][None]  # (1, 999), neither clean nor the top
    x = add_noise(x0, eps, alpha_bar)
    got_x0, got_eps = to_x0_eps(prediction_type, target(prediction_type, x0, eps, alpha_bar), x, alpha_bar)
    torch.testing.assert_close(got_x0, x0)
    torch.testing.assert_close(got_eps, eps)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_clean_tokens_and_tokens_without_signal_stay_finite(prediction_type):
    x0, eps = torch.randn(2, 1, 2, 3, generator=torch.Generator().manual_seed(0))
    alpha_bar = torch.tensor([[1.0, 0.0]])
    x = add_noise(x0, eps, alpha_bar)
    assert torch.equal(x[:, 0], x0[:, 0])
    assert torch.equal(x[:, 1], eps[:, 1])
    for estimate in to_x0_eps(prediction_type, target(prediction_type, x0, eps, alpha_bar), x, alpha_bar):
        assert estimate.isfinite().all()


def test_velocity_holds_both_ends_even_there():
    x0, eps = torch.randn(2, 1, 2, 3, generator=torch.Generator().manual_seed(0))
    alpha_bar = torch.tensor([[1.0, 0.0]])
    x = add_noise(x0, eps, alpha_bar)
    got_x0, got_eps = to_x0_eps("v", target("v", x0, eps, alpha_bar), x, alpha_bar)
    torch.testing.assert_close(got_x0, x0)
    torch.testing.assert_close(got_eps, eps)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_min_snr_weights_are_the_same_loss_on_x0(prediction_type):
    """Hang et al.: min(snr, 5) on the error of x0, whatever the network predicts."""
    alpha_bar = torch.tensor([[0.01, 0.3, 0.5, 0.9, 0.999]], dtype=torch.float64)
    x0, eps, error = torch.randn(3, 1, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = add_noise(x0, eps, alpha_bar)
    output = target(prediction_type, x0, eps, alpha_bar) + error
    off = (to_x0_eps(prediction_type, output, x, alpha_bar)[0] - x0).square().mean(-1)
    snr = alpha_bar / (1 - alpha_bar)
    weighted = min_snr_weight(prediction_type, alpha_bar) * error.square().mean(-1)
    torch.testing.assert_close(weighted, snr.clamp_max(5) * off)


def test_min_snr_table():
    snr = torch.tensor([[0.25, 1.0, 5.0, 20.0]], dtype=torch.float64)
    alpha_bar = snr / (1 + snr)
    expected = {"x0": [0.25, 1, 5, 5], "eps": [1, 1, 1, 0.25], "v": [0.2, 0.5, 5 / 6, 5 / 21]}
    for prediction_type, weights in expected.items():
        torch.testing.assert_close(min_snr_weight(prediction_type, alpha_bar), torch.tensor([weights]).double())


@pytest.mark.parametrize("name", SCHEDULES)
def test_noise_prediction_weighs_one_as_the_signal_vanishes(name):
    top = alpha_bar_table(name, zero_terminal_snr=name == "linear")[None, -1:]
    assert min_snr_weight("eps", top).item() == pytest.approx(1)
    assert fused_snr_weight("eps", top, decay=0.9).item() == pytest.approx(1)


def test_fused_snr_by_hand_for_three_tokens():
    """snr (2, 10, 1), clip 5, decay 0.5, worked out with a pencil.

    share n = snr/5 = .4, 2, .2; clipped c = .4, 1, .2
    memory before each token: 0, .4, .5*.4 + .5*1 = .7; times the decay: 0, .2, .35
    F = 1 - (1 - m)(1 - n) = .4, 1.8, .48;  clipped the same with c: .4, 1, .48
    """
    snr = torch.tensor([[2.0, 10.0, 1.0]], dtype=torch.float64)
    alpha_bar = snr / (1 + snr)
    expected = {"x0": [2, 5, 2.4], "eps": [1, 1 / 1.8, 1], "v": [2 / 3, 0.5, 2.4 / 3.4]}
    for prediction_type, weights in expected.items():
        got = fused_snr_weight(prediction_type, alpha_bar, decay=0.5)
        torch.testing.assert_close(got, torch.tensor([weights], dtype=torch.float64), rtol=1e-6, atol=0)


def test_fused_snr_in_both_directions_is_the_mean_of_the_two():
    snr = torch.tensor([[2.0, 10.0, 1.0]], dtype=torch.float64)
    alpha_bar = snr / (1 + snr)
    forward = fused_snr_weight("x0", alpha_bar, decay=0.5)
    backward = fused_snr_weight("x0", alpha_bar.flip(1), decay=0.5).flip(1)
    both = fused_snr_weight("x0", alpha_bar, decay=0.5, bidirectional=True)
    torch.testing.assert_close(both, (forward + backward) / 2)
    assert not torch.allclose(forward, backward)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_fused_snr_without_memory_is_min_snr(prediction_type, bidirectional):
    level = torch.randint(0, 1001, (8, 6), generator=torch.Generator().manual_seed(0))
    alpha_bar = alpha_bar_table("cosine")[level]
    fused = fused_snr_weight(prediction_type, alpha_bar, decay=1e-9, bidirectional=bidirectional)
    torch.testing.assert_close(fused, min_snr_weight(prediction_type, alpha_bar), rtol=1e-4, atol=1e-6)


def test_a_clean_past_makes_a_noisy_token_count():
    noisy = torch.full((1, 4), 0.01)
    behind_clean = noisy.clone()
    behind_clean[:, :3] = 0.99
    alone = fused_snr_weight("x0", noisy, decay=0.9)[0, 3]
    assert fused_snr_weight("x0", behind_clean, decay=0.9)[0, 3] > 5 * alone


def test_a_signal_scale_shifts_the_ratio_of_signal_to_noise_and_no_more():
    plain = alpha_bar_table("cosine", 100).double()
    shifted = alpha_bar_table("cosine", 100, signal_scale=3.0).double()
    assert shifted[0] == 1
    ratio = (shifted / (1 - shifted))[1:] / (plain / (1 - plain))[1:]
    assert ratio.numpy() == pytest.approx(9.0, rel=1e-3)
    assert (alpha_bar_table("cosine", 100, signal_scale=1.0) - plain).abs().max() < 1e-7
    for scale in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="signal_scale"):
            alpha_bar_table("cosine", 100, signal_scale=scale)


def test_where_tokens_look_back_at_another_copy_its_noise_counts_and_not_their_own():
    """With shares s of the past all 1, the memory behind the first token is 1, and .5 after decay; of the first 0.

    snr 1, clip 5: F = .2 for the first, and 1 - .5 * .8 = .6 for the others; times the clip: 1, 3, 3.
    """
    noisy = torch.full((1, 3), 0.5, dtype=torch.float64)
    clean = torch.full((1, 3), 5 / 6, dtype=torch.float64)
    got = fused_snr_weight("x0", noisy, decay=0.5, past=clean)
    torch.testing.assert_close(got, torch.tensor([[1.0, 3.0, 3.0]], dtype=torch.float64))
    torch.testing.assert_close(fused_snr_weight("v", noisy, 0.5, past=noisy), fused_snr_weight("v", noisy, 0.5))
    before = noisy.clone()
    before[:, 2] = 0.99  # the last token looks back at none of it
    other = fused_snr_weight("x0", noisy, decay=0.5, past=before)
    torch.testing.assert_close(other, fused_snr_weight("x0", noisy, decay=0.5))
