from df_planners.plan import Deadline


def overs(milliseconds, ends):
    """What it says after pieces of work that end at these seconds; it begins at 0."""
    clock = iter([0.0, *ends])
    deadline = Deadline(milliseconds, clock=lambda: next(clock))
    return [deadline.over() for _ in ends]


def test_it_is_over_when_another_piece_like_the_longest_would_end_too_late():
    assert overs(100, [0.02, 0.04, 0.06, 0.08]) == [False, False, False, False]
    assert overs(100, [0.02, 0.06, 0.07]) == [False, False, True], "0.07 + 0.04 is too late"
    assert overs(100, [0.08]) == [True]


def test_it_stays_over():
    assert overs(10, [0.02, 0.5]) == [True, True]


def test_it_knows_what_was_spent():
    clock = iter([1.0, 1.5, 3.0])
    deadline = Deadline(100, clock=lambda: next(clock))
    assert (deadline.spent(), deadline.spent()) == (0.5, 2.0)
