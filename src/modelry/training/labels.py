"""Classes as numbers: which there are, and which one each row has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from modelry.domain.datasets import Column
from modelry.domain.errors import RowsInvalid
from modelry.training.contract import TrainingData

MAX_CLASSES = 10_000
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes of a label column, in the order of their numbers.

    `values` are the cells that mean them; `names` are what answers call them.
    """

    column: str
    values: pa.Array
    names: tuple[str, ...]

    def numbers(self, cells: pa.Array, split: str, first_row: int) -> Numbers:
        """The number of each cell's class.

        Args:
            cells: of the label column.
            split: theirs, for messages.
            first_row: the row of the first of them, from 0.

        Raises:
            RowsInvalid: a cell is empty or of no known class; names its row.
        """
        places = pc.index_in(cells, value_set=self.values, skip_nulls=True)
        if places.null_count:
            at = pc.index(places.is_null(), True).as_py()
            raise RowsInvalid(
                f"Row {first_row + at + 1} of split '{split}' has the label "
                f"{str(cells[at].as_py())[:80]!r} in '{self.column}'; the classes are "
                f"{_shown(self.names)}.",
                param=self.column,
            )
        found: Numbers = places.to_numpy(zero_copy_only=False).astype(np.int64)
        return found


def find_classes(data: TrainingData, column: Column, splits: Sequence[str]) -> Classes:
    """The classes that the schema declares, or else the distinct cells of these splits, sorted.

    Raises:
        RowsInvalid: they are fewer than two, or more than can be told apart.
    """
    if column.classes:
        return Classes(column.name, pa.array(column.classes, pa.utf8()), column.classes)
    seen: set[Any] = set()
    for split in splits:
        for batch in data.batches(split, [column.name]):
            seen.update(pc.unique(batch.column(0)).to_pylist())
            if len(seen) > MAX_CLASSES:
                raise RowsInvalid(
                    f"Label '{column.name}' has more than {MAX_CLASSES} different values; is it a "
                    "number to be predicted? Then choose a recipe of regression.",
                    param=column.name,
                )
    seen.discard(None)
    if len(seen) < 2:
        raise RowsInvalid(
            f"Label '{column.name}' has {len(seen)} class(es) in {', '.join(splits)}; expected two "
            "at least.",
            param=column.name,
        )
    ordered = sorted(seen)
    names = tuple(str(one).lower() if isinstance(one, bool) else str(one) for one in ordered)
    return Classes(column.name, pa.array(ordered), names)


def check_occurring(numbers: Numbers, classes: Classes, split: str) -> None:
    """See that rows of two classes at least are learnt from.

    Raises:
        RowsInvalid: they are not.
    """
    if len(np.unique(numbers)) < 2:
        only = classes.names[int(numbers[0])]
        raise RowsInvalid(
            f"All {len(numbers)} rows of split '{split}' that are learnt from have the label "
            f"'{only[:80]}'; expected rows of two classes at least.",
            param=classes.column,
        )


def balanced_weights(numbers: Numbers, count: int) -> npt.NDArray[np.float32]:
    """A weight per class so that all classes weigh alike: rows / (classes x its rows).

    Classes without rows get 1.
    """
    rows = np.bincount(numbers, minlength=count).astype(np.float64)
    present = int((rows > 0).sum())
    weights = np.where(rows > 0, len(numbers) / (present * np.maximum(rows, 1)), 1.0)
    return weights.astype(np.float32)


def _shown(names: Sequence[str]) -> str:
    shown = ", ".join(name[:40] for name in names[:10])
    return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "")
