"""Data of another environment is refused before anything is trained on it."""

import df_envs  # noqa: F401 - registers the mazes with gymnasium
import numpy as np
import pytest

from df_agent.data.env_spec import check_fits
from df_agent.data.episodes import from_segments


def episodes(observed=4, acted=2, scale=1.0):
    draw = np.random.default_rng(0)
    part = {
        "observations": draw.normal(size=(101, observed)),
        "actions": scale * draw.uniform(-1, 1, (100, acted)),
        "rewards": np.zeros(100),
    }
    return from_segments([part])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"observed": 3}, "observations have 3 values, those of maze2d-umaze have 4"),
        ({"acted": 1}, "actions have 1 values, those of maze2d-umaze have 2"),
        ({"scale": 60.0}, "lie far beyond the bounds of maze2d-umaze, -1 to 1"),
    ],
)
def test_data_of_another_environment_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        check_fits("maze2d-umaze", episodes(**given))


@pytest.mark.parametrize("scale", [0.01, 1.0, 2.0])
def test_data_of_the_environment_may_be_noisy(scale):
    check_fits("maze2d-umaze", episodes(scale=scale))
