"""Explanations as HTML, for notebooks and files: nothing in it is fetched, and nothing runs."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Protocol

_FOR, _AGAINST = "214,39,40", "31,119,180"
"""Red and blue, as in the pictures of images."""
_MOST_ROWS = 20
_MOST_COLUMNS = 40
_MOST_CHARS = 80


class Told(Protocol):
    """An explanation, as far as it is shown."""

    @property
    def sentence(self) -> str:
        """It in words."""
        ...

    @property
    def attribution(self) -> Mapping[str, Any]:
        """The weights."""
        ...

    @property
    def method(self) -> str:
        """How they were found."""
        ...

    @property
    def model(self) -> str:
        """What answered."""
        ...

    @property
    def version(self) -> int:
        """Which version of it."""
        ...

    @property
    def faithfulness(self) -> Mapping[str, Any] | None:
        """How far they can be trusted."""
        ...

    @property
    def picture(self) -> bytes:
        """A PNG, or nothing."""
        ...


def html_of(told: Told) -> str:
    """An explanation as a piece of a page."""
    source = f"{told.model}, version {told.version}: {told.method}"
    parts = [
        f"<p>{escape(told.sentence)}</p>",
        _picture(told.picture),
        _weights(told.attribution),
        _trust(told.faithfulness),
        f"<p><small>{escape(source)}</small></p>",
    ]
    return f"<div>{''.join(parts)}</div>"


def page_of(told: Told) -> str:
    """An explanation as a page by itself."""
    title = escape(f"Explanation of {told.model}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>'
        f'<body style="font-family: sans-serif">{html_of(told)}</body></html>\n'
    )


def _picture(picture: bytes) -> str:
    if not picture:
        return ""
    data = base64.b64encode(picture).decode()
    told = "What spoke for the answer, and what against it"
    return f'<img alt="{told}" src="data:image/png;base64,{data}">'


def _weights(attribution: Mapping[str, Any]) -> str:
    match attribution.get("kind"):
        case "text":
            return _words(attribution["words"])
        case "pair":
            both = (attribution["words"], attribution["compared_with"])
            most = max(_most(words) for words in both)
            return "".join(_words(words, most) for words in both)
        case "sequence":
            words = attribution["words"]
            return _words(words) + _answer(attribution["output"]) + _matrix(words, attribution)
        case "chat":
            segments = attribution["segments"]
            return (
                _messages(segments)
                + _answer(attribution["output"])
                + _matrix(segments, attribution)
            )
        case "table":
            cells = [
                (f"{one['name']} = {one['value']}", one["weight"]) for one in attribution["columns"]
            ]
            return _bars(cells)
        case "counterfactual":
            return _changes(attribution["counterfactuals"])
        case _:
            return ""


def _most(words: Sequence[Mapping[str, Any]]) -> float:
    return max((abs(one["weight"]) for one in words), default=0.0) or 1.0


def _messages(segments: Sequence[Mapping[str, Any]]) -> str:
    """The parts of each message that were left out in turn, under who said them."""
    by_message: dict[int, list[Mapping[str, Any]]] = {}
    for one in segments:
        by_message.setdefault(one["message"], []).append(one)
    most = _most(segments)
    return "".join(
        f"<p><small>{escape(str(parts[0]['role']))}</small></p>{_words(parts, most)}"
        for parts in by_message.values()
    )


def _answer(output: Mapping[str, Any]) -> str:
    return f"<p><small>answer</small></p><p>{escape(output['text'])}</p>"


def _matrix(parts: Sequence[Mapping[str, Any]], attribution: Mapping[str, Any]) -> str:
    """What each token of the answer loses without each of the parts that count most."""
    matrix, tokens = attribution.get("matrix"), attribution["output"].get("tokens", ())
    if not matrix or len(tokens) > _MOST_COLUMNS:
        return ""
    order = sorted(range(len(parts)), key=lambda at: -abs(parts[at]["weight"]))[:_MOST_ROWS]
    most = max((abs(value) for row in matrix for value in row), default=0.0) or 1.0
    head = "".join(f"<th>{escape(one['text'])}</th>" for one in tokens)
    rows = [
        f"<tr><td>{escape(parts[at]['text'][:_MOST_CHARS])}</td>"
        + "".join(
            f'<td title="{value:+.4g}" style="background: {_colour(value / most)}"></td>'
            for value in matrix[at]
        )
        + "</tr>"
        for at in sorted(order)
    ]
    return f"<table><tr><th></th>{head}</tr>{''.join(rows)}</table>"


def _words(words: Sequence[Mapping[str, Any]], most: float | None = None) -> str:
    most = most or _most(words)
    shown: list[str] = []
    end = 0
    for one in words:
        if one["start"] > end:
            shown.append(" ")
        end = one["end"]
        weight = one["weight"]
        shown.append(
            f'<span title="{weight:+.4g}" style="background: {_colour(weight / most)}">'
            f"{escape(one['text'])}</span>"
        )
    return f'<p style="line-height: 1.8">{"".join(shown)}</p>'


def _bars(cells: Sequence[tuple[str, float]]) -> str:
    ordered = sorted(cells, key=lambda one: -abs(one[1]))[:_MOST_ROWS]
    most = max((abs(weight) for _, weight in ordered), default=0.0) or 1.0
    rows = [
        f'<tr><td>{escape(name)}</td><td style="text-align: right">{weight:+.4g}</td>'
        f'<td><div style="height: 0.8em; width: {round(120 * abs(weight) / most)}px; '
        f'background: {_colour(1 if weight >= 0 else -1)}"></div></td></tr>'
        for name, weight in ordered
    ]
    return f"<table>{''.join(rows)}</table>"


def _changes(found: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        f"<tr><td>{escape(change['name'])}</td><td>{escape(str(change['from']))} &rarr; "
        f"{escape(str(change['to']))}</td><td>{escape(str(one['label'] or ''))} "
        f"{one['score']:.4g}</td></tr>"
        for one in found
        for change in one["changes"]
    ]
    return f"<table>{''.join(rows)}</table>" if rows else ""


def _trust(faithfulness: Mapping[str, Any] | None) -> str:
    if faithfulness is None or "is_better_than_random" not in faithfulness:
        return ""
    told = (
        "better than random orders of the parts"
        if faithfulness["is_better_than_random"]
        else "no better than random orders of the parts: do not rely on it"
    )
    return f"<p><small>Checked: {told}.</small></p>"


def _colour(share: float) -> str:
    """Red for what spoke for the answer, blue for what spoke against it; paler for less."""
    tint = _FOR if share >= 0 else _AGAINST
    return f"rgba({tint},{min(1.0, abs(share)) * 0.7:.2f})"
