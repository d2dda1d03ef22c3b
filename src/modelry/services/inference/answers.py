"""What the data plane answers, whichever door asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelry.runtime_api.tensors import Array
from modelry.services.inference.routing import Target


@dataclass(frozen=True, slots=True)
class Prediction:
    """Answer of a typed task: one item per input item; arrays are aligned with the items."""

    target: Target
    items: list[dict[str, Any]]
    arrays: dict[str, Array]
    usage: dict[str, int]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an item got its answer, as JSON types; `picture` is a PNG, empty where none was asked."""

    target: Target
    told: dict[str, Any]
    picture: bytes
    usage: dict[str, int]


@dataclass(frozen=True, slots=True)
class TensorExplanation:
    """Why rows of tensors got their answers: what is told of each row, and weights as tensors.

    `entries` describe the tensors in `body`, as in frames.
    """

    target: Target
    rows: list[dict[str, Any]]
    entries: list[dict[str, Any]]
    body: bytes
    usage: dict[str, int]


@dataclass(frozen=True, slots=True)
class TensorAnswer:
    """Output tensors and the version that gave them."""

    target: Target
    outputs: dict[str, Array]
