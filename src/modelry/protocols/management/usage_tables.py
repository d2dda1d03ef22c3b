"""Usage as CSV (RFC 4180), made while it is sent."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import orjson

from modelry.domain.usage import ENGINE, UsageRecord
from modelry.services.usage.costs import CostedTotal

LINES_AT_ONCE = 500
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
_PLAIN = (
    "request_id", "started_at", "status", "caller", "key_id", "deployment", "model",
    "version_number", "task", "duration_us",
)  # fmt: skip
_UNITS = (
    ENGINE, "input_tokens", "output_tokens", "cached_tokens", "images", "rows", "items",
)  # fmt: skip


def total_lines(
    groups: Sequence[str],
    totals: Iterable[CostedTotal],
    costs_of: Callable[[CostedTotal], Mapping[str, str]],
) -> Iterator[bytes]:
    """A line for each group and unit, and one for each currency."""
    yield _lines([[*groups, "unit", "amount", "currency", "cost"]])
    for total in totals:
        head = [total.group[name] for name in groups]
        rows = [[*head, unit, amount, "", ""] for unit, amount in sorted(total.units.items())]
        rows += [[*head, "", "", currency, cost] for currency, cost in costs_of(total).items()]
        yield _lines(rows)


def request_lines(records: Iterator[UsageRecord]) -> Iterator[bytes]:
    """A line for each request."""
    yield _lines([[*_PLAIN, *_UNITS, "other_units"]])
    rows = map(_row, records)
    while chunk := list(islice(rows, LINES_AT_ONCE)):
        yield _lines(chunk)


def _row(record: UsageRecord) -> list[Any]:
    plain = [getattr(record, name) for name in _PLAIN]
    plain[1] = record.started_at.isoformat()
    units = dict(record.units)
    known = [units.pop(name, "") for name in _UNITS]
    return [*plain, *known, orjson.dumps(units).decode() if units else ""]


def _lines(rows: Iterable[Sequence[Any]]) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerows([_safe(cell) for cell in row] for row in rows)
    return written.getvalue().encode()


def _safe(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    is_formula = isinstance(cell, str) and cell.startswith(_FORMULA_SIGNS)
    return f"'{cell}" if is_formula else cell
