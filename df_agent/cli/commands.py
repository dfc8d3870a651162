"""The commands there are: where the main of each lies, what it can be told, and which files it may name.

Nothing here imports what the commands run, so that the list is there at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from df_agent.cli.arguments import check_several, check_v15_training, nearest, value_of

CHECKS = "df_agent.cli.checking:"


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        about: in a line.
        module: whose `main(config)` runs it.
        options: "module:Class", the dataclass of its options.
        groups: name of a folder of files -> what its files are; one is chosen by NAME=FILE.
        defaults: files taken unless told otherwise, group -> file. They come in this order, after the options.
        folder: where the groups lie in df_configs.
        positional: options whose values may be given alone, in this order.
        example: what it is told, in the usage.
        understood: "module:function", which turns what the user says into what the files and options of the command are
            called; in a module without torch and simulators, as all that is looked at before these are imported.
        check: "module:function" of the configuration, which raises ValueError for what it asks for and there is not.
        writes: options that say where results go; where these have no default, `written(config)` of the module does.
    """

    about: str
    module: str
    options: str
    groups: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""
    positional: Sequence[str] = ()
    example: str = ""
    understood: str = ""
    check: str = CHECKS + "check_names"
    writes: Sequence[str] = ()

    @property
    def options_class(self) -> type[Any]:
        """The dataclass of its options."""
        found: type[Any] = named(self.options)
        return found


def named(name: str) -> Any:
    """Return what "module:name" names."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


_ACTING, _WATCHING, _TRAINING, _PICTURES, _BASELINES = (
    f"df_agent.cli.options.{name}:" for name in ("acting", "watching", "training", "pictures", "baselines")
)
_POLICY_FILES = "df_agent.cli.policy_files:understood"
_WITHOUT_ALGORITHM = "df_agent.cli.arguments:without_algorithm"
POLICY = {"policy": "what acts, or module:Class of your own; without it, in environments of pictures it is pixels"}

COMMANDS = {
    "evaluate": Command(
        "run a policy in an environment and report how well it did",
        "df_agent.cli.evaluate",
        _ACTING + "EvaluateOptions",
        POLICY,
        {"policy": "diffusion_forcing"},
        understood=_POLICY_FILES,
        example="env=maze2d-large policy=diffusion_forcing episodes=100",
        writes=("output_dir",),
    ),
    "train": Command(
        "train the agent, a baseline or a video model; started again, it goes on where it stopped",
        "df_agent.cli.train",
        _TRAINING + "TrainOptions",
        {
            "env": "gymnasium id, e.g. maze2d-large; one without settings of its own gets them from its data",
            "method": "which variant of the agent is trained",
        },
        {"env": "maze2d", "method": "diffusion_forcing"},
        "train",
        example="env=maze2d-large [algorithm=gcbc]",
        understood="df_agent.cli.train_files:understood",
        writes=("run_dir",),
    ),
    "collect": Command(
        "record a policy as a dataset",
        "df_agent.cli.collect",
        _ACTING + "CollectOptions",
        check=CHECKS + "check_collecting",
        example="env=maze2d-large steps=100000",
        writes=("dataset",),
    ),
    "compare": Command(
        "run policies on the same starts and write one report about them",
        "df_agent.cli.compare",
        _ACTING + "CompareOptions",
        check="df_agent.cli.compare_options:check_options",
        example="env=maze2d-large policies=diffusion_forcing,diffuser",
        writes=("output_dir",),
    ),
    "tune": Command(
        "try settings of a policy on validation starts",
        "df_agent.cli.tune",
        _ACTING + "TuneOptions",
        POLICY,
        {"policy": "diffusion_forcing"},
        understood=_POLICY_FILES,
        check=CHECKS + "check_tuning",
        example="env=maze2d-large policy=cem 'grid={options.horizon: [20, 40]}'",
    ),
    "list": Command(
        "list environments, policies, checkpoints and datasets",
        "df_agent.cli.list",
        _ACTING + "ListOptions",
        positional=("what",),
        example="[environments|policies|checkpoints|datasets]",
    ),
    "run": Command(
        "collect, train and evaluate, one after the other",
        "df_agent.cli.run",
        _ACTING + "RunOptions",
        understood="df_agent.cli.run:understood",
        check="df_agent.cli.run:planned",
        example="env=maze2d-medium tasks=collect,train,evaluate",
        writes=("collect.dataset", "train.run_dir"),
    ),
    "predict-video": Command(
        "a video model's prediction beside the truth",
        "df_agent.cli.predict_video",
        _WATCHING + "PredictVideoOptions",
        example="env=maze2d-medium",
        writes=("output",),
    ),
    "evaluate-video": Command(
        "measure how good video models are",
        "df_agent.cli.evaluate_video",
        _WATCHING + "EvaluateVideoOptions",
        positional=("env",),
        example="env=maze2d-medium",
        writes=("output", "picture"),
    ),
    "convert": Command(
        "use weights that Diffusion Forcing v1.5 released",
        "df_agent.cli.convert",
        _WATCHING + "ConvertOptions",
        positional=("weights", "env"),
        example="weights=maze2d_medium_x.ckpt env=maze2d-medium",
        writes=("output",),
    ),
    "fetch-teco": Command(
        "download TECO's clips of DMLab or Minecraft",
        "df_agent.cli.fetch_teco",
        _WATCHING + "FetchTecoOptions",
        positional=("name",),
        example="name=dmlab",
    ),
}


def _baseline(about: str, options: str, algorithm: str) -> Command:
    """Return the training of a baseline that learns from data."""
    example = f"algorithm={algorithm} env={'pointmaze-giant-stitch' if 'long' in algorithm else 'maze2d-large'}"
    return Command(
        about,
        "df_agent.cli.train_baseline",
        _BASELINES + options,
        example=example,
        understood=_WITHOUT_ALGORITHM,
        writes=("run_dir",),
    )


_ONLINE = Command(
    "train Stable-Baselines3's SAC or TD3 with goals in hindsight",
    "df_agent.cli.train_sac_her",
    _BASELINES + "SACHEROptions",
    example="algorithm=sac_her env=maze2d-umaze",
    understood="df_agent.cli.arguments:as_sb3_has_it",
    writes=("run_dir",),
)
# algorithm= of `df-agent train`; without it, it is the agent
TRAININGS = {
    "diffusion_forcing": COMMANDS["train"],
    "diffuser": _baseline("train Diffuser", "DiffuserOptions", "diffuser"),
    "diffuser_long": _baseline("train Diffuser in OGBench's mazes", "DiffuserLongOptions", "diffuser_long"),
    "gcbc": _baseline("train goal-conditioned behaviour cloning", "GCBCOptions", "gcbc"),
    "gciql": _baseline("train goal-conditioned implicit Q-learning", "GCIQLOptions", "gciql"),
    **dict.fromkeys(("sac_her", "td3"), _ONLINE),
    "video": Command(
        "train a video model",
        "df_agent.cli.train_video",
        _PICTURES + "VideoOptions",
        {"network": "of the video model", "method": "how it is trained", "data": "what it is trained on"},
        {"network": "space_time", "method": "diffusion_forcing", "data": "minari"},
        "train_video",
        example="algorithm=video env=maze2d-medium",
        understood=_WITHOUT_ALGORITHM,
        writes=("run_dir",),
    ),
    "compact": Command(
        "train the encoder of an agent that sees pictures",
        "df_agent.cli.train_compact",
        _PICTURES + "CompactOptions",
        example="algorithm=compact env=maze2d-umaze",
        understood=_WITHOUT_ALGORITHM,
        writes=("run_dir",),
    ),
}


def command_of(name: str, arguments: Sequence[str] = ()) -> Command:
    """Return a command; of `train`, what its algorithm= chooses.

    Raises:
        ValueError: there is none; the message names those there are.
    """
    name = name.replace("_", "-")
    if name.startswith("-"):
        raise ValueError(f"the command comes first, as in `df-agent evaluate {name} ...`")
    if name not in COMMANDS:
        raise ValueError(f"there is no command {name!r}; there are {', '.join(COMMANDS)}.{nearest(name, COMMANDS)}")
    if name == "train":
        check_v15_training(arguments)
    algorithm = value_of(arguments, "algorithm") if name == "train" else None
    if algorithm is None:
        return COMMANDS[name]
    if algorithm not in TRAININGS:
        check_several("algorithm", algorithm)
        known = ", ".join(TRAININGS)
        raise ValueError(f"there is no algorithm {algorithm!r}; there are {known}.{nearest(algorithm, TRAININGS)}")
    return TRAININGS[algorithm]
