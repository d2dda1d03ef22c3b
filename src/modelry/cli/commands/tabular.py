"""`modelry tabular`: rows of a table through a model."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelry.cli.failures import usage_error
from modelry.cli.output import AsJson, Output
from modelry.cli.session import client_of
from modelry.cli.values import plain_value

if TYPE_CHECKING:
    from modelry.client.operations.tables import RowPrediction


def tabular(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A deployment.", show_default=False)],
    rows: Annotated[
        str,
        typer.Argument(
            help="A .csv file with a header, a .json file, '-' for JSON from stdin, or JSON: "
            '{"column": 1.5}.',
            show_default=False,
        ),
    ],
    *,
    top_k: Annotated[int | None, typer.Option(min=1, help="How many labels to tell.")] = None,
    as_json: AsJson = False,
) -> None:
    """Predict from rows of a table, in their order."""
    given = read_rows(rows)
    with client_of(context) as client:
        found = client.tabular(model, given, top_k=top_k)
    output = Output(as_json)

    def show() -> None:
        for one in found:
            output.say(_words(one))

    output.result({"model": model, "results": found}, show)


def read_rows(text: str) -> list[Any]:
    """Rows of a file, of stdin or of JSON; cells of CSV that look like numbers are numbers."""
    if text.endswith(".csv"):
        lines = io.StringIO(_read(text), newline="")
        rows = [_row(row) for row in csv.DictReader(lines)]
    else:
        source = (
            sys.stdin.read() if text == "-" else _read(text) if text.endswith(".json") else text
        )
        rows = _json_rows(source)
    if not rows:
        raise usage_error("there are no rows in it.", "ROWS")
    return rows


def _row(cells: dict[Any, Any]) -> dict[str, Any]:
    if None in cells or None in cells.values():
        raise usage_error("a line has more or fewer cells than the header.", "ROWS")
    return {name: None if cell == "" else plain_value(cell) for name, cell in cells.items()}


def _json_rows(text: str) -> list[Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise usage_error(f"'{text[:60]}' is no JSON ({error}).", "ROWS") from None
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, list):
        raise usage_error("expected a JSON object, or a list of them.", "ROWS")
    return value if not value or isinstance(value[0], dict | list) else [value]


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise usage_error(f"'{path}' cannot be read: {error}.", "ROWS") from None


def _words(found: RowPrediction) -> str:
    if found.labels:
        return ", ".join(f"{one.label} {one.score:.1%}" for one in found.labels)
    values = found.values or (found.value,)
    return ", ".join(f"{one:g}" if isinstance(one, float) else str(one) for one in values)
