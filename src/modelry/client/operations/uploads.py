"""Uploads: in pieces, in constant memory, going on from where they broke off."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from modelry.client.decoding import decode
from modelry.client.errors import (
    ConnectionLost,
    InternalError,
    InvalidInput,
    ModelryError,
    NotFound,
    NotReachable,
    TimedOut,
    Unavailable,
)
from modelry.client.exchange import Answer, Flow, Request, send, send_json, sleep, work
from modelry.client.operations.paths import api
from modelry.client.records import Upload

PIECE_BYTES = 8 * 2**20
PATIENCE_S = 120.0
"""How long an upload tries to go on without getting a byte further."""
_PASSING = (ConnectionLost, InternalError, NotReachable, TimedOut, Unavailable)


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """How far a file is. `phase` is hashing, uploading, or present (it was there already)."""

    name: str
    phase: str
    done_bytes: int
    total_bytes: int


Progress = Callable[[TransferProgress], None]


def nothing_told(progress: TransferProgress) -> None:
    """For callers who want no progress."""


def digest_of(path: Path, tell: Progress = nothing_told) -> Flow[str]:
    """`sha256:<64 hex digits>` of a file."""
    size = path.stat().st_size
    digest = hashlib.sha256()
    done = 0
    with path.open("rb") as file:
        while piece := (yield from work(partial(file.read, PIECE_BYTES))):
            yield from work(partial(digest.update, piece))
            done += len(piece)
            tell(TransferProgress(path.name, "hashing", done, size))
    return f"sha256:{digest.hexdigest()}"


def upload_file(path: Path, *, progress: Progress | None = None) -> Flow[str]:
    """Bring a file to the server, unless its content is there already; the digest names it.

    A connection that breaks, and a server that is started anew, only make it slower.

    Raises:
        InvalidInput: the file is empty, or changed while it was read.
        ModelryError: what broke it, if it got no byte further for two minutes.
    """
    size = path.stat().st_size
    if size == 0:
        raise InvalidInput(f"'{path}' is empty.", param="path")
    tell = progress or nothing_told
    digest = yield from digest_of(path, tell)
    upload = yield from _begin(size, digest)
    if upload.complete:
        tell(TransferProgress(path.name, "present", size, size))
        return digest
    with path.open("rb") as file:
        yield from _send_pieces(file, path, upload, digest, tell)
    return digest


def _send_pieces(
    file: BinaryIO, path: Path, begun: Upload, digest: str, tell: Progress
) -> Flow[None]:
    upload, size = begun, begun.size_bytes
    patience = _Patience()
    while True:
        try:
            piece = yield from work(partial(_read_at, file, upload.received_bytes))
            if not piece and upload.received_bytes < size:
                raise InvalidInput(f"'{path}' became shorter while it was read.", param="path")
            upload = yield from _append(upload, piece)
            patience.moved()
        except (*_PASSING, NotFound) as error:
            yield from patience.pause(error)
            upload = yield from _resumed(upload, size, digest)
        tell(TransferProgress(path.name, "uploading", upload.received_bytes, size))
        if upload.complete:
            return


def _read_at(file: BinaryIO, offset: int) -> bytes:
    file.seek(offset)
    return file.read(PIECE_BYTES)


def _begin(size: int, digest: str) -> Flow[Upload]:
    # beginning twice leaves an empty upload behind, which the server discards in time
    body = {"size_bytes": size, "digest": digest}
    request = Request("POST", api("uploads"), json=body, idempotent=True)
    return decode(Upload, (yield from send_json(request)))


def _append(upload: Upload, piece: bytes) -> Flow[Upload]:
    request = Request(
        "PATCH",
        api("uploads", upload.upload_id),
        headers={
            "upload-offset": str(upload.received_bytes),
            "content-type": "application/octet-stream",
        },
        content=piece,
        expects=frozenset({409}),
        retries=False,
    )
    answer: Answer = yield from send(request)
    if answer.is_good:
        return decode(Upload, answer.json())
    error = answer.error()
    if error.code != "conflict":
        raise error
    # the server has more or less than we think: an answer of it was lost
    found = yield from _look(upload.upload_id)
    if found.received_bytes == upload.received_bytes and not found.complete:
        raise ConnectionLost(error.message, param=error.param)  # another request still appends
    return found


def _look(upload_id: str) -> Flow[Upload]:
    request = Request("GET", api("uploads", upload_id), idempotent=True, retries=False)
    return decode(Upload, (yield from send_json(request)))


def _resumed(upload: Upload, size: int, digest: str) -> Flow[Upload]:
    """Where the upload stands at the server; as we knew it when it cannot be asked."""
    try:
        return (yield from _look(upload.upload_id))
    except NotFound:
        return (yield from _begin(size, digest))
    except _PASSING:
        return upload


class _Patience:
    """Pauses between tries, until nothing moved for too long."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._pause_s = 0.2

    def moved(self) -> None:
        """A piece arrived."""
        self._since = time.monotonic()
        self._pause_s = 0.2

    def pause(self, error: ModelryError) -> Flow[None]:
        """Wait before the next try; raises `error` when patience is at its end."""
        if time.monotonic() - self._since > PATIENCE_S:
            raise error
        yield from sleep(max(self._pause_s, min(error.retry_after_s or 0.0, 30.0)))
        self._pause_s = min(5.0, self._pause_s * 2)
