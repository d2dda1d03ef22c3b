import pytest

from modelry.domain.errors import LeaseLost
from modelry.testing.jobs import FakeJobRun


def test_what_a_handler_tells_can_be_seen():
    run = FakeJobRun({"epochs": 2})
    run.progress(1, 2, "epochs", "training")
    run.metrics(1, {"loss": 0.5})
    run.metrics(1, {"accuracy": 0.75})
    run.log("began")
    run.save_checkpoint(1, "sha256:" + "0" * 64, 12)
    run.save_artefact("model.onnx", "sha256:" + "1" * 64, 34)

    assert run.told == [(1, 2, "epochs", "training")]
    assert run.curves == {1: {"loss": 0.5, "accuracy": 0.75}}
    assert run.lines == ["began"]
    assert run.checkpoint() == (1, "sha256:" + "0" * 64)
    assert run.artefacts == {"model.onnx": ("sha256:" + "1" * 64, 34)}


def test_another_attempt_takes_the_lease_and_goes_on_from_the_checkpoint():
    first = FakeJobRun({"epochs": 2})
    first.save_checkpoint(1, "sha256:" + "0" * 64, 12)
    second = first.next_attempt()

    assert second.checkpoint() == (1, "sha256:" + "0" * 64)
    with pytest.raises(LeaseLost):
        first.log("still here")
    assert first.stop.is_set()
