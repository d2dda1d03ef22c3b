"""EXPLAIN calls for engines that read texts by themselves: chats, written texts, embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from modelry.domain.errors import InvalidInput
from modelry.explaining.contract import OTHERS_ARE_ASKED, Wish
from modelry.explaining.language.answers import Answered, explain_answer
from modelry.explaining.language.pairs import MOST_AT_ONCE, explain_pair
from modelry.runtime_api.answer_scores import SupportsAnswerScores
from modelry.runtime_api.engine import SupportsChat, SupportsTextEmbedding
from modelry.runtime_api.frames import Frame
from modelry.runtime_api.generation import ChatRequest, Sampling
from modelry.runtime_api.items import decode_item
from modelry.runtime_api.tensors import Array
from modelry.runtime_api.text_to_text import TextOptions
from modelry.worker.background import Background
from modelry.worker.calls import OpenCalls
from modelry.worker.engine_lane import EngineLane
from modelry.worker.explain_calls import ExplanationCalls, told
from modelry.worker.threaded_calls import ThreadedCall

T = TypeVar("T")
USUAL_ANSWER_TOKENS = 64
"""Of an answer that the model writes itself, to be explained."""


class ExplainAnswerCalls(ExplanationCalls):
    """Explains answers by how likely the engine finds them.

    Args:
        engine: the loaded engine.
        calls: where calls are answered.
    """

    def __init__(self, engine: SupportsAnswerScores, calls: OpenCalls) -> None:
        super().__init__(calls)
        self._engine = engine

    def answer(self, frame: Frame, call: ThreadedCall) -> tuple[bytes, bytes]:
        """See `ThreadedCalls.answer`."""
        asked: Mapping[str, Any] = frame.json()
        (item,) = (decode_item(one, frame.body) for one in asked["items"])
        options = asked.get("options") or {}
        if isinstance(self._engine, SupportsChat):
            subject = _of_chat(item, options, asked.get("cache_salt", ""))
        else:
            subject = _of_text(item, options)
        wish = Wish.from_wire(asked["wish"])
        tell = self.tell(asked, call.call_id)
        return told(explain_answer(subject, self._engine, wish, call.stop, tell))


class ExplainPairCalls(ExplanationCalls):
    """Explains how alike an embedding engine finds two texts.

    Args:
        engine: the loaded engine.
        lane: the queue in front of it.
        calls: where calls are answered.
    """

    def __init__(self, engine: SupportsTextEmbedding, lane: EngineLane, calls: OpenCalls) -> None:
        super().__init__(calls)
        self._engine = engine
        self._background = Background(lane)

    def answer(self, frame: Frame, call: ThreadedCall) -> tuple[bytes, bytes]:
        """See `ThreadedCalls.answer`."""
        asked: Mapping[str, Any] = frame.json()
        (item,) = (decode_item(one, frame.body) for one in asked["items"])

        pace = self._background.pace(MOST_AT_ONCE, others_are_asked=asked[OTHERS_ARE_ASKED])

        def embed(texts: Sequence[str]) -> tuple[Array, int]:
            found = self._background.run(
                lambda: self._engine.embed(list(texts), call.stop), len(texts), pace, call.stop
            )
            return found.vectors, sum(found.token_counts)

        wish = Wish.from_wire(asked["wish"])
        tell = self.tell(asked, call.call_id)
        return told(explain_pair(item, embed, wish, call.stop, pace, tell=tell))


def _of_chat(item: Mapping[str, Any], options: Mapping[str, Any], salt: str) -> Answered:
    messages = typed(item, "messages", list) or []
    if not messages:
        raise InvalidInput("messages is missing or empty; it is required.", param="messages")
    texts, places = _texts_of(messages)

    def as_question(changed: Sequence[str]) -> ChatRequest:
        told = list(messages)
        for text, before, place in zip(changed, texts, places, strict=True):
            if text != before:
                told[place["message"]] = _with(told[place["message"]], place.get("part"), text)
        return ChatRequest(told, cache_salt=salt)

    return Answered(
        kind="chat",
        texts=texts,
        places=places,
        as_question=as_question,
        param="messages",
        answer=typed(item, "answer", str),
        options=Sampling(max_tokens=options.get("max_tokens", USUAL_ANSWER_TOKENS)),
        level=typed(item, "level", str),
        within=_within(item, places, len(messages)),
        is_dear=True,
    )


def typed(item: Mapping[str, Any], name: str, kind: type[T]) -> T | None:
    """A value of an item, which may come from a job's input and be anything.

    Raises:
        InvalidInput: it is of another type.
    """
    value = item.get(name)
    if value is None or isinstance(value, kind):
        return value
    expected = "a list" if issubclass(kind, list) else "a text"
    raise InvalidInput(f"{name} is {value!r:.80}; expected {expected}.", param=name)


def _texts_of(messages: Sequence[Any]) -> tuple[list[str], list[dict[str, Any]]]:
    """The texts of messages, and where each is: its message, the part where there are some."""
    texts: list[str] = []
    places: list[dict[str, Any]] = []
    for at, message in enumerate(messages):
        for part, text in _contents(message, at):
            texts.append(text)
            where = {} if part is None else {"part": part}
            places.append({"message": at, **where, "role": str(message.get("role"))})
    return texts, places


def _with(message: Mapping[str, Any], part: int | None, text: str) -> dict[str, Any]:
    """A message with another text in its place; a list of parts stays one."""
    if part is None:
        return {**message, "content": text}
    content = list(message["content"])
    content[part] = {**content[part], "text": text}
    return {**message, "content": content}


def _contents(message: Any, at: int) -> list[tuple[int | None, str]]:
    """What can be left out of a message: a text, or those of its parts that are texts.

    The engine reads the message itself more strictly.
    """
    if not isinstance(message, Mapping):
        raise InvalidInput(
            f"messages[{at}] is no object with 'role' and 'content'.", param=f"messages[{at}]"
        )
    content = message.get("content")
    if isinstance(content, list):
        return [
            (place, part["text"])
            for place, part in enumerate(content)
            if isinstance(part, Mapping) and isinstance(part.get("text"), str)
        ]
    if content is not None and not isinstance(content, str):
        raise InvalidInput(
            f"messages[{at}].content is {type(content).__name__}; expected text.",
            param=f"messages[{at}].content",
        )
    return [(None, content or "")]


def _within(
    item: Mapping[str, Any], places: Sequence[Mapping[str, Any]], count: int
) -> list[int] | None:
    """The texts of the messages that are named; None for all."""
    within = typed(item, "within", list)
    if within is None:
        return None
    for at in within:
        if type(at) is not int or not 0 <= at < count:
            raise InvalidInput(
                f"within has {at!r:.40}; expected places of messages, from 0 to {count - 1}.",
                param="within",
            )
    named = set(within)
    return [text for text, place in enumerate(places) if place["message"] in named]


def _of_text(item: Mapping[str, Any], options: Mapping[str, Any]) -> Answered:
    return Answered(
        kind="sequence",
        texts=[typed(item, "text", str) or ""],
        places=[],
        as_question=lambda changed: changed[0],
        param="text",
        answer=typed(item, "answer", str),
        options=TextOptions.from_wire(options),
        level=typed(item, "level", str) or "words",
        within=None,
        is_dear=False,
    )
