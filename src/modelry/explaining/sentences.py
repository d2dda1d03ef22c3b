"""What an explanation says, in a sentence that people read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelry.explaining.contract import Target
from modelry.explaining.faithfulness import Faithfulness

_NAMED = 3
_CHARACTERS = 60
_OBJECTS = 3
_RESOLUTION = 1e-6
"""Of a score as engines compute it; what moves it less does nothing to it."""


def sentence(
    target: Target,
    described: Mapping[str, Any],
    checked: Faithfulness | None,
    box: list[float] | None = None,
) -> str:
    """One or two sentences: what spoke for the answer, what against it, and how far to trust it.

    Args:
        target: what is explained.
        described: its weights in the input's own terms.
        checked: how far to trust them, where it was measured.
        box: of an object, in pixels.
    """
    what = f"'{shortened(target.label)}'" if target.label is not None else "the answer"
    if box is not None:
        left, top, right, bottom = (round(one) for one in box)
        what = f"{what} at ({left}, {top}) to ({right}, {bottom})"
    parts = sorted(_named_parts(described), key=lambda one: -abs(one[1]))
    largest = abs(parts[0][1]) if parts else 0.0
    has_order = largest > _RESOLUTION * abs(target.score)
    if not has_order:
        told = f"No part counted for {what} ({target.score:.3g}): all weights are 0."
    else:
        raised = [name for name, weight in parts if weight > 0.1 * largest][:_NAMED]
        lowered = [name for name, weight in parts if weight < -0.1 * largest][:_NAMED]
        told = f"For {what} ({target.score:.3g}) spoke most: {_listed(raised) or 'nothing'}"
        told += f"; against it: {_listed(lowered)}." if lowered else "."
    if checked is None:
        return told
    if checked.is_better_than_random and has_order:
        return f"{told} Taking parts away in this order tells more than random orders do."
    return (
        f"{told} It is no better than a random order of the parts: do not rely on this explanation."
    )


def objects_sentence(objects: Sequence[Mapping[str, Any]], found: int) -> str:
    """What the maps of objects say together: the first ones, how many, and which not to trust."""
    told = [str(one["sentence"]) for one in objects[:_OBJECTS]]
    if found > len(objects):
        told.append(f"{len(objects)} of {found} objects are explained; name a target for others.")
    elif len(objects) > _OBJECTS:
        told.append(f"{len(objects)} objects are explained in all.")
    return " ".join(told)


def _named_parts(described: Mapping[str, Any]) -> list[tuple[str, float]]:
    match described["kind"]:
        case "text":
            return [(f"'{one['text']}'", one["weight"]) for one in described["words"]]
        case "table":
            return [(_cell(one), one["weight"]) for one in described["columns"]]
        case "chat":
            return [(f"'{shortened(one['text'])}'", one["weight"]) for one in described["segments"]]
        case "sequence":
            return [(f"'{shortened(one['text'])}'", one["weight"]) for one in described["words"]]
        case "pair":
            words = [*described["words"], *described["compared_with"]]
            return [(f"'{shortened(one['text'])}'", one["weight"]) for one in words]
        case "tensors":
            return [(one["name"], one["weight"]) for one in described["parts"]]
        case _:
            return [(_place(one["box"]), one["weight"]) for one in described["regions"]]


def shortened(text: str) -> str:
    """A text that is not too long for a sentence."""
    return text if len(text) <= _CHARACTERS else text[: _CHARACTERS - 1].rstrip() + "\u2026"


def _cell(column: Mapping[str, Any]) -> str:
    value = column["value"]
    shown = f"{value:.4g}" if isinstance(value, float) else str(value)[:40]
    return f"{column['name']} = {shown}"


def _place(box: list[float]) -> str:
    left, top, right, bottom = (round(one) for one in box)
    return f"the region from ({left}, {top}) to ({right}, {bottom})"


def _listed(names: list[str]) -> str:
    return ", ".join(names)
