"""Progress bars for what is hashed, sent and fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelry.cli.output import printable
from modelry.cli.shown_progress import ShownProgress

if TYPE_CHECKING:
    from modelry.client.operations.uploads import TransferProgress
    from modelry.client.records import PullProgress


FINAL_PHASES = frozenset({"done", "present"})


class TransferBars(ShownProgress):
    """One bar per file on a terminal's stderr; nothing elsewhere."""

    def __init__(self) -> None:
        from rich.progress import DownloadColumn, TimeRemainingColumn, TransferSpeedColumn

        super().__init__(DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        self._bars: dict[str, Any] = {}
        self._phases: dict[str, str] = {}

    def sent(self, told: TransferProgress) -> None:
        """Progress of an upload."""
        self._show(told.name, told.phase, told.done_bytes, told.total_bytes)

    def fetched(self, told: PullProgress) -> None:
        """Progress of a pull."""
        self._show(told.source.rpartition("/")[2], told.phase, told.done_bytes, told.total_bytes)

    def _show(self, name: str, phase: str, done: int, total: int | None) -> None:
        """One bar per file; each phase fills it anew."""
        description = printable(f"{phase:<10} {name[:32]}")
        bar = self._bars.get(name)
        if bar is None:
            bar = self._bars[name] = self._progress.add_task(description, total=total)
        elif self._phases[name] != phase and phase not in FINAL_PHASES:
            self._progress.reset(bar, total=total)
        self._phases[name] = phase
        self._progress.update(bar, description=description, completed=done, total=total)
