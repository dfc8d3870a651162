"""What the training of an agent is told: the argument of `df_agent.train`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from typing import Any

from df_agent import migrations
from df_agent.data.config import TokenizerConfig
from df_agent.data.goal_spec import GoalSpec
from df_agent.diffusion.config import DiffusionForcingConfig
from df_agent.options.side_models import InverseDynamicsConfig, LocalPolicyConfig, SupportConfig, TimeToGoalConfig
from df_agent.training.config import TrainConfig

Options = Mapping[str, Any]


@dataclass(frozen=True)
class AgentTrainingConfig:
    """A training run of an agent; checks itself.

    A part with options is a mapping or the dataclass that is named; what a dataclass leaves at its defaults counts as
    not given.

    Attributes:
        dataset: what `load_episodes` takes: a Minari id or folder, an `.npz` pack, "ogbench/...".
        run_dir: folder of the run; a run that is there is continued.
        tokenizer: options of `TokenizerConfig`.
        windows: options of `WindowSampler`, "max_tokens" among them, "jump_distance" of `without_jumps` and
            "stop_distance" of `without_stops`.
        network: "name", one of `df_agent.models.NETWORKS`, and that network's options; token_dim and max_tokens follow
            from tokenizer and windows.
        train: options of `TrainConfig`. With "steps" 0 the diffusion model stays what `load` holds.
        env: gymnasium id, for validation and for whoever reads the checkpoint.
        load: a checkpoint whose weights, and normaliser, a new run starts from; None for random ones.
        tracker: "tensorboard", "wandb" or "none"; metrics.jsonl is always written.
        goal: options of `GoalSpec`.
        reward: "place" [position units]: nearness to it is rewarded instead of what the data says.
        diffusion: options of `DiffusionForcingConfig`; frame_stack, goal_channels and context follow from the
            tokenizer.
        time_to_goal: options of `TimeToGoalConfig`, "steps" (8000; 0 for none) and "pairs" (2048) per batch.
        inverse_dynamics: options of `InverseDynamicsConfig` and "steps" (0: none is trained).
        local_policy: options of `LocalPolicyConfig`, "steps" (0: none is trained) and "batch_size" (512).
        support: options of `SupportConfig` and "steps" (0: none is trained).
        policy: options of `PolicyConfig`, stored for the agent.
        validation: options of the caller's validation; not read here.
    """

    dataset: str
    run_dir: str
    tokenizer: TokenizerConfig | Options
    windows: Options
    network: Options
    train: TrainConfig | Options
    env: str | None = None
    load: str | None = None
    tracker: str = "tensorboard"
    goal: GoalSpec | Options | None = field(default_factory=dict)
    reward: Options | None = field(default_factory=dict)
    diffusion: DiffusionForcingConfig | Options = field(default_factory=dict)
    time_to_goal: TimeToGoalConfig | Options = field(default_factory=dict)
    inverse_dynamics: InverseDynamicsConfig | Options = field(default_factory=dict)
    local_policy: LocalPolicyConfig | Options = field(default_factory=dict)
    support: SupportConfig | Options = field(default_factory=dict)
    policy: Any = field(default_factory=dict)  # what acts lies above what trains, and is not known here
    validation: Options = field(default_factory=dict)

    def __post_init__(self) -> None:
        if found := foreign(self.to_dict()):
            raise ValueError(
                f"the configuration is kept as JSON, which does not know {', '.join(found)}; give a text, a finite "
                f"number, true, false, null, or lists and dicts of these"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AgentTrainingConfig:
        """Build from plain values, those of an earlier version too; errors name what is missing or unknown."""
        given = migrations.config(values)
        given.pop(migrations.VERSION_KEY, None)
        known = [entry.name for entry in fields(cls)]
        for key in given:
            if key not in known:
                close = get_close_matches(key, known, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise ValueError(f"unknown key {key!r} in the configuration (known: {', '.join(known)}){hint}")
        missing = [f.name for f in fields(cls) if f.default is f.default_factory is MISSING and f.name not in given]
        if missing:
            raise ValueError(f"the configuration lacks {', '.join(missing)}; it has {', '.join(given)}")
        return cls(**given)

    def part(self, name: str) -> dict[str, Any]:
        """Return the options of a part, as they were given, as a plain dict."""
        return dict(plain(getattr(self, name)) or {})

    @property
    def trainer(self) -> TrainConfig:
        """How the diffusion model is trained."""
        return self.train if isinstance(self.train, TrainConfig) else TrainConfig.from_dict(self.train)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, from which `from_dict` makes it again."""
        return {entry.name: plain(getattr(self, entry.name)) for entry in fields(self)}


def plain(part: Any) -> Any:
    """Return options as dicts: of dataclasses, nested ones too, what differs from their defaults."""
    if is_dataclass(part) and not isinstance(part, type):
        given = {}
        for entry in fields(part):
            value = getattr(part, entry.name)
            default = entry.default if entry.default_factory is MISSING else entry.default_factory()
            if value != default:
                given[entry.name] = plain(value)
        return given
    return {key: plain(value) for key, value in part.items()} if isinstance(part, Mapping) else part


def foreign(value: Any, key: str = "") -> list[str]:
    """Return what JSON does not know, as "key=value"."""
    if isinstance(value, Mapping):
        return [found for name, inner in value.items() for found in foreign(inner, f"{key}.{name}")]
    if isinstance(value, list | tuple):
        return [found for index, inner in enumerate(value) for found in foreign(inner, f"{key}.{index}")]
    known = math.isfinite(value) if isinstance(value, float) else value is None or isinstance(value, str | int)
    return [] if known else [f"{key.removeprefix('.')}={value!r}"]
