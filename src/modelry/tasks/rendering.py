"""From what the last step gave to results: what several tasks answer with, and its schema.

Numbers that are no numbers (NaN, infinite) are never passed on: JSON has no word for them, and
they mean that the model broke on this item.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelry.domain.errors import ModelFailed
from modelry.processing.values import Boxes, Context, Detections, Ranking
from modelry.runtime_api.tensors import Array
from modelry.tasks.contract import Results, Schema

LABEL: Schema = {
    "type": "object",
    "properties": {
        "label": {"type": "string", "description": "The class's name, or its index as text."},
        "index": {"type": "integer", "minimum": 0},
        "score": {"type": "number"},
    },
    "required": ["label", "index"],
}
LABELS: Schema = {
    "type": "object",
    "properties": {"labels": {"type": "array", "items": LABEL, "description": "Best first."}},
    "required": ["labels"],
}
OBJECTS: Schema = {
    "type": "object",
    "properties": {
        "objects": {
            "type": "array",
            "description": "Best first.",
            "items": {
                "type": "object",
                "properties": {
                    **LABEL["properties"],
                    "box": {
                        "type": "array",
                        "items": {"type": "number"},
                        "minItems": 4,
                        "maxItems": 4,
                        "description": "x0, y0, x1, y1 in pixels of the image as it was sent.",
                    },
                },
                "required": ["label", "index", "score", "box"],
            },
        },
        "width": {"type": "integer", "description": "Pixels of the image as it was sent."},
        "height": {"type": "integer", "description": "Pixels of the image as it was sent."},
    },
    "required": ["objects", "width", "height"],
}
IMAGE_ITEM: Schema = {
    "type": "object",
    "properties": {
        "image": {
            "type": "string",
            "format": "binary",
            "description": "A PNG, JPEG or WebP image.",
        }
    },
    "required": ["image"],
    "additionalProperties": False,
}
TOP_K: Schema = {
    "type": "integer",
    "minimum": 1,
    "maximum": 1_000_000,
    "description": "How many classes to tell, best first.",
}
MIN_SCORE: Schema = {"type": "number", "description": "Leave out what scores below."}


def render_labels(ranking: Ranking, context: Context, first: int) -> Results:
    """One `{"labels": […]}` per item.

    Raises:
        ModelFailed: a score is not a number.
    """
    del context
    items = []
    for at, indexes in enumerate(ranking.indexes):
        scores = None if ranking.scores is None else [float(one) for one in ranking.scores[at]]
        if scores is not None:
            check_finite(scores, first + at, "score")
        entries: list[dict[str, Any]] = []
        for place, index in enumerate(indexes):
            entry = {"label": label_of(int(index), ranking.labels), "index": int(index)}
            entries.append(entry if scores is None else {**entry, "score": scores[place]})
        items.append({"labels": entries})
    return Results(items)


def render_objects(detections: Detections, context: Context, first: int) -> Results:
    """One `{"objects": […], "width", "height"}` per item.

    Raises:
        ModelFailed: a score or a coordinate is not a number.
    """
    sizes = detections.sizes or [(one.width, one.height) for one in context.geometry or ()]
    return Results(
        [
            {
                "objects": _objects(found, first + at, detections.labels),
                "width": int(sizes[at][0]),
                "height": int(sizes[at][1]),
            }
            for at, found in enumerate(detections.items)
        ]
    )


def label_of(index: int, labels: Sequence[str] | None) -> str:
    """The name of a class, or its index where there is none."""
    return labels[index] if labels is not None and 0 <= index < len(labels) else str(index)


def check_finite(values: Array | Sequence[float], at: int, what: str) -> None:
    """Refuse results that are not numbers.

    Raises:
        ModelFailed: one is NaN or infinite; names the item.
    """
    if not np.isfinite(values).all():
        raise ModelFailed(
            f"The model gave a {what} that is not a finite number for item {at + 1}. Check the "
            "item's values; if it happens with others too, the version is broken.",
            param=f"items[{at}]",
        )


def check_rows(rows: Array, first: int, what: str) -> None:
    """Refuse an array (items, …) in which a row has numbers that are not finite.

    Raises:
        ModelFailed: names the item.
    """
    finite = np.isfinite(rows)
    if not finite.all():
        broken = ~finite.reshape(len(rows), -1).all(axis=1)
        check_finite([float("nan")], first + int(np.argmax(broken)), what)


def count_images(context: Context) -> dict[str, int]:
    """One image per item."""
    return {"images": context.count}


def count_rows(context: Context) -> dict[str, int]:
    """One row per item."""
    return {"rows": context.count}


def count_tokens(context: Context) -> dict[str, int]:
    """The tokens that the tokeniser made of the items."""
    return {"input_tokens": sum(context.token_counts or ())}


def _objects(found: Boxes, at: int, labels: Sequence[str] | None) -> list[dict[str, Any]]:
    check_finite(found.scores, at, "score")
    check_finite(found.boxes, at, "box")
    return [
        {"label": label_of(index, labels), "index": index, "score": score, "box": box}
        for index, score, box in zip(
            found.classes.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True
        )
    ]
