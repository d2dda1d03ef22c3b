"""Answers that come bit by bit, as iterators of typed values."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

import httpx2

from modelry.client.connection import Connection, header_map
from modelry.client.errors import ConnectionLost

T = TypeVar("T")


class Parser(Protocol[T]):
    """Turns the bytes of a stream into values."""

    @property
    def is_complete(self) -> bool:
        """Whether the stream's end mark was seen."""
        ...

    def feed(self, chunk: bytes) -> list[T]:
        """The values that `chunk` completes; raises what the stream tells as an error."""
        ...


MakeParser = Callable[[], Parser[T]]


class _Open(Generic[T]):
    """What both kinds of streams know."""

    def __init__(
        self, response: httpx2.Response, parser: Parser[T], connection: Connection
    ) -> None:
        self._response = response
        self._parser = parser
        self._connection = connection
        self.headers: Mapping[str, str] = header_map(response)

    @property
    def request_id(self) -> str | None:
        """Names the request in the server's log."""
        return self.headers.get("x-request-id")

    @property
    def version(self) -> str | None:
        """The version that answers, as `model@number`."""
        return self.headers.get("x-modelry-version")

    def _check_complete(self) -> None:
        if not self._parser.is_complete:
            raise ConnectionLost(
                "The stream ended before the answer was complete.", request_id=self.request_id
            )


class Stream(_Open[T], Iterator[T]):
    """An iterator of typed values; closing it early tells the server to stop.

    Use it in `with`, or iterate to the end.
    """

    def __init__(
        self, response: httpx2.Response, parser: Parser[T], connection: Connection
    ) -> None:
        super().__init__(response, parser, connection)
        self._values = self._read()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        return next(self._values)

    def _read(self) -> Iterator[T]:
        try:
            for chunk in self._response.iter_bytes():
                yield from self._parser.feed(chunk)
            self._check_complete()
        except httpx2.RequestError as error:
            if not self._parser.is_complete:
                raise self._connection.failure(error) from None
        finally:
            self._response.close()

    def close(self) -> None:
        """End the connection; the server stops working on the answer."""
        self._response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncStream(_Open[T], AsyncIterator[T]):
    """An async iterator of typed values; closing it early tells the server to stop.

    Use it in `async with`, or iterate to the end.
    """

    def __init__(
        self, response: httpx2.Response, parser: Parser[T], connection: Connection
    ) -> None:
        super().__init__(response, parser, connection)
        self._values = self._read()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        return await anext(self._values)

    async def _read(self) -> AsyncGenerator[T, None]:
        try:
            async for chunk in self._response.aiter_bytes():
                for value in self._parser.feed(chunk):
                    yield value
            self._check_complete()
        except httpx2.RequestError as error:
            if not self._parser.is_complete:
                raise self._connection.failure(error) from None
        finally:
            await self._response.aclose()

    async def aclose(self) -> None:
        """End the connection; the server stops working on the answer."""
        await self._values.aclose()
        await self._response.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
