"""What the work gets to work with: `runtime_api.work.WorkHost` over the socket."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from modelry.domain.errors import PayloadTooLarge
from modelry.job_host.link import ServerLink
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.work import Answer, Json
from modelry.runtime_api.work_frames import MAX_FRAME_BYTES, MAX_LINE_CHARACTERS, WorkKind

PROGRESS_EVERY_S = 0.1
_COPY_BYTES = 2**20


class ProcessHost:
    """Implements `WorkHost` in a process of its own.

    Args:
        link: the way to the server.
        folder: may be written to; the work's scratch folder and links to its inputs lie in it.
        stop: raised when the server asks the work to end.
    """

    def __init__(self, link: ServerLink, folder: Path, stop: StopSignal) -> None:
        self.request: Json = {}
        self.stop = stop
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        self._inputs = folder / "inputs"
        self._inputs.mkdir()
        self._link = link
        self._putting = threading.Lock()
        self._progress_lock = threading.Lock()
        self._progress: Json | None = None
        self._told_at = 0.0
        self._phase = ""

    def await_request(self) -> None:
        """Tell the server that all is imported, and wait for what the work is asked for."""
        _, answer = self._link.call(WorkKind.READY, {})
        self.request = answer.frame.json()["request"]

    def clear_scratch(self) -> bool:
        """Empty the scratch folder for the next order; whether it is empty."""
        try:
            shutil.rmtree(self.scratch)
            self.scratch.mkdir()
        except OSError:
            return False
        return True

    @contextmanager
    def open(self, name: str) -> Iterator[Path]:
        """See `WorkHost.open`."""
        call_id, answer = self._link.call(WorkKind.OPEN, {"name": name})
        # libraries look at the end of a name to learn what a file is
        path = self._inputs / f"{call_id}-{PurePosixPath(name).name[-100:] or 'file'}"
        try:
            path.symlink_to(f"/proc/self/fd/{answer.file}")
            yield path
        finally:
            path.unlink(missing_ok=True)
            os.close(answer.file)
            self._link.tell(WorkKind.CLOSE, {}, call_id=call_id)

    def put(self, name: str, file: Path, about: Json | None = None) -> Json:
        """See `WorkHost.put`."""
        with self._putting:  # each takes memory of the server until it is kept
            call_id, place = self._link.call(WorkKind.PUT, {"name": name})
            try:
                _copy(file, place.file)
            except BaseException:
                self._link.tell(WorkKind.CLOSE, {}, call_id=call_id)
                raise
            finally:
                os.close(place.file)
            _, kept = self._link.call(WorkKind.WRITTEN, {"about": about or {}}, call_id=call_id)
            return kept.frame.json()

    def ask(self, what: str, header: Json, body: bytes = b"") -> Answer:
        """See `WorkHost.ask`."""
        if len(body) > MAX_FRAME_BYTES // 2:
            raise PayloadTooLarge(
                f"A question of {len(body) >> 20} MiB was put to the server; at most "
                f"{MAX_FRAME_BYTES // 2 >> 20} MiB go at once."
            )
        _, answer = self._link.call(WorkKind.ASK, {"what": what, "header": header}, body)
        return Answer(answer.frame.json(), answer.frame.body)

    def progress(self, done: int, total: int | None, unit: str, phase: str = "") -> None:
        """See `WorkHost.progress`."""
        told = {"done": done, "total": total, "unit": unit, "phase": phase}
        with self._progress_lock:
            self._progress = told
            is_new = phase != self._phase or done == total
            if not is_new and time.monotonic() - self._told_at < PROGRESS_EVERY_S:
                return
        self.tell_progress()

    def tell_progress(self) -> None:
        """Tell what was held back."""
        with self._progress_lock:
            told, self._progress = self._progress, None
            if told is None:
                return
            self._told_at, self._phase = time.monotonic(), told["phase"]
            self._link.tell(WorkKind.PROGRESS, told)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """See `WorkHost.metrics`."""
        told: dict[str, Any] = {name: _number(value) for name, value in values.items()}
        self._link.tell(WorkKind.METRICS, {"step": step, "values": told})

    def log(self, line: str) -> None:
        """See `WorkHost.log`."""
        beyond = len(line) - MAX_LINE_CHARACTERS
        if beyond > 0:
            line = f"{line[:MAX_LINE_CHARACTERS]} … ({beyond} more characters)"
        self._link.tell(WorkKind.LOG, {"line": line})


def _number(value: float) -> float | str:
    """JSON has no words for what is no number."""
    told = float(value)
    return told if -float("inf") < told < float("inf") else repr(told)


def _copy(source: Path, descriptor: int) -> None:
    with source.open("rb", buffering=0) as file:
        while data := file.read(_COPY_BYTES):
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]
