"""What stands on a command line: key=value, and in a line what other ways to say it are called here."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

# What Diffusion Forcing v1.5 calls it -> what it is called here. A name that ends with a dot stands for all below it.
V15 = {
    "experiment.tasks": "the tasks are commands here: `df-agent train`, `df-agent evaluate`; or all in one, "
    "`df-agent run tasks=[collect,train,evaluate]`",
    "experiment.training.": "it is called train. here, e.g. train.batch_size=64",
    "experiment.validation.": "it is called validation. here, e.g. validation.episodes=32",
    "experiment": "which experiment it is follows from the command: `df-agent train`, `df-agent evaluate`",
    "experiment.": "which experiment it is follows from the command: `df-agent train`, `df-agent evaluate`",
    "algorithm.guidance_scale": "it is policy.goal_guidance.guidance_scale here, with policy.planner=goal_guidance",
    "algorithm.open_loop_horizon": "it is called policy.open_loop_horizon here",
    "algorithm.frame_stack": "it is called tokenizer.frame_stack here, in `df-agent train`",
    "algorithm.": "options of the model are network. and diffusion. of `df-agent train`, those of planning policy.",
    "algorithm": "what acts is called policy= here, e.g. policy=diffusion_forcing; what is trained is method= or "
    "algorithm= of `df-agent train`",
    "dataset": "what is evaluated is called env= here, e.g. env=maze2d-medium",
    "dataset.": "the environment is env= here, and dataset= of `df-agent train` its data",
    "load": "weights are given by checkpoint= here: a name, a folder or a Hub id",
    "resume": "there is no resume= here: a run with the same run_dir= goes on where it stopped, by itself",
    "name": "runs are named by their folder here: run_dir= of `df-agent train`, output_dir= of `df-agent evaluate`",
    "wandb.": "Weights & Biases is tracker=wandb here",
    "wandb": "Weights & Biases is tracker=wandb here",
}
V15_ALGORITHMS = {
    "df_planning": "is method=diffusion_forcing here, which is what is trained without it",
    "df_video": "is algorithm=video here",
    "df_prediction": "is algorithm=video here, or method=causal of the agent",
}
V15_DATASETS = ("maze2d_umaze", "maze2d_medium", "maze2d_large", "video_minecraft", "video_dmlab")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a sentence that names what was probably meant; nothing if nothing is near."""
    close = get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def check_several(key: str, text: str) -> None:
    """Raise ValueError for several values where one is meant, with what asks for a job each."""
    if "," in text:
        raise ValueError(f"{key}={text} are several values; with -m each is a job of its own")


def value_of(arguments: Sequence[str], key: str) -> str | None:
    """Return the value of the last `key=value`; None if there is none."""
    values = [argument.partition("=")[2] for argument in arguments if argument.partition("=")[0] == key]
    return values[-1] if values else None


def in_one_syntax(arguments: Sequence[str], positional: Sequence[str] = ()) -> list[str]:
    """Return the arguments as key=value.

    A plus before a key, which Hydra asks for now and then and nothing here does, is dropped. Words alone are the values
    of `positional`, in order; the last of these takes all that is left.

    Raises:
        ValueError: one that is said in another way, with how it is said here.
    """
    out: list[str] = []
    words: list[str] = []
    for index, argument in enumerate(arguments):
        key, equals, value = argument.partition("=")
        if key.startswith("-"):
            following = arguments[index + 1] if index + 1 < len(arguments) and not equals else value
            here = f"{key.lstrip('-').replace('-', '_')}={following or 'VALUE'}"
            raise ValueError(f"{argument} is written {here} here; --help shows all options")
        if key.startswith("~"):
            raise ValueError(f"{argument}: nothing is deleted here; {key.lstrip('~')}=null takes an option away")
        if equals:
            if key.startswith("+"):
                print(f"{argument}: no + is needed", file=sys.stderr)
            out.append(argument.lstrip("+"))
        elif len(words) < len(positional) or (positional and len(positional) == 1):
            words.append(argument)
        else:
            raise ValueError(f"{argument!r} is no option: options are written key=value, without spaces around the =")
    if words and len(positional) == 1:
        return [f"{positional[0]}={words[0] if len(words) == 1 else '[' + ','.join(words) + ']'}", *out]
    return [*(f"{key}={word}" for key, word in zip(positional, words, strict=False)), *out]


def without_algorithm(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return what the user says without `algorithm=`, which has chosen the command."""
    return [(key, text) for key, text in pairs if key != "algorithm"]


def as_sb3_has_it(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return what the user says with the algorithm as Stable-Baselines3 calls it."""
    return [(key, text.removesuffix("_her") if key == "algorithm" else text) for key, text in pairs]


def called_here(key: str) -> str | None:
    """Return what an option of v1.5's is called here, as a sentence; None for other names."""
    if key in V15:
        return V15[key]
    above = [name for name in V15 if name.endswith(".") and key.startswith(name)]
    return V15[max(above, key=len)] if above else None


def check_v15_training(arguments: Sequence[str]) -> None:
    """Raise ValueError, with what it is called here, for algorithms and datasets of v1.5."""
    algorithm, dataset = value_of(arguments, "algorithm"), value_of(arguments, "dataset")
    if algorithm in V15_ALGORITHMS:
        raise ValueError(f"algorithm={algorithm} {V15_ALGORITHMS[algorithm]}")
    if dataset in V15_DATASETS:
        env = dataset.removeprefix("video_").replace("_", "-")
        here = f"algorithm=video data={env}" if dataset.startswith("video_") else f"env={env}"
        raise ValueError(f"dataset={dataset} is {here} here")
