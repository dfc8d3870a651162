import hashlib
import json
import os
from contextlib import nullcontext
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import df_agent.checkpoint as checkpoint_module
import df_agent.files as files_module
from df_agent.checkpoint import CheckpointError, list_pretrained, load_checkpoint, push_to_hub, save_checkpoint

SOURCES = Path(checkpoint_module.__file__).parent


def weights():
    generator = torch.Generator().manual_seed(0)
    return {
        "a.weight": torch.randn(3, 5, generator=generator),
        "b": torch.randn(7, generator=generator),
        "count": torch.tensor(70_000),
    }


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A package folder with two shipped checkpoints; the working directory holds nothing."""
    monkeypatch.setattr(checkpoint_module, "PRETRAINED", tmp_path / "pretrained")
    for name in ("maze2d-large", "maze2d-umaze"):
        save_checkpoint(tmp_path / "pretrained" / name, weights(), {"env": name})
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "pretrained"


def edit_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def test_round_trip_is_bit_exact(tmp_path):
    config = {"network": {"width": 3}, "tokenizer": {"mean": [0.1, 1e-17]}}
    folder = save_checkpoint(tmp_path / "deep" / "c", weights(), config, card="# A model")
    loaded = load_checkpoint(folder)
    assert loaded.folder == folder
    assert {key: loaded.config[key] for key in config} == config
    assert (loaded.config["format"], loaded.config["format_version"]) == ("df-agent", 2)
    assert loaded.config["weights_sha256"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert loaded.weights.keys() == weights().keys()
    for key, value in weights().items():
        assert loaded.weights[key].dtype == value.dtype
        assert torch.equal(loaded.weights[key], value)
    assert (folder / "README.md").read_text() == "# A model"
    assert sorted(os.listdir(folder)) == ["README.md", "config.json", "model.safetensors"]


def test_the_same_weights_give_the_same_file(tmp_path):
    files = [save_checkpoint(tmp_path / str(i), weights(), {"i": i}) / "model.safetensors" for i in range(3)]
    assert len({file.read_bytes() for file in files}) == 1


def test_fp16_halves_the_file_and_loads_as_fp32(tmp_path):
    big = {"w": torch.randn(100, 100), "count": torch.tensor(70_000)}
    small = save_checkpoint(tmp_path / "half", big, {}, dtype=torch.float16)
    full = save_checkpoint(tmp_path / "full", big, {})
    assert (small / "model.safetensors").stat().st_size < 0.52 * (full / "model.safetensors").stat().st_size
    loaded = load_checkpoint(small).weights
    assert loaded["w"].dtype == torch.float32
    assert torch.equal(loaded["w"], big["w"].half().float())
    assert int(loaded["count"]) == 70_000


def test_fp32_stores_as_fp32(tmp_path):
    mixed = {"double": torch.randn(4, dtype=torch.float64), "half": torch.ones(2).half(), "count": torch.tensor(70_000)}
    loaded = load_checkpoint(save_checkpoint(tmp_path / "c", mixed, {}, dtype=torch.float32)).weights
    assert {key: value.dtype for key, value in loaded.items()} == {
        "double": torch.float32,
        "half": torch.float32,
        "count": torch.int64,
    }
    assert torch.equal(loaded["double"], mixed["double"].float())
    with pytest.raises(ValueError, match=r"torch\.float16, torch\.float32 or None, got torch\.bfloat16"):
        save_checkpoint(tmp_path / "d", mixed, {}, dtype=torch.bfloat16)


def test_fp16_refuses_what_would_overflow(tmp_path):
    with pytest.raises(ValueError, match=r"65504.*huge"):
        save_checkpoint(tmp_path / "c", {"huge": torch.tensor([1e5]), "fine": torch.ones(2)}, {}, torch.float16)
    assert not (tmp_path / "c").exists()


def test_tensors_that_share_memory_are_saved(tmp_path):
    shared = torch.arange(6.0)
    loaded = load_checkpoint(save_checkpoint(tmp_path / "c", {"a": shared, "b": shared[2:]}, {}))
    assert torch.equal(loaded.weights["b"], shared[2:])


def test_shipped_checkpoints_load_by_name(shipped):
    assert list_pretrained() == ["maze2d-large", "maze2d-umaze"]
    assert load_checkpoint("maze2d-umaze").config["env"] == "maze2d-umaze"


def test_a_folder_comes_before_a_shipped_name(shipped):
    save_checkpoint("maze2d-large", weights(), {"env": "mine"})
    assert load_checkpoint("maze2d-large").config["env"] == "mine"


def test_an_unknown_name_lists_what_there_is(shipped):
    with pytest.raises(CheckpointError, match=r"maze2d-larg'.*maze2d-large, maze2d-umaze.*Did you mean 'maze2d-large'"):
        load_checkpoint("maze2d-larg")


def test_a_file_instead_of_its_folder(tmp_path):
    folder = save_checkpoint(tmp_path / "c", weights(), {})
    with pytest.raises(CheckpointError, match=r"is a file; did you mean its folder"):
        load_checkpoint(folder / "model.safetensors")


def test_a_run_folder_points_to_its_newest_checkpoint(tmp_path):
    for step in (5, 10):
        save_checkpoint(tmp_path / "run" / "checkpoints" / f"step_{step:09d}", weights(), {})
    with pytest.raises(CheckpointError, match=r"run folder, did you mean .*step_000000010"):
        load_checkpoint(tmp_path / "run")


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_missing_file_is_named(tmp_path, file):
    folder = save_checkpoint(tmp_path / "c", weights(), {})
    (folder / file).unlink()
    with pytest.raises(CheckpointError, match=f"has no {file}"):
        load_checkpoint(folder)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_recognised(tmp_path, share):
    folder = save_checkpoint(tmp_path / "c", weights(), {})
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: int(share * len(data))])
    with pytest.raises(CheckpointError, match="truncated"):
        load_checkpoint(folder)
    edit_config(folder, weights_sha256=hashlib.sha256(data[: int(share * len(data))]).hexdigest())
    with pytest.raises(CheckpointError, match="no readable safetensors"):
        load_checkpoint(folder)


def test_foreign_weights_are_refused(tmp_path):
    folder = save_checkpoint(tmp_path / "c", weights(), {})
    save_file(weights(), folder / "model.safetensors")
    edit_config(folder, weights_sha256=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest())
    with pytest.raises(CheckpointError, match="not written by df-agent"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not valid JSON"), ("[]", "not written by df-agent"), ('{"model_type": "x"}', "not written by df-agent")],
)
def test_foreign_configs_are_refused(tmp_path, text, message):
    folder = save_checkpoint(tmp_path / "c", weights(), {})
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_a_newer_format_is_refused(tmp_path):
    folder = save_checkpoint(tmp_path / "c", weights(), {})
    edit_config(folder, format_version=3)
    with pytest.raises(CheckpointError, match="version 3, this df-agent reads up to 2"):
        load_checkpoint(folder)


def test_loading_into_another_model_names_what_does_not_fit(tmp_path):
    saved = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    loaded = load_checkpoint(save_checkpoint(tmp_path / "c", saved.state_dict(), {}))
    same = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    loaded.load_into(same)
    assert torch.equal(same[0].weight, saved[0].weight)
    other = nn.Sequential(nn.Linear(2, 4), nn.Identity(), nn.Linear(3, 1))
    before = other[0].weight.clone()
    with pytest.raises(CheckpointError) as error:
        loaded.load_into(other)
    for part in ("missing 2.bias, 2.weight", "not in the model 1.bias, 1.weight", "0.weight is (3, 2)", "(4, 2)"):
        assert part in str(error.value)
    assert torch.equal(other[0].weight, before)


def test_a_failed_save_leaves_nothing(tmp_path, monkeypatch):
    written = []

    def fail_at_second(path, data):
        written.append(path)
        if len(written) == 2:
            raise OSError("disk full")
        path.write_bytes(data)

    monkeypatch.setattr(checkpoint_module, "write_file", fail_at_second)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(tmp_path / "c", weights(), {})
    assert len(written) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("last", ["model.safetensors", "config.json", None])
def test_a_save_over_another_that_is_cut_short_leaves_the_old_or_the_new_one(tmp_path, monkeypatch, last, exchange):
    folder = save_checkpoint(tmp_path / "c", weights(), {"which": "old"})
    write = checkpoint_module.write_file

    def killed_at(path, data):
        if path.name == last:
            raise KeyboardInterrupt
        write(path, data)

    def killed_after_the_exchange(path, ignore_errors=False):
        if not ignore_errors:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint_module, "write_file", killed_at)
    if not exchange:
        monkeypatch.setattr(files_module, "_exchange", lambda one, other: False)
    elif last is None:
        monkeypatch.setattr(files_module.shutil, "rmtree", killed_after_the_exchange)
    with pytest.raises(KeyboardInterrupt) if last or exchange else nullcontext():
        save_checkpoint(folder, {"other": torch.ones(2)}, {"which": "new"})
    assert load_checkpoint(folder).config["which"] == ("new" if last is None else "old")


def test_saving_over_a_checkpoint_keeps_other_files(tmp_path):
    folder = save_checkpoint(tmp_path / "c", weights(), {"n": 1})
    (folder / "notes.txt").write_text("mine")
    save_checkpoint(folder, {"w": torch.ones(2)}, {"n": 2})
    assert load_checkpoint(folder).config["n"] == 2
    assert (folder / "notes.txt").read_text() == "mine"


def cached_on_hub(cache, repo_id, content):
    """The Hub client's own cache layout, as a finished download leaves it."""
    repo = cache / ("models--" + repo_id.replace("/", "--"))
    commit = "0" * 40
    content(repo / "snapshots" / commit)
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)


@pytest.fixture
def hub_offline(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


def test_a_hub_id_is_read_from_the_cache_when_offline(hub_offline):
    cached_on_hub(hub_offline, "someone/maze", lambda folder: save_checkpoint(folder, weights(), {"n": 3}))
    assert load_checkpoint("someone/maze").config["n"] == 3


def test_an_interrupted_download_is_a_clear_error(hub_offline):
    def partial(folder):
        save_checkpoint(folder, weights(), {})
        (folder / "model.safetensors").unlink()

    cached_on_hub(hub_offline, "someone/maze", partial)
    with pytest.raises(CheckpointError, match=r"has no model.safetensors"):
        load_checkpoint("someone/maze")


def test_a_hub_id_that_cannot_be_fetched_is_a_clear_error(hub_offline, shipped):
    with pytest.raises(CheckpointError, match=r"'someone/maze'.*at revision 'v2'.*offline.*Shipped.*maze2d-large"):
        load_checkpoint("someone/maze", revision="v2")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A stand-in for the Hub: a folder per repository, which says who may write by raising `refusal`."""

    class Hub:
        made, refusal = {}, None

        def create_repo(self, repo_id, *, private, exist_ok):
            if self.refusal:
                raise self.refusal
            assert exist_ok
            self.made[repo_id] = {"private": private, "branches": ["main"]}
            (tmp_path / "there" / repo_id).mkdir(parents=True)

        def create_branch(self, repo_id, *, branch, exist_ok):
            assert exist_ok
            self.made[repo_id]["branches"].append(branch)

        def upload_file(self, *, path_or_fileobj, path_in_repo, repo_id, revision):
            (tmp_path / "there" / repo_id / path_in_repo).write_bytes(path_or_fileobj)

        def upload_folder(self, *, repo_id, folder_path, revision, allow_patterns):
            for name in allow_patterns:
                if (file := folder_path / name).is_file():
                    (tmp_path / "there" / repo_id / name).write_bytes(file.read_bytes())
            return type("Commit", (), {"commit_url": f"https://hub/{repo_id}/{revision}"})

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.chdir(tmp_path)
    return Hub


def test_what_is_pushed_can_be_loaded_and_has_a_card(hub, tmp_path):
    folder = save_checkpoint(tmp_path / "mine", weights(), {"n": 3, "env": "maze2d-large"})
    (folder / "notes.txt").write_text("not for all")
    assert push_to_hub(folder, "someone/maze", private=True, revision="v1") == "https://hub/someone/maze/v1"
    assert hub.made["someone/maze"] == {"private": True, "branches": ["main", "v1"]}
    there = tmp_path / "there" / "someone" / "maze"
    assert load_checkpoint(there).config["n"] == 3
    assert {file.name for file in there.iterdir()} == {"model.safetensors", "config.json", "README.md"}
    card = (there / "README.md").read_text()
    assert "`maze2d-large`" in card
    assert "load_checkpoint('someone/maze')" in card
    assert not (folder / "README.md").exists()


def test_a_card_of_ones_own_is_kept(hub, tmp_path):
    folder = save_checkpoint(tmp_path / "mine", weights(), {}, card="# Mine\n")
    push_to_hub(folder, "someone/maze")
    assert (tmp_path / "there" / "someone" / "maze" / "README.md").read_text() == "# Mine\n"


def test_a_push_that_fails_says_what_to_do(hub, tmp_path):
    folder = save_checkpoint(tmp_path / "mine", weights(), {})
    hub.refusal = OSError("401 Unauthorized\nTrace of the client")
    with pytest.raises(
        CheckpointError, match=r"'someone/maze' failed: OSError: 401 Unauthorized If.*HF_TOKEN"
    ) as error:
        push_to_hub(folder, "someone/maze")
    assert "\n" not in str(error.value)
    with pytest.raises(CheckpointError, match="must be like 'user/name', got 'maze'"):
        push_to_hub(folder, "maze")
    with pytest.raises(CheckpointError, match="no checkpoint to upload in 'nowhere'"):
        push_to_hub("nowhere", "someone/maze")


def test_nothing_in_the_package_pickles():
    files = [SOURCES / "checkpoint.py", *(SOURCES / "training").glob("*.py")]
    assert len(files) > 5
    for file in files:
        safely = file.read_text().replace('torch.load(path, map_location="cpu", weights_only=True)', "")
        for word in ("torch.save", "torch.load", "import pickle", "np.save(", "allow_pickle=True"):
            assert word not in safely, f"{file} uses {word}"
