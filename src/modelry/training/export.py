"""From a torch module to an ONNX file that says nothing of where it was made.

By torch's exporter of captured programs: it keeps open dimensions open, or says why it cannot. The
older one, which records a run, bakes sizes of the example into attention without a word.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from modelry.domain.errors import NotSupported

OPSET = 18
MAX_BYTES = 2 * 10**9
"""Of weights in one file: what the format itself can hold."""

Dynamic = Mapping[str, Mapping[int, str]]


def to_onnx(
    model: torch.nn.Module,
    inputs: Mapping[str, torch.Tensor],
    outputs: Sequence[str],
    file: Path,
    *,
    dynamic: Dynamic | None = None,
    opset: int = OPSET,
) -> None:
    """Write the model, in evaluation mode and on the CPU, as ONNX.

    Args:
        model: moved to the CPU and set to evaluation mode; stays so.
        inputs: an example of each input, by name, in the order of `forward`'s arguments. No open
            dimension may have size 0 or 1 in it: use at least two rows.
        outputs: names of what `forward` gives, in order.
        file: where to.
        dynamic: which dimensions of which inputs are open, and what they are called; by default
            dimension 0 of all, called `n`.
        opset: of ONNX.

    Raises:
        NotSupported: the model cannot be exported; says what stood in the way.
    """
    model.cpu().eval()
    size = sum(one.numel() * one.element_size() for one in model.state_dict().values())
    if size > MAX_BYTES:
        raise NotSupported(
            f"The model has {size} bytes of weights; one ONNX file holds at most {MAX_BYTES}."
        )
    named = dynamic or {name: {0: "n"} for name in inputs}
    shapes = tuple(dict(named.get(name, {})) or None for name in inputs)
    with _quietly():
        try:
            made = torch.onnx.export(
                model,
                tuple(one.cpu() for one in inputs.values()),
                dynamo=True,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=_as_signature(shapes),
                opset_version=opset,
                external_data=False,
                verbose=False,
            )
        except Exception as error:
            reason = str(error.__cause__ or error).strip().splitlines()
            raise NotSupported(
                "The trained model cannot be exported to ONNX: "
                f"{(reason[0] if reason else type(error).__name__)[:500]}"
            ) from error
    if made is None:
        raise NotSupported("The trained model cannot be exported to ONNX.")
    file.write_bytes(plain_bytes(made.model_proto))


def _as_signature(shapes: tuple[Any, ...]) -> Any:
    return shapes


def plain_bytes(proto: Any) -> bytes:
    """The file without what the exporter notes of source files and their lines."""
    for holder in (proto, proto.graph, *proto.functions):
        holder.ClearField("metadata_props")
        holder.ClearField("doc_string")
    for graph in (proto.graph, *proto.functions):
        for node in _nodes(graph):
            node.ClearField("metadata_props")
            node.ClearField("doc_string")
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        value.ClearField("metadata_props")
        value.ClearField("doc_string")
    for tensor in proto.graph.initializer:
        tensor.ClearField("metadata_props")
        tensor.ClearField("doc_string")
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def _nodes(graph: Any) -> Iterator[Any]:
    """All nodes, those of graphs within nodes too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from _nodes(inner)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what the exporter says about its own affairs (deprecations, missing torchvision)."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for kind in (DeprecationWarning, FutureWarning, UserWarning):
                warnings.simplefilter("ignore", kind)
            yield
    finally:
        log.setLevel(level)
