"""Asking the event loop from a job's thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextvars import Context
from typing import Any, TypeVar

from modelry.domain.errors import (
    BudgetExceeded,
    Cancelled,
    DeadlineExceeded,
    Overloaded,
    QuotaExceeded,
)
from modelry.runtime_api.engine import StopSignal

T = TypeVar("T")

LONGEST_PAUSE_S = 30.0
"""Between attempts where the caller's share of this moment is used up."""
_LOOK_S = 0.2


class LoopCaller:
    """Has coroutines run on the event loop, and waits for what they give; blocks.

    Args:
        loop: the event loop, which runs in another thread.
        stop: ends the waiting, and what is waited for.
        context: what the coroutines find in context variables, such as the request that they are
            a part of; by default what the calling thread has.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        stop: StopSignal,
        context: Context | None = None,
    ) -> None:
        self._loop = loop
        self._stop = stop
        self._context = context

    def result(
        self,
        work: Coroutine[Any, Any, T],
        what: str,
        *,
        timeout_s: float | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> T:
        """What `work` gives.

        Args:
            work: what to run; it is cancelled when nobody waits for it any more.
            what: told when it is given up: `the loading of pets@3`.
            timeout_s: how long at most; None while `work` bounds its time itself.
            meanwhile: is called a few times a second, in this thread.

        Raises:
            Cancelled: the job was stopped.
            DeadlineExceeded: it took too long.
        """
        future = self._begun(work)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            if self._stop.is_set():
                future.cancel()
                raise Cancelled(f"The job was stopped during {what}.")
            try:
                return future.result(_LOOK_S)
            except FutureTimeout:
                if future.done():  # just then, or `work` itself ran out of time
                    return future.result()
            if meanwhile is not None:
                meanwhile()
            if deadline is not None and time.monotonic() > deadline:
                future.cancel()
                raise DeadlineExceeded(
                    f"{what[:1].upper()}{what[1:]} took more than {timeout_s:g} s."
                )

    def when_allowed(self, ask: Callable[[], Coroutine[Any, Any, T]], what: str) -> T:
        """What is asked, again and again while the caller's rate, or the load of the moment, does
        not allow it.

        Args:
            ask: asks once.
            what: as for `result`.

        Raises:
            BudgetExceeded: what is used up comes again with another day or month.
            Cancelled: the job was stopped.
            ModelryError: what is asked failed.
        """
        while True:
            try:
                return self.result(ask(), what)
            except BudgetExceeded:
                raise
            except (QuotaExceeded, Overloaded) as error:
                if error.retry_after_s is None:
                    raise
                self._pause(min(error.retry_after_s, LONGEST_PAUSE_S))

    def _begun(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        if self._context is None:
            return asyncio.run_coroutine_threadsafe(work, self._loop)
        # a copy: a context cannot be entered while another thread is in it
        return self._context.copy().run(asyncio.run_coroutine_threadsafe, work, self._loop)

    def _pause(self, pause_s: float) -> None:
        until = time.monotonic() + pause_s
        while not self._stop.is_set() and time.monotonic() < until:
            time.sleep(min(_LOOK_S, max(0.0, until - time.monotonic())))

    def finish(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """What `work` gives, however the job stands: for putting things back in order.

        Raises:
            DeadlineExceeded: it took too long; it goes on by itself.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout_s)
        except FutureTimeout:
            if future.done():
                return future.result()
            raise DeadlineExceeded(f"Tidying up took more than {timeout_s:g} s.") from None
