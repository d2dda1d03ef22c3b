"""A request as the doors see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar

import orjson
from starlette.requests import ClientDisconnect, Request

from modelry.domain.access import Principal
from modelry.domain.errors import Cancelled, MalformedBody, PayloadTooLarge

Answer = TypeVar("Answer")


class ApiRequest:
    """One authenticated HTTP request.

    Args:
        raw: Starlette's request.
        principal: who calls; None on public endpoints only.
        request_id: goes into the answer's `X-Request-Id`, the log and the meter.
        max_body_bytes: bodies beyond it are refused while they are read.
    """

    def __init__(
        self, raw: Request, principal: Principal | None, request_id: str, max_body_bytes: int
    ) -> None:
        self.raw = raw
        self.request_id = request_id
        self.told: dict[str, Any] = {}
        """What the audit log tells with the outcome, where the act is entered: never secrets."""
        self._principal = principal
        self._max_body_bytes = max_body_bytes
        self._body: bytes | None = None

    @property
    def principal(self) -> Principal:
        """Who calls."""
        if self._principal is None:
            raise AssertionError("a public endpoint asked for its principal")
        return self._principal

    @property
    def path_params(self) -> dict[str, str]:
        """Values of the path's parameters."""
        return dict(self.raw.path_params)

    def header(self, name: str) -> str | None:
        """One header, or None."""
        return self.raw.headers.get(name)

    async def body(self) -> bytes:
        """The whole body.

        Raises:
            PayloadTooLarge: more bytes than the limit, told before or while reading.
            MalformedBody: a compressed body.
        """
        if self._body is None:
            self._body = b"".join([part async for part in self.chunks()])
        return self._body

    @property
    def declared_bytes(self) -> int | None:
        """How long the body is by its head; None where that does not tell."""
        declared = self.header("content-length")
        return int(declared) if declared is not None and declared.isdigit() else None

    def check_not_compressed(self) -> None:
        """See that the body is not compressed: a small one could become a huge one.

        Raises:
            MalformedBody: it is.
        """
        encoding = self.header("content-encoding")
        if encoding not in (None, "identity"):
            raise MalformedBody(
                f"Content-Encoding '{str(encoding)[:40]}' is not accepted; send the body "
                "uncompressed.",
                param="content-encoding",
            )

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes; to be read once, instead of `body`.

        Raises:
            PayloadTooLarge: more bytes than the limit, told before or while reading.
            MalformedBody: a compressed body.
            Cancelled: the caller went away.
        """
        self.check_not_compressed()
        if (self.declared_bytes or 0) > self._max_body_bytes:
            raise self._too_large()
        size = 0
        try:
            async for part in self.raw.stream():
                size += len(part)
                if size > self._max_body_bytes:
                    raise self._too_large()
                yield part
        except ClientDisconnect as error:
            raise Cancelled("The caller went away while sending the body.") from error

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(
            f"The body is larger than the limit of {self._max_body_bytes} bytes for this endpoint."
        )

    async def json(self) -> Any:
        """The body as JSON.

        Raises:
            MalformedBody: it is none; says where.
        """
        raw = await self.body()
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise MalformedBody(
                f"The body is not valid JSON: {error.msg} (line {error.lineno}, column "
                f"{error.colno})."
            ) from None

    async def json_object(self) -> dict[str, Any]:
        """The body as a JSON object.

        Raises:
            MalformedBody: it is none.
        """
        value = await self.json()
        if not isinstance(value, dict):
            raise MalformedBody(f"The body must be a JSON object, not {type(value).__name__}.")
        return value

    async def while_connected(self, work: Awaitable[Answer]) -> Answer:
        """Await `work`; when the caller goes away first, cancel it.

        Call it after the body was read.

        Raises:
            Cancelled: the caller went away.
        """
        task = asyncio.ensure_future(work)
        watcher = asyncio.create_task(self._disconnected())
        try:
            await asyncio.wait((task, watcher), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise Cancelled("The caller went away before the answer was complete.")
        finally:
            watcher.cancel()
            if not task.done():
                task.cancel()

    async def _disconnected(self) -> None:
        while (await self.raw.receive())["type"] != "http.disconnect":
            pass
