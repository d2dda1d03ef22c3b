"""The description of the API, which is made when it is first asked for."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any, cast

import orjson
import pytest

from modelry.protocols.operations.routes import build_door

NOTHING = cast("Any", None)


@pytest.mark.anyio
async def test_it_is_made_once_beside_the_event_loop_and_for_all_who_ask() -> None:
    made_in: list[threading.Thread] = []

    def make() -> dict[str, Any]:
        made_in.append(threading.current_thread())
        time.sleep(0.05)
        return {"paths": {}, "info": {"title": "Modelry", "version": "1"}}

    door = build_door(NOTHING, lambda: {"ready": True}, make)
    handlers = {one.path: one.handler for one in door.endpoints}
    assert made_in == [], "nobody asked"
    asked = (handlers["/openapi.json"], handlers["/docs"], handlers["/openapi.json"])
    told, page, again = await asyncio.gather(*(ask(NOTHING) for ask in asked))
    (thread,) = made_in
    assert thread is not threading.main_thread()
    assert orjson.loads(told.body) == orjson.loads(again.body) == make()
    assert b"Modelry" in page.body
