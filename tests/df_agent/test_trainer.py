import copy
import importlib.util
import json
import math
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import df_agent.training.trainer as trainer_module
from df_agent.checkpoint import load_checkpoint
from df_agent.training.config import TrainConfig
from df_agent.training.device import choose_precision
from df_agent.training.optimizer import EMA, decay_at, learning_rate_at
from df_agent.training.run_folder import RunError, RunFolder
from df_agent.training.state import save_state, saved_steps
from df_agent.training.stopping import Stopped, stop_requests
from df_agent.training.trackers import JsonlTracker
from df_agent.training.trainer import TrainingError

SPEC = importlib.util.spec_from_file_location("toy_training", Path(__file__).with_name("toy_training.py"))
toy = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(toy)


def rows(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def steps_kept(run_dir):
    return [saved.step for saved in saved_steps(run_dir)]


def held_out_loss(model):
    batch = toy.sample_batch(256, torch.Generator().manual_seed(99))
    with torch.no_grad():
        return float(model.loss(batch, torch.Generator().manual_seed(98))[0])


def test_the_loss_falls(tmp_path):
    before = held_out_loss(toy.Toy())
    average = toy.make_trainer(tmp_path, tracker=JsonlTracker(tmp_path), steps=300).fit()
    assert before > 0.9
    assert held_out_loss(average) < 0.1
    assert rows(tmp_path)[-1]["loss"] < 0.1


def test_accelerates_environment_does_not_change_what_is_trained(tmp_path, monkeypatch):
    plain = toy.make_trainer(tmp_path / "plain", steps=6).fit().state_dict()
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    other = toy.make_trainer(tmp_path / "other", steps=6).fit().state_dict()
    assert all(torch.equal(plain[key], other[key]) for key in plain)


def test_bf16_trains_too(tmp_path):
    trainer = toy.make_trainer(tmp_path, steps=300, precision="bf16")
    assert held_out_loss(trainer.fit()) < 0.15
    assert all(parameter.dtype == torch.float32 for parameter in trainer.model.parameters())


def test_the_checkpoint_is_the_average_and_loads_like_any_other(tmp_path):
    average = toy.make_trainer(tmp_path, checkpoint_config={"network": {"width": 32}}).fit()
    loaded = load_checkpoint(tmp_path / "checkpoints" / "step_000000060")
    for key, value in average.state_dict().items():
        assert torch.equal(loaded.weights[key], value)
    assert loaded.config["network"] == {"width": 32}
    facts = loaded.config["provenance"]
    assert (facts["step"], facts["device"], facts["precision"], facts["processes"]) == (60, "cpu", "fp32", 1)
    assert facts["seconds"] >= 0


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path):
    results = [
        toy.make_trainer(tmp_path / str(i), seed=seed, steps=10).fit().network[0].weight
        for i, seed in enumerate([0, 0, 1])
    ]
    assert torch.equal(results[0], results[1])
    assert not torch.allclose(results[0], results[2])


def test_learning_rate_values():
    config = TrainConfig(steps=30, learning_rate=2.0, warmup_steps=10, decay="cosine")
    assert learning_rate_at(config, 0) == pytest.approx(0.2)  # warm-up holds for the very first step
    assert learning_rate_at(config, 9) == pytest.approx(2.0)
    assert learning_rate_at(config, 10) == pytest.approx(2.0)
    assert learning_rate_at(config, 15) == pytest.approx(1 + math.cos(math.pi / 4))
    assert learning_rate_at(config, 20) == pytest.approx(1.0)
    assert 0 < learning_rate_at(config, 29) < 0.02
    assert learning_rate_at(config, 30) == pytest.approx(0.0)
    assert learning_rate_at(replace(config, decay="linear"), 15) == pytest.approx(1.5)
    assert learning_rate_at(replace(config, decay="constant"), 29) == 2.0
    assert learning_rate_at(replace(config, final_lr_fraction=0.1), 30) == pytest.approx(0.2)
    assert learning_rate_at(replace(config, warmup_steps=0), 0) == 2.0


def test_the_optimiser_uses_these_learning_rates(tmp_path):
    toy.make_trainer(tmp_path, tracker=JsonlTracker(tmp_path), steps=6, warmup_steps=4, log_every=1).fit()
    config = TrainConfig(steps=6, warmup_steps=4, learning_rate=1e-2)
    assert [row["learning_rate"] for row in rows(tmp_path)] == [learning_rate_at(config, s) for s in range(6)]
    # Adam's first update is +-lr for each weight, whatever the gradient: warm-up must hold for it already.
    model = toy.Toy()
    before = model.network[3].bias.detach().clone()
    trainer = toy.make_trainer(tmp_path / "two", model, steps=4, warmup_steps=4)
    trainer.precision, trainer._loss = "fp32", model.loss
    trainer._step(0)
    change = (model.network[3].bias.detach() - before).abs()
    assert torch.allclose(change, torch.full_like(change, 1e-2 / 4), rtol=1e-3)


def test_ema_by_hand():
    model = nn.Linear(1, 1, bias=False)
    model.register_buffer("mean", torch.tensor(0.0))
    nn.init.constant_(model.weight, 4.0)
    ema = EMA(model, decay=0.15)
    expected = 4.0
    for update, weight in enumerate([10.0, -2.0, 1.0]):
        nn.init.constant_(model.weight, weight)
        model.mean.fill_(weight)
        ema.update(update)
        decay = [0.1, 0.15, 0.15][update]  # (1 + n) / (10 + n) = 0.1, 0.1818, 0.25, capped at 0.15
        expected = decay * expected + (1 - decay) * weight
        assert ema.module.weight.item() == pytest.approx(expected, rel=1e-5)
        assert float(ema.module.mean) == weight
    assert model.weight.item() == 1.0
    assert not ema.module.training
    assert [decay_at(0.999, n) for n in (0, 8, 10**6)] == [0.1, 0.5, 0.999]


def test_weight_decay_is_for_matrices_only(tmp_path):
    groups = toy.make_trainer(tmp_path, weight_decay=0.3).optimizer.param_groups
    assert [(group["weight_decay"], {p.ndim for p in group["params"]}) for group in groups] == [(0.3, {2}), (0.0, {1})]


class Fixed(toy.Toy):
    """A gradient of norm 3 on every step."""

    def loss(self, batch, generator):
        loss = self.network[3].bias[0] * 3.0 + 0.0 * sum(p.sum() for p in self.parameters())
        return loss, {}


def test_gradients_are_clipped_and_their_norm_is_logged(tmp_path):
    trainer = toy.make_trainer(tmp_path, Fixed(), tracker=JsonlTracker(tmp_path), steps=1, warmup_steps=0, log_every=1)
    trainer.fit()
    assert rows(tmp_path)[0]["grad_norm"] == pytest.approx(3.0)
    assert float(trainer.model.network[3].bias.grad[0]) == pytest.approx(1.0, rel=1e-4)


class Breaks(toy.Toy):
    """Not finite in the loss, or in the gradient only, from the 17th step on."""

    def __init__(self, what):
        super().__init__()
        self.what, self.calls = what, 0

    def loss(self, batch, generator):
        loss, metrics = super().loss(batch, generator)
        self.calls += 1
        if self.calls == 17:
            bias = self.network[3].bias
            loss = loss * math.inf if self.what == "loss" else loss + (bias - bias.detach()).abs().sum().sqrt()
        return loss, metrics


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_its_state(tmp_path, what):
    with pytest.raises(TrainingError, match=r"not finite in step 17 .*step_000000010.* in another run_dir"):
        toy.make_trainer(tmp_path, Breaks(what)).fit()
    assert steps_kept(tmp_path) == [10]
    average = toy.make_trainer(tmp_path).fit()  # the cure: continue from what was kept
    assert torch.equal(average.network[0].weight, toy.make_trainer(tmp_path / "other").fit().network[0].weight)


def test_another_configuration_is_refused_with_the_keys_that_differ(tmp_path):
    toy.make_trainer(tmp_path, steps=10).fit()
    with pytest.raises(RunError) as error:
        toy.make_trainer(tmp_path, steps=20, learning_rate=0.5, checkpoint_config={"network": {"width": 64}}).fit()
    for part in ("train.learning_rate: 0.01 there, 0.5 now", "train.steps: 10 there, 20 now"):
        assert part in str(error.value)
    assert "config.network.width: 32 there, 64 now" in str(error.value)
    assert "seed" not in str(error.value)


def test_what_does_not_change_the_weights_may_change(tmp_path):
    toy.make_trainer(tmp_path, steps=10).fit()
    content = {"network": {"width": 32}, "provenance": {"command": "another"}}
    toy.make_trainer(tmp_path, steps=10, log_every=3, checkpoint_every=7, keep=5, checkpoint_config=content).fit()
    assert steps_kept(tmp_path) == [10]


def test_last_digits_of_statistics_may_differ_but_no_more(tmp_path):
    toy.make_trainer(tmp_path, steps=10, checkpoint_config={"mean": [0.1, 2.0]}).fit()
    toy.make_trainer(tmp_path, steps=10, checkpoint_config={"mean": [0.1 + 1e-9, 2.0]}).fit()
    with pytest.raises(RunError, match=r"config.mean.1: 2.0 there, 2.1 now"):
        toy.make_trainer(tmp_path, steps=10, checkpoint_config={"mean": [0.1, 2.1]}).fit()


def test_a_folder_in_use_is_refused(tmp_path):
    with RunFolder(tmp_path, main=True).locked(), pytest.raises(RunError, match="another process is training"):
        toy.make_trainer(tmp_path).fit()
    toy.make_trainer(tmp_path, steps=10).fit()


def test_a_damaged_checkpoint_is_passed_over(tmp_path):
    whole = toy.make_trainer(tmp_path).fit()
    (tmp_path / "checkpoints" / "step_000000060" / "trainer.safetensors").write_bytes(b"cut")
    with pytest.warns(UserWarning, match="damaged"):
        again = toy.make_trainer(tmp_path).fit()
    assert torch.equal(whole.network[0].weight, again.network[0].weight)


def test_a_damaged_checkpoint_does_not_count_as_the_newest(tmp_path):
    """Or each that is saved before the run has come as far again would be deleted at once."""
    toy.make_trainer(tmp_path, keep=2).fit()
    (tmp_path / "checkpoints" / "step_000000060" / "trainer.safetensors").write_bytes(b"cut")
    trainer = toy.make_trainer(tmp_path, keep=1, checkpoint_every=4)
    kept, save = [], trainer._save

    def spy(done, metrics, progress):
        save(done, metrics, progress)
        kept.append(steps_kept(tmp_path))

    trainer._save = spy
    with pytest.warns(UserWarning, match="damaged"):
        trainer.fit()
    assert kept == [[52, 60], [56, 60], [60]]


def scripted_validation(values):
    return lambda model, step: {"score": values[step], "other": 0.0}


@pytest.mark.parametrize(("mode", "best"), [("min", 20), ("max", 10)])
def test_the_newest_and_the_best_are_kept(tmp_path, mode, best):
    values = {10: 5.0, 20: 1.0, 30: 3.0, 40: 2.0, 50: math.nan, 60: 4.0}
    validate = scripted_validation(values)
    options = {"validate_every": 10, "keep": 2, "best_metric": "score", "best_mode": mode}
    toy.make_trainer(tmp_path, tracker=JsonlTracker(tmp_path), validate=validate, **options).fit()
    assert steps_kept(tmp_path) == [best, 50, 60]
    assert load_checkpoint(tmp_path / "checkpoints" / "step_000000060").config["provenance"]["validation"] == {
        "score": 4.0,
        "other": 0.0,
    }
    logged = [row["validation/score"] for row in rows(tmp_path) if "validation/score" in row]
    assert logged == [5.0, 1.0, 3.0, 2.0, None, 4.0]


def test_validation_gets_the_average_and_its_pictures_reach_the_tracker(tmp_path):
    seen = []

    class Pictures(JsonlTracker):
        def image(self, step, name, image):
            seen.append((step, name, image.shape))

    def validate(model, step):
        assert not model.training
        torch.rand(step)  # draws of the validation must not change the training
        return {"score": held_out_loss(model), "paths": np.zeros((4, 5, 3), np.uint8)}

    options = {"steps": 20, "validate_every": 15, "best_metric": "score"}
    average = toy.make_trainer(tmp_path / "a", tracker=Pictures(tmp_path / "a"), validate=validate, **options).fit()
    assert seen == [(15, "validation/paths", (4, 5, 3)), (20, "validation/paths", (4, 5, 3))]
    plain = toy.make_trainer(tmp_path / "b", steps=20).fit()
    assert torch.equal(average.network[0].weight, plain.network[0].weight)


def test_a_missing_validation_metric_is_named(tmp_path):
    validate = scripted_validation({10: 1.0})
    with pytest.raises(ValueError, match=r"best_metric='scor' is not among .*\['other', 'score'\]"):
        toy.make_trainer(tmp_path, validate=validate, validate_every=10, best_metric="scor").fit()


def test_auto_precision_is_decided_once_per_run(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_module, "choose_precision", lambda *_: ("bf16", {"fp32": 2.0, "bf16": 1.0}))
    first = toy.make_trainer(tmp_path, steps=20, precision="auto")
    first.fit()
    assert first.precision == "bf16"
    assert json.loads((tmp_path / "precision.json").read_text())["seconds_per_pass"] == {"fp32": 2.0, "bf16": 1.0}
    monkeypatch.setattr(trainer_module, "choose_precision", None)  # a resume must not time again
    again = toy.make_trainer(tmp_path, steps=20, precision="auto")
    again.fit()
    assert again.precision == "bf16"


@pytest.mark.parametrize(("fp32", "bf16", "chosen"), [(2.0, 0.5, "bf16"), (2.0, 1.7, "bf16"), (2.0, 1.9, "fp32")])
def test_bf16_is_chosen_only_where_it_is_faster(fp32, bf16, chosen, monkeypatch):
    now = [0.0]  # a clock of our own: the machine's would make this a matter of its load
    monkeypatch.setattr("df_agent.training.device.time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr("df_agent.training.device.computes_in_bf16", lambda _: True)
    model = toy.Toy()
    before = copy.deepcopy(model.state_dict())
    batch = toy.sample_batch(4, torch.Generator().manual_seed(0))

    def forward(trial):
        now[0] += bf16 if torch.is_autocast_enabled("cpu") else fp32
        return trial.loss(batch, torch.Generator().manual_seed(0))[0]

    precision, seconds = choose_precision(model, forward, torch.device("cpu"), repeats=2)
    assert precision == chosen
    assert seconds == pytest.approx({"fp32": fp32, "bf16": bf16})
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_bf16_is_not_even_tried_where_it_is_emulated(monkeypatch):
    monkeypatch.setattr("df_agent.training.device.computes_in_bf16", lambda _: False)
    batch = toy.sample_batch(4, torch.Generator().manual_seed(0))

    def forward(trial):
        assert not torch.is_autocast_enabled("cpu")
        return trial.loss(batch, torch.Generator().manual_seed(0))[0]

    precision, seconds = choose_precision(toy.Toy(), forward, torch.device("cpu"), repeats=1)
    assert precision == "fp32"
    assert list(seconds) == ["fp32"]


def test_fp32_is_chosen_where_bf16_does_not_run(monkeypatch):
    monkeypatch.setattr("df_agent.training.device.computes_in_bf16", lambda _: True)
    model = toy.Toy()

    def forward(trial):
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError("no kernel")
        return trial.network(torch.ones(1, 4)).sum()

    assert choose_precision(model, forward, torch.device("cpu"), repeats=1)[0] == "fp32"


def test_without_a_compiler_training_goes_on_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(nn.Module, "compile", None)
    toy.make_trainer(tmp_path, steps=1, warmup_steps=0, compile=True).fit()
    assert "without torch.compile" in capsys.readouterr().out


def test_compile_reaches_the_network(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(trainer_module, "can_compile", lambda device: device.type == "cpu")
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled.append(self))
    trainer = toy.make_trainer(tmp_path, steps=1, warmup_steps=0, compile=True)
    trainer.fit()
    assert compiled == [trainer.model.network]


def test_without_a_terminal_lines_tell_loss_speed_and_time_left(tmp_path, capsys):
    toy.make_trainer(tmp_path, steps=20).fit()
    lines = capsys.readouterr().out.splitlines()
    assert "starts" in lines[0]
    assert lines[1].startswith("step 10/20  loss ")
    assert "steps/s" in lines[1]
    assert lines[1].endswith("left")
    assert lines[-1] == f"saved {tmp_path / 'checkpoints' / 'step_000000020'}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": -1}, "steps must be at least 0, got steps=-1"),
        ({"learning_rate": -1.0}, "learning_rate must be positive"),
        ({"learning_rate": math.nan}, "learning_rate must be positive"),
        ({"decay": "cosin"}, "decay must be one of cosine, linear, constant"),
        ({"precision": "fp16"}, "precision must be one of auto, fp32, bf16"),
        ({"ema_decay": 1.0}, "ema_decay must be in"),
        ({"betas": (0.9,)}, "betas must be two numbers"),
        ({"grad_clip": 0.0}, "grad_clip must be positive"),
        ({"warmup_steps": 11}, "warmup_steps must be at most steps"),
    ],
)
def test_the_configuration_checks_itself(options, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**{"steps": 10, "warmup_steps": 0, **options})


def test_an_unknown_option_is_named_with_the_nearest_known():
    with pytest.raises(ValueError, match=r"unknown training option 'learning_rat'.*did you mean 'learning_rate'"):
        TrainConfig.from_dict({"steps": 10, "learning_rat": 1.0})


def test_the_run_folder_holds_nothing_unreadable(tmp_path):
    toy.make_trainer(tmp_path, steps=10, tracker=JsonlTracker(tmp_path)).fit()
    files = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert files <= {".json", ".jsonl", ".safetensors", ""}
    assert os.path.getsize(tmp_path / ".lock") == 0


def test_debugging_logs_gradients_and_names_the_operation_that_fails(tmp_path):
    toy.make_trainer(tmp_path / "a", tracker=JsonlTracker(tmp_path / "a"), steps=6, log_every=2, debug=True).fit()
    row = rows(tmp_path / "a")[-1]
    for name in ("gradient", "gradient_over_weight"):
        assert 0 < row[f"{name}/min"] <= row[f"{name}/median"] <= row[f"{name}/max"]
    assert row["gradient/max"] <= row["grad_norm"] * (1 + 1e-5)
    plain = toy.make_trainer(tmp_path / "b", tracker=JsonlTracker(tmp_path / "b"), steps=6, log_every=2).fit()
    assert "gradient/min" not in rows(tmp_path / "b")[-1]
    debugged = load_checkpoint(saved_steps(tmp_path / "a")[-1].folder).weights
    for key, value in plain.state_dict().items():
        assert torch.equal(value, debugged[key])  # it looks, and changes nothing

    class Broken(toy.Toy):
        def loss(self, batch, generator):
            loss, metrics = super().loss(batch, generator)
            return loss + (loss.detach() * 0 + next(self.parameters()).sum() * 0).sqrt(), metrics

    trainer = toy.make_trainer(tmp_path / "c", steps=6, debug=True)
    trainer.model.__class__ = Broken
    with pytest.warns(UserWarning, match="Error detected in"), pytest.raises(RuntimeError, match="returned nan values"):
        trainer.fit()

    class Steep(toy.Toy):
        def loss(self, batch, generator):
            loss, metrics = super().loss(batch, generator)
            return loss + (self.network[3].bias * 1e30).sum() * 1e30, metrics  # its slope is no number that fits

    trainer = toy.make_trainer(tmp_path / "d", steps=6, debug=True)
    trainer.model.__class__ = Steep
    with pytest.raises(TrainingError, match=r"the gradients of network\.3\.bias are not finite in step 1"):
        trainer.fit()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("where", ["step", "validation", "save"])
def test_a_signal_to_stop_loses_nothing_and_is_answered_by_one_line(tmp_path, capsys, monkeypatch, number, where):
    """It comes in the middle of step 14, in a validation after it, or while that is saved."""
    calls = []

    class Stopping(toy.Toy):
        def loss(self, batch, generator):
            calls.append(None)
            if where == "step" and len(calls) == 14:
                os.kill(os.getpid(), number)
            return super().loss(batch, generator)

    def validate(model, step):
        if where == "validation":
            os.kill(os.getpid(), number)
        return {"success_rate": 1.0, "time_to_goal": 1.0}

    def saving(*arguments):
        os.kill(os.getpid(), number)
        return save_state(*arguments)

    if where == "save":
        monkeypatch.setattr(trainer_module, "save_state", saving)
    before = signal.getsignal(number)
    every = {} if where == "step" else {"validate": validate, "validate_every": 14}
    with pytest.raises(KeyboardInterrupt) as stopped:
        toy.make_trainer(tmp_path / "stopped", Stopping(dropout=0.2), steps=40, checkpoint_every=1000, **every).fit()
    assert stopped.value.number == number
    assert signal.getsignal(number) is before
    assert steps_kept(tmp_path / "stopped") == [14]
    assert "stopped; the same command continues from step 14, which is saved" in capsys.readouterr().out
    whole = toy.make_trainer(tmp_path / "whole", toy.Toy(dropout=0.2), steps=40, checkpoint_every=1000).fit()
    monkeypatch.undo()
    options = {"steps": 40, "checkpoint_every": 1000, "validate_every": every.get("validate_every", 0)}
    quiet = (lambda model, step: {"success_rate": 1.0, "time_to_goal": 1.0}) if every else None
    again = toy.make_trainer(tmp_path / "stopped", toy.Toy(dropout=0.2), validate=quiet, **options).fit()
    assert all(torch.equal(again.state_dict()[key], value) for key, value in whole.state_dict().items())


def test_a_second_signal_stops_at_once():
    def twice(stop):
        with stop.postponed():
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)

    with stop_requests() as stop, pytest.raises(Stopped):
        twice(stop)
