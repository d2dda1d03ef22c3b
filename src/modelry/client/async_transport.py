"""Runs operations on an event loop."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

import httpx2

from modelry.client.connection import LIMITS, Connection, answer_of
from modelry.client.exchange import Answer, Attempt, Effect, Flow, Follow, Request, Sleep, Work
from modelry.client.retries import with_retries
from modelry.client.streams import AsyncStream, MakeParser

T = TypeVar("T")


class AsyncTransport:
    """Async HTTP; belongs to one event loop."""

    def __init__(
        self, connection: Connection, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self.connection = connection
        self._http = httpx2.AsyncClient(
            base_url=connection.url,
            headers=connection.headers(),
            trust_env=connection.uses_environment,
            verify=connection.verify,
            limits=LIMITS,
            transport=transport,
        )

    async def run(self, flow: Flow[T]) -> T:
        """Do what `flow` asks for until it has its result."""
        try:
            effect = next(flow)
            while True:
                try:
                    result = await self._perform(effect)
                except Exception as error:  # noqa: BLE001 - handed to the operation, not swallowed
                    effect = flow.throw(error)
                else:
                    effect = flow.send(result)
        except StopIteration as stop:
            value: T = stop.value
            return value
        finally:
            flow.close()

    async def _perform(self, effect: Effect) -> Any:
        match effect:
            case Request():
                return await self.run(with_retries(effect, self.connection.retry))
            case Attempt():
                return await self._attempt(effect.request)
            case Sleep():
                return await asyncio.sleep(effect.seconds)
            case Follow():
                return await self._follow(effect)
            case Work():
                return await asyncio.to_thread(effect.function)

    def _build(self, request: Request) -> httpx2.Request:
        return self._http.build_request(
            request.method,
            request.path,
            params=request.query(),
            headers=request.all_headers(),
            content=request.body(),
            timeout=self.connection.timeout(request),
        )

    async def _attempt(self, request: Request) -> Answer:
        try:
            response = await self._http.send(self._build(request), stream=request.streams)
            if request.streams and response.is_success:
                return answer_of(response, b"", live=response)
            return answer_of(response, await response.aread())
        except httpx2.RequestError as error:
            raise self.connection.failure(error) from None

    async def stream(self, request: Request, make_parser: MakeParser[T]) -> AsyncStream[T]:
        """Send a request whose answer comes bit by bit."""
        answer = await self.run(with_retries(request, self.connection.retry))
        return AsyncStream(answer.live, make_parser(), self.connection)

    async def _follow(self, effect: Follow) -> Any:
        last: Any = None
        async with await self.stream(effect.request, effect.make_parser) as values:
            async for last in values:
                effect.on_value(last)
        return last

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()
