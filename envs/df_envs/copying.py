"""Copies of environments that other packages simulate, with the state they are in.

Gymnasium's own mark for environments that pickle, `EzPickle`, makes them anew from their constructor's arguments: where
they stand is forgotten, and classes that were made inside a function cannot be pickled at all.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import gymnasium as gym

DRAWN_WITH = ("mujoco_renderer", "custom_renderer", "custom_camera")  # windows and buffers: a copy has its own


class CopiedWithState(gym.Wrapper[dict[str, Any], Any, Any, Any]):
    """A wrapper whose copies, by `copy.deepcopy` or pickle, hold the wrapped environment's state too.

    The copy's environment is made by gymnasium, from the wrapped one's specification, and put into its state.

    Args:
        env: made by `gymnasium.make`, if it is to be copied.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._made_by = env.spec  # later it is that of the whole, if `gymnasium.make` made this wrapper too

    def __getstate__(self) -> dict[str, Any]:
        own = dict(vars(self))
        env = own.pop("env")
        if self._made_by is None:
            raise TypeError(f"{env} cannot be copied: gymnasium.make did not make it, and cannot make it again")
        return {"own": own, "layers": [(type(layer).__name__, _state(layer)) for layer in _layers(env)]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        env = gym.make(state["own"]["_made_by"])
        made, known = _layers(env), state["layers"]
        if [type(layer).__name__ for layer in made] != [name for name, _ in known]:
            raise TypeError(
                f"{env} cannot be copied: it is wrapped in {', '.join(name for name, _ in known)}, and gymnasium.make "
                f"wraps it in {', '.join(type(layer).__name__ for layer in made)}"
            )
        for layer, (_, held) in zip(made, known, strict=True):
            vars(layer).update(held)
            if (renderer := vars(layer).get("mujoco_renderer")) is not None:
                renderer.model, renderer.data = held["model"], held["data"]
        vars(self).update(state["own"], env=env)


def _layers(env: gym.Env[Any, Any]) -> list[gym.Env[Any, Any]]:
    """Return an environment's wrappers, the outermost first, and itself."""
    layers = [env]
    while isinstance(layers[-1], gym.Wrapper):
        layers.append(layers[-1].env)
    return layers


def _state(layer: gym.Env[Any, Any]) -> dict[str, Any]:
    """Return what a wrapper or an environment holds, but for what cannot be copied and is made again."""
    return {
        name: value
        for name, value in vars(layer).items()
        if name not in ("env", *DRAWN_WITH) and not isinstance(value, ModuleType)
    }
