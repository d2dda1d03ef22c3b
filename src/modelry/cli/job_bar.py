"""How far a job is, on a terminal's stderr, while it is waited for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelry.cli.output import printable
from modelry.cli.shown_progress import ShownProgress


class JobBar(ShownProgress):
    """A line that tells the job's phase and how far it is; nothing elsewhere than on a terminal."""

    def __init__(self) -> None:
        from rich.progress import TextColumn, TimeElapsedColumn

        super().__init__(TextColumn("{task.fields[far]}", markup=False), TimeElapsedColumn())
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
