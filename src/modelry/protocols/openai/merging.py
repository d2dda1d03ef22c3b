"""Several generations of one request as one stream of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing

from modelry.runtime_api.generation import GenerationEvent

PlacedEvent = tuple[int, GenerationEvent]
"""The number of the generation and its event."""

Generation = Callable[[], AsyncIterator[GenerationEvent]]
"""Admits a generation and gives its events."""


async def merged(generations: Sequence[Generation]) -> AsyncGenerator[PlacedEvent, None]:
    """The events of all generations as they come; the first failure ends them all.

    Closing the stream early closes every generation.

    Raises:
        ModelryError: a generation was not admitted or failed.
    """
    if len(generations) == 1:
        async with aclosing(generations[0]()) as events:  # type: ignore[type-var] # a generator
            async for event in events:
                yield 0, event
        return
    arrived: asyncio.Queue[PlacedEvent | Exception | None] = asyncio.Queue()
    tasks = [
        asyncio.create_task(_pump(number, generation, arrived))
        for number, generation in enumerate(generations)
    ]
    running = len(tasks)
    try:
        while running:
            item = await arrived.get()
            if item is None:
                running -= 1
            elif isinstance(item, Exception):
                raise item
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(
    number: int, generation: Generation, arrived: asyncio.Queue[PlacedEvent | Exception | None]
) -> None:
    try:
        async with aclosing(generation()) as events:  # type: ignore[type-var] # a generator
            async for event in events:
                arrived.put_nowait((number, event))
    except Exception as error:  # noqa: BLE001 - handed to the reader, who raises it
        arrived.put_nowait(error)
    else:
        arrived.put_nowait(None)
