"""Checkpoints of another kind, not whole or made to do harm are refused in one line, before they take memory."""

import json
import math
import shutil
import time
import tracemalloc

import pytest
import torch

from df_agent.checkpoint import PRETRAINED, CheckpointError, load_checkpoint, save_checkpoint
from df_agent.policies import DiffusionForcingPolicy
from df_agent.policies.diffuser import DiffuserPolicy
from df_agent.policies.learned_actors import GCBCPolicy, SACHERPolicy
from df_agent.world_model.compact import load_compact
from df_agent.world_model.video_model import VideoModel

LOADERS = {
    "agent": DiffusionForcingPolicy.from_pretrained,
    "diffuser": DiffuserPolicy.from_pretrained,
    "gcbc": GCBCPolicy.from_pretrained,
    "sac_her": SACHERPolicy.from_pretrained,
    "compact": load_compact,
    "video": VideoModel.from_pretrained,
}
SHIPPED = {
    "maze2d-umaze": "agent", "maze2d-umaze-gcbc": "gcbc", "maze2d-umaze-sac_her": "sac_her",
    "maze2d-umaze-compact": "compact", "maze2d-umaze-video": "video", "maze2d-large-diffuser": "diffuser",
}  # fmt: skip


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_name_of_another_kind_is_refused(name):
    for kind, load in LOADERS.items():
        if kind != SHIPPED[name]:
            with pytest.raises(CheckpointError, match=r" holds .*, not ") as refused:
                load(name, device="cpu")
            assert "\n" not in str(refused.value)


@pytest.fixture
def changed(tmp_path):
    """Copy a shipped checkpoint and change its config: `changed(name, path, value)`; None takes the entry away."""

    def make(name, path, value):
        folder = shutil.copytree(PRETRAINED / name, tmp_path / "changed")
        config = json.loads((folder / "config.json").read_text())
        *parents, last = path.split(".")
        inner = config
        for parent in parents:
            inner = inner[parent]
        assert last in inner or value is not None
        if value is None:
            del inner[last]
        else:
            inner[last] = value
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return make


@pytest.mark.parametrize(
    ("name", "path"),
    [
        *(("maze2d-umaze", section) for section in ("network", "diffusion", "tokenizer", "windows", "statistics")),
        ("maze2d-umaze", "windows.max_tokens"),
        ("maze2d-umaze-gcbc", "learner"),
        ("maze2d-umaze-compact", "dynamics"),
        ("maze2d-umaze-video", "autoencoder"),
    ],
)
@pytest.mark.parametrize("value", [None, 3])
def test_a_config_that_is_not_whole_is_refused(changed, name, path, value):
    if value is not None and "." in path:
        value = ["x"]
    with pytest.raises(CheckpointError, match=r"config\.json"):
        LOADERS[SHIPPED[name]](changed(name, path, value), device="cpu")


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("maze2d-umaze", "network.width", 96_000),
        ("maze2d-umaze", "network.depth", 10**9),
        ("maze2d-umaze", "network.depth", 900_000),
        ("maze2d-umaze", "network.max_tokens", 10**12),
        ("maze2d-umaze", "diffusion.levels", 10**12),
        ("maze2d-umaze-compact", "dynamics.width", 300_000),
        ("maze2d-umaze-video", "autoencoder.widths", [32, 48, 600_000]),
    ],
)
def test_sizes_that_the_weights_do_not_have_take_neither_memory_nor_time(changed, name, path, value):
    folder = changed(name, path, value)
    began = time.perf_counter()
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError):
            LOADERS[SHIPPED[name]](folder, device="cpu")
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - began < 10


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000, "\udcff", "[1", "{}"])
def test_json_that_is_none_or_too_deep_is_refused(tmp_path, text):
    folder = shutil.copytree(PRETRAINED / "maze2d-umaze", tmp_path / "deep")
    (folder / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_checkpoint(folder)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_no_numbers_are_refused(tmp_path, value):
    folder = save_checkpoint(tmp_path / "c", {"a": torch.ones(3), "b.weight": torch.tensor([1.0, value])}, {})
    with pytest.raises(CheckpointError, match=r"NaN or infinite: b\.weight"):
        load_checkpoint(folder)
