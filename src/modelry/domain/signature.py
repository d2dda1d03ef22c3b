"""Tensor types, shapes and the signature of a version.

Datatype names are those of the Open Inference Protocol v2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from modelry.domain.errors import TensorMismatch


class Datatype(StrEnum):
    """Element types of the Open Inference Protocol."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BF16 = "BF16"
    BYTES = "BYTES"


ITEM_BYTES: dict[Datatype, int] = {
    Datatype.BOOL: 1,
    Datatype.UINT8: 1,
    Datatype.UINT16: 2,
    Datatype.UINT32: 4,
    Datatype.UINT64: 8,
    Datatype.INT8: 1,
    Datatype.INT16: 2,
    Datatype.INT32: 4,
    Datatype.INT64: 8,
    Datatype.FP16: 2,
    Datatype.FP32: 4,
    Datatype.FP64: 8,
    Datatype.BF16: 2,
}
"""Bytes of one element; BYTES is not here because its elements differ in length."""

DYNAMIC = -1
"""A dimension whose size the request decides."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, element type and shape of one input or output; `DYNAMIC` marks open dimensions."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Refuse a shape that this spec does not allow.

        Raises:
            TensorMismatch: another rank, a negative size, or another size of a fixed dimension.
        """
        fits = len(shape) == len(self.shape) and all(
            got >= 0 and want in (DYNAMIC, got) for got, want in zip(shape, self.shape, strict=True)
        )
        if not fits:
            raise TensorMismatch(
                f"Tensor '{self.name}' has shape {list(shape)}; the model expects "
                f"{list(self.shape)} (-1 stands for any size).",
                param=self.name,
            )


@dataclass(frozen=True, slots=True)
class Signature:
    """What an engine takes and gives.

    `batched` says that dimension 0 of every input and output is the same open batch
    dimension, so that requests may be put together and taken apart along it.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batched: bool

    def to_wire(self) -> dict[str, Any]:
        """This signature as JSON types."""

        def entries(specs: tuple[TensorSpec, ...]) -> list[dict[str, Any]]:
            return [
                {"name": spec.name, "datatype": spec.datatype.value, "shape": list(spec.shape)}
                for spec in specs
            ]

        return {
            "inputs": entries(self.inputs),
            "outputs": entries(self.outputs),
            "batched": self.batched,
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Signature:
        """The signature that `to_wire` wrote."""

        def specs(entries: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
            return tuple(
                TensorSpec(entry["name"], Datatype(entry["datatype"]), tuple(entry["shape"]))
                for entry in entries
            )

        return cls(specs(wire["inputs"]), specs(wire["outputs"]), bool(wire["batched"]))

    def input(self, name: str) -> TensorSpec:
        """The input called `name`.

        Raises:
            TensorMismatch: no such input.
        """
        for spec in self.inputs:
            if spec.name == name:
                return spec
        expected = ", ".join(spec.name for spec in self.inputs) or "no tensors"
        raise TensorMismatch(
            f"Unknown input tensor '{name}'; the model expects: {expected}.", param=name
        )


NO_TENSORS = Signature((), (), batched=False)
"""The signature of engines without tensors, such as chat models."""
