"""Operations as methods of the sync and the async client, with types and docs kept."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from modelry.client.async_transport import AsyncTransport
from modelry.client.exchange import Flow
from modelry.client.transport import Transport

P = ParamSpec("P")
T = TypeVar("T")


class SyncResource:
    """A group of blocking methods."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport


class AsyncResource:
    """A group of async methods."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport


def blocking(operation: Callable[P, Flow[T]]) -> Callable[Concatenate[Any, P], T]:
    """A method that runs `operation` and waits for it."""

    def method(self: SyncResource, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._transport.run(operation(*args, **kwargs))

    return like(operation, method)


def awaitable(operation: Callable[P, Flow[T]]) -> Callable[Concatenate[Any, P], Awaitable[T]]:
    """A method that runs `operation` on the event loop."""

    async def method(self: AsyncResource, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._transport.run(operation(*args, **kwargs))

    return like(operation, method)


def like(
    operation: Callable[..., Any], method: Callable[..., Any], *, gives: str | None = None
) -> Callable[..., Any]:
    """`method` with name, documentation and signature of `operation`.

    Args:
        operation: the flow that it runs.
        method: what users call.
        gives: what it returns, where that is not what the flow gives.
    """
    signature = inspect.signature(operation)
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    told = signature.return_annotation
    if gives is not None:
        signature = signature.replace(return_annotation=gives)
    elif isinstance(told, str) and told.startswith("Flow["):
        signature = signature.replace(return_annotation=told[5:-1])
    method.__name__ = operation.__name__
    method.__qualname__ = operation.__qualname__
    method.__doc__ = operation.__doc__
    setattr(  # noqa: B010 - functions have no typed attribute for it
        method,
        "__signature__",
        signature.replace(parameters=[itself, *signature.parameters.values()]),
    )
    return method
