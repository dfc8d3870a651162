"""What tests of environments share."""

import gymnasium as gym
import pytest
from df_envs.maps import OWN_MAZES


@pytest.fixture(autouse=True)
def _forget_own_mazes():
    """Leave no maze of one test to the next; what others registered meanwhile, as OGBench does once, stays."""
    registered = set(gym.registry)
    yield
    own = tuple(OWN_MAZES)
    OWN_MAZES.clear()
    for env_id in set(gym.registry) - registered:
        if any(name in env_id for name in own):
            del gym.registry[env_id]
