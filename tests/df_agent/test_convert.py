"""Weights of v1.5: the same outputs in its coordinates and in ours, and files that are not what they should be."""

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from df_agent.agent_model import AgentModel
from df_agent.checkpoint import CheckpointError
from df_agent.data.tokens import Tokenizer
from df_agent.models.transformer_v15 import TransformerV15
from df_agent.options.networks import TransformerV15Config
from df_agent.training.convert_v15 import Axes, convert, read_weights

ROOT = Path(__file__).parents[2]
TURNED = Axes((1, 0), (1.0, -1.0), (-3.3, 3.8))


class Original(nn.Module):
    """The original's network written down once more, time first, on normalised tokens."""

    def __init__(self, token_dim, width=128, depth=12):
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 512, dropout=0.0)
        self.transformer = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.init_mlp = nn.Sequential(nn.Linear(token_dim + width // 2, width), nn.ReLU(), nn.Linear(width, width))
        self.out = nn.Linear(width, token_dim)

    @staticmethod
    def sinusoid(values, dim):
        rates = [math.exp(-math.log(10000) * i / (dim // 2 - 1)) for i in range(dim // 2)]
        return torch.stack([torch.sin(values * r) for r in rates] + [torch.cos(values * r) for r in rates], -1)

    def forward(self, x, k, causal=False):
        width = self.out.in_features
        h = torch.cat([x, self.sinusoid(k.float(), width // 2)], -1)
        h = self.init_mlp(h) + self.sinusoid(torch.arange(len(x)).float(), width)[:, None]
        mask = torch.full((len(x), len(x)), -torch.inf).triu(1) if causal else None
        return self.out(self.transformer(h, mask=mask))


def saved(path, network, mean, std, prefix="diffusion_model.model."):
    state = {prefix + key: value for key, value in network.state_dict().items()}
    state |= {
        "diffusion_model.betas": torch.zeros(1000),
        "data_mean": torch.tensor(mean),
        "data_std": torch.tensor(std),
    }
    torch.save({"epoch": 3, "global_step": 7, "state_dict": state, "optimizer_states": [{"state": {}}]}, path)
    return path


def test_the_sizes_are_the_originals():
    network = TransformerV15(TransformerV15Config(token_dim=20, max_tokens=61))
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(2.409e6, rel=1e-3)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("prefix", ["diffusion_model.model.", "diffusion_model._orig_mod.model."])
def test_outputs_are_the_same_in_other_coordinates(tmp_path, causal, prefix):
    torch.manual_seed(0)
    original = Original(20).eval()
    path = saved(tmp_path / "x.ckpt", original, [3.5, 3.4], [1.3, 1.5], prefix)
    weights, config = convert(read_weights(path), TURNED, max_tokens=61)
    config["network"]["causal"] = causal
    model = AgentModel.from_config(config).eval()
    model.load_state_dict(weights)
    tokenizer = Tokenizer.from_dict(config["tokenizer"])

    theirs = torch.randn(61, 3, 10, 2) * torch.tensor([1.3, 1.5]) + torch.tensor([3.5, 3.4])  # places in D4RL's maze
    ours = torch.stack([theirs[..., 1] - 3.3, 3.8 - theirs[..., 0]], -1)
    k = torch.randint(0, 1000, (61, 3))
    with torch.no_grad():
        expected = original(((theirs - torch.tensor([3.5, 3.4])) / torch.tensor([1.3, 1.5])).flatten(2), k, causal)
        expected = expected.unflatten(-1, (10, 2)) * torch.tensor([1.3, 1.5]) + torch.tensor([3.5, 3.4])
        tokens = tokenizer.pack(ours.transpose(0, 1).flatten(1, 2))
        x0, _ = model.diffusion.denoise(tokens, k.T + 1)
    found = tokenizer.unpack(x0).unflatten(1, (61, 10)).transpose(0, 1)
    back = torch.stack([expected[..., 1] - 3.3, 3.8 - expected[..., 0]], -1)
    torch.testing.assert_close(found, back, rtol=1e-4, atol=1e-4)


def test_positions_with_velocities_and_actions(tmp_path):
    torch.manual_seed(0)
    axes = Axes((1, 0, 3, 2, 5, 4), (1.0, -1.0) * 3, (-3.3, 3.8, 0, 0, 0, 0))
    path = saved(tmp_path / "xva.ckpt", Original(60, depth=1), list(range(6)), [2.0, 3.0, 9.0, 8.0, 6.0, 5.0])
    _, config = convert(read_weights(path), axes)
    tokens = config["tokenizer"]
    assert tokens["config"]["include_actions"]
    assert tokens["config"]["action_dim"] == 2
    assert tokens["config"]["observation_indices"] == (0, 1, 2, 3)
    np.testing.assert_allclose(tokens["mean"], [1 - 3.3, 3.8 - 0, 3, -2, 5, -4], rtol=1e-5)
    assert tokens["std"] == [3.0, 2.0, 8.0, 9.0, 5.0, 6.0]


class Bad:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def test_a_file_that_holds_code_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.ckpt"
    torch.save({"state_dict": {}, "hyper_parameters": Bad()}, path)
    with pytest.raises(CheckpointError, match="cannot be read safely"):
        read_weights(path)
    path.write_bytes(pickle.dumps(Bad(), protocol=2))
    with pytest.raises(CheckpointError, match="cannot be read safely"):
        read_weights(path)
    assert not (tmp_path / "executed").exists()


def test_files_that_are_something_else(tmp_path):
    with pytest.raises(CheckpointError, match="there is no file"):
        read_weights(tmp_path / "none.ckpt")
    path = saved(tmp_path / "x.ckpt", Original(20, depth=1), [0.0, 0.0], [1.0, 1.0])
    (tmp_path / "cut.ckpt").write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r"cut.ckpt cannot be read safely"):
        read_weights(tmp_path / "cut.ckpt")
    torch.save({"state_dict": {"unet.weight": torch.zeros(2)}}, tmp_path / "unet.ckpt")
    with pytest.raises(CheckpointError, match=r"no transformer of Diffusion Forcing v1.5's mazes.*unet.weight"):
        read_weights(tmp_path / "unet.ckpt")
    for content in (b"", b"hello world", b"Go away"):
        (tmp_path / "text.ckpt").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"text.ckpt cannot be read safely"):
            read_weights(tmp_path / "text.ckpt")
    weights = read_weights(path)
    for name in ("out.weight", "transformer.layers.0.linear1.weight", "transformer.layers.0.norm2.bias"):
        with pytest.raises(CheckpointError, match=r"missing"):
            convert({k: v for k, v in weights.items() if k != name}, TURNED)
    with pytest.raises(CheckpointError, match=r"missing"):
        convert({**weights, "init_mlp.0.weight": torch.zeros(128)}, TURNED)
    with pytest.raises(CheckpointError, match=r"tokens of 20 numbers are not 10 frames of 1"):
        convert(weights, Axes((0,), (1.0,), (0.0,)))
    with pytest.raises(CheckpointError, match="mean and standard deviation of the 2 channels"):
        convert({k: v for k, v in weights.items() if k != "data_mean"}, TURNED)


def test_axes_of_the_mazes_put_cells_where_they_are():
    import df_envs

    from df_agent.cli.convert import axes_of

    for env_id in ("maze2d-umaze", "maze2d-medium", "maze2d-large"):
        maze, axes = df_envs.maze_of(env_id), axes_of(env_id, 4)
        for cell in [(1, 1), (maze.height - 2, maze.width - 2)]:
            centre = np.array([*cell, 0.5, 0.25]) - [0.2, 0.2, 0, 0]  # D4RL's place of a cell; down, right
            ours = np.array(axes.sign) * centre[list(axes.source)] + axes.offset
            np.testing.assert_allclose(ours, [*maze.centre(cell), 0.25, -0.5])
