"""Pack a finished run as a checkpoint that ships: `python studies/ship.py maze2d-large`.

Takes runs/NAME/final and writes df_agent/pretrained/NAME: weights in fp16, the config, and a model card with the data
and the command. Of what acts without planning, which gets worse if it is trained for too long, it takes the weights
that did best on the validation starts. Agents of ours get the options of `df-agent train` and, on the card, the results
found in outputs/evaluate; baselines ship as they were trained.
"""

from __future__ import annotations

import argparse
import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from df_envs.ogbench_mazes import OGBENCH_IDS
from omegaconf import OmegaConf

from df_agent.checkpoint import Checkpoint, list_pretrained, load_checkpoint, save_checkpoint
from df_agent.cli.composing import configuration
from df_agent.cli.policies import is_usual
from df_agent.training.config import TrainConfig
from df_agent.training.state import best_step, saved_steps

ROOT = Path(__file__).parents[1]

CARD = """# {name}

A Diffusion Forcing planner for `{env}` and `{multi}`: {what}, {span} control steps per token, windows of
up to {tokens} tokens; {parameters:.2f} M parameters, EMA weights in fp16.

{data}
{training}
- Results{results}
"""

ROBOT_CARD = """# {name}

A Diffusion Forcing planner for `{env}`: observations and actions, {span} control steps per token, windows of up to
{tokens} tokens, {acting}; {parameters:.2f} M parameters, EMA weights in fp16.

{data}
{training}
- Results: docs/studies/fetch.md of the project.
"""

LONG_CARD = """# {name}

A Diffusion Forcing planner for OGBench's `{env}`: positions only, {span} control steps per token, windows of up to
{tokens} tokens, which a tree search pieces together; {parameters:.2f} M parameters, EMA weights in fp16.

{data}
{training}
- Results: docs/studies/long_mazes.md of the project.
"""

BASELINE_CARD = """# {name}

A baseline, {algorithm}, for `{env}` and `{multi}`; {parameters:.2f} M parameters{kept}, in fp16.

{data}
{training}
- Results: docs/studies/comparison.md of the project.
"""

VIDEO_CARD = """# {name}

A model of what a camera above `{env}` sees: an autoencoder, and Diffusion Forcing over its latents in windows of
{window} pictures, {every} control steps apart, given the actions between them; {parameters:.2f} M parameters, EMA
weights in fp16.

{data}
{training}
- Results: docs/studies/world_model.md of the project.
"""

COMPACT_CARD = """# {name}

What turns a picture of `{env}` into a vector of {latent}, and dynamics over such vectors, {every} control steps a
step; {parameters:.2f} M parameters, EMA weights in fp16.

{data}
{training}
- Results: docs/studies/world_model.md of the project.
"""

PIXELS_CARD = """# {name}

A Diffusion Forcing planner for `{env}`, over vectors of pictures that the checkpoint `{encoder}` makes: {span} pictures
per token, windows of up to {tokens} tokens; {parameters:.2f} M parameters, EMA weights in fp16.

{data}
{training}
- Results: docs/studies/world_model.md of the project.
"""
ACTING_BY = {"local_policy": "and a local policy, which acts"}
BEST = ("gcbc", "gciql")  # of these the best checkpoint ships
# What these need to act; the rest of their weights is for the losses.
ACTING = {"gciql": "actor."}


def item(text: str) -> str:
    """Return a list item, its lines broken."""
    return textwrap.fill(f"- {text}", 118, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def results(name: str) -> str:
    """Return a table of the summaries in outputs/evaluate that belong to this maze, if no option was changed."""
    how = " (`python scripts/evaluate.py env=ENV seed=SEED episodes=200 policy.precision=bf16`):\n"
    rows = [how, "| env | seed | episodes | success | time to goal | ratio to oracle |", "|---|---|---|---|---|---|"]
    for path in sorted((ROOT / "outputs" / "evaluate").glob("*-diffusion_forcing-seed[01]/summary.json")):
        s = json.loads(path.read_text())
        if s["env"].split("-")[1] == name.split("-")[1] and is_usual(s["provenance"]["config"]):
            rows.append(
                f"| {s['env']} | {s['seed']} | {s['episodes']} | {s['success_rate']:.3f} "
                f"| {s['time_to_goal']['mean']:.1f} | {s['time_ratio_to_oracle']:.3f} |"
            )
    return "\n".join(rows)


def chosen(run: Path) -> Path:
    """Return the checkpoint of a run that ships."""
    if (run / "best").is_dir():  # trained online
        return run / "best"
    algorithm = load_checkpoint(run / "final").config.get("algorithm")
    best = best_step(saved_steps(run), TrainConfig.best_metric, TrainConfig.best_mode) if algorithm in BEST else None
    return best.folder if best else run / "final"


def last_provenance(run: Path) -> dict[str, Any]:
    """Return what the run's newest checkpoint says of its making."""
    newest = sorted(run.glob("checkpoints/*/config.json"))[-1]
    return dict(json.loads(newest.read_text())["provenance"])


def training_of(run: Path) -> Path:
    """Return the run that trained the weights: another one if this one only added models beside them."""
    config = load_checkpoint(run / "final").config
    only_beside = config["provenance"]["train"].get("steps") == 0 and config["load"] not in list_pretrained()
    return training_of(Path(config["load"]).parent) if only_beside else run


def trained_beside(name: str, config: Mapping[str, Any]) -> str | None:
    """Return how it was trained, if the run added models beside a diffusion model that ships already; else None."""
    provenance, load = config["provenance"], config.get("load")
    if provenance["train"].get("steps") != 0 or load not in list_pretrained():
        return None
    card = (ROOT / "df_agent" / "pretrained" / load / "README.md").read_text()
    before = re.search(r"^- (Training: .*?)(?: Then the local policy: .*?)?(?=^- |\Z)", card, re.MULTILINE | re.DOTALL)
    told = " ".join(before.group(1).split()) if before else f"The diffusion model is that of {load}."
    return item(f"{told} Then the local policy: `{provenance['command']}`.")


def facts(name: str, checkpoint: Checkpoint, before: str = "") -> dict[str, Any]:
    """Return what the cards of offline learners say; `before` is what was trained first."""
    trained = training_of(ROOT / "runs" / name)
    beside = trained_beside(name, checkpoint.config)
    last = last_provenance(trained) if beside is None else {}
    provenance = without_machine(load_checkpoint(chosen(trained)).config)["provenance"]
    env, train, step = checkpoint.config["env"], provenance["train"], provenance.get("step")  # none in final
    best = f"; these are the weights of step {step}, the best on the validation starts"
    walker = env.startswith("maze2d-")
    steps = "one million" if walker else f"{data_steps(provenance['dataset']):,}"
    collect = f"python scripts/collect.py env={env}"
    if not walker:
        collect += f" steps={steps.replace(',', '')}{noise_option(provenance['dataset'])}"
    return {
        "name": name,
        "env": env,
        "multi": env.replace("maze2d", "multi2d"),
        "parameters": sum(w.numel() for w in checkpoint.weights.values()) / 1e6,
        "data": item(
            f"Data: {steps} steps of a scripted {'walker' if walker else 'demonstrator with noise'}, `{collect}` "
            f"(dataset `{provenance['dataset']}`)."
        ),
        "training": beside
        or item(
            f"Training: `{provenance['command']}`; {before}{train['steps']} steps of batch {train['batch_size']} in "
            f"{last['precision']}: {last['seconds'] / 60:.0f} minutes from the first to the last step, on two CPU "
            f"cores shared with other work{best if step and step < train['steps'] else ''}."
        ),
    }


def data_steps(dataset: str) -> int:
    """Return the number of steps in a dataset of Minari's."""
    import minari

    return int(minari.load_dataset(dataset).total_steps)


def noise_option(dataset: str) -> str:
    """Return the option that says a dataset's action noise, if it was not collected with the usual one."""
    import minari

    about = minari.list_local_datasets().get(dataset, {}).get("algorithm_name", "")
    noise = about.partition("action noise ")[2]
    return f" noise={noise}" if noise not in ("", "None") else ""


def online_facts(name: str, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what the card of an agent trained online says."""
    provenance, trained_in = checkpoint.config["provenance"], checkpoint.config["env"]
    curve = provenance["curve"]
    return {
        "name": name,
        "env": trained_in.replace("multi2d", "maze2d"),
        "multi": trained_in,
        "parameters": sum(w.numel() for w in checkpoint.weights.values()) / 1e6,
        "data": item(f"Data: its own {curve['steps']} steps in `{trained_in}`."),
        "training": item(
            f"Training: `{provenance['command']}`; {curve['seconds'] / 60:.0f} minutes on one CPU core until these "
            f"weights, the best on the validation starts."
        ),
    }


def baseline_card(name: str, checkpoint: Checkpoint) -> str:
    """Return the card of a baseline."""
    algorithm = checkpoint.config["algorithm"]
    online = "curve" in checkpoint.config["provenance"]
    about = online_facts(name, checkpoint) if online else facts(name, checkpoint)
    kept = " (the actor's; the critics are left out)" if algorithm in ACTING or online else ""
    return BASELINE_CARD.format(algorithm=algorithm, kept=kept + ("" if online else ", EMA weights"), **about)


def own_card(name: str, checkpoint: Checkpoint, config: dict[str, Any]) -> str:
    """Give `config` the agent's options from its training, and return the card."""
    if name == config["env"]:
        options = configuration("train", [f"env={name}"])
        asked: Any = OmegaConf.to_container(options.policy, resolve=True)
        given = {key: value for key, value in asked.items() if value is not None}
        inferred = {} if name.startswith(("maze2d-", "pointmaze-")) else config["policy"]
        config["policy"] = {**inferred, **given}
    tokens = config["tokenizer"]["config"]
    if not config["env"].startswith("maze2d-"):
        span, most = tokens["frame_skip"] * tokens["frame_stack"], config["windows"]["max_tokens"]
        card = LONG_CARD if config["env"] in OGBENCH_IDS else ROBOT_CARD
        acts = config["policy"].get("controller")
        acting = ACTING_BY.get(str(acts), "the actions executed as planned")
        return card.format(span=span, tokens=most, acting=acting, **facts(name, checkpoint))
    inverse = " and the inverse model" if config.get("inverse_dynamics") else ""
    return CARD.format(
        span=tokens["frame_skip"] * tokens["frame_stack"],
        tokens=config["windows"]["max_tokens"],
        what="positions, velocities and actions" if tokens.get("include_actions") else "positions only",
        results=results(name) if name == config["env"] else ": docs/results.md of the project.",
        **facts(name, checkpoint, f"the estimator of the time to the goal{inverse} first, then "),
    )


def pictures_card(name: str, checkpoint: Checkpoint, config: dict[str, Any]) -> str:
    """Return the card of what was trained on pictures, or on vectors of them."""
    provenance, maze = config["provenance"], config["env"].removesuffix("-pixels")
    about = {
        "name": name,
        "env": config["env"],
        "parameters": sum(w.numel() for w in checkpoint.weights.values()) / 1e6,
        "training": item(f"Training: `{provenance['command']}`."),
    }
    dataset = str(provenance["dataset"])
    if dataset.endswith(".npz"):
        about["data"] = item(f"Data: `{dataset}`, which `python scripts/train_compact.py env={maze}` leaves.")
        tokens = config["tokenizer"]["config"]
        size = {"span": tokens["frame_stack"], "tokens": config["windows"]["max_tokens"], "encoder": f"{maze}-compact"}
        return PIXELS_CARD.format(**about, **size)
    every = config["compact"]["every"] if "compact" in config else config["every"]
    steps = data_steps(dataset) * every
    collect = f"python scripts/collect.py env={maze} pixels=64 steps={steps}"
    about["data"] = item(f"Data: {steps:,} steps with a picture every {every}, `{collect}` (dataset `{dataset}`).")
    if "video" in config:
        asked = ["algorithm=video", f"env={maze}", f"method={config['video']['method']}"]
        given = configuration("train", asked)
        config["rollout"] = OmegaConf.to_container(given.rollout, resolve=True)
    if "compact" in config:
        return COMPACT_CARD.format(every=every, latent=config["autoencoder"]["latent_channels"], **about)
    return VIDEO_CARD.format(every=every, window=config["network"]["window"], **about)


def without_machine(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config with the paths of this checkout made relative to it."""
    return dict(json.loads(json.dumps(config).replace(f"{ROOT}/", "")))


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description="pack a finished run as a checkpoint that ships")
    parser.add_argument("name", help="of the run's folder in runs/ and of the checkpoint, e.g. maze2d-large")
    return parser.parse_args(arguments)


def main() -> None:
    """Pack the run named on the command line."""
    name = read_options().name
    run = ROOT / "runs" / name
    checkpoint = load_checkpoint(chosen(run))
    config: dict[str, Any] = without_machine(checkpoint.config)
    checkpoint = replace(checkpoint, config=config)
    if "algorithm" in config:
        part = ACTING.get(config["algorithm"], "")
        checkpoint = replace(checkpoint, weights={k: v for k, v in checkpoint.weights.items() if k.startswith(part)})
        card = baseline_card(name, checkpoint)
    elif "compact" in config or "video" in config or config["env"].endswith("-pixels"):
        card = pictures_card(name, checkpoint, config)
    else:
        card = own_card(name, checkpoint, config)
    folder = ROOT / "df_agent" / "pretrained" / name
    save_checkpoint(folder, checkpoint.weights, config, dtype=torch.float16, card=card)
    print(f"{folder.relative_to(ROOT)}: {(folder / 'model.safetensors').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
