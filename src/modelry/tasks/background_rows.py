"""Rows that stand for what is usual, as a file that is kept with a version for tables.

A JSON object: `columns` names the cells of `rows`, a list of lists in random order; any number of
the first rows is a random sample, too. `chosen` says how the rows were chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from modelry.domain.errors import ManifestInvalid

BACKGROUND_ROLE = "background"
"""Of the file in a manifest."""
MOST_ROWS = 200
MOST_BYTES = 8 * 2**20


def background_file(columns: Sequence[str], rows: Sequence[Sequence[Any]], chosen: str) -> bytes:
    """The content of a file of rows.

    Args:
        columns: their names.
        rows: cells as JSON types, in random order.
        chosen: how they were chosen, in words.
    """
    document = {"chosen": chosen, "columns": list(columns), "rows": [list(one) for one in rows]}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)


def read_background(file: Path) -> list[dict[str, Any]]:
    """The rows of a file, cells by column.

    Raises:
        ManifestInvalid: it is no such file.
    """
    if file.stat().st_size > MOST_BYTES:
        raise _wrong(f"has more than {MOST_BYTES} bytes")
    try:
        document = orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError as error:
        raise _wrong(f"is no JSON ({error})") from None
    columns = document.get("columns") if isinstance(document, dict) else None
    rows = document.get("rows") if isinstance(document, dict) else None
    if not isinstance(columns, list) or not all(isinstance(one, str) for one in columns):
        raise _wrong("has no list 'columns' of names")
    if not isinstance(rows, list) or not 1 <= len(rows) <= MOST_ROWS:
        raise _wrong(f"has no list 'rows' of 1 to {MOST_ROWS} rows")
    if not all(isinstance(row, list) and len(row) == len(columns) for row in rows):
        raise _wrong("has a row with another number of cells than there are 'columns'")
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _wrong(what: str) -> ManifestInvalid:
    return ManifestInvalid(
        f"The file of background rows {what}. Write a JSON object of 'columns' (their names) and "
        "'rows' (lists of cells).",
        param=f"files.{BACKGROUND_ROLE}",
    )
