"""Train the online baseline: `df-agent train algorithm=sac_her env=maze2d-umaze`, or `algorithm=td3`.

Started again, it goes on where it was last saved. The learning curve is in the run's curve.jsonl and curve.png.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from omegaconf import DictConfig, OmegaConf

from df_agent.cli.environments import check_env
from df_agent.cli.errors import errors_in_one_line
from df_agent.evaluation.validation import Validation
from df_agent.files import naming
from df_agent.options import make
from df_agent.options.baselines import SACHERConfig
from df_agent.policies.learned_actors import SACHERPolicy
from df_agent.runtime import choose_device
from df_agent.training.sac_her import read_curve, train_sac_her


def plot_curve(rows: Sequence[Mapping[str, float]], path: Path, title: str) -> None:
    """Draw success and time to goal against environment steps."""
    steps = [row["steps"] for row in rows]
    figure, (above, below) = plt.subplots(2, sharex=True, figsize=(6, 5), layout="constrained")
    above.plot(steps, [row["success_rate"] for row in rows])
    above.set(ylabel="success", ylim=(-0.02, 1.02), title=title)
    below.plot(steps, [row["time_to_goal"] for row in rows])
    below.set(ylabel="mean steps to goal", xlabel="environment steps", ylim=(0, None))
    with naming(path):
        figure.savefig(path, dpi=120)
    plt.close(figure)


def main(config: DictConfig) -> None:
    """Train as the config says."""
    run_dir = Path(config.run_dir)

    def show(row: Mapping[str, float]) -> None:
        plot_curve(read_curve(run_dir), run_dir / "curve.png", f"{config.algorithm} with hindsight goals, {config.env}")
        print("  ".join(f"{key} {value:g}" for key, value in row.items()), flush=True)

    with errors_in_one_line():
        plain: Any = OmegaConf.to_container(config, resolve=True)
        check_env(plain["env"])
        choose_device(plain["training"]["device"])  # names what there is
        validate = Validation(plain["env"], **plain["validation"])
        train_sac_her(
            plain["train_env"],
            run_dir,
            make(SACHERConfig, plain["training"]),
            steps=plain["steps"],
            save_every=plain["save_every"],
            validate=lambda actor, steps: validate(SACHERPolicy(actor))[0],
            on_row=show,
        )
