"""Explanations as events, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

import orjson
import pytest

from modelry.domain.errors import ModelFailed, Overloaded
from modelry.explaining.course import Progress
from modelry.protocols.tasks import streamed as streaming
from modelry.protocols.tasks.streamed import streamed
from modelry.services.inference.explanations import OnProgress


class Request:
    """A request whose caller stays."""

    async def while_connected(self, work: Awaitable[Any]) -> Any:
        return await work


async def answer(make: Any) -> Any:
    return (await streamed(Request(), make)).body_iterator  # type: ignore[arg-type] # as far as needed


def test_what_goes_wrong_later_is_the_last_event() -> None:
    async def make(on_progress: OnProgress) -> Mapping[str, Any]:
        on_progress(Progress("explaining", 0, 9))
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        raise ModelFailed("The model broke.")

    async def blocks() -> list[bytes]:
        return [block async for block in await answer(make)]

    told = {"code": "model_failed", "message": "The model broke.", "param": None}
    assert asyncio.run(blocks()) == [
        b'event: progress\ndata: {"phase":"explaining","calls":0,"most_calls":9}\n\n',
        b"event: error\ndata: " + orjson.dumps({"error": told}) + b"\n\n",
    ]


def test_what_goes_wrong_at_once_is_raised() -> None:
    async def make(on_progress: OnProgress) -> Mapping[str, Any]:
        del on_progress
        raise Overloaded("Come again.", retry_after_s=1)

    with pytest.raises(Overloaded):
        asyncio.run(answer(make))


def test_a_comment_tells_that_somebody_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "FIRST_S", 0.01)
    monkeypatch.setattr(streaming, "LIFE_S", 0.02)

    async def make(on_progress: OnProgress) -> Mapping[str, Any]:
        del on_progress
        await asyncio.sleep(0.1)
        return {"method": "x"}

    async def blocks() -> list[bytes]:
        return [block async for block in await answer(make)]

    found = asyncio.run(blocks())
    assert found[-1] == b'event: explanation\ndata: {"method":"x"}\n\n'
    assert len(found) >= 3
    assert set(found[:-1]) == {b": still at work\n\n"}


def test_a_caller_that_goes_away_ends_the_work() -> None:
    ended: list[str] = []

    async def make(on_progress: OnProgress) -> Mapping[str, Any]:
        on_progress(Progress("checking", 1, 9))
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return {}

    async def run() -> None:
        blocks = await answer(make)
        await anext(blocks)
        await blocks.aclose()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(run())
    assert ended == ["cancelled"]
