"""Rows that stand for classes, and rows that are taken for another class; told by their places."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelry.runtime_api.tensors import Array
from modelry.studying.importance import most_important
from modelry.studying.parts import PartTable

PROTOTYPES = 3
EXAMPLES = 5
MOST_PAIRS = 20
MOST_CLASSES = 50

Explained = Mapping[str, Any]


def by_class(table: PartTable, explained: Sequence[Explained]) -> list[dict[str, Any]]:
    """What counts for each class that is answered, and the rows that are its prototypes.

    A prototype is answered rightly, as far as that is known, and its weights point most nearly
    where the class's weights point on average (cosine).
    """
    places: dict[str, list[int]] = defaultdict(list)
    for at, one in enumerate(explained):
        if one["answer"] is not None:
            places[one["answer"]].append(at)
    most = sorted(places.items(), key=lambda one: -len(one[1]))[:MOST_CLASSES]
    return [
        {
            "label": label,
            "rows": len(within),
            "parts": most_important(table.of(np.array(within))),
            "prototypes": _prototypes(
                table.weights,
                [at for at in within if explained[at]["label"] in (None, label)],
                explained,
            ),
        }
        for label, within in most
    ]


def confusions(table: PartTable | None, explained: Sequence[Explained]) -> list[dict[str, Any]]:
    """Which classes are taken for which, how often, where, and what spoke for the wrong answer."""
    pairs: dict[tuple[str, str], list[int]] = defaultdict(list)
    for at, one in enumerate(explained):
        if isinstance(one["label"], str) and one["answer"] not in (None, one["label"]):
            pairs[one["label"], one["answer"]].append(at)
    most = sorted(pairs.items(), key=lambda one: -len(one[1]))[:MOST_PAIRS]
    told = []
    for (label, answer), places in most:
        surest = sorted(places, key=lambda at: -(explained[at]["score"] or 0.0))
        found: dict[str, Any] = {
            "label": label,
            "answer": answer,
            "rows": len(places),
            "examples": [_example(explained[at]) for at in surest[:EXAMPLES]],
        }
        if table is not None:
            found["parts"] = most_important(table.of(np.array(places)))
        told.append(found)
    return told


def _prototypes(
    weights: Array, places: Sequence[int], explained: Sequence[Explained]
) -> list[dict[str, Any]]:
    if not places:
        return []
    own = weights[np.array(places)]
    middle = own.mean(axis=0)
    lengths = np.linalg.norm(own, axis=1) * np.linalg.norm(middle)
    alike = np.divide(own @ middle, lengths, out=np.zeros(len(own)), where=lengths > 0)
    order = np.argsort(-alike, kind="stable")[:PROTOTYPES]
    return [
        {**_example(explained[places[at]]), "likeness": round(float(alike[at]), 4)} for at in order
    ]


def _example(one: Explained) -> dict[str, Any]:
    return {"row": one["row"], "score": one["score"]}
