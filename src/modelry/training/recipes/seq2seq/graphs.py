"""The trained network as two ONNX graphs: an encoder, and a decoder that goes on by one token.

They are written operator by operator rather than recorded by torch's exporter: the step decoder is
no part of the network as it is trained (caches, searches that join and leave, rows that share a
text), and all its dimensions stay open. What they take and give: `processing/sequences/graphs.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from modelry.processing.sequences.graphs import cache_names
from modelry.runtime_api.tensors import Array
from modelry.training.recipes.seq2seq.network import LEAST, SHARPEST, TINY, Shape, sinusoids

OPSET, IR_VERSION = 17, 9
NEVER = -1e9
TRANSPOSED = ".t"
"""Ends the names of weights that the graphs hold turned round."""
_FLOAT, _INT = TensorProto.FLOAT, TensorProto.INT64
_EPSILON = 1e-5


class _Graph:
    """A graph under construction; every method gives the name of its result."""

    def __init__(self, weights: Mapping[str, Array], shape: Shape) -> None:
        self.shape = shape
        self._weights = weights
        self._nodes: list[Any] = []
        self._constants: dict[str, Array] = {}

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """An operator with one output."""
        name = name or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def several(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **more: Any
    ) -> None:
        """An operator with several outputs."""
        self._nodes.append(helper.make_node(kind, list(inputs), list(outputs), **more))

    def whole(self, *numbers: int) -> str:
        """Constant int64, one-dimensional."""
        return self._constant("whole_" + "_".join(map(str, numbers)), np.array(numbers, np.int64))

    def number(self, value: float) -> str:
        """Constant float32 scalar."""
        return self._constant(f"number_{value!r}", np.array(value, np.float32))

    def weight(self, name: str, array: Array | None = None) -> str:
        """A weight of the network, or a table made of them."""
        return self._constant(name, self._weights[name] if array is None else array)

    def linear(self, given: str, layer: str) -> str:
        """Multiply and add."""
        matrix = self.weight(f"{layer}.weight{TRANSPOSED}", self._weights[f"{layer}.weight"].T)
        return self.op("Add", self.op("MatMul", given, matrix), self.weight(f"{layer}.bias"))

    def norm(self, given: str, layer: str) -> str:
        """Normalise the last dimension."""
        parts = self.weight(f"{layer}.weight"), self.weight(f"{layer}.bias")
        return self.op("LayerNormalization", given, *parts, axis=-1, epsilon=_EPSILON)

    def unit(self, given: str) -> str:
        """Vectors of about length 1."""
        squares = self.op("ReduceSumSquare", given, axes=[-1])
        return self.op("Div", given, self.op("Sqrt", self.op("Add", squares, self.number(TINY))))

    def chance(self, odds: str) -> str:
        """Of log-odds; ONNX Runtime's Sigmoid is exact to 1e-7, which is coarse for small ones."""
        inverse = self.op("Exp", self.op("Neg", odds))
        return self.op("Reciprocal", self.op("Add", self.number(1.0), inverse))

    def inner(self, given: str, layer: str) -> str:
        """The two layers for each token."""
        return self.linear(self.op("Relu", self.linear(given, f"{layer}.up")), f"{layer}.down")

    def attention(self, query: str, key: str, value: str, bias: str) -> str:
        """Of (…, heads, t, size) to (…, heads, s, size)."""
        turned = self.op("Transpose", key, perm=[0, 1, 3, 2])
        factor = self.number(self.shape.head_size**-0.5)
        scores = self.op("Mul", self.op("MatMul", query, turned), factor)
        weights = self.op("Softmax", self.op("Add", scores, bias), axis=-1)
        return self.op("MatMul", weights, value)

    def split(self, given: str, layout: str) -> str:
        """(n, s, width) as (n, heads, s, size)."""
        return self.op("Transpose", self.op("Reshape", given, layout), perm=[0, 2, 1, 3])

    def mask_bias(self, mask: str) -> str:
        """(n, s) int64 as (n, 1, 1, s): 0 where there is a token, far below elsewhere."""
        hidden = self.op("Sub", self.number(1.0), self.op("Cast", mask, to=_FLOAT))
        return self.op("Unsqueeze", self.op("Mul", hidden, self.number(NEVER)), self.whole(1, 2))

    def embedded(self, tokens: str, places: str) -> str:
        """Token vectors with their places."""
        found = self.op("Gather", self.weight("table.weight"), tokens)
        scaled = self.op("Mul", found, self.number(math.sqrt(self.shape.width)))
        return self.op("Add", scaled, places)

    def places(self) -> str:
        """The table of places."""
        return self.weight("places", sinusoids(self.shape.positions, self.shape.width).numpy())

    def write(
        self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], file: Path, name: str
    ) -> None:
        """Write the graph; inputs and outputs are (element type, dimensions) by name."""
        tensors = [numpy_helper.from_array(np.ascontiguousarray(array), one)
                   for one, array in self._constants.items()]  # fmt: skip
        graph = helper.make_graph(
            self._nodes,
            name,
            [helper.make_tensor_value_info(one, *told) for one, told in inputs.items()],
            [helper.make_tensor_value_info(one, *told) for one, told in outputs.items()],
            tensors,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        onnx.checker.check_model(model)
        file.write_bytes(model.SerializeToString(deterministic=True))

    def _constant(self, name: str, array: Array) -> str:
        self._constants.setdefault(name, array)
        return name


def write_encoder(weights: Mapping[str, Array], shape: Shape, file: Path) -> None:
    """Write the encoder, which also makes keys and values of the decoder's layers.

    Args:
        weights: the network's, by name.
        shape: its sizes.
        file: where to.
    """
    graph = _Graph(weights, shape)
    bias = graph.mask_bias("source_mask")
    length = graph.op("Slice", graph.op("Shape", "source"), *map(graph.whole, (1, 2)))
    places = graph.op("Slice", graph.places(), graph.whole(0), length, graph.whole(0))
    text = graph.embedded("source", places)
    layout = graph.whole(0, 0, shape.heads, shape.head_size)
    for at in range(shape.encoder_layers):
        layer = f"encoder.{at}"
        normed = graph.norm(text, f"{layer}.own_norm")
        query, key, value = (
            graph.split(graph.linear(normed, f"{layer}.own.{part}"), layout)
            for part in ("query", "key", "value")
        )
        found = graph.op("Transpose", graph.attention(query, key, value, bias), perm=[0, 2, 1, 3])
        joined = graph.op("Reshape", found, graph.whole(0, 0, shape.width))
        text = graph.op("Add", text, graph.linear(joined, f"{layer}.own.out"))
        inner = graph.inner(graph.norm(text, f"{layer}.inner_norm"), f"{layer}.inner")
        text = graph.op("Add", text, inner)
    memory = graph.norm(text, "encoder_norm")
    for at in range(shape.decoder_layers):
        for part in ("key", "value"):
            given = graph.linear(memory, f"decoder.{at}.memory.{part}")
            turned = graph.op("Reshape", given, layout)
            graph.op("Transpose", turned, perm=[0, 2, 1, 3], name=f"memory.{at}.{part}")
    if shape.copies:
        one = graph.whole(1)
        key = graph.unit(graph.linear(memory, "copy.key"))
        graph.op("Unsqueeze", key, one, name="memory.copy")
        graph.op("Unsqueeze", "source", one, name="memory.source")
    rows = (_INT, ["texts", "source_length"])
    graph.write({"source": rows, "source_mask": rows}, _memory(shape), file, "encoder")


def write_decoder(
    weights: Mapping[str, Array], shape: Shape, file: Path, never: Sequence[int]
) -> None:
    """Write the step decoder.

    Args:
        weights: the network's, by name.
        shape: its sizes.
        file: where to.
        never: tokens that no answer has.
    """
    graph = _Graph(weights, shape)
    memory_bias = graph.mask_bias("source_mask")
    text = graph.embedded("tokens", graph.op("Gather", graph.places(), "positions"))
    own_bias = _own_bias(graph)
    texts = graph.op("Slice", graph.op("Shape", "source_mask"), *map(graph.whole, (0, 1)))
    by_text = graph.op("Concat", texts, graph.whole(-1, shape.heads, shape.head_size), axis=0)
    for at in range(shape.decoder_layers):
        layer = f"decoder.{at}"
        found = _own_attention(graph, graph.norm(text, f"{layer}.own_norm"), at, own_bias)
        text = graph.op("Add", text, found)
        # rows of one text are its queries together, so that its memory is not repeated
        query = graph.linear(graph.norm(text, f"{layer}.memory_norm"), f"{layer}.memory.query")
        read = graph.attention(
            graph.split(query, by_text), f"memory.{at}.key", f"memory.{at}.value", memory_bias
        )
        read = graph.op("Transpose", read, perm=[0, 2, 1, 3])
        read = graph.op("Reshape", read, graph.whole(-1, shape.width))
        text = graph.op("Add", text, graph.linear(read, f"{layer}.memory.out"))
        inner = graph.inner(graph.norm(text, f"{layer}.inner_norm"), f"{layer}.inner")
        text = graph.op("Add", text, inner)
    table = graph.weight(f"table.weight{TRANSPOSED}", weights["table.weight"].T)
    states = graph.norm(text, "decoder_norm")
    array = np.zeros(shape.vocabulary, np.float32)
    array[list(never)] = NEVER
    hidden = graph.weight("never", array)
    logits = graph.op("Add", graph.op("MatMul", states, table), hidden)
    if shape.copies:
        scores = graph.op("Add", _with_copies(graph, states, logits, memory_bias), hidden)
    else:
        scores = graph.op("LogSoftmax", logits, axis=-1)
    graph.several("TopK", [scores, "candidates"], ["scores", "next_tokens"], axis=-1)
    row = (_INT, ["rows"])
    inputs = {
        **dict.fromkeys(("tokens", "positions", "parents"), row),
        "candidates": (_INT, [1]),
        "source_mask": (_INT, ["texts", "source_length"]),
        **_memory(shape),
        **_caches("past", shape, ["rows_before", shape.heads, "length", shape.head_size]),
    }
    outputs = {
        "scores": (_FLOAT, ["rows", "candidate"]),
        "next_tokens": (_INT, ["rows", "candidate"]),
        **_caches("present", shape, ["rows", shape.heads, "new_length", shape.head_size]),
    }
    graph.write(inputs, outputs, file, "decoder")


def _with_copies(graph: _Graph, states: str, logits: str, memory_bias: str) -> str:
    """Log-probabilities of writing and of copying each token together, (rows, vocabulary)."""
    width = graph.whole(graph.shape.width)
    texts, length = (
        graph.op("Slice", graph.op("Shape", "source_mask"), *map(graph.whole, ends))
        for ends in ((0, 1), (1, 2))
    )
    by_text = graph.op("Concat", texts, graph.whole(-1), width, axis=0)
    query = graph.op("Reshape", graph.unit(graph.linear(states, "copy.query")), by_text)
    key = graph.op("Squeeze", "memory.copy", graph.whole(1))
    scores = graph.op("MatMul", query, graph.op("Transpose", key, perm=[0, 2, 1]))
    scores = graph.op("Mul", scores, graph.number(SHARPEST))
    bias = graph.op("Squeeze", memory_bias, graph.whole(1))
    shares = graph.op("Softmax", graph.op("Add", scores, bias), axis=-1)
    tokens = graph.op("Expand", "memory.source", graph.op("Shape", shares))
    by_row = graph.op("Concat", graph.whole(-1), length, axis=0)
    shares, tokens = (graph.op("Reshape", one, by_row) for one in (shares, tokens))
    gate = graph.linear(states, "copy.gate")
    written = graph.op("Softmax", logits, axis=-1)
    written = graph.op("Mul", written, graph.chance(graph.op("Neg", gate)))
    copied = graph.op("Mul", shares, graph.chance(gate))
    both = graph.op("ScatterElements", written, tokens, copied, axis=1, reduction="add")
    return graph.op("Log", graph.op("Add", both, graph.number(LEAST)))


def _own_bias(graph: _Graph) -> str:
    """(rows, 1, 1, length + 1): 0 in the row's own columns, the last ones, far below elsewhere."""
    shape = graph.op("Shape", "past.0.key")
    length = graph.op("Gather", shape, graph.op("Squeeze", graph.whole(2)))
    first = graph.op("Sub", length, "positions")
    one = graph.op("Squeeze", graph.whole(1))
    zero = graph.op("Squeeze", graph.whole(0))
    columns = graph.op("Range", zero, graph.op("Add", length, one), one)
    is_foreign = graph.op(
        "Less",
        graph.op("Unsqueeze", columns, graph.whole(0)),
        graph.op("Unsqueeze", first, graph.whole(1)),
    )
    bias = graph.op("Mul", graph.op("Cast", is_foreign, to=_FLOAT), graph.number(NEVER))
    return graph.op("Unsqueeze", bias, graph.whole(1, 2))


def _own_attention(graph: _Graph, normed: str, at: int, bias: str) -> str:
    """Attention of one token per row to the row's own tokens; keeps keys and values."""
    layer = f"decoder.{at}.own"
    size = graph.shape
    layout = graph.whole(0, size.heads, 1, size.head_size)
    query = graph.op("Reshape", graph.linear(normed, f"{layer}.query"), layout)
    kept = []
    for part in ("key", "value"):
        new = graph.op("Reshape", graph.linear(normed, f"{layer}.{part}"), layout)
        before = graph.op("Gather", f"past.{at}.{part}", "parents", axis=0)
        kept.append(graph.op("Concat", before, new, axis=2, name=f"present.{at}.{part}"))
    key, value = kept
    found = graph.attention(query, key, value, bias)
    joined = graph.op("Reshape", found, graph.whole(0, size.width))
    return graph.linear(joined, f"{layer}.out")


def _memory(shape: Shape) -> dict[str, Any]:
    found = _caches("memory", shape, ["texts", shape.heads, "source_length", shape.head_size])
    if shape.copies:
        found["memory.copy"] = (_FLOAT, ["texts", 1, "source_length", shape.width])
        found["memory.source"] = (_INT, ["texts", 1, "source_length"])
    return found


def _caches(prefix: str, shape: Shape, dimensions: Sequence[int | str]) -> dict[str, Any]:
    return dict.fromkeys(cache_names(prefix, shape.decoder_layers), (_FLOAT, list(dimensions)))
