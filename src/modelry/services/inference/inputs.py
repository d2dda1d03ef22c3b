"""Inputs that are named by a URL instead of sent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from modelry.domain.errors import (
    DeadlineExceeded,
    InvalidInput,
    NotSupported,
    Overloaded,
    PayloadTooLarge,
)

MAX_URLS = 16
"""In one request."""
DURATION_S = 30.0
"""All fetches of one request together."""
MOST_AT_ONCE = 16
"""Fetches at once, over all requests."""


@dataclass(frozen=True, slots=True)
class InputUrl:
    """Stands in an item for bytes that are to be fetched; `param` is the field that named it."""

    url: str
    param: str


class InputFetcher(Protocol):
    """Fetches inputs for callers who are not trusted."""

    def fetch(self, url: str, param: str) -> bytes:
        """The bytes at `url`.

        Raises:
            InvalidInput: the URL, or one that it redirects to, may not be fetched from, or does not
                lead to what an input may be.
            SourceUnavailable: its host does not answer as it must.
            PayloadTooLarge: it is larger than an input may be.
            DeadlineExceeded: it takes too long.
        """
        ...


class InputUrls:
    """Puts bytes in the place of URLs.

    Args:
        fetcher: fetches them; None where the operator has not allowed it.
        max_bytes: how much one request may have fetched in all.
    """

    def __init__(self, fetcher: InputFetcher | None, max_bytes: int) -> None:
        self._fetcher = fetcher
        self._max_bytes = max_bytes
        self._busy = 0
        self._lock = threading.Lock()
        # of their own: strangers' hosts decide how long these threads are busy
        self._threads = ThreadPoolExecutor(MOST_AT_ONCE, "input")

    @staticmethod
    def are_in(items: Sequence[Mapping[str, Any]]) -> bool:
        """Whether there is anything to fetch."""
        return bool(_urls_in(items))

    async def fetched(self, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The items, with bytes in the place of each `InputUrl`.

        Raises:
            NotSupported: there is a URL, and inputs are not fetched on this server.
            ModelryError: as `InputFetcher.fetch` tells.
        """
        named = _urls_in(items)
        if not named:
            return list(items)
        fetcher = self._fetcher
        if fetcher is None:
            raise NotSupported(
                f"{named[0].param} is a URL, and this server fetches no inputs. Send the bytes, or "
                "have its operator name the hosts that it may fetch from in "
                "MODELRY_ALLOW_INPUT_URLS.",
                param=named[0].param,
            )
        if len(named) > MAX_URLS:
            raise InvalidInput(
                f"The request names {len(named)} URLs; at most {MAX_URLS} are fetched for one.",
                param=named[0].param,
            )
        try:
            async with asyncio.timeout(DURATION_S):
                contents = await self._contents(fetcher, list(dict.fromkeys(named)))
        except TimeoutError:
            raise DeadlineExceeded(
                f"The inputs at the URLs took longer than {DURATION_S:g} s in all. Send the bytes."
            ) from None
        return [
            {
                name: contents[value] if isinstance(value, InputUrl) else value
                for name, value in item.items()
            }
            for item in items
        ]

    async def _contents(
        self, fetcher: InputFetcher, named: Sequence[InputUrl]
    ) -> dict[InputUrl, bytes]:
        found: dict[InputUrl, bytes] = {}
        for one in named:
            found[one] = await self._in_thread(fetcher, one)
            if sum(map(len, found.values())) > self._max_bytes:
                raise PayloadTooLarge(
                    f"The inputs at the URLs have more than {self._max_bytes} bytes in all, which "
                    "is the most for one request.",
                    param=one.param,
                )
        return found

    async def _in_thread(self, fetcher: InputFetcher, one: InputUrl) -> bytes:
        with self._lock:
            if self._busy >= MOST_AT_ONCE:
                raise Overloaded(
                    f"The server fetches {self._busy} inputs, the most at once. Try again.",
                    retry_after_s=1,
                )
            self._busy += 1
        work = self._threads.submit(fetcher.fetch, one.url, one.param)
        work.add_done_callback(self._ended)  # a caller may leave sooner than the thread
        return await asyncio.wrap_future(work)

    def _ended(self, _: Future[bytes]) -> None:
        with self._lock:
            self._busy -= 1


def _urls_in(items: Sequence[Mapping[str, Any]]) -> list[InputUrl]:
    return [one for item in items for one in item.values() if isinstance(one, InputUrl)]
