# ruff: noqa: D102 - the names of the tests say what they check
"""What an engine that generates text must do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from modelry.domain.errors import Cancelled, ContextLengthExceeded
from modelry.runtime_api.engine import StopSignal, SupportsChat, SupportsCompletion
from modelry.runtime_api.generation import (
    ChatRequest,
    CompletionRequest,
    EngineEvent,
    Finished,
    PromptTokens,
    Sampling,
    TextDelta,
    TokenUsage,
    ToolCallDelta,
)
from modelry.testing.runtime.engine import EngineContract

Emit = Callable[[EngineEvent], None]
REASONS = {"stop", "length", "tool_calls"}
_LATE_DELTAS = 2
"""Deltas that may come after the stop: the one under way, and one that was ready."""


class _GenerationContract(EngineContract):
    """What chats and completions share. Override `prompt` for models that need another."""

    prompt = "Count from one to one hundred, in words."

    def request(self, *, n: int = 1, prompt: str | None = None, **sampling: Any) -> Any:
        """A request of the ability that is tested."""
        raise NotImplementedError

    def start(self, engine: Any, request: Any, emit: Emit, stop: StopSignal) -> None:
        """Have the engine answer."""
        raise NotImplementedError

    def generate(self, engine: Any, request: Any) -> list[EngineEvent]:
        """All events of an answer."""
        events: list[EngineEvent] = []
        self.start(engine, request, events.append, StopSignal())
        return events

    def test_events_come_in_order(self, engine: Any) -> None:
        events = self.generate(engine, self.request(max_tokens=8))
        check_events(events, choices=1, max_tokens=8)
        assert text_of(events)

    def test_one_token_is_one_token(self, engine: Any) -> None:
        events = self.generate(engine, self.request(max_tokens=1))
        usage = check_events(events, choices=1, max_tokens=1)
        assert usage.completion_tokens <= 1

    def test_several_choices_are_told_apart(self, engine: Any) -> None:
        if engine.capacity < 2:
            return
        events = self.generate(engine, self.request(n=2, max_tokens=6))
        check_events(events, choices=2, max_tokens=12)

    def test_greedy_answers_are_the_same(self, engine: Any) -> None:
        request = self.request(max_tokens=12, temperature=0.0)
        assert text_of(self.generate(engine, request)) == text_of(self.generate(engine, request))

    def test_a_seed_gives_the_same_answer(self, engine: Any) -> None:
        request = self.request(max_tokens=12, temperature=0.9, seed=11)
        assert text_of(self.generate(engine, request)) == text_of(self.generate(engine, request))

    def test_a_stop_word_ends_the_answer_and_is_left_out(self, engine: Any) -> None:
        whole = text_of(self.generate(engine, self.request(max_tokens=12, temperature=0.0)))
        word = whole.strip()[-3:]
        request = self.request(max_tokens=12, temperature=0.0, stop=(word,))
        events = self.generate(engine, request)
        assert word not in text_of(events)
        assert [event.reason for event in events if isinstance(event, Finished)] == ["stop"]

    def test_a_prompt_beyond_the_context_is_refused(self, engine: Any) -> None:
        events: list[EngineEvent] = []
        words = "word " * (self.context_of(engine) + 16)
        with pytest.raises(ContextLengthExceeded):
            self.start(engine, self.request(prompt=words), events.append, StopSignal())
        assert events == []
        self.test_events_come_in_order(engine)

    def test_a_call_that_was_stopped_before_says_nothing(self, engine: Any) -> None:
        stop = StopSignal()
        stop.set()
        events: list[EngineEvent] = []
        with pytest.raises(Cancelled):
            self.start(engine, self.request(max_tokens=64), events.append, stop)
        assert len(events) <= _LATE_DELTAS
        assert not any(isinstance(event, Finished | TokenUsage) for event in events)

    def test_a_stop_ends_the_answer_within_a_token(self, engine: Any) -> None:
        stop = StopSignal()
        late: list[EngineEvent] = []

        def emit(event: EngineEvent) -> None:
            if stop.is_set():
                late.append(event)
            stop.set()

        with pytest.raises(Cancelled):
            self.start(engine, self.request(max_tokens=200), emit, stop)
        assert len(late) <= _LATE_DELTAS
        self.test_events_come_in_order(engine)

    def test_as_many_calls_at_once_as_it_says(self, engine: Any) -> None:
        count = min(engine.capacity, 8)
        together = threading.Barrier(count, timeout=60)

        def call(_: int) -> list[EngineEvent]:
            together.wait()
            return self.generate(engine, self.request(max_tokens=8))

        with ThreadPoolExecutor(count) as pool:
            for events in pool.map(call, range(count)):
                check_events(events, choices=1, max_tokens=8)

    @staticmethod
    def context_of(engine: Any) -> int:
        """Tokens that fit; 1024 where the engine does not say."""
        return int(getattr(engine, "context_length", 1024))


class ChatContract(_GenerationContract):
    """Chats."""

    proves = (SupportsChat,)

    def request(self, *, n: int = 1, prompt: str | None = None, **sampling: Any) -> ChatRequest:
        messages = [{"role": "user", "content": self.prompt if prompt is None else prompt}]
        return ChatRequest(messages, Sampling(**sampling), n=n)

    def start(self, engine: Any, request: Any, emit: Emit, stop: StopSignal) -> None:
        engine.chat(request, emit, stop)

    def test_the_context_is_a_count_of_tokens(self, engine: Any) -> None:
        assert type(engine.context_length) is int
        assert engine.context_length >= 1


class CompletionContract(_GenerationContract):
    """Completions of plain text."""

    proves = (SupportsCompletion,)
    prompt = "one, two, three, four,"

    def request(
        self, *, n: int = 1, prompt: str | None = None, **sampling: Any
    ) -> CompletionRequest:
        text = self.prompt if prompt is None else prompt
        return CompletionRequest(text, Sampling(**sampling), n=n)

    def start(self, engine: Any, request: Any, emit: Emit, stop: StopSignal) -> None:
        engine.complete(request, emit, stop)


def text_of(events: list[EngineEvent], index: int = 0) -> str:
    """The text of one choice."""
    return "".join(
        event.text for event in events if isinstance(event, TextDelta) and event.index == index
    )


def check_events(events: list[EngineEvent], *, choices: int, max_tokens: int) -> TokenUsage:
    """Deltas, one `Finished` per choice after its deltas, the usage once and last."""
    usage = events[-1]
    assert isinstance(usage, TokenUsage)
    if isinstance(events[0], PromptTokens):
        assert events[0].count == usage.prompt_tokens
        events = events[1:]
    finished: list[int] = []
    for event in events[:-1]:
        assert isinstance(event, TextDelta | ToolCallDelta | Finished)
        assert 0 <= event.index < choices
        assert event.index not in finished
        if isinstance(event, Finished):
            assert event.reason in REASONS
            finished.append(event.index)
    assert sorted(finished) == list(range(choices))
    assert usage.prompt_tokens > 0
    assert 0 <= usage.cached_tokens <= usage.prompt_tokens
    assert 0 <= usage.completion_tokens <= max_tokens
    return usage
