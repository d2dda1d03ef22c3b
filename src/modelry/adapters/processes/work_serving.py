"""The server's end of the socket to one process of work: it serves what the work asks for."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from modelry.adapters.processes.work_files import empty_place, open_unchangeable, seal
from modelry.domain.errors import InvalidInput, LeaseLost, ModelryError, NotFound
from modelry.runtime_api.frames import (
    Frame,
    FrameDecoder,
    FrameError,
    encode,
    error_from_wire,
    error_to_wire,
)
from modelry.runtime_api.work import InputFile, Json, WorkClient
from modelry.runtime_api.work_frames import MAX_FRAME_BYTES, WITH_FILE, WorkKind

POLL_S = 0.1
_RECEIVE_BYTES = 2**18
_MOST_INPUTS = 256
"""Inputs that a work may hold open at once; each takes memory of the server."""
_ENDS = frozenset({WorkKind.OUTCOME, WorkKind.FAILED})
_BEFORE = frozenset({WorkKind.BEGUN, WorkKind.READY, WorkKind.ALIVE})


class LinkBroken(Exception):
    """The process is gone, or sends what is no frame; the text says which."""


@dataclass(slots=True)
class _Place:
    name: str
    descriptor: int


class WorkServing:
    """Serves one process of work, in the thread that calls `receive`.

    Args:
        connection: the socket to the process.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.last_heard = time.monotonic()
        self.sandbox: Mapping[str, Any] = {}
        self.is_begun = False
        """Whether it has asked for anything, or told what came of its work."""
        self._socket = connection
        self._client: WorkClient
        self._request: Json = {}
        self._decoder = FrameDecoder()
        self._frames: deque[Frame] = deque()
        self._inputs: dict[int, InputFile] = {}
        self._place: tuple[int, _Place] | None = None
        self._take: dict[int, Callable[[Frame], None]] = {
            WorkKind.BEGUN: self._begun,
            WorkKind.READY: self._ready,
            WorkKind.ALIVE: lambda _: None,
            WorkKind.OPEN: self._open,
            WorkKind.PUT: self._put,
            WorkKind.WRITTEN: self._written,
            WorkKind.CLOSE: self._close,
            WorkKind.ASK: self._ask,
            WorkKind.PROGRESS: self._progress,
            WorkKind.METRICS: self._metrics,
            WorkKind.LOG: self._log,
        }

    def begin(self, client: WorkClient, request: Json) -> None:
        """Serve an order from now on.

        Args:
            client: what is asked is passed on to it.
            request: what the work is asked for.
        """
        self.last_heard = time.monotonic()
        self.is_begun = False
        self._client = client
        self._request = request

    def send(
        self,
        kind: WorkKind,
        header: Mapping[str, Any] | None = None,
        *,
        body: bytes = b"",
        call_id: int = 0,
        file: int = -1,
        timeout_s: float,
    ) -> None:
        """Send a frame, with an open file for the kinds that have one.

        Raises:
            LinkBroken: it is gone, or does not read for so long.
        """
        frame = encode(kind, call_id, orjson.dumps(header or {}), body)
        send_frame(self._socket, frame, [file] if kind in WITH_FILE else [], timeout_s)

    def receive(self, timeout_s: float) -> Frame | None:
        """Serve what is asked until there is a pause, or the last frame, which is given.

        Raises:
            LinkBroken: the process is gone, or does not speak as it should.
            LeaseLost: the client has been told so.
        """
        if not self._frames and not self._read():
            return None
        while self._frames:
            frame = self._frames.popleft()
            self.is_begun = self.is_begun or frame.kind not in _BEFORE
            if frame.kind in _ENDS:
                return frame  # what came after it belongs to the next order
            self._serve(frame, timeout_s)
        self.last_heard = time.monotonic()  # what the client took meanwhile is not its silence
        return None

    def _read(self) -> bool:
        """Take what the process has sent; whether it has sent anything for a moment."""
        self._socket.settimeout(POLL_S)
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
            self._frames.extend(self._decoder.feed(data))
        except TimeoutError:
            return False
        except OSError as error:
            raise LinkBroken(f"the connection ended ({error.strerror})") from None
        except FrameError as error:
            raise LinkBroken(str(error)) from None
        if not data:
            raise LinkBroken("the connection ended")
        if self._decoder.needed_bytes > MAX_FRAME_BYTES:
            raise LinkBroken("it sent a frame beyond the limit")
        return True

    def _serve(self, frame: Frame, timeout_s: float) -> None:
        take = self._take.get(frame.kind)
        if take is None:
            raise LinkBroken(f"it sent a frame of kind {frame.kind}")
        self._timeout_s = timeout_s
        try:
            take(frame)
        except LeaseLost:
            raise
        except ModelryError as error:
            self._answer(WorkKind.FAULT, frame, error_to_wire(error))
        except (KeyError, TypeError, ValueError, AttributeError, orjson.JSONDecodeError) as error:
            raise LinkBroken(
                f"a frame of kind {frame.kind} could not be served: {type(error).__name__}: {error}"
            ) from error

    def _answer(
        self,
        kind: WorkKind,
        frame: Frame,
        header: Mapping[str, Any],
        body: bytes = b"",
        file: int = -1,
    ) -> None:
        self.send(
            kind,
            header,
            body=body,
            call_id=frame.call_id,
            file=file,
            timeout_s=self._timeout_s,
        )

    def _begun(self, frame: Frame) -> None:
        self.sandbox = frame.json()["sandbox"]

    def _ready(self, frame: Frame) -> None:
        self._answer(WorkKind.ANSWER, frame, {"request": self._request})

    def _open(self, frame: Frame) -> None:
        if len(self._inputs) >= _MOST_INPUTS:
            raise InvalidInput(f"The work has {_MOST_INPUTS} inputs open; close some first.")
        file = self._client.open_input(str(frame.json()["name"]))
        self._inputs[frame.call_id] = file
        descriptor = -1
        try:
            descriptor = open_unchangeable(file.path)
            self._answer(WorkKind.INPUT, frame, {}, file=descriptor)
        except BaseException:
            self._inputs.pop(frame.call_id).close()
            raise
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _put(self, frame: Frame) -> None:
        if self._place is not None:
            raise LinkBroken("it asked for a second place before the first was filled")
        descriptor = empty_place()
        self._place = (frame.call_id, _Place(str(frame.json()["name"]), descriptor))
        self._answer(WorkKind.PLACE, frame, {}, file=descriptor)

    def _written(self, frame: Frame) -> None:
        if self._place is None or self._place[0] != frame.call_id:
            raise NotFound("There is no place to write to of that number.")
        _, place = self._place
        self._place = None
        try:
            seal(place.descriptor)
            about = frame.json()["about"]
            path = Path(f"/proc/self/fd/{place.descriptor}")
            self._answer(WorkKind.ANSWER, frame, self._client.take_output(place.name, path, about))
        finally:
            os.close(place.descriptor)

    def _close(self, frame: Frame) -> None:
        if self._place is not None and self._place[0] == frame.call_id:
            os.close(self._place[1].descriptor)
            self._place = None
        file = self._inputs.pop(frame.call_id, None)
        if file is not None:
            file.close()

    def _ask(self, frame: Frame) -> None:
        asked = frame.json()
        answer = self._client.answer(str(asked["what"]), asked["header"], frame.body)
        self._answer(WorkKind.ANSWER, frame, answer.header, answer.body)

    def _progress(self, frame: Frame) -> None:
        told = frame.json()
        total = None if told["total"] is None else int(told["total"])
        self._client.progress(int(told["done"]), total, str(told["unit"]), str(told["phase"]))

    def _metrics(self, frame: Frame) -> None:
        told = frame.json()
        values = {str(name): float(value) for name, value in told["values"].items()}
        self._client.metrics(int(told["step"]), values)

    def _log(self, frame: Frame) -> None:
        self._client.log(str(frame.json()["line"]))

    def let_go(self) -> None:
        """Let everything go that the process held for its order."""
        if self._place is not None:
            os.close(self._place[1].descriptor)
            self._place = None
        for file in self._inputs.values():
            with contextlib.suppress(ModelryError, OSError):
                file.close()
        self._inputs.clear()


def send_frame(
    connection: socket.socket, frame: bytes, files: Sequence[int], timeout_s: float
) -> None:
    """Send a frame, and open files with it.

    Raises:
        LinkBroken: the process is gone, or does not read for so long.
    """
    connection.settimeout(timeout_s)
    try:
        sent = socket.send_fds(connection, [frame], files)
        if sent < len(frame):  # to send nothing fails when the process has left meanwhile
            connection.sendall(memoryview(frame)[sent:])
    except TimeoutError:
        raise LinkBroken(f"it took nothing for {timeout_s:g} s") from None
    except OSError as error:
        raise LinkBroken(f"the connection ended ({error.strerror})") from None


def outcome_of(frame: Frame) -> Mapping[str, Any]:
    """What the last frame says.

    Raises:
        ModelryError: what the work raised.
    """
    told = frame.json()
    if frame.kind == WorkKind.FAILED:
        raise error_from_wire(told)
    outcome = told["outcome"]
    return outcome if isinstance(outcome, dict) else {}
