"""What tests of environments share."""

import gymnasium as gym
import pytest
from df_envs.maps import OWN_MAZES


@pytest.fixture(autouse=True)
def _forget_own_mazes():
    """Leave no maze of one test to the next."""
    registered = set(gym.registry)
    yield
    OWN_MAZES.clear()
    for env_id in set(gym.registry) - registered:
        del gym.registry[env_id]
