"""Runs operations over blocking sockets."""

from __future__ import annotations

import time
from typing import Any, TypeVar

import httpx2

from modelry.client.connection import LIMITS, Connection, answer_of
from modelry.client.exchange import Answer, Attempt, Effect, Flow, Follow, Request, Sleep, Work
from modelry.client.retries import with_retries
from modelry.client.streams import MakeParser, Stream

T = TypeVar("T")


class Transport:
    """Blocking HTTP; may be used by several threads at once."""

    def __init__(
        self, connection: Connection, transport: httpx2.BaseTransport | None = None
    ) -> None:
        self.connection = connection
        self._http = httpx2.Client(
            base_url=connection.url,
            headers=connection.headers(),
            trust_env=connection.uses_environment,
            verify=connection.verify,
            limits=LIMITS,
            transport=transport,
        )

    def run(self, flow: Flow[T]) -> T:
        """Do what `flow` asks for until it has its result."""
        try:
            effect = next(flow)
            while True:
                try:
                    result = self._perform(effect)
                except Exception as error:  # noqa: BLE001 - handed to the operation, not swallowed
                    effect = flow.throw(error)
                else:
                    effect = flow.send(result)
        except StopIteration as stop:
            value: T = stop.value
            return value
        finally:
            flow.close()

    def _perform(self, effect: Effect) -> Any:
        match effect:
            case Request():
                return self.run(with_retries(effect, self.connection.retry))
            case Attempt():
                return self._attempt(effect.request)
            case Sleep():
                return time.sleep(effect.seconds)
            case Follow():
                return self._follow(effect)
            case Work():
                return effect.function()

    def _build(self, request: Request) -> httpx2.Request:
        return self._http.build_request(
            request.method,
            request.path,
            params=request.query(),
            headers=request.all_headers(),
            content=request.body(),
            timeout=self.connection.timeout(request),
        )

    def _attempt(self, request: Request) -> Answer:
        try:
            response = self._http.send(self._build(request), stream=request.streams)
            if request.streams and response.is_success:
                return answer_of(response, b"", live=response)
            return answer_of(response, response.read())
        except httpx2.RequestError as error:
            raise self.connection.failure(error) from None

    def stream(self, request: Request, make_parser: MakeParser[T]) -> Stream[T]:
        """Send a request whose answer comes bit by bit."""
        answer = self.run(with_retries(request, self.connection.retry))
        return Stream(answer.live, make_parser(), self.connection)

    def _follow(self, effect: Follow) -> Any:
        last: Any = None
        with self.stream(effect.request, effect.make_parser) as values:
            for last in values:
                effect.on_value(last)
        return last

    def close(self) -> None:
        """Close all connections."""
        self._http.close()
