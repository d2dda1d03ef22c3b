"""Datasets in words: versions, reports, rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from modelry.cli.output import Output, size_text, table

if TYPE_CHECKING:
    from modelry.client.dataset_records import DatasetColumn, DatasetRows, DatasetVersion

MAX_CELL = 60
MAX_CLASSES = 8


def show_version(output: Output, version: DatasetVersion) -> None:
    """A version: what it is, its columns, its splits, what was found."""
    output.say(f"{version.ref}  {version.digest}")
    source = version.origin.get("source")
    if isinstance(source, Mapping):
        for note in source.get("notes", ()):
            output.say(f"  {note}")
        skipped = source.get("skipped_rows", 0)
        if skipped:
            output.say(f"  {skipped} rows were left out:")
            for one in source.get("first_skipped", ()):
                output.say(f"    {one['file']}, {one['place']}: {one['reason']}")
    output.say("")
    table(
        ("SPLIT", "ROWS>", "SIZE>"),
        [(one.name, one.rows, size_text(one.size_bytes)) for one in version.splits],
        empty="",
    )
    output.say("")
    first = version.splits[0].name if version.splits else ""
    told = version.statistics.get(first, {})
    table(
        ("COLUMN", "TYPE", "ROLE", "MISSING>", f"IN '{first}'"),
        [
            (one.name, _type(one), one.role, _missing(told, one), _summary(told.get(one.name, {})))
            for one in version.columns
        ],
        empty="",
    )
    findings = version.report.get("findings", ())
    if findings:
        output.say("")
        told = "1 finding" if len(findings) == 1 else f"{len(findings)} findings"
        output.say(f"{told}; see 'modelry datasets validate {version.ref}'.")


def _type(column: DatasetColumn) -> str:
    if column.type == "tensor":
        return f"{column.dtype}{list(column.shape)}"
    return f"{column.type}, {len(column.classes)} classes" if column.classes else column.type


def _missing(told: Mapping[str, Any], column: DatasetColumn) -> str:
    return str(told.get(column.name, {}).get("missing", "")) if column.is_nullable else ""


def _summary(told: Mapping[str, Any]) -> str:
    if "classes" in told:
        classes = list(told["classes"].items())
        shown = ", ".join(f"{name} {count}" for name, count in classes[:MAX_CLASSES])
        return f"{shown}, … ({len(classes)})" if len(classes) > MAX_CLASSES else shown
    if "sizes" in told:
        return ", ".join(list(told["sizes"])[:4])
    numbers = told.get("values", told)
    if "mean" in numbers:
        return (
            f"{numbers['min']:g} to {numbers['max']:g}, "
            f"mean {numbers['mean']:.4g} ± {numbers['std']:.4g}"
        )
    if "distinct" in told:
        return f"{told['distinct']} different"
    if "min" in told:
        return f"{told['min']} to {told['max']}"
    return ""


def show_report(output: Output, version: DatasetVersion) -> None:
    """What validation found, the worst first."""
    findings = version.report.get("findings", ())
    if not findings:
        output.say(f"{version.ref}: nothing was found wrong.")
        return
    for one in findings:
        output.say(f"{one.get('severity', ''):<8} {one.get('message', '')}")
        places = ", ".join(f"{row['split']} {row['row']}" for row in one.get("first", ()))
        if places:
            output.say(f"         rows: {places}")


def show_rows(output: Output, found: DatasetRows) -> None:
    """Rows as a table; long cells are shown by their beginning."""
    if not found.rows:
        output.say(f"{found.ref}, '{found.split}': no rows from {found.offset} on.")
        return
    names = list(found.rows[0])
    table(
        ("ROW>", *names),
        [
            (found.offset + at, *(_cell(row[name]) for name in names))
            for at, row in enumerate(found.rows)
        ],
        empty="",
    )
    last = found.offset + len(found.rows)
    output.note(f"Rows {found.offset} to {last - 1} of {found.total} in '{found.split}'.")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        if "omitted_bytes" in value:
            return f"({size_text(value['omitted_bytes'])})"
        if "base64" in value:
            return f"({size_text(len(value['base64']) * 3 // 4)})"
    text = str(value).replace("\n", "⏎")
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"
