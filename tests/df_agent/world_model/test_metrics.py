import numpy as np
import pytest

from df_agent.world_model.metrics import (
    carried,
    crop,
    frechet_distance,
    fvd_if_here,
    lpips_if_here,
    mse,
    position_errors,
    psnr,
    ssim,
)

RNG = np.random.default_rng(0)
TRUE = RNG.integers(0, 256, (2, 3, 24, 24, 3)).astype(np.uint8)


def test_a_perfect_prediction():
    assert (mse(TRUE, TRUE) == 0).all()
    assert np.isinf(psnr(TRUE, TRUE)).all()
    assert np.allclose(ssim(TRUE, TRUE), 1)


def test_values_by_hand():
    off = np.clip(TRUE.astype(int) + 10, 0, 255).astype(np.uint8)
    flat = np.full_like(TRUE, 100)
    assert np.allclose(mse(flat + 10, flat), 100)
    assert np.allclose(psnr(flat + 10, flat), 10 * np.log10(255**2 / 100))
    # Two even pictures: only the luminance term is left.
    c1 = (0.01 * 255) ** 2
    assert np.allclose(ssim(flat + 10, flat), (2 * 110 * 100 + c1) / (110**2 + 100**2 + c1), atol=1e-4)
    assert mse(off, TRUE).shape == (2, 3)


def test_a_frame_counts_alone():
    changed = TRUE.copy()
    changed[1, 2] = 0
    for measure in (mse, ssim):
        differs = ~np.isclose(measure(changed, TRUE), measure(TRUE, TRUE))
        assert differs.tolist() == [[False] * 3, [False, False, True]]


def test_windows_are_cut_around_their_centre_and_inside_the_picture():
    frames = np.zeros((1, 2, 24, 24, 3), np.uint8)
    frames[0, 0, 10, 12], frames[0, 1, 23, 0] = 255, 255
    cut = crop(frames, np.array([[[10, 12], [23, 0]]]), 8)
    assert cut.shape == (1, 2, 8, 8, 3)
    assert cut[0, 0, 4, 4, 0] == 255
    assert cut[0, 1, 7, 0, 0] == 255
    assert (cut > 0).sum() == 6


def test_positions_that_were_not_found_stay_unknown():
    errors = position_errors(np.array([[[0.0, 0.0], [np.nan, np.nan]]]), np.array([[[3.0, 4.0], [0.0, 0.0]]]))
    assert errors[0, 0] == 5
    assert np.isnan(errors[0, 1])


def test_a_ball_that_is_lost_is_where_it_was_last():
    lost = [np.nan, np.nan]
    found = np.array([[[1.0, 1.0], lost, lost, [2.0, 2.0]], [lost, [3.0, 3.0], lost, [4.0, 4.0]]])
    expected = [[[1, 1], [1, 1], [1, 1], [2, 2]], [[9, 8], [3, 3], [3, 3], [4, 4]]]
    assert carried(found, np.array([[7.0, 7.0], [9.0, 8.0]])).tolist() == expected
    assert np.isnan(found[0, 1]).all()


def test_value_ranges_are_asserted():
    with pytest.raises(ValueError, match="must be uint8"):
        mse(TRUE / 255.0, TRUE)
    with pytest.raises(ValueError, match=r"pictures \(B, T, H, W, C\)"):
        mse(TRUE[0], TRUE[0])


def test_frechet_distance_by_hand():
    a = RNG.normal(size=(4000, 2))
    b = RNG.normal(size=(4000, 2)) * [2.0, 1.0] + [3.0, 0.0]
    assert abs(frechet_distance(a, a)) < 1e-6
    assert abs(frechet_distance(a, b) - (9 + 1)) < 0.5  # |mean|^2 + (2 - 1)^2


def test_without_their_weights_lpips_and_fvd_say_what_to_download(tmp_path):
    assert "alexnet-owt-7be5be79.pth" in lpips_if_here(tmp_path)
    assert "i3d_torchscript.pt" in fvd_if_here(None)
    assert "i3d_torchscript.pt" in fvd_if_here(tmp_path / "none.pt")
