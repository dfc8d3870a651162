import numpy as np
import pytest

from df_agent.diffusion.scheduling_matrix import MATRICES, scheduling_matrix, to_levels

SHAPES = [(1, 1), (1, 7), (2, 3), (5, 4), (8, 10), (61, 50)]


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize(("tokens", "steps"), SHAPES)
@pytest.mark.parametrize("uncertainty", [0.0, 0.3, 1.0, 2.5])
def test_every_token_goes_from_noise_to_clean_and_never_back(name, tokens, steps, uncertainty):
    matrix = scheduling_matrix(name, tokens, steps, uncertainty)
    assert matrix.dtype == np.int64
    assert (matrix[0] == steps).all()
    assert (matrix[-1] == 0).all()
    assert np.isin(np.diff(matrix, axis=0), (0, -1)).all()
    assert (matrix[-2] > 0).any()  # no row for nothing at the end


# The sizes which the original prints for its mazes (60 and 80 tokens, 50 steps).
@pytest.mark.parametrize(
    ("name", "tokens", "shape"),
    [
        ("full_sequence", 60, (51, 60)),
        ("pyramid", 60, (110, 60)),
        ("pyramid", 80, (130, 80)),
        ("autoregressive", 60, (3001, 60)),
        ("trapezoid", 60, (80, 60)),
        ("trapezoid", 61, (81, 61)),
    ],
)
def test_golden_shapes(name, tokens, shape):
    assert scheduling_matrix(name, tokens, 50).shape == shape


def test_small_matrices_written_out():
    assert scheduling_matrix("pyramid", 3, 2).tolist() == [[2, 2, 2], [1, 2, 2], [0, 1, 2], [0, 0, 1], [0, 0, 0]]
    assert scheduling_matrix("trapezoid", 4, 2).tolist() == [[2, 2, 2, 2], [1, 2, 2, 1], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert scheduling_matrix("pyramid", 3, 1, 0.5).tolist() == [[1, 1, 1], [0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize(("tokens", "steps"), SHAPES)
def test_a_pyramid_without_uncertainty_is_ordinary_diffusion(tokens, steps):
    flat = scheduling_matrix("pyramid", tokens, steps, 0)
    assert np.array_equal(flat, scheduling_matrix("full_sequence", tokens, steps))
    assert (flat == flat[:, :1]).all()


@pytest.mark.parametrize(("tokens", "steps"), SHAPES)
def test_autoregression_starts_a_token_only_when_its_predecessor_is_clean(tokens, steps):
    matrix = scheduling_matrix("autoregressive", tokens, steps)
    assert np.array_equal(matrix, scheduling_matrix("pyramid", tokens, steps, steps))
    started = matrix[:, 1:] < steps
    assert (matrix[:, :-1][started] == 0).all()
    assert len(matrix) == tokens * steps + 1


@pytest.mark.parametrize("tokens", [1, 2, 3, 4, 7, 10, 60, 61])
@pytest.mark.parametrize("uncertainty", [0.5, 1.0, 3.0])
def test_trapezoid_is_symmetric_in_time_for_odd_and_even_lengths(tokens, uncertainty):
    matrix = scheduling_matrix("trapezoid", tokens, 5, uncertainty)
    assert np.array_equal(matrix, matrix[:, ::-1])
    half = matrix[:, : (tokens + 1) // 2]
    assert (np.diff(half, axis=1) >= 0).all()  # the ends lead


@pytest.mark.parametrize(("steps", "levels"), [(1, 2), (5, 1000), (50, 1000), (7, 10), (1000, 1000)])
def test_level_map_hits_both_ends_and_falls_strictly(steps, levels):
    column = to_levels(scheduling_matrix("full_sequence", 1, steps), steps, levels)[:, 0]
    assert column[0] == levels
    assert column[-1] == 0
    assert (np.diff(column) < 0).all()
    assert np.ptp(np.diff(column)) <= 1  # even, up to rounding


def test_level_map_of_fifty_steps():
    column = to_levels(scheduling_matrix("full_sequence", 1, 50), 50, 1000)[:, 0]
    assert column.tolist() == list(range(1000, -1, -20))


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"'pyramids'.*did you mean 'pyramid'"):
        scheduling_matrix("pyramids", 3, 3)
    for tokens, steps, uncertainty in [(0, 3, 1), (3, 0, 1), (3, 3, -1)]:
        with pytest.raises(ValueError, match=f"tokens={tokens}, steps={steps}, uncertainty={uncertainty}"):
            scheduling_matrix("pyramid", tokens, steps, uncertainty)
    with pytest.raises(ValueError, match="11 sampling steps on a schedule of 10 levels"):
        to_levels(scheduling_matrix("pyramid", 2, 11), 11, 10)


@pytest.mark.parametrize("held", [0.0, 0.25, 0.5, 1.0])
def test_the_near_part_is_clean_before_the_future_leaves_the_level_it_is_held_at(held):
    matrix = scheduling_matrix("near_first", 6, 8, held, near=2)
    done = np.flatnonzero(matrix[:, 0] == 0)[0]
    assert done == 8
    assert (matrix[done, 2:] == np.ceil(held * 8)).all()
    assert (matrix[:done, 2:] >= np.ceil(held * 8)).all()
    assert (matrix[:, 0] == matrix[:, 1]).all()
    assert len(matrix) == 9 + np.ceil(held * 8)
    if held == 0:
        assert np.array_equal(matrix, scheduling_matrix("full_sequence", 6, 8))


def test_half_of_the_tokens_are_near_unless_told_otherwise():
    matrix = scheduling_matrix("near_first", 5, 4, 1.0)
    assert matrix[4].tolist() == [0, 0, 0, 4, 4]
    assert np.array_equal(
        scheduling_matrix("near_first", 5, 4, 1.0, near=9), scheduling_matrix("near_first", 5, 4, 3.0, 9)
    )
