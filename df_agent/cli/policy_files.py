"""The files of policies: which there are, what each says, and which one is meant."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from df_agent.cli.arguments import check_several, nearest
from df_agent.cli.folders import group_files, load_file
from df_agent.cli.resolvers import register

register()  # what the files' values follow from

USUAL = "diffusion_forcing"  # what acts where no policy's file says that it is the usual one


def understood(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return what the user says of a policy as its files call it.

    Without `policy=` it is what is usual in the environment.
    """
    out: list[tuple[str, str]] = []
    for key, text in pairs:
        first, _, rest = key.partition(".")
        if first == "policy":
            out.append((f"policy.{rest.removeprefix('make.').removeprefix('policy.')}" if rest else key, text))
        else:
            out.append((key, text))
    env_id = dict(pairs).get("env", "")
    if "policy" not in dict(pairs) and (usual := usual_policy(env_id)) != USUAL:
        out.insert(0, ("policy", usual))
    return out


def usual_policy(env_id: str) -> str:
    """Return the name of the policy that acts in an environment unless another is named."""
    for name in policy_names():
        pattern = policy_file(name).get("usual_in")
        if pattern is not None and fnmatch.fnmatch(env_id.removeprefix("df_envs:"), pattern):
            return name
    return USUAL


def policy_names() -> list[str]:
    """Return the names of the policies there are."""
    return sorted(group_files("", "policy"))


def check_name(name: str) -> None:
    """Raise ValueError, naming the policies there are and the closest one, unless `name` is one of them."""
    names = policy_names()
    if name not in names and ":" not in name:
        check_several("policy", name)
        raise ValueError(
            f"there is no policy {name!r}; there are {', '.join(names)}, or one of your own as 'module:Class'."
            f"{nearest(name, names)}"
        )


def check_collector(name: str) -> None:
    """Raise ValueError or FileNotFoundError unless data can be collected with something of this name."""
    names = ["demonstrator", *policy_names()]
    if name.endswith(".zip"):
        if not Path(name).is_file():
            raise FileNotFoundError(f"there is no file {name}")
    elif name not in names and ":" not in name:
        raise ValueError(
            f"there is no policy {name!r}; give demonstrator, one of {', '.join(names[1:])}, a file of "
            f"Stable-Baselines3's (.zip), or module:name.{nearest(name, names)}"
        )


def policy_file(name: str) -> dict[str, Any]:
    """Return what the file of a policy says, unresolved, over those that it names in `defaults`.

    Its name is its file's. An empty one if there is none; "module:Class" needs none.

    Raises:
        ValueError: it is no YAML, holds a list, or says another name than its file has.
    """
    if ":" in name:
        said = {"description": "a policy of one's own", "privileged": "unknown", "slow": False}
        return {"name": name, **said, "policy": {"_target_": name.replace(":", ".")}}
    if name not in policy_names():
        return {}
    merged: Any = OmegaConf.to_container(_with_defaults(name, ()), resolve=False)
    return {**merged, "name": name}


def _with_defaults(name: str, above: tuple[str, ...]) -> DictConfig:
    files = group_files("", "policy")
    if name in above:
        raise ValueError(f"policy/{name}.yaml names itself in its defaults, by way of {' and '.join(above)}")
    if name not in files:
        raise ValueError(
            f"policy/{above[-1]}.yaml: there is no policy {name!r} for its defaults.{nearest(name, files)}"
        )
    own = load_file(files[name])
    if not isinstance(own, DictConfig):
        raise ValueError(f"policy/{name}.yaml holds a list; it must say privileged: and policy:")
    said = own.pop("name", name)
    if said != name:
        raise ValueError(f"policy/{name}.yaml says name: {said}, it must be {name}; it can be left out")
    entries = [str(entry).rpartition("/")[2] for entry in own.pop("defaults", [])]
    entries += [] if "_self_" in entries else ["_self_"]
    parts = [own if entry == "_self_" else _with_defaults(entry, (*above, name)) for entry in entries]
    merged = OmegaConf.merge(*parts)
    assert isinstance(merged, DictConfig)
    return merged


def described(name: str) -> DictConfig:
    """Return the file of a policy, unresolved: what it is and sees, and how it is made."""
    check_name(name)
    policy = OmegaConf.create(policy_file(name))
    check_policy(policy)
    return policy


def check_policy(policy: DictConfig) -> None:
    """Raise ValueError if what df_configs/policy says of a policy is incomplete."""
    missing = [key for key in ("name", "privileged", "policy") if key not in policy]
    where = f"policy/{policy.get('name') or '?'}.yaml"
    if "make" in policy:
        raise ValueError(f"{where}: the key `make:` is now called `policy:`, rename it")
    if missing:
        raise ValueError(f"{where} lacks {', '.join(missing)}")
