"""ONNX: the signature, operators and external data of a model, from its protobuf wire form.

Field numbers are those of `onnx.proto`; they are part of the format and never change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelry.domain.signature import Signature
from modelry.manifest.inspect.facts import FileFacts
from modelry.manifest.inspect.onnx_tensors import TensorChecker
from modelry.manifest.inspect.onnx_values import ValueReader, ValueSpec
from modelry.manifest.inspect.protobuf import BYTES, VARINT, Field, ProtobufReader
from modelry.manifest.inspect.window import ByteWindow
from modelry.manifest.nodes import shorten

MAX_BYTES = 2 * 2**30
MAX_SUBGRAPH_DEPTH = 16
MAX_OPERATORS = 4096
MAX_METADATA_BYTES = 1024 * 1024
MADE_BY = "made_by."
"""Begins the metadata keys that tell which operator makes an output: `made_by.logits`."""
ALLOWED_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})

USUAL_FIRST_BYTE = 0x08
# The first bytes that a serialised ModelProto can have: the tags of its fields.
FIRST_BYTES = frozenset({0x08, 0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72, 0xA2, 0xCA})


def read_onnx(window: ByteWindow, companions: Mapping[str, Path] | None = None) -> FileFacts:
    """The facts of an ONNX file.

    Args:
        window: the file.
        companions: files that the manifest declares beside it, by name; external data may
            point at these only.

    Raises:
        FileRefused: not ONNX, damaged, or with operators or external data that are refused.
    """
    if window.size > MAX_BYTES:
        raise window.refused(
            "it is larger than 2 GiB, which no ONNX file can be. Save the weights as external data "
            "and declare that file in the manifest too."
        )
    return _ModelReader(window, companions or {}).read()


@dataclass
class _Model:
    """What was gathered on the way."""

    ir_version: int | None = None
    graph: Field | None = None
    opsets: dict[str, int] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    property_bytes: int = 0
    bodies: list[Field] = field(default_factory=list)
    functions: set[tuple[str, str]] = field(default_factory=set)
    operators: set[tuple[str, str]] = field(default_factory=set)
    makers: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


class _ModelReader:
    """Walks a ModelProto once for its outline and once for its nodes."""

    def __init__(self, window: ByteWindow, companions: Mapping[str, Path]) -> None:
        self._window = window
        self._wire = ProtobufReader(window, "ONNX")
        self._values = ValueReader(window, self._wire)
        self._tensors = TensorChecker(window, self._wire, companions)
        self._model = _Model()

    def read(self) -> FileFacts:
        model = self._model
        for part in self._wire.fields(0, self._window.size):
            self._outline(part)
        if model.ir_version is None or model.graph is None or not model.opsets:
            missing = "graph" if model.graph is None else "version of its operators (opset)"
            raise self._window.refused(
                f"it has no {missing}: not an ONNX model, or one that was cut off. Export it "
                "again and compare its sha256."
            )
        inputs, outputs = self._values.of_graph(model.graph)
        initialised: set[str] = set()
        model.makers = dict.fromkeys((spec.name for spec in outputs), "")
        self._graph(model.graph, 0, {spec.name for spec in inputs}, initialised)
        for body in model.bodies:
            self._nodes(body, {7: 1})
        self._check_domains()
        signature = self._signature(
            [spec for spec in inputs if spec.name not in initialised], outputs
        )
        return FileFacts(
            format="onnx",
            size_bytes=self._window.size,
            signature=signature,
            metadata=self._metadata(),
            warnings=tuple(model.warnings),
            companions=self._tensors.companions,
        )

    def _outline(self, part: Field) -> None:
        model, wire = self._model, self._wire
        words = {2: "producer", 3: "producer_version", 4: "domain"}
        if part.number == 1 and part.wire == VARINT:
            model.ir_version = part.value
        elif part.number in words:
            model.words[words[part.number]] = wire.text(part, 4096)
        elif part.number == 7:
            if model.graph is not None or part.wire != BYTES:
                raise self._window.refused("it has more than one graph; export it again.")
            model.graph = part
        elif part.number == 8:
            domain, version = "", 0
            for item in wire.message(part):
                if item.number == 1:
                    domain = wire.text(item, 256)
                elif item.number == 2:
                    version = item.value
            model.opsets[domain] = version
            self._bounded(model.opsets, "operator set", 256)
        elif part.number == 14:
            self._property(part)
        elif part.number == 20:
            raise self._window.refused(
                "it carries training information, which is not served. Export it for inference."
            )
        elif part.number == 25:
            self._function(part)

    def _property(self, part: Field) -> None:
        model = self._model
        key = value = ""
        model.property_bytes += part.size
        if model.property_bytes > MAX_METADATA_BYTES:
            if part.size and "metadata" not in " ".join(model.warnings):
                model.warnings.append("The metadata beyond 1 MiB was left out.")
            return
        for item in self._wire.message(part):
            if item.number == 1:
                key = self._wire.text(item, 1024)
            elif item.number == 2:
                value = self._wire.text(item, MAX_METADATA_BYTES)
        model.properties[key] = value

    def _function(self, part: Field) -> None:
        name = domain = ""
        for item in self._wire.message(part):
            if item.number == 1:
                name = self._wire.text(item, 1024)
            elif item.number == 10:
                domain = self._wire.text(item, 256)
        self._model.functions.add((domain, name))
        self._model.bodies.append(part)
        self._bounded(self._model.functions, "function", MAX_OPERATORS)

    def _graph(self, graph: Field, depth: int, inputs: set[str], initialised: set[str]) -> None:
        """Checks nodes and weights; adds the `inputs` that have a default to `initialised`."""
        if depth > MAX_SUBGRAPH_DEPTH:
            raise self._window.refused(
                f"its graphs are nested deeper than {MAX_SUBGRAPH_DEPTH} levels."
            )
        for part in self._wire.message(graph):
            if part.number == 1:
                self._node(part, depth)
            elif part.number == 5:
                name = self._tensors.check(part)
                if name in inputs:
                    initialised.add(name)
            elif part.number == 15:
                name = self._tensors.check_sparse(part)
                if name in inputs:
                    initialised.add(name)

    def _nodes(self, body: Field, numbers: Mapping[int, int]) -> None:
        for part in self._wire.message(body):
            if part.number in numbers:
                self._node(part, numbers[part.number])
            elif part.number == 11:
                self._attribute(part, 0)

    def _node(self, node: Field, depth: int) -> None:
        operator = domain = ""
        made: list[str] = []
        for part in self._wire.message(node):
            if part.number == 4:
                operator = self._wire.text(part, 1024)
            elif part.number == 7:
                domain = self._wire.text(part, 256)
            elif part.number == 5:
                self._attribute(part, depth)
            elif part.number == 2 and depth == 0 and part.size <= 1024:
                made.append(self._wire.text(part, 1024))
        self._model.operators.add((domain, operator))
        self._model.makers.update({name: operator for name in made if name in self._model.makers})
        self._bounded(self._model.operators, "kind of operator", MAX_OPERATORS)

    def _attribute(self, attribute: Field, depth: int) -> None:
        for part in self._wire.message(attribute, skim=True):
            if part.number in (6, 11):
                self._graph(part, depth + 1, set(), set())
            elif part.number in (5, 10):
                self._tensors.check(part)
            elif part.number in (22, 23):
                self._tensors.check_sparse(part)

    def _bounded(self, found: set[tuple[str, str]] | dict[str, int], what: str, limit: int) -> None:
        if len(found) > limit:
            raise self._window.refused(f"it has more than {limit} entries of {what}.")

    def _check_domains(self) -> None:
        model = self._model
        foreign = sorted(
            f"{domain}.{operator}"
            for domain, operator in model.operators
            if domain not in ALLOWED_DOMAINS and (domain, operator) not in model.functions
        )
        if foreign:
            raise self._window.refused(
                f"it needs custom operators ({shorten(', '.join(foreign), 200)}), which would mean "
                "running native code from a library. Accepted are the operators of "
                "'ai.onnx', 'ai.onnx.ml' and 'com.microsoft'. Export it without custom operators."
            )

    def _signature(self, inputs: list[ValueSpec], outputs: list[ValueSpec]) -> Signature:
        if not outputs:
            raise self._window.refused("its graph has no outputs; export it again.")
        batched = _is_batched(inputs, outputs)
        specs = [*inputs, *outputs]
        if not batched and all(spec.shape and spec.shape[0].is_open for spec in specs):
            self._model.warnings.append(
                "Dimension 0 of its tensors is open but not one named batch dimension, so requests "
                "are not put together. Name it, for example 'batch', on all inputs and outputs "
                "when exporting."
            )
        for spec in outputs:
            if spec.unknown_rank:
                self._model.warnings.append(f"Output '{spec.name}' declares no shape.")
        return Signature(
            tuple(spec.to_tensor_spec() for spec in inputs),
            tuple(spec.to_tensor_spec() for spec in outputs),
            batched,
        )

    def _metadata(self) -> dict[str, str]:
        model = self._model
        found = {
            "ir_version": str(model.ir_version),
            **model.words,
            **{
                f"opset.{domain or 'ai.onnx'}": str(version)
                for domain, version in model.opsets.items()
            },
            "operators": ",".join(sorted({operator for _domain, operator in model.operators})),
            **{f"{MADE_BY}{name}": operator for name, operator in model.makers.items()},
        }
        for key, value in model.properties.items():
            if not key.startswith(MADE_BY):
                found.setdefault(key, value)
        return {key: value for key, value in found.items() if value}


def _is_batched(inputs: list[ValueSpec], outputs: list[ValueSpec]) -> bool:
    """Whether one symbol is dimension 0 everywhere and stands nowhere else.

    An anonymous open dimension does not count: it may be the number of boxes that were found.
    A symbol that returns elsewhere (a batch x batch matrix) makes answers depend on neighbours.
    """
    specs = [*inputs, *outputs]
    if not inputs or not all(spec.shape for spec in specs):
        return False
    symbols = {spec.shape[0].symbol for spec in specs}
    if len(symbols) != 1 or None in symbols:
        return False
    uses: Counter[str | None] = Counter(
        dimension.symbol for spec in specs for dimension in spec.shape
    )
    return uses[next(iter(symbols))] == len(specs)
