"""Many explanations as one table of weights: a row for each, a column for each part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelry.runtime_api.tensors import Array

MOST_WORDS = 500
"""Words of all texts that are reckoned with: those of the greatest weight in all."""

Attribution = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PartTable:
    """Weights of parts that mean the same in all explanations.

    Attributes:
        kind: of the inputs: `table`, `image` or `text`.
        names: of the parts: columns, words, or cells as `row 3, column 5`.
        weights: shape (explanations, parts); 0 where a text does not have the word.
        present: whether the input has the part, same shape.
        grid: rows and columns of the cells of images.
    """

    kind: str
    names: Sequence[str]
    weights: Array
    present: Array
    grid: tuple[int, int] = (0, 0)

    def of(self, rows: Array) -> PartTable:
        """Some of the explanations, by a mask or their places."""
        return PartTable(self.kind, self.names, self.weights[rows], self.present[rows], self.grid)


def part_table(attributions: Iterable[Attribution]) -> PartTable | None:
    """The weights of some explanations; None where their parts are not the same.

    That is so for images of different sizes, which a model takes as they are.

    Args:
        attributions: at least one; gone through twice.
    """
    first = next(iter(attributions))
    kind = str(first["kind"])
    if kind == "text":
        return _words(attributions)
    if kind == "table":
        names = [one["name"] for one in first["columns"]]
        weights = np.array([[one["weight"] for one in told["columns"]] for told in attributions])
        return PartTable(kind, names, weights, np.ones(weights.shape, bool))
    grids = [np.array(told["grid"], np.float64) for told in attributions]
    if len({grid.shape for grid in grids}) != 1:
        return None
    rows, columns = grids[0].shape
    names = [f"row {row + 1}, column {at + 1}" for row in range(rows) for at in range(columns)]
    weights = np.stack([grid.ravel() for grid in grids])
    return PartTable(kind, names, weights, np.ones(weights.shape, bool), (rows, columns))


def _words(attributions: Iterable[Attribution]) -> PartTable:
    """Words without their case; one that a text has several times has the sum of its weights."""
    totals: dict[str, float] = defaultdict(float)
    texts = 0
    for told in attributions:
        texts += 1
        for word, weight in _by_word(told).items():
            totals[word] += abs(weight)
    names = sorted(totals, key=lambda word: (-totals[word], word))[:MOST_WORDS]
    places = {word: at for at, word in enumerate(names)}
    weights = np.zeros((texts, len(names)))
    present = np.zeros(weights.shape, bool)
    for row, told in enumerate(attributions):
        for word, weight in _by_word(told).items():
            at = places.get(word)
            if at is not None:
                weights[row, at] = weight
                present[row, at] = True
    return PartTable("text", names, weights, present)


def _by_word(told: Attribution) -> Mapping[str, float]:
    found: dict[str, float] = defaultdict(float)
    for one in told["words"]:
        found[str(one["text"]).lower()] += float(one["weight"])
    return found
