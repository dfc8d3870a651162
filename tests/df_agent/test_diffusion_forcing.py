import json
from types import SimpleNamespace

import pytest
import torch

from df_agent.agent_model import AgentModel, bf16_pays
from df_agent.data.config import TokenizerConfig
from df_agent.data.tokens import Tokenizer
from df_agent.diffusion import masking
from df_agent.diffusion.config import DiffusionForcingConfig
from df_agent.diffusion.diffusion_forcing import DiffusionForcing
from df_agent.diffusion.masking import repeat_last_frame
from df_agent.diffusion.noise_schedule import min_snr_weight
from df_agent.runtime import computes_in_bf16
from df_agent.types import Batch

PLAIN = {"shared_level": 0.0, "clean_first": 0.0, "repeat_first": 0.0, "terminal": 0.0}


class Silent(torch.nn.Module):
    """Predicts zero and remembers what it was shown."""

    def forward(self, x, level, cond=None):
        self.x, self.level = x, level
        return torch.zeros_like(x)


def silent(**options):
    return DiffusionForcing(Silent(), DiffusionForcingConfig(**options))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def corrupt(batch=4000, tokens=6, dim=4, mask=None, seed=0, **options):
    """Corrupt random tokens; return them, then what `corrupt` returns."""
    clean = torch.randn(batch, tokens, dim, generator=seeded(99))
    mask = torch.ones(batch, tokens, dtype=torch.bool) if mask is None else mask
    return clean, *masked(DiffusionForcingConfig(**options), clean, mask, seed)


def masked(config, tokens, mask, seed=0):
    return masking.corrupt(tokens, mask, config.levels, config, seeded(seed))


def share_is(found, share, count):
    """Whether a share found among `count` draws lies within 4 standard errors."""
    return abs(found - share) <= 4 * (share * (1 - share) / count) ** 0.5


# --- levels, goals, pads ---


def test_levels_are_uniform_over_the_noisy_ones():
    levels = 20
    _, _, level, weight = corrupt(levels=levels, **PLAIN)
    counts = torch.bincount(level.flatten(), minlength=levels + 1).double()
    assert counts[0] == 0
    expected = level.numel() / levels
    chi_square = ((counts[1:] - expected) ** 2 / expected).sum().item()
    assert chi_square < 43.8  # 19 degrees of freedom: exceeded once in a thousand
    assert (weight == 1).all()


def test_levels_are_independent_across_tokens():
    levels = 5
    _, _, level, _ = corrupt(batch=20_000, tokens=4, levels=levels, **PLAIN)
    for a in range(4):
        for b in range(a):
            counts = torch.bincount((level[:, a] - 1) * levels + level[:, b] - 1, minlength=levels**2).double()
            expected = len(level) / levels**2
            chi_square = ((counts - expected) ** 2 / expected).sum().item()
            assert chi_square < 51.2  # 24 degrees of freedom, one in a thousand


def test_a_share_of_windows_has_one_level_in_common():
    _, _, level, _ = corrupt(levels=1000, **{**PLAIN, "shared_level": 0.3})
    same = (level == level[:, :1]).all(1)
    assert share_is(same.double().mean().item(), 0.3, len(level))
    counts = torch.histc(level[same, 0].float(), bins=10, min=0.5, max=1000.5)
    assert (counts - same.sum() / 10).abs().max() < 5 * (same.sum() / 10) ** 0.5


def test_present_and_goal_are_given_at_their_rates():
    options = {"clean_first": 0.7, "terminal": 0.6, "clean_goal": 0.5, "repeat_first": 0.0}
    _, _, level, weight = corrupt(batch=8000, tokens=6, levels=1000, **options)
    assert share_is((level[:, 0] == 0).double().mean().item(), 0.7, len(level))
    given = (level[:, 1:] == 0).sum(1)
    assert given.max() == 1  # a window has one goal
    assert share_is(given.double().mean().item(), 0.6 * 0.5, len(level))
    assert torch.equal(weight == 0, level == 0)  # nothing is learnt from what is given


def test_the_end_of_a_window_is_uniform_and_never_the_present():
    _, _, level, _ = corrupt(batch=8000, tokens=6, terminal=1.0, clean_goal=1.0)
    goal = (level[:, 1:] == 0).int().argmax(1) + 1
    assert ((level[:, 1:] == 0).sum(1) == 1).all()
    counts = torch.bincount(goal, minlength=6).double()
    assert counts[0] == 0
    assert ((counts[1:] - 1600) ** 2 / 1600).sum() < 18.5  # 4 degrees of freedom, one in a thousand


def ends(real, seed=0, **options):
    """The last token, given clean, of windows of 8 tokens of which `real` (B,) are; 0 where none is given."""
    mask = torch.arange(8)[None] < real[:, None]
    options = {"terminal": 1.0, "clean_goal": 1.0, **options}
    _, _, level, _ = corrupt(batch=len(real), tokens=8, mask=mask, seed=seed, **options)
    assert ((level[:, 1:] == 0).sum(1) <= 1).all()
    return torch.where((level[:, 1:] == 0).any(1), (level[:, 1:] == 0).int().argmax(1) + 1, 0)


@pytest.mark.parametrize("tail", [1, 3, 7])
def test_the_end_may_be_kept_to_the_last_tokens(tail):
    end = ends(torch.full((6000,), 8), terminal_tail=tail)
    counts = torch.bincount(end, minlength=8).double()
    assert (counts[: 8 - tail] == 0).all()
    expected = 6000 / tail
    assert ((counts[8 - tail :] - expected) ** 2 / expected).sum() < 22.5  # 6 degrees of freedom, one in a thousand


def test_the_last_tokens_are_the_last_real_ones():
    """Of a window with few real tokens, all but the present; of a lonely present, none."""
    real = torch.randint(1, 9, (8000,), generator=seeded(5))
    end = ends(real, terminal_tail=3)
    for count in range(1, 9):
        own = end[real == count]
        expected = range(max(count - 3, 1), count) if count > 1 else [0]
        found, times = own.unique(return_counts=True)
        assert found.tolist() == list(expected)
        assert (times - len(own) / len(expected)).abs().max() < 5 * len(own) ** 0.5


def test_a_tail_as_long_as_the_window_is_no_tail():
    real = torch.randint(1, 9, (2000,), generator=seeded(5))
    free = ends(real)
    assert torch.equal(ends(real, terminal_tail=7), free)
    assert torch.equal(ends(real, terminal_tail=100), free)
    assert not torch.equal(ends(real, terminal_tail=6), free)


def test_without_a_tail_the_draws_are_those_of_old_runs():
    """The same seed goes on to mean the same ends: 1 + floor(draw * (real - 1)), of the fourth draw."""
    levels, count = 1000, 2000
    real, generator = torch.randint(1, 9, (count,), generator=seeded(5)), seeded(3)
    torch.randint(1, levels + 1, (count, 8), generator=generator)  # levels, one per token
    torch.randint(1, levels + 1, (count, 1), generator=generator)  # and one per window
    torch.rand(count, generator=generator)  # which of them
    draw = torch.rand(count, generator=generator)
    expected = torch.where(real > 1, 1 + (draw * (real - 1).clamp_min(1)).long(), 0)
    assert torch.equal(ends(real, seed=3, levels=levels), expected)
    assert torch.equal(ends(real, seed=3, levels=levels, terminal_tail=0), expected)


def test_pads_are_pure_noise_and_weigh_little():
    options = {"terminal": 1.0, "clean_goal": 1.0, "pad_weight": 0.05, "levels": 50}
    _, _, level, weight = corrupt(**options)
    index = torch.arange(6)[None]
    end = ((level == 0) & (index > 0)).int().argmax(1)[:, None]
    assert (level[index > end] == 50).all()
    assert (weight[index > end] == torch.tensor(0.05)).all()
    before = (index < end) & (level > 0)
    assert (weight[before] == 1).all()
    assert (level[before] < 50).any()


def test_an_end_without_a_given_goal_is_an_ordinary_token():
    _, _, level, weight = corrupt(**{**PLAIN, "terminal": 1.0}, clean_goal=0.0, levels=1000)
    assert (level > 0).all()
    lengths = (weight == 1).sum(1)
    assert sorted(lengths.unique().tolist()) == [2, 3, 4, 5, 6]
    assert torch.equal(weight == 1, torch.arange(6)[None] < lengths[:, None])


def test_nothing_behind_the_end_of_an_episode_is_learnt_or_seen():
    real = torch.randint(1, 7, (4000,), generator=seeded(5))
    mask = torch.arange(6)[None] < real[:, None]
    _, _, level, weight = corrupt(mask=mask, levels=50)
    assert (level[~mask] == 50).all()
    assert (weight[~mask] == 0).all()
    lonely = real == 1  # only the present is real: no goal to give
    assert lonely.any()
    assert (level[lonely][:, 1:] == 50).all()
    goal = (level[:, 1:] == 0) & mask[:, 1:]
    assert goal.any()


def test_draws_repeat_under_their_generator():
    first, again, other = (corrupt(batch=8, seed=s)[2] for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


# --- the form of given tokens ---


@pytest.fixture
def tokenizer():
    config = TokenizerConfig((0, 1, 2), (2, 0), action_dim=1, include_actions=True, frame_skip=2, frame_stack=3)
    generator = seeded(1)
    return Tokenizer(config, torch.randn(5, generator=generator), torch.rand(5, generator=generator) + 0.5)


def test_a_training_goal_has_the_form_of_a_goal_in_use(tokenizer):
    c = tokenizer.config
    raw = torch.randn(300, 4 * c.frame_stack, c.frame_dim, generator=seeded())
    tokens, mask = tokenizer.pack(raw), torch.ones(300, 4, dtype=torch.bool)
    options = {"frame_stack": c.frame_stack, "goal_channels": c.goal_channels}
    config = DiffusionForcingConfig(terminal=1.0, clean_goal=1.0, repeat_first=0.0, **options)
    got, level, _ = masked(config, tokens, mask)
    end = (level[:, 1:] == 0).int().argmax(1) + 1
    row = torch.arange(300)
    reached = raw[row, (end + 1) * c.frame_stack - 1][:, list(c.goal_channels)]
    torch.testing.assert_close(got[row, end], tokenizer.goal_token(reached))
    others = torch.arange(4)[None] != end[:, None]
    assert torch.equal(got[others], tokens[others])


def test_a_repeated_present_has_the_form_of_a_history_that_stands_still(tokenizer):
    c = tokenizer.config
    raw = torch.randn(2000, 2 * c.frame_stack, c.frame_dim, generator=seeded())
    tokens, mask = tokenizer.pack(raw), torch.ones(2000, 2, dtype=torch.bool)
    known = torch.arange(c.token_dim) % c.frame_dim < c.observation_dim
    tokens[:, 0] = torch.where(known, tokens[:, 0], 0.0)  # as windows are cut
    config = DiffusionForcingConfig(repeat_first=0.4, terminal=0.0, frame_stack=c.frame_stack)
    got, _, _ = masked(config, tokens, mask)
    now = raw[:, c.frame_stack - 1, : c.observation_dim]
    standing = tokenizer.observed_tokens(now[:, None].repeat(1, c.frame_stack, 1))[:, 0]
    moving = tokenizer.observed_tokens(raw[:, : c.frame_stack, : c.observation_dim])[:, 0]
    repeated = (got[:, 0] != tokens[:, 0]).any(1)
    assert share_is(repeated.double().mean().item(), 0.4, 2000)
    torch.testing.assert_close(got[repeated, 0], standing[repeated])
    torch.testing.assert_close(got[~repeated, 0], moving[~repeated])


def test_all_observed_tokens_are_given_and_what_lies_before_a_start_stands_still():
    tokens, mask = torch.randn(4000, 6, 4, generator=seeded()), torch.ones(4000, 6, dtype=torch.bool)
    config = DiffusionForcingConfig(context=3, clean_first=0.5, repeat_first=0.6, frame_stack=2)
    got, level, weight = masked(config, tokens, mask)
    given = level[:, :3] == 0
    assert share_is(given.all(1).double().mean().item(), 0.5, 4000)
    assert (given.all(1) | ~given.any(1)).all()
    assert not weight[:, :3][given].any()
    changed = (got[:, :3] != tokens[:, :3]).any(-1)
    assert share_is(changed.any(1).double().mean().item(), 0.6, 4000)
    for since in range(3):  # the episode began with the last frame of this token
        begun = changed[:, since] & ~changed[:, since + 1 :].any(1)
        assert share_is(begun.double().mean().item(), 0.2, 4000)
        still = tokens[begun, since, 2:].repeat(1, 2)[:, None].expand(-1, since + 1, -1)
        assert torch.equal(got[begun, : since + 1], still)


def test_an_end_lies_behind_what_was_observed():
    tokens, mask = torch.randn(2000, 6, 4, generator=seeded()), torch.ones(2000, 6, dtype=torch.bool)
    config = DiffusionForcingConfig(context=3, clean_first=1.0, terminal=1.0, clean_goal=1.0, frame_stack=2)
    _, level, _ = masked(config, tokens, mask)
    ends = (level == 0)[:, 3:]
    assert (ends.sum(1) == 1).all()
    assert (ends.double().mean(0) - 1 / 3).abs().max() < 0.05


def test_repeat_last_frame_by_hand():
    token = torch.tensor([1.0, 2, 3, 4, 5, 6])
    assert repeat_last_frame(token, 2).tolist() == [4, 5, 6, 4, 5, 6]
    assert repeat_last_frame(token, 2, (2, 0)).tolist() == [4, 0, 6, 4, 0, 6]


# --- the loss ---


def test_loss_by_hand():
    """Zero for an answer, so the error of x0 is the token itself; 3 counted tokens of unit weight, 1 light pad."""
    model = silent(
        prediction_type="x0", terminal=1.0, clean_goal=0.0, pad_weight=0.5, **{k: 0.0 for k in list(PLAIN)[:3]}
    )
    tokens = torch.tensor([[[1.0, 1], [2, 2], [3, 5]]])
    total, metrics = model.loss(Batch(tokens, torch.ones(1, 3, dtype=torch.bool)), seeded(1))
    level = model.network.level[0].tolist()
    error = [1, 4, 17]
    weight = [1, 1, 0.5 if level[2] == 1000 else 1]
    assert total.item() == pytest.approx(sum(w * e for w, e in zip(weight, error, strict=True)) / 3)
    assert metrics["loss"].item() == total.item()


def test_loss_leaves_out_what_is_given():
    model = silent(prediction_type="x0", **{**PLAIN, "clean_first": 1.0})
    tokens = torch.tensor([[[100.0, 100], [2, 2], [4, 4]]])
    total, _ = model.loss(Batch(tokens, torch.ones(1, 3, dtype=torch.bool)), seeded())
    assert total.item() == pytest.approx((4 + 16) / 2)
    assert torch.equal(model.network.x[:, 0], tokens[:, 0])  # shown clean


def test_loss_carries_the_snr_weight():
    model = silent(prediction_type="x0", snr_weighting="min_snr", **PLAIN)
    total, _ = model.loss(Batch(torch.ones(1, 4, 2), torch.ones(1, 4, dtype=torch.bool)), seeded())
    weight = min_snr_weight("x0", model.alpha_bar[model.network.level])
    assert total.item() == pytest.approx(weight.mean().item())


def test_fused_weight_looks_both_ways_unless_the_network_is_causal():
    alpha_bar = torch.tensor([[0.1, 0.1, 0.99]])
    model = silent(prediction_type="x0", snr_weighting="fused")
    both = model.snr_weight(alpha_bar)
    model.network.causal = True
    forward = model.snr_weight(alpha_bar)
    assert forward[0, 0] == pytest.approx(0.1 / 0.9, rel=1e-5)  # no past
    assert both[0, 0] > 2 * forward[0, 0]


@pytest.mark.parametrize("prediction_type", ["x0", "eps", "v"])
def test_loss_and_denoiser_agree_on_what_the_network_predicts(prediction_type):
    """A network that answers with the target makes no loss, and its answer denoises to the data."""
    tokens = torch.randn(16, 5, 3, generator=seeded())
    config = DiffusionForcingConfig(prediction_type=prediction_type, **PLAIN)

    class Told(torch.nn.Module):
        def forward(self, x, level, cond=None):
            a = model.alpha_bar[level][..., None].double()
            eps = (x.double() - a.sqrt() * tokens) / (1 - a).sqrt()
            self.x, self.level = x, level
            answers = {"x0": tokens.double(), "eps": eps, "v": a.sqrt() * eps - (1 - a).sqrt() * tokens}
            return answers[prediction_type]

    model = DiffusionForcing(Told(), config)
    total, _ = model.loss(Batch(tokens, torch.ones(16, 5, dtype=torch.bool)), seeded())
    assert total.item() < 1e-5
    low = model.network.level < 900  # beyond, eps holds too little of the data for float32
    x0, _ = model.denoise(model.network.x, model.network.level)
    torch.testing.assert_close(x0[low], tokens[low], rtol=1e-2, atol=1e-3)


def tiny(prediction_type="v", **diffusion):
    torch.manual_seed(0)
    network = {"token_dim": 4, "max_tokens": 6, "width": 48, "depth": 2, "heads": 2}
    diffusion = {"prediction_type": prediction_type, "frame_stack": 2, **diffusion}
    return AgentModel.from_config({"network": network, "diffusion": diffusion})


@pytest.mark.parametrize("prediction_type", ["x0", "v"])
def test_loss_falls_on_eight_windows(prediction_type):
    model = tiny(prediction_type)
    time = torch.linspace(0, 3, 12)[None] + torch.arange(8)[:, None]
    windows = torch.stack([time.sin(), time.cos()], -1).reshape(8, 6, 4)
    batch = Batch(windows.repeat(4, 1, 1), torch.ones(32, 6, dtype=torch.bool))

    def measure():
        with torch.no_grad():
            return sum(model.loss(batch, seeded(100 + s))[0].item() for s in range(8)) / 8

    before = measure()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(250):
        total, _ = model.loss(batch, seeded(1000 + step))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert measure() < 0.35 * before


# --- config, building, precision ---


def test_config_goes_through_json():
    config = DiffusionForcingConfig(goal_channels=(1, 0), schedule="sigmoid", zero_terminal_snr=True)
    assert DiffusionForcingConfig(**json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prediction_type": "x"}, "unknown prediction_type 'x'"),
        ({"snr_weighting": "snr"}, "'fused', 'min_snr', 'none'"),
        ({"clean_goal": 1.5}, r"clean_goal is a share and must lie in \[0, 1\], got 1.5"),
        ({"terminal_tail": -1}, "terminal_tail is a number of tokens, got -1"),
        ({"prediction_type": "eps", "zero_terminal_snr": True}, "needs prediction_type 'x0' or 'v'"),
    ],
)
def test_config_names_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        DiffusionForcingConfig(**options)


def test_build_names_unknown_options():
    with pytest.raises(ValueError, match=r"unknown options \['widht'\] for TransformerConfig.*'width'"):
        AgentModel.from_config({"network": {"token_dim": 2, "max_tokens": 2, "widht": 3}, "diffusion": {}})
    with pytest.raises(
        ValueError, match=r"unknown network 'unet', available: .*'transformer', .*; did you mean 'unet3d'"
    ):
        AgentModel.from_config({"network": {"name": "unet"}, "diffusion": {}})


def test_built_network_knows_how_many_levels_there_are():
    assert tiny(levels=50).network.config.level_scale == 50
    assert tiny().network.config.level_scale == 1000


@pytest.mark.parametrize(("bf16", "there"), [(0.4, True), (2.9, True), (3.1, False), (40.0, False)])
def test_a_device_computes_in_bf16_if_that_is_not_far_slower(bf16, there, monkeypatch):
    now = [0.0]  # a clock of our own: products take a second, those in bf16 what is given
    product = torch.Tensor.__matmul__

    def timed(a, b):
        now[0] += bf16 if a.dtype == torch.bfloat16 else 1.0
        return product(a, b)

    monkeypatch.setattr("df_agent.runtime.time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(torch.Tensor, "__matmul__", timed)
    assert computes_in_bf16.__wrapped__(torch.device("cpu"), size=2) is there


def test_bf16_that_is_emulated_is_warned_of_and_not_chosen(monkeypatch):
    monkeypatch.setattr("df_agent.runtime.computes_in_bf16", lambda _: False)
    model = tiny()
    model.prepare(torch.device("cpu"), "auto")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    with pytest.warns(UserWarning, match="cpu has no arithmetic for bf16"):
        model.prepare(torch.device("cpu"), "bf16")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_timing_bf16_leaves_the_weights_as_they_were(monkeypatch):
    monkeypatch.setattr("df_agent.runtime.computes_in_bf16", lambda _: True)
    model = tiny().requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert isinstance(bf16_pays(model.diffusion, batch=2, repeats=1), bool)
    after = model.state_dict()
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert after[key].dtype == torch.float32
        assert torch.equal(after[key], value)


def test_inference_precision():
    model = tiny()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.prepare(torch.device("cpu"), "bf16")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert model.diffusion.alpha_bar.dtype == torch.float32
    assert not any(p.requires_grad for p in model.parameters())
    x0, eps = model.diffusion.denoise(torch.ones(1, 6, 4), torch.full((1, 6), 500))
    assert x0.dtype == eps.dtype == torch.float32
    full = model.full_precision_weights()
    assert {value.dtype for value in full.values()} == {torch.float32}
    assert all(torch.equal(value, before[key]) for key, value in full.items()), "rounding is not saved"
    with pytest.raises(ValueError, match=r"'fp16', available: \['auto', 'bf16', 'fp32'\]"):
        model.prepare(torch.device("cpu"), "fp16")
