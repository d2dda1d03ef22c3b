"""Who may calculate, who waits, and who is told to come again."""

from __future__ import annotations

import asyncio

import pytest

from modelry.domain.errors import Overloaded
from modelry.services.explanation.places import Places


async def waiting_for(places: Places, *tenants: str) -> list[asyncio.Task[None]]:
    """A task each, begun."""
    tasks = [asyncio.create_task(places.take(one), name=one) for one in tenants]
    await asyncio.sleep(0)
    return tasks


async def served(*tasks: asyncio.Task[None]) -> list[str]:
    """The tenants that have a place."""
    await asyncio.sleep(0)
    return [one.get_name() for one in tasks if one.done() and not one.cancelled()]


def test_one_tenant_alone_has_all_places_and_waits_for_more() -> None:
    async def run() -> None:
        places = Places(2, lambda: False)
        tasks = await waiting_for(places, "a", "a", "a")
        assert await served(*tasks) == ["a", "a"]
        places.leave("a")
        assert await served(*tasks) == ["a", "a", "a"]
        assert places.taken == 2

    asyncio.run(run())


def test_where_there_are_others_a_place_is_left_to_them() -> None:
    async def run() -> None:
        places = Places(3, lambda: True)
        mine = await waiting_for(places, *["a"] * 5)
        assert await served(*mine) == ["a", "a"]
        others = await waiting_for(places, "b", "b", "c")
        assert await served(*others) == ["b"]
        places.leave("a")  # of those that wait, c has none
        assert await served(*others) == ["b", "c"]
        places.leave("a")
        assert await served(*mine) == ["a", "a", "a"]
        assert places.taken == 3

    asyncio.run(run())


def test_the_only_place_goes_round_among_tenants() -> None:
    async def run() -> None:
        places = Places(1, lambda: True)
        tasks = await waiting_for(places, "a", "a", "a", "b", "b")
        turns = await served(*tasks)
        while len(turns) < 5:
            places.leave(turns[-1])
            now = await served(*tasks)
            (new,) = [one for one in ("a", "b") if now.count(one) > turns.count(one)]
            turns.append(new)
        assert turns == ["a", "a", "b", "a", "b"]

    asyncio.run(run())


def test_who_waits_no_more_takes_nothing() -> None:
    async def run() -> None:
        places = Places(1, lambda: False)
        first, gone, last = await waiting_for(places, "a", "a", "a")
        gone.cancel()
        places.leave("a")  # before the one that is gone knows
        assert await served(first, gone, last) == ["a", "a"]
        (late,) = await waiting_for(places, "a")
        places.leave("a")
        late.cancel()  # it was given the place, and nobody is there to have it
        await asyncio.wait([late])
        assert (places.taken, late.cancelled()) == (0, True)

    asyncio.run(run())


def test_so_many_wait_and_a_crowd_makes_room_for_others() -> None:
    async def run() -> None:
        places = Places(1, lambda: True, most_waiting=2)
        tasks = await waiting_for(places, "a", "a", "a")
        with pytest.raises(Overloaded, match=r'2 requests wait .*"job": true'):
            await places.take("a")
        (other,) = await waiting_for(places, "b")
        await asyncio.sleep(0)
        assert isinstance(tasks[2].exception(), Overloaded)
        with pytest.raises(Overloaded):
            await places.take("c")
        places.leave("a")
        places.leave("a")
        assert await served(*tasks[:2], other) == ["a", "a", "b"]

    asyncio.run(run())
