"""One self-sufficient folder per checkpoint: `model.safetensors` and `config.json`; no pickle anywhere."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load as safetensors_load
from safetensors.torch import save as safetensors_save
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from df_agent import migrations
from df_agent.files import atomic_folder, json_bytes, replace_file, write_file
from df_agent.migrations import FORMAT_VERSION

FORMAT = "df-agent"
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
CARD_FILE = "README.md"
M = TypeVar("M", bound=nn.Module)
# What a checkpoint is of, by the sections of its config; the first that it has says it
KINDS = {
    "compact": "a compact model of pictures", "video": "a video model", "forecast": "a forecaster",
    "tokenizer": "an agent",
}  # fmt: skip
SMALL = 1_000_000  # a size in a config that may be right whatever the weights are
PRETRAINED = Path(__file__).parent / "pretrained"


class CheckpointError(RuntimeError):
    """A checkpoint could not be found, read or fitted to a model; the message says why."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory.

    Attributes:
        config: what was saved as `config.json` (model, tokenizer, provenance, ...), under today's names.
        weights: name -> tensor on the CPU, likewise; floats that were stored as fp16 are fp32 again.
        folder: where it was read from.
        version: the format version that it was written in, see `df_agent.migrations`.
    """

    config: dict[str, Any]
    weights: dict[str, Tensor]
    folder: Path
    version: int = FORMAT_VERSION

    @property
    def holds(self) -> str:
        """What it is a checkpoint of, in words."""
        if "algorithm" in self.config:
            return f"the baseline {self.config['algorithm']}"
        return next((words for key, words in KINDS.items() if key in self.config), "something else")

    def require(self, wanted: str, sections: Sequence[str]) -> None:
        """Raise CheckpointError unless the config has these sections; `wanted` is what would have them, in words."""
        lacking = [name for name in sections if not isinstance(self.config.get(name), dict)]
        if lacking:
            raise CheckpointError(
                f"{self.folder} holds {self.holds}, not {wanted}: its {CONFIG_FILE} has no {_some(lacking)}"
                if self.holds != wanted
                else f"{self.folder / CONFIG_FILE} is not whole: it has no {_some(lacking)}"
            )

    @contextmanager
    def read(self) -> Iterator[None]:
        """Say of what goes wrong in the block, where the config is read, that this is no config of ours."""
        try:
            yield
        except CheckpointError:
            raise
        except (LookupError, TypeError, AttributeError, ArithmeticError, AssertionError, RuntimeError) as error:
            said = f"{type(error).__name__}: {_first_line(error).partition(': ')[2]}"
            raise CheckpointError(f"{self.folder / CONFIG_FILE} does not describe a model of ours ({said})") from error

    def build(self, make: Callable[[], M], wanted: str, *sections: str) -> M:
        """Return the module that the config describes, with the weights.

        It is laid out first without taking memory and compared with the weights: a config of a kilobyte may ask for a
        hundred gigabytes, or for a billion layers.

        Args:
            make: builds the module, untrained.
            wanted: what is built, in words.
            *sections: of the config, which `make` reads.

        Raises:
            CheckpointError: a section is missing or makes no sense, or the weights do not fit.
        """
        self.require(wanted, sections)
        known = sum(value.numel() for value in self.weights.values())
        for name in sections:
            if (largest := _largest(self.config[name])) > max(known, SMALL):
                raise CheckpointError(
                    f"{self.folder / CONFIG_FILE} asks for sizes up to {largest:,} in {name}, its weights have "
                    f"{known:,} values in all"
                )
        with self.read():
            laid_out = _laid_out(make, 4 * len(self.weights) + 64, self.folder)
            self._check_shapes(laid_out)
            sizes = sum(value.numel() for value in (*laid_out.parameters(), *laid_out.buffers()))
            if sizes > 2 * known + 100 * SMALL:
                raise CheckpointError(
                    f"{self.folder / CONFIG_FILE} asks for {sizes:,} values, its weights have {known:,}"
                )
            module = make()
        module.load_state_dict(self.weights)
        return module

    def load_into(self, module: nn.Module) -> None:
        """Copy the weights into `module`; raise CheckpointError naming the keys or shapes that do not fit."""
        self._check_shapes(module)
        module.load_state_dict(self.weights)

    def _check_shapes(self, module: nn.Module) -> None:
        own = module.state_dict()
        problems = []
        if missing := sorted(own.keys() - self.weights.keys()):
            problems.append(f"missing {_some(missing)}")
        if unknown := sorted(self.weights.keys() - own.keys()):
            problems.append(f"not in the model {_some(unknown)}")
        problems += [
            f"{name} is {tuple(self.weights[name].shape)}, the model wants {tuple(own[name].shape)}"
            for name in sorted(own.keys() & self.weights.keys())
            if own[name].shape != self.weights[name].shape
        ]
        if problems:
            raise CheckpointError(f"the weights of {self.folder} do not fit the model: {_some(problems, '; ')}")


def save_checkpoint(
    folder: str | Path,
    weights: Mapping[str, Tensor],
    config: Mapping[str, Any],
    dtype: torch.dtype | None = None,
    card: str | None = None,
) -> Path:
    """Write weights and config as a checkpoint folder, atomically.

    The folder appears complete or not at all; a checkpoint that is there stays until the new one is in its place, which
    other files in it move along with.

    Args:
        folder: where; parents are made.
        weights: name -> tensor, on any device.
        config: JSON-like; "format", "format_version", "weights_dtype" and "weights_sha256" are added.
        dtype: store floating-point tensors as this, torch.float16, which halves the file, or torch.float32, and both
            load as fp32; None stores and loads them as they are.
        card: text of a short `README.md`.
    """
    folder = Path(folder)
    if dtype not in (None, torch.float16, torch.float32):
        raise ValueError(f"dtype must be torch.float16, torch.float32 or None, got {dtype}")
    stored = to_fp16(weights) if dtype == torch.float16 else dict(weights)
    if dtype == torch.float32:
        stored = {key: value.float() if value.is_floating_point() else value for key, value in weights.items()}
    data = tensors_to_bytes(stored)
    full_config = {
        **config,
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "weights_dtype": "float16" if dtype == torch.float16 else "as saved",
        "weights_sha256": hashlib.sha256(data).hexdigest(),
    }
    files = {WEIGHTS_FILE: data, CONFIG_FILE: json_bytes(full_config)}
    if card is not None:
        files = {CARD_FILE: card.encode(), **files}
    if folder.exists() and not (folder / CONFIG_FILE).exists():  # a folder of the caller's, config last
        for name, content in files.items():
            replace_file(folder / name, content)
        return folder
    with atomic_folder(folder) as temporary:
        for entry in folder.iterdir() if folder.exists() else ():
            if entry.is_dir():
                shutil.copytree(entry, temporary / entry.name, symlinks=True)
            elif entry.name not in files:
                shutil.copy2(entry, temporary / entry.name)
        for name, content in files.items():
            write_file(temporary / name, content)
    return folder


def load_checkpoint(name: str | Path, revision: str | None = None) -> Checkpoint:
    """Read a checkpoint from a folder, by the name of one that ships with the package, or from the Hub.

    Those of earlier versions are read as if they had been written today; the files stay as they are.

    Args:
        name: tried in this order: an existing folder; a name of `list_pretrained()`; a Hub id "org/name".
        revision: branch, tag or commit, for the Hub only.

    Raises:
        CheckpointError: no such checkpoint, a file missing, damaged or foreign, or a newer format.
    """
    folder = _resolve(name, revision)
    config, version = _read_config(folder)
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise CheckpointError(f"{folder} has no {WEIGHTS_FILE}; it holds {_some(_names(folder))}")
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != config.get("weights_sha256"):
        expected = str(config.get("weights_sha256"))
        raise CheckpointError(
            f"{path} is not the file that {CONFIG_FILE} was saved with: {len(data)} bytes, sha256 "
            f"{digest[:12]}..., expected {expected[:12]}... (truncated, replaced, or an interrupted save)"
        )
    weights = tensors_from_bytes(data, path)
    if bad := [key for key, value in weights.items() if value.is_floating_point() and not value.isfinite().all()]:
        raise CheckpointError(f"{path} holds weights that are NaN or infinite: {_some(bad)}")
    if config.get("weights_dtype") == "float16":
        weights = {key: value.float() if value.dtype == torch.float16 else value for key, value in weights.items()}
    return Checkpoint(config, migrations.weights(weights, config, version), folder, version)


def push_to_hub(folder: str | Path, repo_id: str, *, private: bool = False, revision: str | None = None) -> str:
    """Upload a checkpoint to the Hugging Face Hub, from where `from_pretrained(repo_id)` loads it.

    A checkpoint without a model card gets a short one that says how to load it.

    Args:
        folder: what `save_checkpoint` wrote, or the name of a checkpoint that ships with the package.
        repo_id: "user/name" or "organisation/name"; the repository is made if there is none.
        private: of a repository that is made.
        revision: branch to upload to, made if there is none; the repository's main one by default.

    Returns:
        The address of the commit.

    Raises:
        CheckpointError: this is no checkpoint, huggingface_hub is not installed, nobody is logged in, or the Hub
            cannot be reached or refuses.
    """
    if not _is_hub_id(repo_id):
        raise CheckpointError(f"repo_id must be like 'user/name', got {repo_id!r}")
    checkpoint = load_checkpoint(folder) if Path(folder).is_dir() or folder in list_pretrained() else None
    if checkpoint is None:
        raise CheckpointError(f"no checkpoint to upload in {str(folder)!r}: give a folder with {CONFIG_FILE}")
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise CheckpointError("to upload to the Hub, install huggingface_hub") from error
    api, files = HfApi(), [WEIGHTS_FILE, CONFIG_FILE, CARD_FILE]
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        if not (checkpoint.folder / CARD_FILE).is_file():
            card = _card(checkpoint, repo_id).encode()
            api.upload_file(path_or_fileobj=card, path_in_repo=CARD_FILE, repo_id=repo_id, revision=revision)
        uploaded = api.upload_folder(
            repo_id=repo_id, folder_path=checkpoint.folder, revision=revision, allow_patterns=files
        )
    except Exception as error:  # the Hub client raises errors of its own, of its HTTP library's and of the OS
        raise CheckpointError(
            f"uploading {checkpoint.folder} to {repo_id!r} failed: {_first_line(error)} If nobody is logged in, run "
            "`hf auth login` or set HF_TOKEN to a token that may write; if there is no network, upload the folder later"
        ) from error
    return str(uploaded.commit_url)


def _card(checkpoint: Checkpoint, repo_id: str) -> str:
    """Return a model card: what it is for and how to load it."""
    env = checkpoint.config.get("env")
    algorithm = checkpoint.config.get("algorithm", "diffusion forcing")
    return (
        f"---\nlibrary_name: {FORMAT}\ntags: [{FORMAT}, reinforcement-learning, robotics]\n---\n\n"
        f"# {repo_id}\n\nA checkpoint of df-agent ({algorithm}){f', trained for `{env}`' if env else ''}.\n\n"
        f"```python\nimport df_agent\n\ncheckpoint = df_agent.load_checkpoint({repo_id!r})\n```\n\n"
        f"`from_pretrained({repo_id!r})` of its policy makes it act.\n"
    )


def list_pretrained() -> list[str]:
    """Names of the checkpoints that ship with the package."""
    if not PRETRAINED.is_dir():
        return []
    return sorted(entry.name for entry in PRETRAINED.iterdir() if (entry / CONFIG_FILE).is_file())


def to_fp16(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Floating-point tensors as fp16, others unchanged; raises ValueError where a value would overflow."""
    halved = {key: value.half() if value.is_floating_point() else value for key, value in weights.items()}
    lost = [key for key, value in halved.items() if bool((value.isinf() & weights[key].isfinite()).any())]
    if lost:
        raise ValueError(f"values beyond 65504 do not fit into fp16: {_some(lost)}")
    return halved


# --- tensors as bytes, used by the trainer too ---


def tensors_to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Serialise to safetensors. The same tensors always give the same bytes."""
    # Cloned, because safetensors refuses tensors that share memory. One metadata key only: more come out in
    # an arbitrary order and would change the hash.
    plain = {key: value.detach().to("cpu").contiguous().clone() for key, value in tensors.items()}
    return bytes(safetensors_save(plain, metadata={"format": FORMAT}))


def tensors_from_bytes(data: bytes, path: Path) -> dict[str, Tensor]:
    """Read what `tensors_to_bytes` wrote; `path` is for the error messages."""
    try:
        tensors: dict[str, Tensor] = safetensors_load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (SafetensorError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is no readable safetensors file ({len(data)} bytes): {error}") from error
    if header.get("__metadata__", {}).get("format") != FORMAT:
        raise CheckpointError(f"{path} was not written by df-agent: its metadata has no format={FORMAT!r}")
    return tensors


# --- finding and reading ---


def _resolve(name: str | Path, revision: str | None) -> Path:
    if Path(name).is_dir():
        return Path(name)
    if isinstance(name, str) and name in list_pretrained():
        return PRETRAINED / name
    if isinstance(name, str) and _is_hub_id(name):
        return _download(name, revision)
    available = list_pretrained()
    close = get_close_matches(str(name), available, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    if Path(name).is_file():
        hint = f" It is a file; did you mean its folder, {str(Path(name).parent)!r}?"
    raise CheckpointError(
        f"no checkpoint {str(name)!r}: no such folder, not shipped with the package "
        f"(available: {_some(available)}), and not a Hub id like 'org/name'.{hint}"
    )


def _is_hub_id(name: str) -> bool:
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None and not name.startswith(".")


def _first_line(error: Exception) -> str:
    """Return an error's kind and the first line of what it says."""
    return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"


def _download(repo_id: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise CheckpointError(f"{repo_id!r} is no folder; to fetch it from the Hub, install huggingface_hub") from error
    try:
        wanted = [WEIGHTS_FILE, CONFIG_FILE, CARD_FILE]
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=wanted))
    except Exception as error:  # the Hub client raises errors of its own, of its HTTP library's and of the OS
        raise CheckpointError(
            f"no folder {repo_id!r} here, and fetching it from the Hub"
            f"{f' at revision {revision!r}' if revision else ''} failed (offline, interrupted or not there): "
            f"{_first_line(error)} Shipped with the package: {_some(list_pretrained())}."
        ) from error


def _read_config(folder: Path) -> tuple[dict[str, Any], int]:
    """Return a checkpoint's configuration under today's names, and the version it was written in."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        inside = sorted((folder / "checkpoints").glob("step_*"))
        hint = f"; this is a run folder, did you mean {inside[-1]}?" if inside else ""
        raise CheckpointError(f"{folder} has no {CONFIG_FILE}; it holds {_some(_names(folder))}{hint}")
    try:
        config = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise CheckpointError(f"{path} was not written by df-agent: it has no format={FORMAT!r}")
    try:
        version = migrations.version_of(config)
    except ValueError as error:
        raise CheckpointError(f"{path} has {error}") from error
    try:
        return migrations.config(config, version), version
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is no config of df-agent: {_first_line(error)}") from error


def _laid_out(make: Callable[[], M], most: int, folder: Path) -> M:
    """Build a module whose tensors take no memory; raises CheckpointError behind `most` parameters."""
    found = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal found
        found += 1
        if found > most:
            raise CheckpointError(f"the weights of {folder} do not fit the model, which has more than {most} of them")

    counting = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"):
            return make()
    finally:
        counting.remove()


def _largest(value: Any) -> int:
    """Return the largest whole number in nested JSON values; 0 if there is none."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return max(map(_largest, value), default=0)
    return abs(value) if isinstance(value, int) else 0


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def _some(names: list[str], separator: str = ", ") -> str:
    shown = separator.join(names[:8]) or "nothing"
    return shown + (f"{separator}and {len(names) - 8} more" if len(names) > 8 else "")
