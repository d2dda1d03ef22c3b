"""From the header of an INFER frame to arrays, and from arrays to the header of its answer.

Callers repeat the same header with other bytes, and engines the same output shapes: both are read
and written once and then found by their bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from modelry.domain.errors import TensorMismatch
from modelry.domain.signature import ITEM_BYTES, Datatype, Signature
from modelry.runtime_api.tensors import (
    NUMPY_TYPES,
    Array,
    count_elements,
    decode_tensor,
    encode_tensor,
)

_CACHED = 1024
"""Entries per cache; a full cache is emptied, which costs one parse per entry again."""
_CACHED_HEADER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """One input of a header: `body[start:end]` is its data; `tail` its shape without rows."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def tail(self) -> tuple[int, ...]:
        """The shape without dimension 0."""
        return self.shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Numpy's name of the element type."""
        return NUMPY_TYPES[self.datatype]


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """A checked INFER header.

    Attributes:
        tensors: the inputs, in the order of their data.
        wanted: names of the outputs to answer with.
        rows: size of the batch dimension; 1 when there is none.
        size: bytes that the body must have.
        key: equal for plans whose bodies may be run together; None for never.
    """

    tensors: tuple[PlannedTensor, ...]
    wanted: tuple[str, ...]
    rows: int
    size: int
    key: tuple[Any, ...] | None

    def wrong_size(self, body: bytes) -> TensorMismatch:
        """What a call is told whose body has not `size` bytes."""
        return TensorMismatch(
            f"The tensors have {len(body)} bytes; their shapes and sizes ask for {self.size}."
        )

    def arrays(self, body: bytes) -> dict[str, Array]:
        """The inputs of one call.

        Raises:
            TensorMismatch: a BYTES element is cut off.
        """
        found: dict[str, Array] = {}
        for one in self.tensors:
            if one.datatype is Datatype.BYTES:
                strings = memoryview(body)[one.start : one.end]
                found[one.name] = decode_tensor(one.name, one.datatype, one.shape, strings)
                continue
            # a slice is a copy that is aligned, as engines may want it
            data = body if one.end - one.start == len(body) else body[one.start : one.end]
            found[one.name] = np.frombuffer(data, one.dtype).reshape(one.shape)
        return found


def merge(plans: Sequence[TensorPlan], bodies: Sequence[bytes]) -> dict[str, Array]:
    """The inputs of several calls with the same key, put together along dimension 0."""
    rows = sum(plan.rows for plan in plans)
    merged: dict[str, Array] = {}
    for index, first in enumerate(plans[0].tensors):
        if len(plans[0].tensors) == 1:
            data = b"".join(bodies)
        else:
            data = b"".join(
                [
                    body[plan.tensors[index].start : plan.tensors[index].end]
                    for plan, body in zip(plans, bodies, strict=True)
                ]
            )
        array = np.frombuffer(data, first.dtype)
        merged[first.name] = array.reshape((rows, *first.tail))
    return merged


class TensorPlanner:
    """Reads INFER headers for one signature."""

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._outputs = tuple(spec.name for spec in signature.outputs)
        self._plans: dict[bytes, TensorPlan] = {}

    def plan(self, header: bytes) -> TensorPlan:
        """The plan of a header, from the cache if it was seen before.

        Raises:
            TensorMismatch: the tensors do not fit the signature.
        """
        plan = self._plans.get(header)
        if plan is None:
            plan = self._read(orjson.loads(header))
            if len(header) <= _CACHED_HEADER_BYTES:
                if len(self._plans) >= _CACHED:
                    self._plans.clear()
                self._plans[header] = plan
        return plan

    def _read(self, header: Mapping[str, Any]) -> TensorPlan:
        tensors: list[PlannedTensor] = []
        position = 0
        for entry in header["inputs"]:
            tensor = self._read_tensor(entry, position)
            tensors.append(tensor)
            position = tensor.end
        names = [tensor.name for tensor in tensors]
        expected = [spec.name for spec in self._signature.inputs]
        if sorted(names) != sorted(expected):
            raise TensorMismatch(
                f"The call has the input tensors {names}; the model expects {expected}."
            )
        wanted = tuple(header.get("outputs") or self._outputs)
        for name in wanted:
            if name not in self._outputs:
                raise TensorMismatch(
                    f"Unknown output tensor '{name}'; the model gives: {', '.join(self._outputs)}.",
                    param="outputs",
                )
        rows, key = 1, None
        if self._signature.batched:
            rows = tensors[0].shape[0]
            if any(tensor.shape[0] != rows for tensor in tensors):
                raise TensorMismatch("The first dimension of all inputs must be equal.")
            if rows and all(tensor.datatype is not Datatype.BYTES for tensor in tensors):
                key = (wanted, *((one.name, one.datatype, one.tail) for one in tensors))
        return TensorPlan(tuple(tensors), wanted, rows, position, key)

    def _read_tensor(self, entry: Mapping[str, Any], start: int) -> PlannedTensor:
        name, shape, size = str(entry["name"]), entry["shape"], int(entry["size"])
        spec = self._signature.input(name)
        if entry["datatype"] != spec.datatype:
            raise TensorMismatch(
                f"Tensor '{name}' has datatype {entry['datatype']}; the model expects "
                f"{spec.datatype}.",
                param=name,
            )
        elements = count_elements(name, shape)
        spec.check_shape(tuple(shape))
        is_fixed = spec.datatype is not Datatype.BYTES
        if size < 0 or (is_fixed and size != elements * ITEM_BYTES[spec.datatype]):
            raise TensorMismatch(
                f"Tensor '{name}' has {size} bytes, which do not fit {spec.datatype} with shape "
                f"{shape}.",
                param=name,
            )
        return PlannedTensor(name, spec.datatype, tuple(shape), start, start + size)


class AnswerWriter:
    """Writes output tensors as headers and bodies of RESULT frames."""

    def __init__(self, signature: Signature) -> None:
        self._datatypes = {spec.name: spec.datatype for spec in signature.outputs}
        self._headers: dict[tuple[Any, ...], bytes] = {}

    def whole(self, outputs: Mapping[str, Array], wanted: Sequence[str]) -> tuple[bytes, bytes]:
        """The answer to a call that was run alone."""
        parts = [encode_tensor(outputs[name]) for name in wanted]
        shapes = [outputs[name].shape for name in wanted]
        return self._header(wanted, shapes, [len(part) for part in parts]), b"".join(parts)

    def split(
        self, outputs: Mapping[str, Array], wanted: Sequence[str], rows: Sequence[int]
    ) -> list[tuple[bytes, bytes]]:
        """The answers to calls that were run together, each with its count of `rows`."""
        arrays = [outputs[name] for name in wanted]
        if any(array.dtype.kind in "OSU" for array in arrays):
            return self._split_strings(arrays, wanted, rows)
        total = sum(rows)
        raws = [encode_tensor(array) for array in arrays]
        strides = [len(raw) // total for raw in raws]
        tails = [array.shape[1:] for array in arrays]
        headers: dict[int, bytes] = {}
        answers: list[tuple[bytes, bytes]] = []
        at = 0
        for count in rows:
            header = headers.get(count)
            if header is None:
                shapes = [(count, *tail) for tail in tails]
                sizes = [count * stride for stride in strides]
                header = headers[count] = self._header(wanted, shapes, sizes)
            until = at + count
            if len(raws) == 1:
                body = raws[0][at * strides[0] : until * strides[0]]
            else:
                pieces = zip(raws, strides, strict=True)
                body = b"".join([raw[at * stride : until * stride] for raw, stride in pieces])
            answers.append((header, body))
            at = until
        return answers

    def _split_strings(
        self, arrays: Sequence[Array], wanted: Sequence[str], rows: Sequence[int]
    ) -> list[tuple[bytes, bytes]]:
        answers: list[tuple[bytes, bytes]] = []
        at = 0
        for count in rows:
            mine = {
                name: array[at : at + count] for name, array in zip(wanted, arrays, strict=True)
            }
            answers.append(self.whole(mine, wanted))
            at += count
        return answers

    def _header(
        self, wanted: Sequence[str], shapes: Sequence[tuple[int, ...]], sizes: Sequence[int]
    ) -> bytes:
        key = (*wanted, *shapes, *sizes)
        header = self._headers.get(key)
        if header is None:
            entries = [
                {
                    "name": name,
                    "datatype": self._datatypes[name].value,
                    "shape": list(shape),
                    "size": size,
                }
                for name, shape, size in zip(wanted, shapes, sizes, strict=True)
            ]
            header = orjson.dumps({"outputs": entries})
            if len(self._headers) >= _CACHED:
                self._headers.clear()
            self._headers[key] = header
        return header


def has_rows(outputs: Mapping[str, Array], rows: int) -> bool:
    """Whether all outputs can be taken apart into `rows` along dimension 0."""
    return all(array.ndim and array.shape[0] == rows for array in outputs.values())
