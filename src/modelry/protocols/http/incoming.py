"""A body that is still being sent, as a blocking iterable for what reads it in a thread."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Iterator

from starlette.requests import ClientDisconnect

from modelry.domain.errors import Cancelled, DeadlineExceeded, ModelryError

PIECE_BYTES = 2**20
"""Up to how much is put together while the reader is behind."""
PIECES = 4
"""How many pieces may wait for the reader; no more than this and one more are in memory."""
IDLE_S = 60.0
"""How long the reader waits for the next bytes."""
GO_ON = "Those that came are kept; ask how far the upload is, and go on from there."


class IncomingBytes:
    """Bytes from an event loop, read in a thread: iterate there while `feed` runs here.

    Args:
        stream: the bytes as they come; an error of ours that it raises is raised to the reader.
        idle_s: seconds after which the reader gives up waiting.
        advice: what to do when the bytes break off.
    """

    def __init__(
        self, stream: AsyncIterator[bytes], idle_s: float = IDLE_S, advice: str = GO_ON
    ) -> None:
        self._stream = stream
        self._idle_s = idle_s
        self._advice = advice
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(PIECES)
        self._pieces: queue.SimpleQueue[bytes | ModelryError | None] = queue.SimpleQueue()

    async def feed(self) -> None:
        """Bring the stream to the reader, no faster than it reads; cancel it to end the reader."""
        held = bytearray()
        end: ModelryError | None = Cancelled(f"The bytes broke off. {self._advice}")
        try:
            async for chunk in self._stream:
                held += chunk
                if not held or (self._room.locked() and len(held) < PIECE_BYTES):
                    continue
                await self._room.acquire()
                self._pieces.put(bytes(held))
                held.clear()
            end = None
        except ClientDisconnect:
            return
        except ModelryError as error:
            end = error
        finally:
            if held:
                self._pieces.put(bytes(held))
            self._pieces.put(end)

    def __iter__(self) -> Iterator[bytes]:
        while True:
            try:
                piece = self._pieces.get(timeout=self._idle_s)
            except queue.Empty:
                raise DeadlineExceeded(
                    f"No bytes came for {self._idle_s:g} seconds. {self._advice}"
                ) from None
            if piece is None:
                return
            if isinstance(piece, ModelryError):
                raise piece
            self._loop.call_soon_threadsafe(self._room.release)
            yield piece
