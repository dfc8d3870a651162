import pytest
import torch

from df_agent.policies.costs import Avoid, KeepSpeed, PassBy

WALK = torch.tensor([[[0.0, 9.0, 0.0], [1.0, 9.0, 0.0], [2.0, 9.0, 0.0], [4.0, 9.0, 0.0]]])  # x, something else, y
ALL = torch.ones(1, 4, dtype=torch.bool)
SHORT = torch.tensor([[True, True, True, False]])
XY = (0, 2)


def test_a_ball_costs_by_how_deep_a_plan_is_in_it():
    cost = Avoid((2.0, 0.5), 1.0, XY, weight=10.0)
    assert cost(WALK, ALL).tolist() == pytest.approx([5.0])  # one frame, half way to the middle
    assert Avoid((4.0, 0.0), 1.0, XY)(WALK, SHORT).tolist() == [0.0]  # what is no longer valid does not count


def test_a_place_costs_what_the_nearest_frame_lacks():
    assert PassBy((2.0, 3.0), 0.5, XY, weight=2.0)(WALK, ALL).tolist() == pytest.approx([5.0])
    assert PassBy((2.0, 3.0), 3.0, XY)(WALK, ALL).tolist() == pytest.approx([0.0], abs=1e-3)
    assert PassBy((4.0, 0.0), 0.5, XY, weight=1.0)(WALK, SHORT).tolist() == pytest.approx([1.5])


def test_speed_costs_where_it_is_exceeded():
    """Frames of ten steps, 0.1 per step: the last frame moves at twice that."""
    assert KeepSpeed(0.1, 10, XY, weight=7.0)(WALK, ALL).tolist() == pytest.approx([7.0], abs=1e-3)
    assert KeepSpeed(0.1, 10, XY)(WALK, SHORT).tolist() == pytest.approx([0.0], abs=1e-3)


@pytest.mark.parametrize("cost", [Avoid((0.1, 0.0), 1.0), PassBy((5.0, 5.0), 0.1), KeepSpeed(0.1, 1)])
def test_gradients_are_finite_even_in_the_middle_of_it(cost):
    frames = torch.zeros(2, 3, 2, requires_grad=True)
    cost(frames, torch.ones(2, 3, dtype=torch.bool)).sum().backward()
    assert torch.isfinite(frames.grad).all()


def test_what_makes_no_sense_is_named():
    with pytest.raises(ValueError, match=r"a place in channels \[0, 1\] has 2 numbers, got \[1\]"):
        Avoid((1,), 1.0)
    with pytest.raises(ValueError, match="radius must be positive"):
        Avoid((1, 1), 0.0)
    with pytest.raises(ValueError, match="positive speed"):
        KeepSpeed(0.0, 1)
