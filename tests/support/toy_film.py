"""A film of a square that moves by its action over a dark ground, which the tests of video share."""

import numpy as np

from df_agent.data.clips import Clips

SIZE = 16


def toy_clips(episodes: int = 4, length: int = 12, seed: int = 0, every: int = 2) -> Clips:
    """Return clips of a square of 4 pixels; each of the `every` actions (2,) moves it by one pixel at most."""
    rng = np.random.default_rng(seed)
    frames, actions, states = [], [], []
    for _ in range(episodes):
        place = rng.uniform(4, 12, 2)
        act = rng.choice([-1.0, 1.0], 2) * 0.5
        for t in range(length):
            if rng.random() < 0.2:
                act = rng.choice([-1.0, 1.0], 2) * 0.5
            taken = np.tile(act, every) if t else np.zeros(2 * every)
            place = np.clip(place + every * 0.5 * act, 2, 14) if t else place
            frame = np.full((SIZE, SIZE, 3), 40, np.uint8)
            row, column = np.rint(place).astype(int)
            frame[row - 2 : row + 2, column - 2 : column + 2] = (40, 220, 40)
            frames.append(frame)
            actions.append(taken)
            states.append(place)
    return Clips(
        np.array(frames), np.array(actions, np.float32), np.array(states, np.float32), np.arange(episodes + 1) * length
    )
