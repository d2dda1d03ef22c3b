"""How far an explanation is, on a terminal's stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelry.cli.output import printable
from modelry.cli.shown_progress import ShownProgress

if TYPE_CHECKING:
    from modelry.client.explained import ExplanationProgress


class ExplanationBar(ShownProgress):
    """A line that tells what is done and how far it is; nothing elsewhere than on a terminal.

    Args:
        is_quiet: nothing there, either.
    """

    def __init__(self, *, is_quiet: bool = False) -> None:
        from rich.progress import TextColumn, TimeElapsedColumn

        far = TextColumn("{task.fields[far]}", markup=False)
        super().__init__(far, TimeElapsedColumn(), is_quiet=is_quiet, is_kept=False)
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
