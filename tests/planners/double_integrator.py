"""A mass on a line, and its least-squares plan in closed form."""

import numpy as np

HORIZON = 15
DT = 0.2
EFFORT = 0.1


def dynamics(states, actions):
    """States (N, 3) of position, velocity and the last action."""
    x, v = states[:, 0], states[:, 1]
    out = np.empty((len(states), actions.shape[1], 3))
    for step in range(actions.shape[1]):
        u = actions[:, step, 0]
        x, v = x + DT * v, v + DT * u
        out[:, step] = np.stack([x, v, u], axis=-1)
    return out


def residuals(states, goals):
    """What is squared and summed, (..., H, 3): off the goal, speed, effort."""
    off = states[..., 0] - goals.reshape(-1, *[1] * (states.ndim - 2))
    return np.stack([off, 0.3 * states[..., 1], np.sqrt(EFFORT) * states[..., 2]], axis=-1)


def cost(states, goals):
    return (residuals(states, goals) ** 2).sum((-1, -2))


def total(starts, actions, goals):
    return cost(dynamics(starts, actions)[:, None], goals)[:, 0]


def best_actions(starts, goals):
    """The plans (B, H, 1) of least cost: the residuals are affine in the actions, so linear least squares."""
    best = []
    for start, goal in zip(starts, goals, strict=True):
        trials = np.concatenate([np.zeros((1, HORIZON)), np.eye(HORIZON)])[..., None]
        states = dynamics(np.tile(start, (HORIZON + 1, 1)), trials)
        flat = residuals(states, np.tile(goal, (HORIZON + 1, 1))).reshape(HORIZON + 1, -1)
        best.append(np.linalg.lstsq((flat[1:] - flat[0]).T, -flat[0], rcond=None)[0])
    return np.array(best)[..., None]


def noise_of(batch):
    """Noise whose rows do not depend on how many there are."""

    def noise(iteration, shape):
        return np.stack([np.random.default_rng([row, iteration]).standard_normal(shape) for row in range(batch)])

    return noise
