import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from modelry.domain.errors import Cancelled, Conflict, InvalidInput, NotSupported, TrainingDiverged
from modelry.sandbox.gpus import Gpus
from modelry.testing.training import MemoryRun
from modelry.training import devices
from modelry.training.loop import Monitor, fit, make_optimiser, prepare
from modelry.training.options import LoopParameters
from modelry.training.streaming import PartCache, Placing, by_parts, parts_at_once
from modelry.training.weights import digest_of


class Points:
    """y = 3x - 1 with dropout in between, so that randomness shows in the weights."""

    def __init__(self, count=40):
        self.x = torch.linspace(-1, 1, count)[:, None]
        self.y = 3 * self.x - 1
        self.asked = []

    def __len__(self):
        return len(self.x)

    def batch(self, places):
        self.asked.append(places.tolist())
        return self.x[places], self.y[places]


def network():
    return torch.nn.Sequential(
        torch.nn.Linear(1, 8), torch.nn.Tanh(), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1)
    )


def train(run, *, points=None, validate=None, monitor=None, fingerprint="", **options):
    chosen = LoopParameters(**{"epochs": 4, "batch_size": 8, "learning_rate": 0.01, **options})
    prepare(run.seed, chosen)
    model = network()
    points = Points() if points is None else points

    def loss(batch):
        return torch.nn.functional.mse_loss(model(batch[0]), batch[1])

    fitted = fit(
        model,
        points,
        loss,
        chosen,
        run,
        validate=(lambda: validate(model)) if validate else None,
        monitor=monitor,
        fingerprint=fingerprint,
    )
    return fitted, model


def error_of(model):
    points = Points()
    with torch.no_grad():
        return {"loss": float(torch.nn.functional.mse_loss(model(points.x), points.y))}


def test_it_learns(tmp_path):
    run = MemoryRun(tmp_path, seed=3)
    before = error_of(network())["loss"]
    fitted, model = train(run, epochs=60, learning_rate=0.03, validate=error_of)
    assert fitted.steps == 60 * 5
    assert fitted.measured["loss"] < before / 10
    assert error_of(model)["loss"] == pytest.approx(fitted.measured["loss"])
    assert not model.training
    assert run.told[-1][:3] == (300, 300, "steps")
    assert run.curves[300]["validation_loss"] > 0


def test_every_row_is_seen_once_an_epoch_in_an_order_of_its_own(tmp_path):
    points = Points(10)
    train(MemoryRun(tmp_path), points=points, epochs=2, batch_size=4)
    epochs = [[*itertools.chain(*points.asked[at : at + 3])] for at in (0, 3)]
    assert [sorted(one) for one in epochs] == [list(range(10))] * 2
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
def test_a_run_that_was_ended_at_any_step_ends_in_the_same_weights(tmp_path, optimiser):
    options = {
        "optimiser": optimiser,
        "schedule": "one-cycle",
        "clip_gradient": 1.0,
        "weight_decay": 0.01,
        "checkpoint_every_s": 0,
        "validate": error_of,
    }
    whole = MemoryRun(tmp_path / "whole", seed=5)
    fitted, model = train(whole, **options)
    wanted = digest_of(model.state_dict())
    for ended_after in (1, 4, 5, 6, 13, 19):  # within, at the end and at the beginning of epochs
        folder = tmp_path / str(ended_after)
        first = MemoryRun(folder / "first", seed=5, stop_after=ended_after)
        with pytest.raises(Cancelled, match=f"after step {ended_after} of 20"):
            train(first, **options)
        second = MemoryRun(folder / "second", seed=5, checkpoint=first.checkpoint())
        again, resumed = train(second, **options)
        assert digest_of(resumed.state_dict()) == wanted
        assert again == fitted
        assert second.curves.items() <= whole.curves.items()


def test_a_cpu_computes_in_bfloat16_only_when_asked_to(tmp_path):
    class Watched(Points):
        def batch(self, places):
            x, y = super().batch(places)
            seen.add((x @ x.T).dtype)
            return x, y

    for is_asked in (False, True):
        seen = set()
        prepare(1, LoopParameters())
        model, points = network(), Watched()
        options = LoopParameters(epochs=1, cpu_bfloat16=is_asked)
        wanted = torch.bfloat16 if is_asked else torch.float32

        def loss(batch, model=model, wanted=wanted):
            said = model(batch[0])
            assert said.dtype == wanted
            return torch.nn.functional.mse_loss(said.float(), batch[1])

        fit(model, points, loss, options, MemoryRun(tmp_path / str(is_asked)))
        assert seen == {torch.float32}
        assert {one.dtype for one in model.parameters()} == {torch.float32}


def test_another_seed_gives_other_weights(tmp_path):
    digests = {
        digest_of(train(MemoryRun(tmp_path / str(seed), seed=seed))[1].state_dict())
        for seed in (1, 2, 1)
    }
    assert len(digests) == 2


def test_the_best_epoch_is_kept(tmp_path):
    values = iter([3.0, 1.0, math.nan, 2.0])
    seen = []

    def validate(model):
        seen.append(digest_of(model.state_dict()))
        return {"loss": next(values)}

    fitted, model = train(MemoryRun(tmp_path), validate=validate)
    assert (fitted.kept_epoch, fitted.measured) == (2, {"loss": 1.0})
    assert digest_of(model.state_dict()) == seen[1]


def test_the_last_epoch_is_kept_when_asked_for(tmp_path):
    values = iter([1.0, 2.0, 3.0, 4.0])
    fitted, _ = train(MemoryRun(tmp_path), keep="last", validate=lambda _: {"loss": next(values)})
    assert (fitted.kept_epoch, fitted.measured) == (4, {"loss": 4.0})


def test_it_stops_early_and_stays_stopped_when_resumed(tmp_path):
    shares = [0.5, 0.9, 0.9, 0.8, 0.7, 1.0]

    def options(told):
        return {
            "epochs": 6,
            "early_stopping": 2,
            "checkpoint_every_s": 0,
            "validate": lambda _: {"accuracy": next(told)},
            "monitor": Monitor("accuracy", larger_is_better=True),
        }

    run = MemoryRun(tmp_path / "first")
    fitted, model = train(run, **options(iter(shares)))
    # the third epoch is kept, being as good as the second, and does not count as an improvement
    assert (fitted.epochs, fitted.kept_epoch, fitted.measured) == (4, 3, {"accuracy": 0.9})
    second = MemoryRun(tmp_path / "second", checkpoint=run.checkpoint())
    again, resumed = train(second, **options(iter([])))
    assert digest_of(resumed.state_dict()) == digest_of(model.state_dict())
    assert again.measured == fitted.measured


def test_a_loss_that_is_no_number_names_the_step(tmp_path):
    points = Points()
    points.y[17] = math.nan
    with pytest.raises(TrainingDiverged, match=r"the loss of step \d is nan.*learning_rate"):
        train(MemoryRun(tmp_path), points=points, epochs=1)


def test_weights_that_are_no_numbers_are_never_saved(tmp_path):
    run = MemoryRun(tmp_path)
    with pytest.raises(TrainingDiverged):
        train(run, optimiser="sgd", learning_rate=100.0, epochs=100, checkpoint_every_s=0)
    assert all(torch.load(file)["step"] == step for step, file in run.checkpoints)


def test_gradients_are_clipped(tmp_path):
    points = Points()
    points.y *= 1e6
    options = {"optimiser": "sgd", "momentum": 0.0, "epochs": 1, "learning_rate": 1.0}
    prepare(0, LoopParameters())
    begun = [one.detach().clone() for one in network().parameters()]
    _, model = train(MemoryRun(tmp_path), points=points, clip_gradient=0.01, **options)
    moved = sum(
        float(((a.detach() - b) ** 2).sum()) for a, b in zip(model.parameters(), begun, strict=True)
    )
    assert 0 < math.sqrt(moved) <= 5 * 0.01 * 1.001  # five steps of at most 0.01


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    run = MemoryRun(tmp_path / "a", stop_after=1)
    with pytest.raises(Cancelled):
        train(run, checkpoint_every_s=0)
    for changed in ({"batch_size": 9}, {"fingerprint": "other data"}):
        with pytest.raises(Conflict, match="other data, parameters or seed"):
            train(MemoryRun(tmp_path / "b", checkpoint=run.checkpoint()), **changed)


def test_parts_of_the_model_may_learn_more_slowly_or_not_at_all(tmp_path):
    options = LoopParameters(epochs=1, batch_size=8, optimiser="sgd", momentum=0.0)
    prepare(1, options)
    model = network()
    first, last = model[0], model[3]
    first.requires_grad_(requires_grad=False)
    begun = first.weight.detach().clone(), last.weight.detach().clone()
    groups = [{"params": last.parameters(), "rate": 0.5}]
    optimiser = make_optimiser(groups, options)
    points = Points()
    run = MemoryRun(tmp_path)
    fit(
        model,
        points,
        lambda batch: torch.nn.functional.mse_loss(model(batch[0]), batch[1]),
        options,
        run,
        optimiser=optimiser,
    )
    assert torch.equal(first.weight, begun[0])
    assert not torch.equal(last.weight, begun[1])
    assert run.curves[5]["learning_rate"] == pytest.approx(0.5e-3)


def test_no_rows_and_no_gpu_are_told(tmp_path):
    with pytest.raises(InvalidInput, match="no rows"):
        train(MemoryRun(tmp_path), points=Points(0))
    if not torch.cuda.is_available():
        with pytest.raises(NotSupported, match="no GPU"):
            prepare(0, LoopParameters(device="cuda"))


@pytest.mark.parametrize(
    ("version", "why"), [(None, "built for CPUs alone"), ("13.0", "OS call failed")]
)
def test_a_gpu_that_torch_cannot_use_is_not_passed_over_in_silence(
    tmp_path, monkeypatch, version, why
):
    def refuse():
        raise RuntimeError("OS call failed\nmore lines")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", refuse)
    monkeypatch.setattr(torch.version, "cuda", version)
    monkeypatch.setattr(devices, "present", lambda: Gpus((Path("/dev/nvidia0"),)))
    with pytest.raises(NotSupported, match=why):
        prepare(0, LoopParameters(device="cuda"))
    for device, lines in (("auto", 1), ("cpu", 0)):
        run = MemoryRun(tmp_path / device)
        train(run, epochs=1, device=device)
        assert sum(why in line for line in run.lines) == lines


def test_a_gpu_that_does_not_compute_is_told(monkeypatch):
    """This torch has no GPU; asked to, it fails as one does whose build does not fit the card."""
    if torch.cuda.is_available():
        pytest.skip("the GPU here computes")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def refuse(*_, **__):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device")

    monkeypatch.setattr(torch, "ones", refuse)
    with pytest.raises(NotSupported, match=r"does not compute .*no kernel image"):
        prepare(0, LoopParameters(device="auto"))


def test_a_group_of_weights_may_begin_later_and_more_slowly(tmp_path):
    run = MemoryRun(tmp_path, seed=3)
    chosen = LoopParameters(epochs=2, batch_size=10, learning_rate=0.01, optimiser="sgd")
    prepare(run.seed, chosen)
    model, points = network(), Points()
    late = [model[0].weight.detach().clone()]
    optimiser = make_optimiser(
        [
            {"params": list(model[3].parameters())},
            {"params": list(model[0].parameters()), "rate": 0.1, "after": 4},
        ],
        chosen,
    )
    rates = []

    def loss(batch):
        late.append(model[0].weight.detach().clone())
        found = torch.nn.functional.mse_loss(model(batch[0]), batch[1])
        rates.append([group["lr"] for group in optimiser.param_groups])
        return found

    fit(model, points, loss, chosen, run, optimiser=optimiser)
    assert rates[:4] == [[0.01, 0.0]] * 4
    assert rates[4:] == [[0.01, pytest.approx(0.001)]] * 4
    assert all(torch.equal(one, late[0]) for one in late[:6])
    assert not torch.equal(late[6], late[0])


def test_parts_that_were_used_last_stay_in_memory():
    read = []
    cache = PartCache(lambda at: read.append(at) or b"x" * 10, len, 25)
    assert [len(cache.get(at)) for at in (0, 1, 0, 2, 1)] == [10] * 5
    assert read == [0, 1, 2, 1]
    large = PartCache(lambda at: read.append(at) or b"x" * 100, len, 25)
    assert len(large.get(5)) == len(large.get(5)) == 100
    assert read[4:] == [5]


def test_an_epoch_goes_through_a_few_parts_at_a_time():
    placing = Placing([4, 0, 6, 3])
    assert placing.parts_of(np.arange(13)).tolist() == [0] * 4 + [2] * 6 + [3] * 3
    split = placing.split(np.array([12, 0, 4, 9]))
    assert [(part, among.tolist(), within.tolist()) for part, among, within in split] == [
        (0, [1], [0]), (2, [2, 3], [0, 5]), (3, [0], [2]),
    ]  # fmt: skip
    parts = np.repeat(np.arange(8), 5)
    plan = by_parts(parts, 4, 2)
    first, second = (plan(torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert [len(one) for one in first] == [4] * 10
    rows = torch.cat(list(first))
    assert sorted(rows.tolist()) == list(range(40))
    assert rows.tolist() != torch.cat(list(second)).tolist()
    for at in range(0, 40, 10):
        assert len(set(parts[rows[at : at + 10].numpy()])) == 2
    assert parts_at_once([10, 30], 130) == 2
    assert parts_at_once([10, 30], 1) == 1
