"""Whose prompt each of the engine's slots holds, so that no tenant's is reused for another.

A slot keeps the prompt that it worked on last, and a request that begins alike starts from
there: quicker, and it says how many tokens it saved. Between tenants that would tell one what
the other asked. While one tenant calls, the engine chooses slots as it likes; from the first
call of a second one on, slots are chosen here.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from modelry.domain.errors import Cancelled
from modelry.runtime_api.engine import StopSignal

T = TypeVar("T")

ALIKE = 0.1
"""Part of a prompt that must be in a slot for that slot to be better than the oldest one."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request runs: a slot, or None for any; whether it may reuse what is there."""

    slot: int | None
    may_reuse: bool


@dataclass(slots=True)
class _Slot:
    salt: str | None = ""
    prompt: bytes = b""
    used_at: int = 0
    is_held: bool = False


class PromptSlots:
    """Gives requests places; the caller makes sure that no more run than there are slots.

    Salts are `ChatRequest.cache_salt`: empty for the tenant that the model belongs to.
    """

    def __init__(self, count: int) -> None:
        self._slots = [_Slot() for _ in range(count)]
        self._is_shared = False
        self._loose = 0
        self._clock = 0
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    @contextmanager
    def placed(self, salt: str, prompt: bytes, choices: int, stop: StopSignal) -> Iterator[Place]:
        """A place for the `with` block.

        Args:
            salt: whose request it is.
            prompt: what it asks; requests that begin alike are put together.
            choices: answers that it generates at once, each in a slot.
            stop: ends the wait.

        Raises:
            Cancelled: `stop` was raised while waiting.
        """
        with self._changed:
            self._is_shared = self._is_shared or bool(salt)
        place = self._wait(lambda: self._begin(salt, prompt, choices), stop)
        try:
            yield place
        finally:
            with self._changed:
                self._end(place)
                self._changed.notify_all()

    def _begin(self, salt: str, prompt: bytes, choices: int) -> Place | None:
        if not self._is_shared:
            self._loose += 1
            return Place(None, may_reuse=True)
        if choices > 1:
            return self._begin_alone()
        slot = self._best(salt, prompt)
        if slot is None:
            return None
        may_reuse, slot.salt, slot.prompt = slot.salt == salt, salt, prompt
        return Place(self._slots.index(slot), may_reuse)

    def _begin_alone(self) -> Place | None:
        """In slots that the engine chooses: afterwards nobody knows which prompt is where."""
        if self._loose or any(slot.is_held for slot in self._slots):
            return None
        self._loose += 1
        for slot in self._slots:
            slot.salt = None
        return Place(None, may_reuse=False)

    def _end(self, place: Place) -> None:
        if place.slot is None:
            self._loose -= 1
        else:
            self._slots[place.slot].is_held = False

    def _best(self, salt: str, prompt: bytes) -> _Slot | None:
        """The free slot that holds most of `prompt`, or the one that was not used for longest."""
        free = [slot for slot in self._slots if not slot.is_held]
        if self._loose or not free:
            return None
        self._clock += 1
        alike = {
            id(slot): _common_bytes(slot.prompt, prompt) if slot.salt == salt else 0
            for slot in free
        }
        best = max(free, key=lambda slot: alike[id(slot)])
        if alike[id(best)] <= ALIKE * len(prompt):
            best = min(free, key=lambda slot: slot.used_at)
        best.is_held, best.used_at = True, self._clock
        return best

    def _wait(self, found: Callable[[], T | None], stop: StopSignal) -> T:
        """What `found` gives once it gives something; in the order of asking."""
        ticket = object()
        stop.subscribe(self._wake)
        with self._changed:
            self._waiting.append(ticket)
            try:
                while True:
                    if stop.is_set():
                        raise Cancelled("The request was stopped before the engine began with it.")
                    place = found() if self._waiting[0] is ticket else None
                    if place is not None:
                        return place
                    self._changed.wait()
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _common_bytes(one: bytes, other: bytes) -> int:
    """How many bytes both begin with."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
