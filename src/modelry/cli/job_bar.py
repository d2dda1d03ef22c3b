"""How far a job is, on a terminal's stderr, while it is waited for."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from modelry.cli.output import printable, stderr_console


class JobBar:
    """A line that tells the job's phase and how far it is; nothing elsewhere than on a terminal."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        console = stderr_console()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[far]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._bar = self._progress.add_task("queued", total=None, far="")

    def told(self, job: Mapping[str, Any]) -> None:
        """What the server told of the job."""
        progress = job.get("progress") or {}
        done, total = progress.get("done", 0), progress.get("total")
        unit = progress.get("unit", "")
        far = f"{done:,}{'' if total is None else f'/{total:,}'} {unit}" if progress else ""
        phase = progress.get("phase") or job.get("state", "")
        self._progress.update(
            self._bar,
            description=printable(f"{phase:<16}"),
            completed=done if total else 0,
            total=total,
            far=printable(far),
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
