"""Threads for work that blocks for minutes, so that short work never waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from modelry.domain.errors import Overloaded

T = TypeVar("T")


class OwnThreads:
    """A thread for each piece of work, up to a number.

    The threads are daemons: work that hangs on a network does not keep the server from ending,
    and what it was doing can be gone on with later.

    Args:
        what: the work, as people call it.
        most: how many at once.
    """

    def __init__(self, what: str, most: int) -> None:
        self._what = what
        self._most = most
        self._busy = 0

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work`; leaving early (task cancelled) leaves the thread running.

        Raises:
            Overloaded: as many are running as may.
        """
        if self._busy >= self._most:
            raise Overloaded(
                f"The server has {self._busy} {self._what}, which is the most it takes at once. "
                "Try again when some have ended.",
                retry_after_s=5,
            )
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def ended(settle: Callable[[Any], None], outcome: Any) -> None:
            self._busy -= 1
            if not future.done():
                settle(outcome)

        def run() -> None:
            try:
                settle, outcome = future.set_result, work()
            except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
                settle, outcome = future.set_exception, error  # type: ignore[assignment] # one of two
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(ended, settle, outcome)

        self._busy += 1
        threading.Thread(target=run, name="management", daemon=True).start()
        return await future
