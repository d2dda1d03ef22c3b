"""What a family of detection models must say: where scores are, and how to read boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from modelry.domain.signature import DYNAMIC, TensorSpec
from modelry.processing.parameters import Unfit
from modelry.runtime_api.tensors import Array

InputSize = tuple[int, int]
"""Height and width of the model's input, in pixels."""

ReadBoxes = Callable[[Array, Array], Array]


@dataclass(frozen=True, slots=True)
class Dense:
    """All places of a batch at which the model may have seen something.

    `scores` is (items, places, classes). `boxes(items, places)` reads the boxes of k places,
    (k, 4) as x0, y0, x1, y1 in pixels of the input; it is only called for those that score.
    `classes` (items, places) says the class of each place where the model chose it itself;
    `scores` has one column then.
    """

    scores: Array
    boxes: ReadBoxes
    classes: Array | None = None


class Decoder(Protocol):
    """Reads the outputs of one model."""

    @property
    def class_count(self) -> int:
        """How many classes it tells apart; `DYNAMIC` when the file does not say."""
        ...

    def read(self, outputs: Sequence[Array], input_size: InputSize) -> Dense:
        """The places of a batch.

        Args:
            outputs: in the order that the decoder was made for.
            input_size: height and width of the input.

        Raises:
            ModelFailed: their shapes do not fit the input.
        """
        ...


@dataclass(frozen=True, slots=True)
class Family:
    """A format of outputs.

    `build` makes the decoder for outputs of this signature; it may refuse with `Unfit`.
    `strides` are those that are meant when a manifest names none.
    """

    name: str
    build: Callable[[Sequence[TensorSpec], Mapping[str, Any]], Decoder]
    strides: tuple[int, ...] = ()


def size(spec: TensorSpec, axis: int) -> int:
    """A fixed size of an output.

    Raises:
        Unfit: the file leaves it open.
    """
    found = spec.shape[axis]
    if found == DYNAMIC:
        raise Unfit(
            f"the model's file leaves the shape of output '{spec.name}' open: {list(spec.shape)}; "
            "export it with fixed sizes except the batch."
        )
    return found


def check_rank(spec: TensorSpec, rank: int, meaning: str) -> None:
    """Refuse an output with another number of axes.

    Raises:
        Unfit: it has.
    """
    if len(spec.shape) != rank:
        raise Unfit(
            f"output '{spec.name}' has shape {list(spec.shape)}; this family needs {meaning}."
        )


def check_count(specs: Sequence[TensorSpec], low: int, high: int) -> None:
    """Refuse more or fewer outputs than a family reads.

    Raises:
        Unfit: there are.
    """
    if not low <= len(specs) <= high:
        wanted = str(low) if low == high else f"{low} to {high}"
        names = ", ".join(f"'{spec.name}'" for spec in specs)
        raise Unfit(
            f"this family reads {wanted} output(s), but there are {len(specs)}: {names}. Name "
            "those to read: 'outputs: [NAME, …]'."
        )


def activate(scores: Array, how: str) -> Array:
    """Raw scores as probabilities: `none`, `sigmoid` or `softmax` over the last axis."""
    if how == "none":
        return scores
    with np.errstate(over="ignore", invalid="ignore"):
        if how == "sigmoid":
            probabilities: Array = 1.0 / (1.0 + np.exp(-scores))
            return probabilities
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares: Array = powers / powers.sum(axis=-1, keepdims=True)
        return shares


def corners(centres: Array, sizes: Array) -> Array:
    """Boxes (k, 4) as corners, from centres (k, 2) and widths and heights (k, 2)."""
    half = sizes / 2
    return np.concatenate([centres - half, centres + half], axis=-1)
