"""No prompt is reused across tenants, whatever the order of calls and their ends."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelry.domain.errors import Cancelled
from modelry.runtime_api.engine import StopSignal
from modelry.runtimes.llamacpp.prompt_slots import Place, PromptSlots

COUNT = 3
OWN, GUEST, OTHER = "", "guest", "other"


def enter(slots: PromptSlots, salt: str, prompt: bytes = b"hello", choices: int = 1) -> Any:
    stack = contextlib.ExitStack()
    place = stack.enter_context(slots.placed(salt, prompt, choices, StopSignal()))
    return stack, place


def test_one_tenant_leaves_the_choice_to_the_engine() -> None:
    slots = PromptSlots(COUNT)
    for _ in range(2):
        with slots.placed(OWN, b"hello", 2, StopSignal()) as place:
            assert place == Place(None, may_reuse=True)


def test_a_second_tenant_starts_from_nothing_and_then_from_its_own() -> None:
    slots = PromptSlots(COUNT)
    with slots.placed(GUEST, b"hello", 1, StopSignal()) as first:
        assert first.slot is not None
        assert not first.may_reuse
    with slots.placed(GUEST, b"hello again", 1, StopSignal()) as second:
        assert second == Place(first.slot, may_reuse=True)
    with slots.placed(OTHER, b"hello again", 1, StopSignal()) as third:
        assert third.slot != first.slot
        assert not third.may_reuse
    with slots.placed(OWN, b"hello again", 1, StopSignal()) as fourth:
        assert fourth.slot not in (first.slot, third.slot)
        assert fourth.may_reuse, "what the owner asked before is still there"


def test_the_first_of_a_second_tenant_waits_for_calls_in_unknown_slots() -> None:
    slots = PromptSlots(COUNT)
    stack, _ = enter(slots, OWN)
    begun = threading.Event()

    def guest() -> None:
        with slots.placed(GUEST, b"hello", 1, StopSignal()):
            begun.set()

    thread = threading.Thread(target=guest)
    thread.start()
    assert not begun.wait(0.05)
    stack.close()
    assert begun.wait(10)
    thread.join()


def test_several_choices_of_shared_slots_run_alone_and_leave_nothing() -> None:
    slots = PromptSlots(COUNT)
    enter(slots, GUEST)[0].close()
    stack, place = enter(slots, GUEST, choices=2)
    assert place == Place(None, may_reuse=False)
    stop = StopSignal()
    failures: list[BaseException] = []

    def wait_in_vain() -> None:
        try:
            with slots.placed(OWN, b"hello", 1, stop):
                pass
        except Cancelled as error:
            failures.append(error)

    thread = threading.Thread(target=wait_in_vain)
    thread.start()
    stop.set()
    thread.join(10)
    assert len(failures) == 1
    stack.close()
    for salt in (GUEST, OWN, OTHER):
        with slots.placed(salt, b"hello", 1, StopSignal()) as place:
            assert not place.may_reuse


def test_conversations_of_one_tenant_keep_apart() -> None:
    slots = PromptSlots(COUNT)
    with slots.placed(GUEST, b"tell me about cats", 1, StopSignal()) as cats:
        pass
    with slots.placed(GUEST, b"what is a dog", 1, StopSignal()) as dogs:
        assert dogs.slot != cats.slot
    with slots.placed(GUEST, b"tell me about cats, please", 1, StopSignal()) as again:
        assert again == Place(cats.slot, may_reuse=True)


@given(st.data())
def test_what_is_reused_is_ones_own(data: st.DataObject) -> None:
    """A model of the engine: each slot keeps the salt that wrote it last; None reads nothing."""
    slots = PromptSlots(COUNT)
    engine: list[str] = [OWN] * COUNT
    running: list[tuple[Any, Place]] = []
    is_shared = False
    for _ in range(data.draw(st.integers(1, 20))):
        if running and data.draw(st.booleans()):
            stack, _ = running.pop(data.draw(st.integers(0, len(running) - 1)))
            stack.close()
            continue
        salt = data.draw(st.sampled_from([OWN, GUEST, OTHER]))
        switches = bool(salt) and not is_shared
        if len(running) == COUNT or (switches and running):
            continue  # it would wait
        is_shared = is_shared or bool(salt)
        prompt = data.draw(st.sampled_from([b"aaaa", b"aabb", b"cccc"]))
        stack, place = enter(slots, salt, prompt)
        running.append((stack, place))
        if place.slot is None:
            assert not is_shared
            continue
        assert [one.slot for _, one in running].count(place.slot) == 1
        if place.may_reuse:
            assert engine[place.slot] == salt
        engine[place.slot] = salt
    for stack, _ in running:
        stack.close()


def test_a_stopped_call_gets_no_place() -> None:
    stop = StopSignal()
    stop.set()
    with pytest.raises(Cancelled), PromptSlots(COUNT).placed(GUEST, b"x", 1, stop):
        pass
