"""From the outputs of a detection model to boxes around objects in the original image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from modelry.domain.errors import InternalError
from modelry.domain.signature import TensorSpec
from modelry.processing.detection.candidates import candidates, suppress
from modelry.processing.detection.families import FAMILIES
from modelry.processing.detection.family import Decoder
from modelry.processing.kinds import Building, StepKind
from modelry.processing.outputs import pick_output
from modelry.processing.parameters import (
    Parameter,
    Unfit,
    choice,
    flag,
    integer,
    list_of,
    number,
    optional,
    text,
)
from modelry.processing.values import Boxes, Context, Detections, Form, Stage
from modelry.runtime_api.tensors import Array

MAX_LEVELS = 8
MAX_OBJECTS = 5000


def decode_boxes(
    outputs: Mapping[str, Array],
    *,
    decoder: Decoder,
    specs: tuple[TensorSpec, ...],
    min_score: float,
    multi_label: bool,
    max_candidates: int,
    context: Context,
) -> Detections:
    """Reads scored boxes out of a detection model's outputs.

    `family` names their format: `yolov5` (centre, size, object score, class scores per row),
    `yolov8` (the same without object score, boxes along the last axis), `yolox` (as yolov5,
    counted in grid cells), `dfl` (scores and distributions of distances, as PicoDet and
    NanoDet), `ssd` (offsets to priors), `finished` (x0, y0, x1, y1, score, class), `centerface`
    (heat map, sizes, offsets). `outputs` are those to read, by default all in the file's
    order. Per image the `max_candidates` best boxes that reach `min_score` are kept; with
    `multi_label` a place counts for every class that reaches it, not for the best one only.
    """
    if context.input_size is None:
        raise InternalError("Boxes were to be decoded for items without images.")
    arrays = [pick_output(outputs, spec=spec, context=context) for spec in specs]
    dense = decoder.read(arrays, context.input_size)
    return Detections(
        candidates(dense, min_score=min_score, multi_label=multi_label, limit=max_candidates)
    )


def nms(found: Detections, *, iou: float, max_objects: int, class_wise: bool) -> Detections:
    """Keeps the best of boxes that overlap by more than `iou` (non-maximum suppression).

    With `class_wise` only boxes of the same class compete. At most `max_objects` per image
    stay, the best.
    """
    kept = [
        boxes.take(suppress(boxes, iou=iou, limit=max_objects, class_wise=class_wise))
        for boxes in found.items
    ]
    return replace(found, items=kept)


def unletterbox(found: Detections, *, context: Context) -> Detections:
    """Boxes in pixels of the original images, whatever resized, padded or cropped them.

    Boxes are cut at the image's border; those that lie outside of it go.
    """
    if context.geometry is None:
        raise InternalError("Boxes were to be moved for items without images.")
    moved = []
    for boxes, geometry in zip(found.items, context.geometry, strict=True):
        limits = np.array([geometry.width, geometry.height] * 2, dtype=np.float64)
        corners = np.clip(geometry.to_original(boxes.boxes), 0.0, limits)
        is_inside = (corners[:, 2:] > corners[:, :2]).all(axis=1)
        moved.append(Boxes(corners, boxes.scores, boxes.classes).take(np.flatnonzero(is_inside)))
    sizes = [(geometry.width, geometry.height) for geometry in context.geometry]
    return replace(found, items=moved, sizes=sizes)


def _prepare_decode(parameters: dict[str, Any], building: Building) -> dict[str, Any]:
    family = FAMILIES[parameters["family"]]
    names = parameters["outputs"]
    specs = (
        building.signature.outputs
        if names is None
        else tuple(building.output(name) for name in names)
    )
    strides = parameters["strides"] or family.strides
    decoder = family.build(specs, {**parameters, "strides": strides})
    if parameters["outputs"] is not None and len(set(names)) < len(names):
        raise Unfit("'outputs' names an output twice.")
    overridable = ("min_score", "multi_label", "max_candidates")
    return {"decoder": decoder, "specs": specs, **{name: parameters[name] for name in overridable}}


def _trace_decode(form: Form, bound: Mapping[str, Any]) -> Form:
    return replace(form, sizes=(bound["decoder"].class_count,))


STEPS = (
    StepKind(
        name="decode_boxes",
        side="post",
        run=decode_boxes,
        takes=(Stage.OUTPUTS,),
        gives=Stage.CANDIDATES,
        parameters=(
            Parameter("family", choice(*FAMILIES), about="the format of the outputs"),
            Parameter(
                "outputs",
                optional(list_of(text(), 1, 2 * MAX_LEVELS)),
                default=None,
                about="those to read, by name; by default all, in the file's order",
            ),
            Parameter(
                "min_score",
                number(0, 1),
                default=0.25,
                option="min_score",
                about="least score of a box",
            ),
            Parameter(
                "multi_label",
                flag(),
                default=False,
                about="a place counts for every class that scores there, not for the best only",
            ),
            Parameter(
                "max_candidates",
                integer(1, MAX_OBJECTS),
                default=1000,
                about="most boxes per image before `nms`",
            ),
            Parameter(
                "activation",
                choice("none", "sigmoid", "softmax"),
                default="none",
                about="turns raw scores into probabilities",
            ),
            Parameter(
                "unit",
                choice("pixels", "fraction"),
                default="pixels",
                about="of the coordinates: pixels of the input, or fractions of its width "
                "and height (yolov5, yolov8, finished)",
            ),
            Parameter(
                "order",
                choice("xyxy", "yxyx"),
                default="xyxy",
                about="of the coordinates (finished)",
            ),
            Parameter(
                "strides",
                optional(list_of(integer(1, 1024), 1, MAX_LEVELS)),
                default=None,
                about="input pixels per grid cell, level by level (yolox, dfl, ssd, centerface)",
            ),
            Parameter(
                "centre",
                number(0, 1),
                default=0.5,
                about="where in its cell a point lies; 0 is its upper left corner (dfl, ssd)",
            ),
            Parameter(
                "bins",
                optional(integer(2, 256)),
                default=None,
                about="numbers per distance; by default told from the shapes (dfl)",
            ),
            Parameter(
                "priors",
                optional(list_of(list_of(list_of(number(0.01, 1e5), 2, 2), 1, 64), 1, MAX_LEVELS)),
                default=None,
                about="level by level the widths and heights of a cell's priors in pixels (ssd)",
            ),
            Parameter(
                "variances",
                list_of(number(0.001, 10), 2, 2),
                default=[0.1, 0.2],
                about="what offsets of place and of size are multiplied by (ssd)",
            ),
            Parameter(
                "background",
                optional(integer(0, 100_000)),
                default=None,
                about="the class that stands for nothing (ssd)",
            ),
        ),
        shorthand="family",
        prepare=_prepare_decode,
        trace=_trace_decode,
        uses_context=True,
        needs_pictures=True,
    ),
    StepKind(
        name="nms",
        side="post",
        run=nms,
        takes=(Stage.CANDIDATES,),
        parameters=(
            Parameter(
                "iou",
                number(0, 1),
                default=0.5,
                about="intersection over union beyond which two boxes are the same object",
            ),
            Parameter(
                "max_objects",
                integer(1, MAX_OBJECTS),
                default=100,
                option="max_objects",
                about="most boxes per image",
            ),
            Parameter(
                "class_wise", flag(), default=True, about="boxes of different classes may overlap"
            ),
        ),
        shorthand="iou",
    ),
    StepKind(
        name="unletterbox",
        side="post",
        run=unletterbox,
        takes=(Stage.CANDIDATES,),
        gives=Stage.OBJECTS,
        uses_context=True,
        needs_pictures=True,
    ),
)
