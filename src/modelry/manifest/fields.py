"""Reads typed values out of manifest nodes; every refusal points at the node."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TypeVar

from modelry.manifest.nodes import Node, did_you_mean, shorten

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_RANGE = re.compile(r"([0-9]{1,3})\.\.([0-9]{1,3})")
MAX_LIST_ITEMS = 20_000
Number = TypeVar("Number", int, float)


def mapping(node: Node, known: Collection[str]) -> dict[str, Node]:
    """The entries of a mapping all of whose keys are `known`."""
    entries = any_mapping(node)
    for key in entries:
        if key not in known:
            where = f"under '{node.path}'" if node.path else "in a manifest"
            raise node.invalid_key(
                key,
                f"Unknown key {shorten(key)} {where}.{did_you_mean(key, known)} "
                f"Known keys: {', '.join(known)}.",
            )
    return entries


def any_mapping(node: Node) -> dict[str, Node]:
    """The entries of a mapping."""
    if not isinstance(node.value, dict):
        raise node.invalid(f"{_subject(node)} must be a mapping 'key: value'; it is {node.kind}.")
    return node.value


def items(node: Node, limit: int = MAX_LIST_ITEMS) -> list[Node]:
    """The items of a list."""
    if not isinstance(node.value, list):
        raise node.invalid(f"{_subject(node)} must be a list; it is {node.kind}.")
    if len(node.value) > limit:
        raise node.invalid(f"{_subject(node)} has {len(node.value)} items; at most {limit}.")
    return node.value


def text(node: Node, limit: int = 1024, *, empty: bool = False) -> str:
    """A text of bounded length."""
    if not isinstance(node.value, str):
        advice = "" if isinstance(node.value, list | dict) else "; put it in quotes"
        raise node.invalid(f"{_subject(node)} must be text; it is {node.kind}{advice}.")
    if len(node.value) > limit or not (node.value or empty):
        raise node.invalid(
            f"{_subject(node)} has {len(node.value)} characters; expected {0 if empty else 1} to "
            f"{limit}."
        )
    if "\x00" in node.value:
        raise node.invalid(f"{_subject(node)} holds a NUL character; remove it.")
    return node.value


def word(node: Node, pattern: re.Pattern[str], expected: str) -> str:
    """A text that `pattern` matches in full."""
    found = text(node)
    if not pattern.fullmatch(found):
        raise node.invalid(f"{_subject(node)} is {shorten(found)}; expected {expected}.")
    return found


def choice(node: Node, known: Collection[str]) -> str:
    """One of the `known` words."""
    found = text(node)
    if found not in known:
        raise node.invalid(
            f"{_subject(node)} is {shorten(found)}; expected one of: "
            f"{', '.join(sorted(known))}.{did_you_mean(found, known)}"
        )
    return found


def integer(node: Node, low: int, high: int) -> int:
    """An integer in `low`..`high`."""
    if not isinstance(node.value, int) or isinstance(node.value, bool):
        raise node.invalid(f"{_subject(node)} must be a whole number; it is {node.kind}.")
    return _within(node, node.value, low, high)


def number(node: Node, low: float, high: float) -> float:
    """A number in `low`..`high`."""
    if not isinstance(node.value, int | float) or isinstance(node.value, bool):
        raise node.invalid(f"{_subject(node)} must be a number; it is {node.kind}.")
    return _within(node, float(node.value), low, high)


def boolean(node: Node) -> bool:
    """`true` or `false`."""
    if not isinstance(node.value, bool):
        raise node.invalid(f"{_subject(node)} must be true or false; it is {node.kind}.")
    return node.value


def duration_s(node: Node) -> float:
    """Seconds, from a number of seconds or a text such as `90s`, `10m`, `2h`."""
    if isinstance(node.value, str):
        found = _DURATION.fullmatch(node.value.strip()[:32])
        if found is None:
            raise node.invalid(
                f"{_subject(node)} is {shorten(node.value)}; expected seconds, or a number with "
                "ms, s, m, h or d, such as '10m'."
            )
        return _within(node, float(found[1]) * _UNIT_S[found[2]], 0.001, 366 * 86400.0)
    return number(node, 0.001, 366 * 86400.0)


def bounds(node: Node, high: int) -> tuple[int, int]:
    """A range of whole numbers, from `2` (both ends) or `0..2`."""
    if isinstance(node.value, str):
        found = _RANGE.fullmatch(node.value.strip()[:16])
        if found is None:
            raise node.invalid(
                f"{_subject(node)} is {shorten(node.value)}; expected a number, or a range such "
                "as '0..2'."
            )
        first, last = int(found[1]), int(found[2])
        if first > last or last > high:
            raise node.invalid(
                f"{_subject(node)} is {first}..{last}; expected first <= last <= {high}."
            )
        return first, last
    value = integer(node, 0, high)
    return value, value


def _within(node: Node, value: Number, low: Number, high: Number) -> Number:
    if not low <= value <= high:
        raise node.invalid(f"{_subject(node)} is {value:g}; expected {low:g} to {high:g}.")
    return value


def _subject(node: Node) -> str:
    return f"'{node.path}'" if node.path else "The manifest"
