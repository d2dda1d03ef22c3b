"""From the tokens of a choice to its text."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence


class TokenText:
    """The text of one choice: characters are completed, and a stop sequence ends it.

    Text is held back only while it may still be the beginning of a stop sequence.

    Args:
        told: gives what an answer shows of a token.
        stops: sequences that end the answer; they do not stand in it.
    """

    def __init__(self, told: Callable[[int], bytes], stops: Sequence[str]) -> None:
        self._told = told
        self._stops = stops
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._held = ""
        self.is_stopped = False

    @property
    def is_holding(self) -> bool:
        """Whether text is held back."""
        return bool(self._held)

    def feed(self, token: int) -> str:
        """The text that `token` completes."""
        text = self._decode(self._told(token))
        return self._release(text) if self._stops else text

    def finish(self) -> str:
        """What was held back."""
        text = "" if self.is_stopped else self._held + self._decode(b"", final=True)
        self._held = ""
        return text

    def _release(self, text: str) -> str:
        self._held += text
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            ready, self._held, self.is_stopped = self._held[: min(found)], "", True
            return ready
        keep = max(_overlap(self._held, stop) for stop in self._stops)
        ready = self._held[: len(self._held) - keep]
        self._held = self._held[len(ready) :]
        return ready


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` may be the beginning of `stop`."""
    for size in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0
