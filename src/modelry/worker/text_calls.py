"""PREDICT calls for engines that write texts for texts by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from modelry.domain.errors import InvalidInput
from modelry.runtime_api.engine import Engine, SupportsTextToText
from modelry.runtime_api.frames import Frame
from modelry.runtime_api.text_to_text import TextOptions, WrittenText
from modelry.worker.calls import OpenCalls
from modelry.worker.threaded_calls import ThreadedCall, ThreadedCalls


class TextCalls(ThreadedCalls):
    """Runs calls whose items are texts.

    Args:
        engine: the loaded engine, which also says how many calls it works on at once.
        calls: where calls are answered.
    """

    def __init__(self, engine: Engine, calls: OpenCalls) -> None:
        assert isinstance(engine, SupportsTextToText)
        super().__init__(engine.capacity, calls, "texts")
        self._write = engine.write

    def answer(self, frame: Frame, call: ThreadedCall) -> tuple[bytes, bytes]:
        """See `ThreadedCalls.answer`."""
        asked: Mapping[str, Any] = frame.json()
        texts = [_text(item, at) for at, item in enumerate(asked["items"])]
        options = TextOptions.from_wire(asked.get("options") or {})
        written = self._write(texts, options, call.stop)
        header = orjson.dumps(
            {
                "items": [_result(one) for one in written],
                "usage": {
                    "input_tokens": sum(one.input_tokens for one in written),
                    "output_tokens": sum(one.output_tokens for one in written),
                },
                "arrays": [],
            }
        )
        return header, b""


def _text(item: Mapping[str, Any], at: int) -> str:
    text = item.get("text")
    if not isinstance(text, str) or len(item) != 1:
        raise InvalidInput(
            f"Item {at + 1} has {', '.join(sorted(item))[:80] or 'nothing'}; expected a text under "
            "'text'.",
            param="text",
        )
    return text


def _result(written: WrittenText) -> dict[str, Any]:
    return {"text": written.text, "score": written.score, "is_complete": written.is_complete}
