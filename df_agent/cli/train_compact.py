"""Train the encoder of an agent that sees pictures: `df-agent train algorithm=compact env=maze2d-umaze`.

An encoder of one small vector per picture, and dynamics over these vectors. Leaves the data's vectors beside them, in
runs/maze2d-umaze-compact/latents.npz, on which `df-agent train env=maze2d-umaze-pixels` trains the agent.
"""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from df_agent.cli.environments import check_env
from df_agent.cli.errors import errors_in_one_line
from df_agent.world_model.compact import train_compact


def main(config: DictConfig) -> None:
    """Train as the config says."""
    with errors_in_one_line():
        check_env(config.env)
        plain: Any = OmegaConf.to_container(config, resolve=True)
        train_compact(plain)
