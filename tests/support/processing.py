"""Processing graphs for tests, without a manifest around them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelry.domain.signature import Datatype, Signature, TensorSpec
from modelry.processing.declaration import normalize_steps
from modelry.processing.graph import ProcessingGraph
from modelry.processing.kinds import Assets

Spec = tuple[str, Datatype, Sequence[int]]
ANY = -1


def signature_of(inputs: Sequence[Spec], outputs: Sequence[Spec]) -> Signature:
    """A batched signature of (name, element type, shape)."""

    def specs(entries: Sequence[Spec]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(name, kind, tuple(shape)) for name, kind, shape in entries)

    return Signature(specs(inputs), specs(outputs), batched=True)


def graph_of(
    pre: Sequence[Any] = (),
    post: Sequence[Any] = (),
    *,
    inputs: Sequence[Spec] = (("x", Datatype.FP32, (ANY, 3)),),
    outputs: Sequence[Spec] = (("y", Datatype.FP32, (ANY, 4)),),
    labels: Sequence[str] | None = None,
    files: dict[str, Path] | None = None,
) -> ProcessingGraph:
    """A graph of steps as manifests write them."""
    return ProcessingGraph.build(
        normalize_steps(list(pre), "pre"),
        normalize_steps(list(post), "post"),
        signature_of(inputs, outputs),
        Assets(files or {}, labels),
    )
