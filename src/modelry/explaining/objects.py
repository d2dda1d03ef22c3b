"""Objects in an image: a map for each, of what in the image made the version find it there.

D-RISE: Petsiuk et al., "Black-box Explanation of Object Detectors via Saliency Maps", CVPR 2021.
All objects share the same changed images. What a changed image says for an object is the best
overlap times score among the boxes of its class that the version's own steps find in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from modelry.domain.errors import InvalidInput
from modelry.explaining.asking import Asking, Subject
from modelry.explaining.checking import Check, checked
from modelry.explaining.contract import (
    Attribution,
    Explained,
    Method,
    Target,
    Wish,
    index_meant,
)
from modelry.explaining.course import Course, TimeIsUp
from modelry.explaining.faithfulness import (
    Faithfulness,
    RandomOrders,
    measure_each,
    rank_agreement,
)
from modelry.explaining.images import ImageParts
from modelry.explaining.methods import OBJECTS, check_wishes, method_for
from modelry.explaining.object_maps import object_maps
from modelry.explaining.sentences import objects_sentence, sentence
from modelry.metrics.detection import box_iou
from modelry.processing.values import Boxes, Detections
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.tensors import Array
from modelry.tasks.prediction import Prepared
from modelry.tasks.rendering import label_of

MOST_OBJECTS = 20
MOST_CELLS = 32
"""Cells of a map along the longer side: objects are smaller than images."""
MASK_CELLS = 8
LEAST_SCORE = 0.05
"""Of boxes in changed images: what is half hidden scores less, and that tells something."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The objects that are explained: their places in the answer, and their boxes."""

    places: Sequence[int]
    labels: Sequence[str]
    boxes: Boxes
    found: int
    """How many the wish meant; no more than `MOST_OBJECTS` of them are explained."""


def explain_objects(subject: Subject, wish: Wish, stop: StopSignal) -> Explained:
    """Explain the boxes of one answer; see `explain`."""
    check_wishes(wish, OBJECTS)
    course = Course(stop, wish.seconds, subject.tell)
    wish = replace(wish, course=course)
    prepared = subject.predictor.before([subject.item], subject.options)
    chosen = _chosen(subject, prepared, wish)
    asking = AskingObjects(subject, prepared, chosen.boxes, course)
    name, method = method_for(OBJECTS, wish)
    parts = ImageParts(prepared, MOST_CELLS, MASK_CELLS)
    if wish.checks:
        orders, count = RandomOrders(wish.seed), len(chosen.places)
        course.keep(orders.calls(parts.count, count), orders.coarser.calls(parts.count, count))
    try:
        found = method(lambda presences: asking.scores(parts, presences), parts, wish)
    except TimeIsUp:
        raise course.too_few_seconds(name) from None
    explaining = asking.calls
    trust = _checked(asking, parts, method, found, wish) if wish.checks else None
    objects = [_described(chosen, at, parts, found, trust) for at in range(len(chosen.places))]
    first = objects[0]
    calls = 1 + asking.calls
    told = {
        "method": name,
        "target": {key: first[key] for key in ("index", "label", "score", "box")},
        "attribution": {**parts.frame(), "kind": "objects", "objects": objects},
        "interval": None if found.interval is None else found.interval[:, 0].tolist(),
        "baseline": parts.baseline,
        "parameters": {
            **found.parameters,
            "seed": wish.seed,
            "objects_found": chosen.found,
            "objects_explained": len(objects),
        },
        "faithfulness": first["faithfulness"],
        "sentence": " ".join(
            filter(None, (objects_sentence(objects, chosen.found), found.remark, course.remark()))
        ),
        "cost": course.cost(calls, explaining),
    }
    picture = object_maps(subject.item["image"], told["attribution"]) if wish.picture else b""
    usage = {**prepared.usage, "explanations": 1, "model_calls": calls}
    return Explained(told, usage, picture)


class AskingObjects(Asking):
    """Gives the likeness of what is found in changed images to each of some objects."""

    def __init__(
        self, subject: Subject, prepared: Prepared, objects: Boxes, course: Course
    ) -> None:
        super().__init__(subject, prepared, 0, course)
        self._objects = objects
        self._predictor = subject.predictor
        self._least = min(LEAST_SCORE, 0.5 * float(objects.scores.min()))

    def read(self, part: Prepared, outputs: Mapping[str, Array]) -> Array:
        """See `Asking.read`; (rows, objects)."""
        found = self._predictor.objects(part, outputs, self._least)
        return likeness(found.items, self._objects)


def likeness(found: Sequence[Boxes], objects: Boxes) -> Array:
    """How much what was found in each image stands for each object (images, objects), 0..1.

    The largest intersection over union times score, among boxes of the object's class.
    """
    best = np.zeros((len(found), len(objects.boxes)))
    boxes = np.concatenate([one.boxes for one in found]).reshape(-1, 4)
    scores = np.concatenate([one.scores for one in found])
    classes = np.concatenate([one.classes for one in found])
    images = np.repeat(np.arange(len(found)), [len(one.scores) for one in found])
    each = box_iou(boxes.astype(np.float64), objects.boxes.astype(np.float64))
    each *= scores[:, None] * (classes[:, None] == objects.classes[None])
    np.maximum.at(best, images, each)
    return best


def _chosen(subject: Subject, prepared: Prepared, wish: Wish) -> Chosen:
    """The objects of the answer that a wish means.

    Raises:
        InvalidInput: the answer has no such object.
    """
    outputs = subject.run(prepared.inputs, 1)
    answer: Detections = subject.predictor.objects(prepared, outputs)
    (boxes,) = answer.items
    names = [label_of(index, answer.labels) for index in boxes.classes.tolist()]
    if not names:
        raise InvalidInput(
            "The model finds no object in this image, so there is nothing to explain; ask with a "
            "lower min_score.",
            param="image",
        )
    meant = _meant(wish.target, names)
    places = meant[:MOST_OBJECTS]
    labels = [names[place] for place in places]
    return Chosen(places, labels, boxes.take(np.array(places)), len(meant))


def _meant(wanted: str | int | None, names: Sequence[str]) -> list[int]:
    if wanted is None:
        return list(range(len(names)))
    if wanted in names:
        return [place for place, name in enumerate(names) if name == wanted]
    index = index_meant(wanted)
    if index is not None and 0 <= index < len(names):
        return [index]
    known = list(dict.fromkeys(names))
    shown = ", ".join(known[:10]) + (", …" if len(known) > 10 else "")
    raise InvalidInput(
        f"target is {str(wanted)[:80]!r}; the model finds {len(names)} objects in this image: "
        f"expected one of their labels ({shown}) or an index from 0 to {len(names) - 1}.",
        param="target",
    )


def _checked(
    asking: Asking, parts: ImageParts, method: Method, found: Attribution, wish: Wish
) -> list[Faithfulness] | None:
    """How far the map of each object can be trusted; None where there was no time for it."""
    course = wish.course
    moved = parts.noisy(np.random.default_rng(wish.seed))

    orders = RandomOrders(wish.seed, parts.guess)

    def measured(orders: RandomOrders) -> list[Faithfulness]:
        scores = partial(asking.scores, parts)
        return measure_each(scores, found.weights, orders)

    def repeated() -> list[float]:
        other = method(partial(asking.scores, moved), moved, wish)
        pairs = zip(found.weights.T, other.weights.T, strict=True)
        return [rank_agreement(ours, theirs) for ours, theirs in pairs]

    count, targets = found.weights.shape
    check = Check(
        lambda: measured(orders),
        orders.calls(count, targets),
        lambda: measured(orders.coarser),
        orders.coarser.calls(count, targets),
        repeated,
        course.explained,
    )
    return checked(check, course)


def _described(
    chosen: Chosen,
    at: int,
    parts: ImageParts,
    found: Attribution,
    checked: Sequence[Faithfulness] | None,
) -> dict[str, Any]:
    """One object with its map, in pixels of the image as it was sent."""
    own = found.of_target(at)
    box = [float(edge) for edge in chosen.boxes.boxes[at]]
    target = Target(chosen.places[at], chosen.labels[at], float(chosen.boxes.scores[at]))
    trust = None if checked is None else checked[at]
    described = parts.described(own)
    return {
        "index": target.index,
        "label": target.label,
        "score": target.score,
        "box": box,
        "grid": described["grid"],
        "regions": described["regions"],
        "inside": parts.share_inside(own.weights, box),
        "faithfulness": None if trust is None else trust.to_wire(),
        "sentence": sentence(target, described, trust, box),
    }
