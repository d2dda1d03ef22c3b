"""An ONNX file as nodes and weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, inliner, numpy_helper

from modelry.domain.errors import InvalidInput
from modelry.domain.signature import DYNAMIC
from modelry.runtime_api.tensors import Array

UNSUITED = "The base version cannot be trained further here: "
LEAST_OPSET = 7
"""Older ones broadcast in ways of their own."""
_OWN_DOMAINS = ("", "ai.onnx")
_CONSTANTS = ("value", "value_float", "value_floats", "value_int", "value_ints")


@dataclass(frozen=True, slots=True)
class Node:
    """One operation.

    Attributes:
        op: its type; operators of other domains than ONNX's have theirs before it (`a.b:Op`).
        inputs: names of tensors, "" for one that is left out.
        outputs: likewise.
        attributes: as Python values.
        captured: tensors that graphs within it (of `If`, `Loop`) may read.
        proto: as it was read.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    captured: tuple[str, ...]
    proto: Any

    @property
    def reads(self) -> Iterator[str]:
        """All tensors that it needs."""
        yield from (name for name in self.inputs if name)
        yield from self.captured


@dataclass(frozen=True, slots=True)
class Graph:
    """A model of one input of 32-bit floats.

    Attributes:
        input: its name.
        shape: of its input; `DYNAMIC` where open, and always in dimension 0.
        is_opened: whether dimension 0 had a fixed size in the file.
        outputs: names.
        nodes: in an order in which each comes after what it reads.
        weights: arrays by name, constants among them.
        opset: of ONNX's own operators.
        digest: `sha256:<hex>` of the file.
        proto: what is left of the file: versions and domains, no nodes and no weights.
    """

    input: str
    shape: tuple[int, ...]
    is_opened: bool
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    weights: Mapping[str, Array]
    opset: int
    digest: str
    proto: Any
    makers: Mapping[str, int] = field(default_factory=dict)
    """Which node makes a tensor."""

    def needed(self, names: Sequence[str]) -> list[int]:
        """Places of the nodes that tensors are made from, in order."""
        found: set[int] = set()
        left = list(names)
        while left:
            at = self.makers.get(left.pop())
            if at is None or at in found:
                continue
            found.add(at)
            left += self.nodes[at].reads
        return sorted(found)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file holds, whatever its inputs are.

    Attributes:
        nodes: in order.
        weights: arrays by name, constants among them.
        opset: of ONNX's own operators.
        proto: the whole, without functions.
    """

    nodes: tuple[Node, ...]
    weights: Mapping[str, Array]
    opset: int
    proto: Any


def read_contents(content: bytes) -> Contents:
    """Nodes and weights of an ONNX file.

    Raises:
        InvalidInput: it is none, or none whose weights can be read; says why.
    """
    model = _parsed(content)
    graph = model.graph
    _check_weights(graph)
    opset = _opset(model)
    weights = {one.name: _array(one) for one in graph.initializer}
    nodes = []
    for proto in graph.node:
        value = _constant(proto)
        if value is None:
            nodes.append(_node(proto))
        else:
            weights[proto.output[0]] = value
    return Contents(tuple(nodes), weights, opset, model)


def read_graph(file: Path) -> Graph:
    """The model in a file.

    Raises:
        InvalidInput: it is none, or none that can be trained further; says why.
    """
    content = file.read_bytes()
    held = read_contents(content)
    model, nodes, weights = held.proto, held.nodes, held.weights
    name, shape = _input(model.graph, weights)
    left = onnx.ModelProto()
    left.ir_version = model.ir_version
    left.opset_import.extend(model.opset_import)
    found = Graph(
        input=name,
        shape=(DYNAMIC, *shape[1:]),
        is_opened=shape[0] != DYNAMIC,
        outputs=tuple(one.name for one in model.graph.output),
        nodes=nodes,
        weights=weights,
        opset=held.opset,
        digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
        proto=left,
        makers={made: at for at, node in enumerate(nodes) for made in node.outputs if made},
    )
    _check_order(found)
    return found


def unsuited(why: str, param: str = "base") -> InvalidInput:
    """The error for a file that cannot be trained further."""
    return InvalidInput(UNSUITED + why, param=param)


def _parsed(content: bytes) -> Any:
    try:
        model = onnx.load_model_from_string(content)
        if model.functions:
            model = inliner.inline_local_functions(model)
    except Exception as error:  # noqa: BLE001 - protobuf's errors are not public
        raise unsuited(f"its file is no ONNX model ({type(error).__name__}).") from None
    return model


def _check_weights(graph: Any) -> None:
    if graph.sparse_initializer:
        raise unsuited("it has sparse weights; save it with dense ones.")
    for tensor in graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise unsuited("its weights lie in another file; save it as one file.")


def _opset(model: Any) -> int:
    found = {one.domain: one.version for one in model.opset_import}
    opset = max((found.get(domain, 0) for domain in _OWN_DOMAINS), default=0)
    if opset < LEAST_OPSET:
        raise unsuited(
            f"it is written for version {opset} of ONNX's operators, and {LEAST_OPSET} is the "
            "oldest that is known; convert it to a later one."
        )
    return int(opset)


def _input(graph: Any, weights: Mapping[str, Array]) -> tuple[str, tuple[int, ...]]:
    given = [one for one in graph.input if one.name not in weights]
    if len(given) != 1:
        names = ", ".join(one.name for one in given[:8]) or "none"
        raise unsuited(f"it has the inputs {names}; expected one, of images.")
    (one,) = given
    kind = one.type.tensor_type
    if kind.elem_type != onnx.TensorProto.FLOAT or not kind.HasField("shape"):
        raise unsuited(f"its input '{one.name}' is no tensor of 32-bit floats of a known rank.")
    shape = tuple(
        size.dim_value if size.HasField("dim_value") and size.dim_value > 0 else DYNAMIC
        for size in kind.shape.dim
    )
    if len(shape) != 4:
        raise unsuited(f"its input '{one.name}' has the shape {list(shape)}; images have four.")
    return one.name, shape


def _check_order(graph: Graph) -> None:
    known = {graph.input, *graph.weights}
    for node in graph.nodes:
        for name in node.inputs:
            if name and name not in known:
                raise unsuited(f"its operator '{node.op}' reads '{name[:80]}' before it is made.")
        known.update(node.outputs)


def _node(proto: Any) -> Node:
    own = proto.domain in _OWN_DOMAINS
    attributes: dict[str, Any] = {}
    captured: list[str] = []
    for one in proto.attribute:
        value = helper.get_attribute_value(one)
        if isinstance(value, onnx.GraphProto):
            captured += _read_within(value)
        else:
            attributes[one.name] = value.decode() if isinstance(value, bytes) else value
    return Node(
        op=proto.op_type if own else f"{proto.domain}:{proto.op_type}",
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes=attributes,
        captured=tuple(dict.fromkeys(captured)),
        proto=proto,
    )


def _read_within(graph: Any) -> Iterator[str]:
    yield from (one.name for one in graph.output)
    for node in graph.node:
        yield from (name for name in node.input if name)
        for one in node.attribute:
            if one.type == onnx.AttributeProto.GRAPH:
                yield from _read_within(one.g)


def _constant(proto: Any) -> Array | None:
    if proto.op_type != "Constant" or proto.domain not in _OWN_DOMAINS:
        return None
    for one in proto.attribute:
        if one.name in _CONSTANTS:
            value = helper.get_attribute_value(one)
            return _array(value) if isinstance(value, onnx.TensorProto) else _numbers(value)
    return None


def _numbers(value: Any) -> Array:
    held = np.asarray(value)
    kind = np.float32 if held.dtype.kind == "f" else np.int64
    found: Array = held.astype(kind)
    return found


def _array(tensor: Any) -> Array:
    try:
        found: Array = numpy_helper.to_array(tensor)
    except Exception as error:  # noqa: BLE001 - several kinds, for lengths that disagree
        raise unsuited(
            f"its weight '{tensor.name[:80]}' cannot be read ({type(error).__name__})."
        ) from None
    return found
