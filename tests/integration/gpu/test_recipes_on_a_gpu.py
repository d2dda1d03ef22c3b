"""Every recipe that can compute on a GPU, on a real one; skipped where there is none.

On a machine with one: `python -m pytest tests/integration/gpu`.
"""

from __future__ import annotations

import math

import pytest

from modelry.sandbox.gpus import present

if not present().count:
    pytest.skip("this machine has no NVIDIA GPU", allow_module_level=True)

import torch
from tests.support.gpu_runs import TRIALS, Trial, trial

from modelry.domain.errors import Cancelled
from modelry.testing.training import MemoryRun
from modelry.training.contract import Trained
from modelry.training.registry import find_recipe

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch can use no GPU here"),
    # Keras turns tensors into arrays in a way that numpy 2 deprecates
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
NAMES = sorted(TRIALS)


@pytest.fixture(scope="module", params=NAMES)
def given(request: pytest.FixtureRequest) -> Trial:
    return trial(request.param)


def run_of(given: Trial, folder, **more) -> MemoryRun:
    return MemoryRun(folder, seed=7, base=given.base, base_version=given.base_version, **more)


def train(given: Trial, run: MemoryRun, **options) -> Trained:
    recipe = find_recipe(given.recipe)
    return recipe.train(given.data, recipe.parameters(**given.options, **options), run)


def exactly(given: Trial) -> dict[str, bool]:
    """Computed in float32; Keras computes in what the model says."""
    return {} if given.recipe == "keras" else {"mixed_precision": False}


def test_it_computes_there_and_what_is_exported_answers_alike(given, tmp_path):
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.max_memory_allocated()
    run = run_of(given, tmp_path)
    options = {**given.options, **given.drawn}
    recipe = find_recipe(given.recipe)
    trained = recipe.train(given.data, recipe.parameters(**options, device="cuda"), run)
    assert torch.cuda.max_memory_allocated() > before
    assert any(f"computing on {torch.cuda.get_device_name()}" in line for line in run.lines)
    assert trained.parity.is_met
    assert all(math.isfinite(one) for one in trained.metrics.values())


def test_it_takes_the_steps_that_a_cpu_takes(given, tmp_path):
    runs = {}
    for device in ("cuda", "cpu"):
        runs[device] = run_of(given, tmp_path / device)
        train(given, runs[device], device=device, **exactly(given))
    if given.recipe == "keras":  # its layers draw at random, otherwise on each device
        return
    ours, theirs = (
        [one["loss"] for _, one in sorted(run.curves.items()) if "loss" in one]
        for run in runs.values()
    )
    assert len(ours) == len(theirs) > 1
    assert ours[0] == pytest.approx(theirs[0], rel=1e-3)
    assert ours[-1] == pytest.approx(theirs[-1], rel=0.1)


@pytest.mark.parametrize("first", ["cuda", "cpu"])
def test_a_run_goes_on_where_there_is_another_device(given, first, tmp_path, monkeypatch):
    """`device` is `auto` both times; the machine that goes on has no GPU, or the first had none."""
    options = {"device": "auto", "checkpoint_every_s": 0.0}

    def hide(is_hidden):
        with monkeypatch.context() as patch:
            if is_hidden:
                patch.setattr(torch.cuda, "is_available", lambda: False)
            yield

    begun = run_of(given, tmp_path / "begun", stop_after=2)
    for _ in hide(first == "cpu"):
        with pytest.raises(Cancelled):
            train(given, begun, **options)
    gone_on = run_of(given, tmp_path / "on", checkpoint=begun.checkpoint())
    for _ in hide(first == "cuda"):
        trained = train(given, gone_on, **options)
    assert any("going on after step 2" in line for line in gone_on.lines)
    assert trained.parity.is_met
    on_gpu = any(torch.cuda.get_device_name() in line for line in gone_on.lines)
    assert on_gpu is (first == "cpu")


def test_a_run_that_was_ended_ends_in_the_same_weights(given, tmp_path):
    options = {**given.drawn, "device": "cuda", "checkpoint_every_s": 0.0}
    given = Trial(given.recipe, given.data, {**given.options, **options}, {}, given.base,
                  given.base_version)  # fmt: skip
    whole = train(given, run_of(given, tmp_path / "whole"))
    begun = run_of(given, tmp_path / "begun", stop_after=2)
    with pytest.raises(Cancelled):
        train(given, begun)
    again = train(given, run_of(given, tmp_path / "on", checkpoint=begun.checkpoint()))
    assert again.weights_digest == whole.weights_digest
