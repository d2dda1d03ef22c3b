"""How a version is served: its signature and its processing graph.

The same graph makes the input of training, so both see the same pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modelry.domain.signature import DYNAMIC, Datatype, Signature, TensorSpec
from modelry.processing.detection.grids import map_sizes
from modelry.processing.graph import ProcessingGraph
from modelry.training.inputs import graph_of

TASK = "object-detection"
INPUT, OUTPUT = "images", "boxes"
STRIDES = (8, 16, 32)
MIN_SCORE = 0.3
NMS_IOU = 0.6


@dataclass(frozen=True, slots=True)
class Served:
    """What surrounds the network: its input's side, its classes, its processing graph."""

    side: int
    classes: tuple[str, ...]
    graph: ProcessingGraph


def served(side: int, classes: Sequence[str]) -> Served:
    """For images fitted into a square of this side."""
    names = tuple(classes)
    graph = graph_of(TASK, pre(side), post(), signature(side, len(names)), labels=names)
    return Served(side, names, graph)


def pre(side: int) -> list[Any]:
    """The whole image fitted into a square, as bytes: the network scales them itself."""
    return [{"decode": "rgb"}, {"letterbox": side}, {"layout": "nchw"}]


def post() -> list[Any]:
    """Boxes of all cells that score, the best of those that overlap, in the image's own pixels."""
    decode = {"family": "yolov8", "unit": "fraction", "min_score": MIN_SCORE}
    return [{"decode_boxes": decode}, {"nms": NMS_IOU}, "unletterbox", "label"]


def signature(side: int, class_count: int) -> Signature:
    """What the exported model takes and gives."""
    cells = sum(rows * columns for rows, columns in map_sizes((side, side), STRIDES))
    return Signature(
        (TensorSpec(INPUT, Datatype.UINT8, (DYNAMIC, 3, side, side)),),
        (TensorSpec(OUTPUT, Datatype.FP32, (DYNAMIC, 4 + class_count, cells)),),
        batched=True,
    )


def manifest(side: int, classes: Sequence[str]) -> dict[str, Any]:
    """The version's manifest, without its name and files."""
    return {"task": TASK, "pre": pre(side), "post": post(), "labels": list(classes)}
