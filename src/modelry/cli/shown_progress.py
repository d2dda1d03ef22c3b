"""What a terminal's stderr shows while something is waited for."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from modelry.cli.output import stderr_console

if TYPE_CHECKING:
    from rich.progress import ProgressColumn


class ShownProgress:
    """Bars that are there from the beginning to the end of a `with`; nothing but on a terminal.

    Args:
        columns: what follows a bar's description, drawn from its fields.
        is_quiet: nothing on a terminal, either.
        is_kept: whether the bars stay there at the end.
    """

    def __init__(
        self, *columns: ProgressColumn, is_quiet: bool = False, is_kept: bool = True
    ) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        console = stderr_console()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            *columns,
            console=console,
            disable=is_quiet or not console.is_terminal,
            transient=not is_kept,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()
