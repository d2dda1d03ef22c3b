"""Inputs and outputs of an ONNX graph: names, element types and shapes."""

from __future__ import annotations

from dataclasses import dataclass

from modelry.domain.errors import FileRefused
from modelry.domain.signature import DYNAMIC, Datatype, TensorSpec
from modelry.manifest.inspect.protobuf import VARINT, Field, ProtobufReader
from modelry.manifest.inspect.window import ByteWindow

MAX_VALUES = 4096
MAX_RANK = 32
_SIGN = 2**63

DATATYPES: dict[int, Datatype] = {
    1: Datatype.FP32,
    2: Datatype.UINT8,
    3: Datatype.INT8,
    4: Datatype.UINT16,
    5: Datatype.INT16,
    6: Datatype.INT32,
    7: Datatype.INT64,
    8: Datatype.BYTES,
    9: Datatype.BOOL,
    10: Datatype.FP16,
    11: Datatype.FP64,
    12: Datatype.UINT32,
    13: Datatype.UINT64,
    16: Datatype.BF16,
}
"""ONNX element types that can go in and out; others (complex, float8, int4) cannot."""

_ANONYMOUS = ("", "?", "-1", "unk__", "DynamicDimension.")


@dataclass(frozen=True, slots=True)
class Dimension:
    """`size` is None when open; `symbol` is the name of an open dimension, if it has one."""

    size: int | None
    symbol: str | None

    @property
    def is_open(self) -> bool:
        """Whether the request decides the size."""
        return self.size is None


@dataclass(frozen=True, slots=True)
class ValueSpec:
    """One input or output as the graph declares it."""

    name: str
    datatype: Datatype
    shape: tuple[Dimension, ...]
    unknown_rank: bool = False

    def to_tensor_spec(self) -> TensorSpec:
        """This value in the domain's words; an unknown rank becomes an empty shape."""
        sizes = (DYNAMIC if item.size is None else item.size for item in self.shape)
        return TensorSpec(self.name, self.datatype, tuple(sizes))


class ValueReader:
    """Reads ValueInfoProto messages."""

    def __init__(self, window: ByteWindow, wire: ProtobufReader) -> None:
        self._window = window
        self._wire = wire

    def of_graph(self, graph: Field) -> tuple[list[ValueSpec], list[ValueSpec]]:
        """Declared inputs (initialisers may be among them) and outputs of a graph.

        Raises:
            FileRefused: malformed, or of types that no request can carry.
        """
        inputs: list[ValueSpec] = []
        outputs: list[ValueSpec] = []
        for part in self._wire.message(graph):
            if part.number == 11:
                inputs.append(self._value(part, "input"))
            elif part.number == 12:
                outputs.append(self._value(part, "output"))
        for specs, what in ((inputs, "input"), (outputs, "output")):
            if len(specs) > MAX_VALUES or len({spec.name for spec in specs}) != len(specs):
                raise self._window.refused(
                    f"it has more than {MAX_VALUES} {what}s, or two of the same name."
                )
        return inputs, outputs

    def _value(self, value: Field, what: str) -> ValueSpec:
        name = ""
        kind: Field | None = None
        for part in self._wire.message(value):
            if part.number == 1:
                name = self._wire.text(part, 1024)
            elif part.number == 2:
                kind = part
        if not name or kind is None:
            raise self._window.refused(f"one {what} has no name or no type; export it again.")
        tensor: Field | None = None
        for part in self._wire.message(kind):
            if part.number == 1:
                tensor = part
            elif part.number in (4, 5, 7, 8, 9):
                raise self._not_a_tensor(name, what, part.number)
        if tensor is None:
            raise self._not_a_tensor(name, what, 0)
        return self._tensor(name, what, tensor)

    def _not_a_tensor(self, name: str, what: str, number: int) -> FileRefused:
        kind = {4: "a sequence", 5: "a map", 8: "a sparse tensor", 9: "optional"}.get(
            number, "of an unknown type"
        )
        advice = (
            "For a scikit-learn classifier, convert it with options={'zipmap': False}."
            if number in (4, 5)
            else "Export it with dense tensors only."
        )
        return self._window.refused(
            f"{what} '{name}' is {kind}; only tensors can be served. {advice}"
        )

    def _tensor(self, name: str, what: str, tensor: Field) -> ValueSpec:
        element = 0
        shape: Field | None = None
        for part in self._wire.message(tensor):
            if part.number == 1 and part.wire == VARINT:
                element = part.value
            elif part.number == 2:
                shape = part
        if element not in DATATYPES:
            raise self._window.refused(
                f"{what} '{name}' has the ONNX element type {element}, which no request can carry. "
                "Export it with float, integer, boolean or string tensors."
            )
        if shape is None:
            if what == "input":
                raise self._window.refused(
                    f"input '{name}' declares no shape. Export it with shapes (sizes may be open)."
                )
            return ValueSpec(name, DATATYPES[element], (), unknown_rank=True)
        dimensions = [self._dimension(part) for part in self._wire.message(shape)]
        if len(dimensions) > MAX_RANK:
            raise self._window.refused(f"{what} '{name}' has more than {MAX_RANK} dimensions.")
        return ValueSpec(name, DATATYPES[element], tuple(dimensions))

    def _dimension(self, dimension: Field) -> Dimension:
        size: int | None = None
        symbol: str | None = None
        for part in self._wire.message(dimension):
            if part.number == 1 and part.wire == VARINT:
                # 0 and negative sizes are how older exporters say "open"
                size = part.value if 0 < part.value < _SIGN else None
                symbol = None
            elif part.number == 2:
                word = self._wire.text(part, 1024)
                anonymous = word in _ANONYMOUS or word.startswith(_ANONYMOUS[3:])
                size, symbol = None, None if anonymous else word
        return Dimension(size, symbol)
