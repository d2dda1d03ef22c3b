"""Where the weights of an ONNX file are, layer by layer from the input to the answer.

Only whole tensors within the file itself are known; what is kept beside it in external files, or
as single numbers of a type that packs them, is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from modelry.manifest.inspect.protobuf import BYTES, FIXED32, VARINT, Field, ProtobufReader
from modelry.manifest.inspect.window import open_window
from modelry.runtime_api.tensors import Array

_TYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype("<f4"),
    2: np.dtype("u1"),
    3: np.dtype("i1"),
    10: np.dtype("<f2"),
    11: np.dtype("<f8"),
    16: np.dtype("<u2"),
}
"""Element types that weights have, as `onnx.proto` numbers them; bfloat16 as its bits."""
_WEIGHING = frozenset(
    {
        "Add", "Attention", "BatchNormalization", "Conv", "ConvInteger", "ConvTranspose", "Einsum",
        "EmbedLayerNormalization", "FusedConv", "FusedGemm", "FusedMatMul", "GRU", "Gather",
        "Gemm", "InstanceNormalization", "LSTM", "LayerNormalization", "MatMul", "MatMulInteger",
        "MatMulNBits", "Mul", "PRelu", "QAttention", "QGemm", "QLinearConv", "QLinearMatMul", "RNN",
        "SimplifiedLayerNormalization", "SkipLayerNormalization",
    }
)  # fmt: skip
"""Operators whose constant inputs are weights. Constants of others are sizes, scales, axes."""
_PASSING = frozenset(
    {"Cast", "DequantizeLinear", "Identity", "QuantizeLinear", "Reshape", "Squeeze", "Transpose",
     "Unsqueeze"}
)  # fmt: skip
"""Operators whose result is their first input, in another shape or type."""
_LEARNED_LISTS = frozenset(
    {"class_weights", "coefficients", "target_weights", "leaf_weights", "intercepts"}
)
"""Attributes of the operators of classical models that were learnt."""
_MOST_NAME = 4096


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers in the file: one run of bytes, or one number at each of some places.

    Attributes:
        dtype: of a number.
        start: of the run, in bytes of the file.
        count: how many numbers the run has.
        places: where each number is, instead.
    """

    dtype: np.dtype[Any]
    start: int = 0
    count: int = 0
    places: Array | None = None

    def view(self, data: Array) -> Array:
        """The numbers, of the file's bytes; a run can be written through what is given."""
        if self.places is not None:
            each = self.places[:, None] + np.arange(self.dtype.itemsize)
            return data[each].view(self.dtype)[:, 0]
        end = self.start + self.count * self.dtype.itemsize
        return data[self.start : end].view(self.dtype)

    def write(self, data: Array, values: Array) -> None:
        """Put other numbers in their place."""
        if self.places is None:
            self.view(data)[:] = values
            return
        each = self.places[:, None] + np.arange(self.dtype.itemsize)
        data[each] = values.astype(self.dtype)[:, None].view(np.uint8)


@dataclass(frozen=True, slots=True)
class Layer:
    """An operator with weights of its own."""

    operator: str
    weights: tuple[Numbers, ...]


@dataclass
class _Node:
    operator: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    learned: list[Numbers] = field(default_factory=list)
    constant: Numbers | None = None


def layers_of(path: Path) -> list[Layer]:
    """The layers of an ONNX file that have weights, in the order in which they run.

    Raises:
        FileRefused: the file is no ONNX file.
    """
    with open_window(path, path.name) as window:
        wire = ProtobufReader(window, "ONNX")
        nodes, known = [], {}
        for part in wire.fields(0, window.size):
            if part.number != 7:
                continue
            for item in wire.message(part):
                if item.number == 1:
                    nodes.append(_node(wire, item))
                elif item.number == 5:
                    name, numbers = _tensor(wire, item)
                    if numbers is not None:
                        known[name] = numbers
    return list(_layers(nodes, known))


def _layers(nodes: Sequence[_Node], known: dict[str, Numbers]) -> Iterator[Layer]:
    """Each tensor belongs to the first layer that takes it."""
    for node in nodes:
        if node.constant is not None and node.outputs:
            known[node.outputs[0]] = node.constant
        elif node.operator in _PASSING and node.inputs and node.inputs[0] in known:
            known[node.outputs[0]] = known[node.inputs[0]]
    taken: set[int] = set()
    for node in nodes:
        weights = list(node.learned)
        if node.operator in _WEIGHING:
            for name in node.inputs:
                numbers = known.get(name)
                if numbers is not None and numbers.count > 1 and numbers.start not in taken:
                    taken.add(numbers.start)
                    weights.append(numbers)
        if weights:
            yield Layer(node.operator, tuple(weights))


def _node(wire: ProtobufReader, item: Field) -> _Node:
    node = _Node()
    for part in wire.message(item):
        if part.number == 1:
            node.inputs.append(wire.text(part, _MOST_NAME))
        elif part.number == 2:
            node.outputs.append(wire.text(part, _MOST_NAME))
        elif part.number == 4:
            node.operator = wire.text(part, _MOST_NAME)
        elif part.number == 5:
            _attribute(wire, part, node)
    return node


def _attribute(wire: ProtobufReader, item: Field, node: _Node) -> None:
    name, tensor = "", None
    places: list[int] = []
    run: Numbers | None = None
    for part in wire.message(item):
        if part.number == 1:
            name = wire.text(part, _MOST_NAME)
        elif part.number == 5:
            tensor = part
        elif part.number == 7 and part.wire == FIXED32:
            places.append(part.start)
        elif part.number == 7 and part.wire == BYTES:
            run = Numbers(_TYPES[1], part.start, part.size // 4)
    if name in _LEARNED_LISTS:
        if tensor is not None:
            run = _tensor(wire, tensor)[1]
        if places:
            run = Numbers(_TYPES[1], count=len(places), places=np.array(places))
        if run is not None and run.count > 1:
            node.learned.append(run)
    elif name == "value" and tensor is not None and node.operator in ("", "Constant"):
        node.constant = _tensor(wire, tensor)[1]


def _tensor(wire: ProtobufReader, item: Field) -> tuple[str, Numbers | None]:
    name, element = "", 0
    data: Field | None = None
    for part in wire.message(item):
        if part.number == 2 and part.wire == VARINT:
            element = part.value
        elif part.number == 8:
            name = wire.text(part, _MOST_NAME)
        elif part.wire == BYTES and part.number in (4, 9, 10):
            data = part  # packed floats, raw bytes, packed doubles
    dtype = _TYPES.get(element)
    if data is None or dtype is None or (data.number, element) in ((4, 11), (10, 1)):
        return name, None
    if data.number != 9 and element not in (1, 11):
        return name, None
    return name, Numbers(dtype, data.start, data.size // dtype.itemsize)
