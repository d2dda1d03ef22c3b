"""Decision trees over cells, and forests of them: what they answer, and what they are as a file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelry.domain.errors import DataDamaged

Floats = npt.NDArray[np.float64]
Cells = npt.NDArray[np.float32]
LEAF = -1
"""What a leaf asks: nothing."""


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree as arrays over its nodes, the root first.

    Attributes:
        column: that a node asks about, or `LEAF`.
        threshold: cells up to it go left.
        missing_left: whether missing cells do.
        left: the node that rows go to.
        right: likewise.
        value: a leaf's answer; 0 elsewhere.
    """

    column: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.float32]
    missing_left: npt.NDArray[np.bool_]
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    value: npt.NDArray[np.float32]

    def answers(self, cells: Cells) -> Floats:
        """The value of the leaf that each row ends in, (n,)."""
        node = np.zeros(len(cells), np.int32)
        rows = np.arange(len(cells))
        while True:
            asked = self.column[node]
            inner = asked != LEAF
            if not inner.any():
                return self.value[node].astype(np.float64)
            cell = cells[rows, np.maximum(asked, 0)]
            goes_left = np.where(
                np.isnan(cell), self.missing_left[node], cell <= self.threshold[node]
            )
            node = np.where(inner, np.where(goes_left, self.left[node], self.right[node]), node)


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees whose answers add up.

    Attributes:
        base: what every row begins with, per output.
        rounds: per round a tree for each output that has trees.
        first_output: which output the first tree of a round is for; 1 with two classes, whose
            first score stays 0.
    """

    base: Floats
    rounds: Sequence[Sequence[Tree]]
    first_output: int = 0

    def answers(self, cells: Cells) -> Floats:
        """All outputs (n, outputs)."""
        found = np.repeat(self.base[None], len(cells), axis=0)
        for trees in self.rounds:
            add_round(found, trees, cells, self.first_output)
        return found

    def first(self, rounds: int) -> Forest:
        """The forest as it was after so many rounds."""
        return Forest(self.base, self.rounds[:rounds], self.first_output)

    def digest(self) -> str:
        """`sha256:<hex>` over everything that it answers by."""
        found = hashlib.sha256(f"{self.first_output}\0".encode() + self.base.tobytes())
        for trees in self.rounds:
            for tree in trees:
                for field in fields(Tree):
                    found.update(getattr(tree, field.name).tobytes())
        return f"sha256:{found.hexdigest()}"


def add_round(answers: Floats, trees: Sequence[Tree], cells: Cells, first_output: int) -> None:
    """Add what the trees of a round answer, in place."""
    for at, tree in enumerate(trees):
        answers[:, first_output + at] += tree.answers(cells)


def save_rounds(rounds: Sequence[Sequence[Tree]], file: Path, about: Mapping[str, Any]) -> None:
    """Write trees as plain arrays, with some numbers and words about them."""
    arrays: dict[str, Any] = {f"about_{name}": value for name, value in about.items()}
    flat = [tree for trees in rounds for tree in trees]
    arrays["rounds"] = len(rounds)
    arrays["sizes"] = np.array([len(tree.column) for tree in flat], np.int64)
    for field in fields(Tree):
        parts = [getattr(tree, field.name) for tree in flat]
        arrays[field.name] = np.concatenate(parts) if parts else np.empty(0)
    with file.open("wb") as out:
        np.savez(out, **arrays)


def load_rounds(file: Path) -> tuple[list[list[Tree]], dict[str, Any]]:
    """What `save_rounds` wrote.

    Raises:
        DataDamaged: the file is something else.
    """
    try:
        with np.load(file, allow_pickle=False) as held:
            about = {
                name.removeprefix("about_"): held[name].item()
                for name in held.files
                if name.startswith("about_")
            }
            ends = np.cumsum(held["sizes"])[:-1]
            parts = [np.split(held[field.name], ends) for field in fields(Tree)]
            flat = [Tree(*arrays) for arrays in zip(*parts, strict=True)]
            count = int(held["rounds"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataDamaged(
            f"The checkpoint cannot be read ({type(error).__name__}); start the job again."
        ) from None
    each = len(flat) // count if count else 0
    return [flat[at * each : (at + 1) * each] for at in range(count)], about
