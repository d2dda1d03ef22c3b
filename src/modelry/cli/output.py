"""Results on stdout, all else on stderr; with `--json` stdout holds JSON alone."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, for programs.")]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: Any) -> str:
    """`text` without characters that a terminal would obey."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(text))


@dataclass(frozen=True, slots=True)
class Output:
    """Where a command's words go."""

    as_json: bool

    def result(self, value: Any, show: Callable[[], None]) -> None:
        """The command's result: as JSON, or as `show` prints it for people."""
        if self.as_json:
            from modelry.client.decoding import encode

            typer.echo(json_text(encode(value)))
        else:
            show()

    def say(self, text: str) -> None:
        """Words for people: on stdout, with `--json` on stderr."""
        typer.echo(printable(text), err=self.as_json)

    def note(self, text: str) -> None:
        """Words on the side, always on stderr."""
        typer.echo(printable(text), err=True)


def json_text(value: Any) -> str:
    """JSON; NaN and infinities, which it cannot tell, are null."""
    try:
        return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), indent=2, ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def stderr_console() -> Console:
    """Where progress is shown."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """Rows for people; columns whose name ends in `>` are set to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    listed = [[Text(printable("" if cell is None else cell)) for cell in row] for row in rows]
    if not listed:
        typer.echo(empty, err=True)
        return
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(
            column.removesuffix(">"), justify="right" if column.endswith(">") else "left"
        )
    for row in listed:
        made.add_row(*row)
    width = None if sys.stdout.isatty() else 10_000  # a pipe has no edge to wrap at
    Console(highlight=False, markup=False, width=width).print(made, soft_wrap=width is not None)


def size_text(size_bytes: float | None) -> str:
    """`98.4 MB`; units of 1000."""
    if size_bytes is None:
        return ""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def time_text(moment: datetime | None) -> str:
    """A time to the minute, in the local zone."""
    return "" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M")
