"""Pack a finished run as a checkpoint that ships: `python scripts/ship.py maze2d-large`.

Takes runs/NAME/final, writes df_agent/pretrained/NAME: EMA weights in fp16, the config, and a model card with the
data and the command. Agents of ours get the options of configs/train and, on the card, the results found in
outputs/evaluate; baselines ship as they were trained.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from df_agent.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

ROOT = Path(__file__).parents[1]

CARD = """# {name}

A Diffusion Forcing planner for `{name}` and `{multi}`: positions only, {span} control steps per token, windows of
up to {tokens} tokens; {parameters:.2f} M parameters, EMA weights in fp16.

- Data: one million steps of a scripted walker, `python scripts/collect.py env={name}` (dataset `{dataset}`).
- Training: `{command}`; the estimator of the time to the goal first, then {steps} steps of batch {batch} in
  {precision}: {minutes:.0f} minutes from the first to the last step, on two CPU cores shared with other work.
- Results (`python scripts/evaluate.py env=ENV seed=SEED episodes=200 policy.precision=bf16`):

{results}
"""

BASELINE_CARD = """# {name}

A baseline, {algorithm}, for `{env}` and `{multi}`; {parameters:.2f} M parameters, EMA weights in fp16.

- Data: one million steps of a scripted walker, `python scripts/collect.py env={env}` (dataset `{dataset}`).
- Training: `{command}`; {steps} steps of batch {batch} in {precision}: {minutes:.0f} minutes from the first to the
  last step, on two CPU cores shared with other work.
- Results: the comparison in the project's README.
"""


def results(name: str) -> str:
    """Return a table of the summaries in outputs/evaluate that belong to this maze."""
    rows = ["| env | seed | episodes | success | time to goal | ratio to oracle |", "|---|---|---|---|---|---|"]
    for path in sorted((ROOT / "outputs" / "evaluate").glob("*-diffusion_forcing-seed[01]/summary.json")):
        s = json.loads(path.read_text())
        if s["env"].split("-")[1] == name.split("-")[1]:
            rows.append(
                f"| {s['env']} | {s['seed']} | {s['episodes']} | {s['success_rate']:.3f} "
                f"| {s['time_to_goal']['mean']:.1f} | {s['time_ratio_to_oracle']:.3f} |"
            )
    return "\n".join(rows)


def last_provenance(run: Path) -> dict[str, Any]:
    """Return what the run's newest checkpoint says of its making."""
    newest = sorted(run.glob("checkpoints/*/config.json"))[-1]
    return dict(json.loads(newest.read_text())["provenance"])


def facts(name: str, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what every card says."""
    provenance, last = checkpoint.config["provenance"], last_provenance(ROOT / "runs" / name)
    env = checkpoint.config["env"]
    return {
        "name": name,
        "env": env,
        "multi": env.replace("maze2d", "multi2d"),
        "parameters": sum(w.numel() for w in checkpoint.weights.values()) / 1e6,
        "dataset": provenance["dataset"],
        "command": provenance["command"],
        "precision": last["precision"],
        "steps": provenance["train"]["steps"],
        "batch": provenance["train"]["batch_size"],
        "minutes": last["seconds"] / 60,
    }


def own_card(name: str, checkpoint: Checkpoint, config: dict[str, Any]) -> str:
    """Give `config` the agent's options from configs/train, and return the card."""
    if name == config["env"]:
        options = OmegaConf.load(ROOT / "configs" / "train" / "env" / f"{name}.yaml")
        config["policy"] = OmegaConf.to_container(options.policy, resolve=True)
    tokens = config["tokenizer"]["config"]
    return CARD.format(
        span=tokens["frame_skip"] * tokens["frame_stack"],
        tokens=config["windows"]["max_tokens"],
        results=results(name) if name == config["env"] else "the comparison in the project's README.",
        **facts(name, checkpoint),
    )


def main() -> None:
    """Pack the run named on the command line."""
    parser = argparse.ArgumentParser(description="pack a finished run as a checkpoint that ships")
    parser.add_argument("name", help="of the run's folder in runs/ and of the checkpoint, e.g. maze2d-large")
    name = parser.parse_args().name
    checkpoint = load_checkpoint(ROOT / "runs" / name / "final")
    config: dict[str, Any] = dict(checkpoint.config)
    if "algorithm" in config:
        card = BASELINE_CARD.format(algorithm=config["algorithm"], **facts(name, checkpoint))
    else:
        card = own_card(name, checkpoint, config)
    folder = ROOT / "df_agent" / "pretrained" / name
    save_checkpoint(folder, checkpoint.weights, config, dtype=torch.float16, card=card)
    print(f"{folder.relative_to(ROOT)}: {(folder / 'model.safetensors').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
