# ruff: noqa: D102 - the names of the tests say what they check
"""What an engine with tensors must do."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from modelry.domain.errors import Cancelled, TensorMismatch
from modelry.domain.signature import DYNAMIC, Datatype, Signature, TensorSpec
from modelry.runtime_api.engine import StopSignal, SupportsTensors
from modelry.runtime_api.tensors import NUMPY_TYPES, Array
from modelry.testing.runtime.engine import EngineContract

Tensors = dict[str, Array]


def array_for(spec: TensorSpec, rng: np.random.Generator, count: int, open_size: int = 4) -> Array:
    """An array that fits `spec`; dimension 0 takes `count` when it is open."""
    sizes = [
        size if size != DYNAMIC else (count if place == 0 else open_size)
        for place, size in enumerate(spec.shape)
    ]
    if spec.datatype is Datatype.BYTES:
        array = np.empty(sizes, dtype=object)
        array.fill(b"text")
        return array
    dtype = NUMPY_TYPES[spec.datatype]
    if dtype.kind == "f":
        return rng.random(sizes).astype(dtype)
    # small enough for a token id, a mask or a raw bfloat16
    return rng.integers(0, 2, sizes).astype(dtype)


class TensorContract(EngineContract):
    """Tensors. Override `inputs` for models that do not take every fitting array.

    Override `reference` to say what the outputs must be.
    """

    proves = (SupportsTensors,)
    tolerance = 1e-3
    """By how much floats may differ between runs of one item in batches of other sizes."""

    def inputs(self, signature: Signature, count: int) -> Tensors:
        """Inputs of `count` items, the same ones for the same count."""
        rng = np.random.default_rng(7)
        return {spec.name: array_for(spec, rng, count) for spec in signature.inputs}

    def reference(self, inputs: Tensors) -> Tensors | None:
        """The right outputs, where they are known."""
        del inputs
        return None

    def run(self, engine: Any, count: int = 1) -> tuple[Tensors, Tensors]:
        given = self.inputs(engine.signature, count)
        return given, engine.infer(given, StopSignal())

    def test_outputs_are_those_of_the_signature(self, engine: Any) -> None:
        _, outputs = self.run(engine)
        assert list(outputs) == [spec.name for spec in engine.signature.outputs]
        for spec in engine.signature.outputs:
            assert outputs[spec.name].dtype == NUMPY_TYPES[spec.datatype]
            spec.check_shape(outputs[spec.name].shape)

    def test_outputs_are_right(self, engine: Any) -> None:
        given, outputs = self.run(engine)
        expected = self.reference(given)
        for name, array in (expected or {}).items():
            self.check_equal(outputs[name], array)

    def test_the_same_inputs_give_the_same_outputs(self, engine: Any) -> None:
        _, first = self.run(engine)
        _, second = self.run(engine)
        for name, array in first.items():
            self.check_equal(second[name], array)

    def test_inputs_are_left_as_they_are(self, engine: Any) -> None:
        given, _ = self.run(engine)
        untouched = self.inputs(engine.signature, 1)
        for name, array in given.items():
            np.testing.assert_array_equal(array, untouched[name])

    def test_a_batch_is_its_items(self, engine: Any) -> None:
        if not engine.signature.batched:
            return
        given, together = self.run(engine, 3)
        for place in range(3):
            one = {name: array[place : place + 1] for name, array in given.items()}
            for name, array in engine.infer(one, StopSignal()).items():
                self.check_equal(array, together[name][place : place + 1])

    def test_wrong_tensors_are_refused_by_name(self, engine: Any) -> None:
        for name, array in self.inputs(engine.signature, 1).items():
            other = np.zeros(array.shape, "<f8" if array.dtype != np.dtype("<f8") else "<i2")
            self.check_refused(engine, name, other)
            self.check_refused(engine, name, array[np.newaxis])
            self.check_refused(engine, name, None)
        self.run(engine)

    def test_a_call_that_was_stopped_before_does_not_run(self, engine: Any) -> None:
        stop = StopSignal()
        stop.set()
        with pytest.raises(Cancelled):
            engine.infer(self.inputs(engine.signature, 1), stop)
        self.run(engine)

    def test_a_call_can_be_stopped_at_any_moment(self, engine: Any) -> None:
        for delay_s in (0.0, 0.0005, 0.005):
            stop = StopSignal()
            timer = threading.Timer(delay_s, stop.set)
            timer.start()
            try:
                engine.infer(self.inputs(engine.signature, 1), stop)
            except Cancelled:
                pass  # as good as an answer that was ready before
            finally:
                timer.join()
        self.run(engine)

    def check_refused(self, engine: Any, name: str, array: Array | None) -> None:
        """`array` in the place of `name` (None: nothing) is told to be wrong."""
        given = self.inputs(engine.signature, 1)
        del given[name]
        if array is not None:
            given[name] = array
        with pytest.raises(TensorMismatch) as told:
            engine.infer(given, StopSignal())
        assert name in told.value.message

    def check_equal(self, found: Array, expected: Array) -> None:
        """The same numbers, floats within the tolerance."""
        if found.dtype.kind == "f":
            np.testing.assert_allclose(
                found, expected, rtol=self.tolerance, atol=self.tolerance, equal_nan=True
            )
        else:
            np.testing.assert_array_equal(found, expected)
