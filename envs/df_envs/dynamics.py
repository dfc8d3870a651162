"""The mazes' physics for many agents at once: what a planner that knows the true simulator rolls out.

`mujoco.rollout` cannot clip the velocity before every step, as the environment does, and steps one agent at a time.
But the agent has two degrees of freedom and frictionless contacts, so one step of MuJoCo can be written down for
arrays: a force against damping, at most three soft contacts (the two walls beside the agent and the corner between
them), and Euler's integration with implicit damping. All constants are read from the compiled model. The tests hold
it against MuJoCo itself, step by step, through contacts, to 1e-9.
"""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from df_envs.maps import metre_maze_of
from df_envs.physics import AGENT_RADIUS, MAX_SPEED, Physics

Array = NDArray[np.float64]

# Active sets that Newton's method goes through in a contact; more than three were never seen.
_NEWTON_STEPS = 8


class MazeDynamics:
    """Rolls agents out in one maze, `(N, 4)` states and `(N, H, 2)` forces to `(N, H, 4)` states.

    The same as `Physics.set_state` with each state followed by `Physics.step` with each of its forces.

    Args:
        env_id: an environment id or maze name.
    """

    def __init__(self, env_id: str) -> None:
        self.maze = metre_maze_of(env_id)
        model = Physics(self.maze).model
        body = model.body("particle").id
        self._mass, self._inverse_weight = float(model.body_mass[body]), float(model.body_invweight0[body, 0])
        self._damping, self._gear = float(model.dof_damping[0]), float(model.actuator_gear[0, 0])
        self._limit, self._dt = float(model.actuator_ctrlrange[0, 1]), float(model.opt.timestep)
        agent = model.geom("particle_geom").id
        self._margin = float(model.geom_margin[agent])
        self._impedance = tuple(float(value) for value in model.geom_solimp[agent])
        time_constant, damping_ratio = (float(value) for value in model.geom_solref[agent])
        time_constant = max(time_constant, 2 * self._dt)
        d_max = self._impedance[1]
        # MuJoCo's reference acceleration of a contact: -b * velocity - k * impedance * distance.
        self._stiffness = 1 / (d_max * time_constant * damping_ratio) ** 2
        self._drag = 2 / (d_max * time_constant)
        # Indexed by column and by row from below; a frame of walls around the map.
        free = np.array([[symbol != "#" for symbol in row] for row in self.maze.rows[::-1]]).T
        self._wall = np.pad(~free, 1, constant_values=True)
        # What the equations below assume.
        assert model.opt.integrator == mujoco.mjtIntegrator.mjINT_EULER
        assert model.geom_condim[agent] == 1

    def __call__(self, states: Array, actions: Array, /) -> Array:
        """Roll out.

        Args:
            states: (N, 4) x, y [m], vx, vy [m/s], each in a free cell.
            actions: (N, H, 2) forces, clipped to [-1, 1].

        Returns:
            (N, H, 4) the states after each action.
        """
        states, actions = np.asarray(states, dtype=np.float64), np.asarray(actions, dtype=np.float64)
        if states.ndim != 2 or states.shape[1] != 4 or actions.ndim != 3 or actions.shape[::2] != (len(states), 2):
            raise ValueError(f"Need states (N, 4) and actions (N, H, 2), got {states.shape} and {actions.shape}")
        x, y, vx, vy = np.array(states.T, order="C")
        if self._in_wall(x, y).any():
            row = int(np.flatnonzero(self._in_wall(x, y))[0])
            raise ValueError(f"state {row}, {states[row]}, lies in a wall of {self.maze.name} or outside of it")
        force = self._gear * np.clip(np.ascontiguousarray(actions.transpose(1, 2, 0)), -self._limit, self._limit)
        out = np.empty((actions.shape[1], 4, len(states)))  # each step writes whole rows
        for step, (force_x, force_y) in enumerate(force):
            vx, vy = np.clip(vx, -MAX_SPEED, MAX_SPEED), np.clip(vy, -MAX_SPEED, MAX_SPEED)
            ax, ay = (force_x - self._damping * vx) / self._mass, (force_y - self._damping * vy) / self._mass
            self._push_out(x, y, vx, vy, ax, ay)
            # The damping is implicit in the integration, not in the contacts.
            gain = self._dt * self._mass / (self._mass + self._dt * self._damping)
            vx, vy = vx + gain * ax, vy + gain * ay
            x, y = x + self._dt * vx, y + self._dt * vy
            out[step] = x, y, vx, vy
        return out.transpose(2, 0, 1)

    def _in_wall(self, x: Array, y: Array) -> NDArray[np.bool_]:
        column, row = np.floor(x + self.maze.width / 2), np.floor(y + self.maze.height / 2)
        inside = (column >= 0) & (column < self.maze.width) & (row >= 0) & (row < self.maze.height)  # False for NaN
        out = ~inside
        out[inside] = self._wall[column[inside].astype(int) + 1, row[inside].astype(int) + 1]
        return out

    def _push_out(self, x: Array, y: Array, vx: Array, vy: Array, ax: Array, ay: Array) -> None:
        """Add the contacts' part to accelerations in place; all (N,)."""
        column, row = np.floor(x + self.maze.width / 2), np.floor(y + self.maze.height / 2)
        # Where in its cell the agent is, from the centre; the walls it may touch are those on this side.
        in_x, in_y = x + self.maze.width / 2 - column - 0.5, y + self.maze.height / 2 - row - 0.5
        reach = 0.5 - AGENT_RADIUS - self._margin
        near = np.flatnonzero((np.abs(in_x) > reach) | (np.abs(in_y) > reach))
        if not len(near):
            return
        in_x, in_y = in_x[near], in_y[near]
        side_x, side_y = np.where(in_x > 0, 1, -1), np.where(in_y > 0, 1, -1)
        column, row = column[near].astype(int) + 1, row[near].astype(int) + 1
        gap_x, gap_y = 0.5 - np.abs(in_x), 0.5 - np.abs(in_y)  # to the cell's sides
        gap = np.hypot(gap_x, gap_y)
        away = np.maximum(gap, 1e-12)
        zero = np.zeros(len(near))
        walls = (
            self._wall[column + side_x, row],
            self._wall[column, row + side_y],
            self._wall[column + side_x, row + side_y],
        )
        distance = np.stack([gap_x, gap_y, gap]) - AGENT_RADIUS  # (3, n)
        touching = np.stack(walls) & (distance < self._margin)
        some = touching.any(0)
        near, distance, touching = near[some], distance[:, some], touching[:, some]
        normal_x = np.stack([-side_x + zero, zero, -side_x * gap_x / away])[:, some]
        normal_y = np.stack([zero, -side_y + zero, -side_y * gap_y / away])[:, some]
        depth = distance - self._margin
        impedance = self._impedance_at(depth)
        weight = touching * impedance / ((1 - impedance) * self._inverse_weight)
        speed = normal_x * vx[near] + normal_y * vy[near]
        reference = -self._drag * speed - self._stiffness * impedance * depth
        ax[near], ay[near] = self._resolve(ax[near], ay[near], normal_x, normal_y, weight, reference)

    def _impedance_at(self, depth: Array) -> Array:
        """MuJoCo's solimp: how hard a constraint is, from how far it is violated."""
        low, high, width, midpoint, power = self._impedance
        share = np.minimum(np.abs(depth) / width, 1.0)
        before = share**power / midpoint ** (power - 1)
        after = 1 - (1 - share) ** power / (1 - midpoint) ** (power - 1)
        return np.asarray(low + np.where(share <= midpoint, before, after) * (high - low))

    def _resolve(
        self, ax: Array, ay: Array, normal_x: Array, normal_y: Array, weight: Array, reference: Array
    ) -> tuple[Array, Array]:
        """Minimise m/2 |a - a0|^2 + 1/2 sum_i w_i min(0, n_i a - r_i)^2 over a, by Newton's method.

        MuJoCo's convex problem; contacts (3, n) that pull apart faster than their reference exert no force.
        """
        out_x, out_y = ax, ay
        active = np.zeros(weight.shape, dtype=bool)
        for _ in range(_NEWTON_STEPS):
            now = (normal_x * out_x + normal_y * out_y < reference) & (weight > 0)
            if (now == active).all():
                break
            active = now
            w = weight * active
            h_xx = self._mass + (w * normal_x * normal_x).sum(0)
            h_yy = self._mass + (w * normal_y * normal_y).sum(0)
            h_xy = (w * normal_x * normal_y).sum(0)
            g_x = self._mass * ax + (w * normal_x * reference).sum(0)
            g_y = self._mass * ay + (w * normal_y * reference).sum(0)
            det = h_xx * h_yy - h_xy * h_xy
            # Where nothing pushes, the acceleration stays as it is, to the last bit.
            pushed = active.any(0)
            out_x = np.where(pushed, (h_yy * g_x - h_xy * g_y) / det, ax)
            out_y = np.where(pushed, (h_xx * g_y - h_xy * g_x) / det, ay)
        return out_x, out_y
