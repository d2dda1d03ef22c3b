"""How far an explanation is, on a terminal's stderr."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from modelry.cli.output import printable, stderr_console

if TYPE_CHECKING:
    from modelry.client.explained import ExplanationProgress


class ExplanationBar:
    """A line that tells what is done and how far it is; nothing elsewhere than on a terminal.

    Args:
        is_quiet: nothing there, either.
    """

    def __init__(self, *, is_quiet: bool = False) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        console = stderr_console()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[far]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            disable=is_quiet or not console.is_terminal,
            transient=True,
        )
        self._bar = self._progress.add_task("explaining", total=None, far="")

    def told(self, far: ExplanationProgress) -> None:
        """What the server told."""
        most = "" if far.most_calls is None else f" of at most {far.most_calls:,}"
        self._progress.update(
            self._bar,
            description=printable(f"{far.phase:<10}"),
            completed=far.calls if far.most_calls else 0,
            total=far.most_calls,
            far=f"{far.calls:,}{most} calls",
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
