"""Statistics of columns, in one pass and bounded memory.

They tell no row's content beyond numbers and the schema's classes, so that who may see a dataset's
statistics need not be allowed to see its rows.
"""

from __future__ import annotations

import io
from collections import Counter
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from modelry.datasets import forms
from modelry.domain.datasets import Column, ColumnType, Schema

SAMPLE = 4096
"""How many values quantiles are taken from."""
MAX_DISTINCT = 100_000
"""Up to how many different texts are counted."""
MAX_SIZES = 20
"""How many sizes of images are told."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

Told = dict[str, Any]


class SplitStatistics:
    """The statistics of one split's columns."""

    def __init__(self, schema: Schema) -> None:
        self._parts = [(one.name, _Counted(one), _of(one)) for one in schema.columns]

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows in."""
        for at, (_, counted, part) in enumerate(self._parts):
            array = batch.column(at)
            counted.add(array)
            part.add(array.drop_null() if array.null_count else array)

    def told(self) -> dict[str, Told]:
        """By column: `count`, `missing`, and what fits its type."""
        return {name: counted.told() | part.told() for name, counted, part in self._parts}


class _Part(Protocol):
    def add(self, array: pa.Array) -> None:
        """Take in values; none is missing."""
        ...

    def told(self) -> Told:
        """JSON types."""
        ...


class _Counted:
    def __init__(self, column: Column) -> None:
        self._type = column.type
        self.rows = 0
        self.missing = 0

    def add(self, array: pa.Array) -> None:
        self.rows += len(array)
        self.missing += array.null_count

    def told(self) -> Told:
        return {"type": self._type.value, "count": self.rows, "missing": self.missing}


def _of(column: Column) -> _Part:
    match column.type:
        case ColumnType.INTEGER | ColumnType.NUMBER:
            return Numbers()
        case ColumnType.BOOLEAN:
            return _Truths()
        case ColumnType.TIME:
            return _Times()
        case ColumnType.IMAGE:
            return _Images()
        case ColumnType.BOXES:
            return _Boxes(column)
        case ColumnType.TENSOR:
            return _Tensors(column)
    return _Classes(column) if column.classes else _Texts()


class Numbers:
    """Mean and spread (Chan et al. 1979: exact sums, merged), bounds, and quantiles of a sample."""

    def __init__(self, seed: int = 0) -> None:
        self._count = 0
        self._odd = 0
        self._mean = 0.0
        self._squares = 0.0
        self._low = np.inf
        self._high = -np.inf
        self._random = np.random.default_rng(seed)
        self._keys = np.empty(0)
        self._sample = np.empty(0)

    def add(self, array: pa.Array) -> None:
        """Take in an Arrow array of numbers."""
        self.add_values(array.to_numpy(zero_copy_only=False))

    def add_values(self, values: np.ndarray[Any, Any]) -> None:
        """Take in numbers."""
        values = values.astype(np.float64).reshape(-1)
        finite = values[np.isfinite(values)]
        self._odd += len(values) - len(finite)
        if len(finite) == 0:
            return
        mean = float(finite.mean())
        squares = float(((finite - mean) ** 2).sum())
        total = self._count + len(finite)
        apart = mean - self._mean
        self._squares += squares + apart * apart * self._count * len(finite) / total
        self._mean += apart * len(finite) / total
        self._count = total
        self._low = min(self._low, float(finite.min()))
        self._high = max(self._high, float(finite.max()))
        self._draw(finite)

    def _draw(self, values: np.ndarray[Any, Any]) -> None:
        """Keep the values with the lowest random keys: each has the same chance."""
        keys = np.concatenate([self._keys, self._random.random(len(values))])
        values = np.concatenate([self._sample, values])
        if len(keys) > SAMPLE:
            lowest = np.argpartition(keys, SAMPLE)[:SAMPLE]
            keys, values = keys[lowest], values[lowest]
        self._keys, self._sample = keys, values

    def told(self) -> Told:
        """JSON types; `not_finite` counts NaN and infinities."""
        told: Told = {"not_finite": self._odd} if self._odd else {}
        if self._count == 0:
            return told
        quantiles = np.quantile(self._sample, QUANTILES)
        return told | {
            "min": self._low,
            "max": self._high,
            "mean": self._mean,
            "std": float(np.sqrt(self._squares / self._count)),
            "quantiles": {f"{q:g}": float(v) for q, v in zip(QUANTILES, quantiles, strict=True)},
        }


class _Truths:
    def __init__(self) -> None:
        self._true = 0

    def add(self, array: pa.Array) -> None:
        self._true += array.true_count

    def told(self) -> Told:
        return {"true": self._true}


class _Times:
    def __init__(self) -> None:
        self._low: Any = None
        self._high: Any = None

    def add(self, array: pa.Array) -> None:
        if len(array) == 0:
            return
        found = pc.min_max(array).as_py()
        self._low = found["min"] if self._low is None else min(self._low, found["min"])
        self._high = found["max"] if self._high is None else max(self._high, found["max"])

    def told(self) -> Told:
        if self._low is None:
            return {}
        return {"min": self._low.isoformat(), "max": self._high.isoformat()}


class _Classes:
    """How many rows each class has."""

    def __init__(self, column: Column) -> None:
        self._counts: Counter[str] = Counter(dict.fromkeys(column.classes, 0))

    def add(self, array: pa.Array) -> None:
        for one in array.value_counts().to_pylist():
            self._counts[one["values"]] += one["counts"]

    def told(self) -> Told:
        return {"classes": dict(self._counts)}


class _Texts:
    """Lengths, and how many are different."""

    def __init__(self) -> None:
        self._lengths = Numbers()
        self._distinct: set[int] | None = set()

    def add(self, array: pa.Array) -> None:
        self._lengths.add(pc.utf8_length(array))
        if self._distinct is None:
            return
        self._distinct |= {hash(one) for one in array.unique().to_pylist()}
        if len(self._distinct) > MAX_DISTINCT:
            self._distinct = None

    def told(self) -> Told:
        told: Told = {"characters": self._lengths.told()}
        if self._distinct is None:
            return told | {"distinct_more_than": MAX_DISTINCT}
        return told | {"distinct": len(self._distinct)}


class _Images:
    """Bytes, and sizes in pixels as their heads tell."""

    def __init__(self) -> None:
        self._bytes = Numbers()
        self._width = Numbers()
        self._height = Numbers()
        self._sizes: Counter[str] = Counter()
        self._modes: Counter[str] = Counter()

    def add(self, array: pa.Array) -> None:
        self._bytes.add(pc.binary_length(array))
        heads = [_head(one.as_buffer()) for one in array]
        for width, height, mode in heads:
            if len(self._sizes) < 10 * MAX_DISTINCT:
                self._sizes[f"{width}x{height}"] += 1
            self._modes[mode] += 1
        self._width.add_values(np.array([one[0] for one in heads]))
        self._height.add_values(np.array([one[1] for one in heads]))

    def told(self) -> Told:
        common = self._sizes.most_common(MAX_SIZES)
        return {
            "bytes": self._bytes.told(),
            "width": self._width.told(),
            "height": self._height.told(),
            "sizes": dict(common),
            "other_sizes": self._sizes.total() - sum(count for _, count in common),
            "modes": dict(self._modes),
        }


def _head(data: Any) -> tuple[int, int, str]:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return (*image.size, image.mode)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 0, 0, "unreadable"


class _Boxes:
    """Objects in a row, of each class, and their sizes."""

    def __init__(self, column: Column) -> None:
        self._names = column.classes
        self._per_row = Numbers()
        self._classes: Counter[int] = Counter()
        self._width = Numbers()
        self._height = Numbers()

    def add(self, array: pa.Array) -> None:
        self._per_row.add(pc.list_value_length(array))
        boxes = forms.box_values(array)
        labels, counts = np.unique(boxes[:, 0].astype(np.int64), return_counts=True)
        self._classes.update(dict(zip(labels.tolist(), counts.tolist(), strict=True)))
        self._width.add_values(boxes[:, 3])
        self._height.add_values(boxes[:, 4])

    def told(self) -> Told:
        return {
            "boxes_per_row": self._per_row.told(),
            "classes": {name: self._classes[at] for at, name in enumerate(self._names)},
            "box_width": self._width.told(),
            "box_height": self._height.told(),
        }


class _Tensors:
    """All values together."""

    def __init__(self, column: Column) -> None:
        self._column = column
        self._values = Numbers()

    def add(self, array: pa.Array) -> None:
        if len(array):
            self._values.add_values(forms.tensor_values(self._column, array))

    def told(self) -> Told:
        return {"values": self._values.told()}
