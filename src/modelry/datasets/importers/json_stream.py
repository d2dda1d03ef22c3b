"""A large JSON object, read member by member: no more than one element of a list is in memory."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import IO, Any

from modelry.domain.errors import InvalidInput

MAX_ELEMENT = 8 * 2**20
"""How many characters an element of a list, or another member, may have."""

_CHUNK = 2**18
_SPACE = " \t\r\n"
_ENDS = tuple(_SPACE + ",:]}")


class _Damaged(Exception):
    """No JSON; the message says what was expected."""


def members(file: IO[bytes], name: str) -> Iterator[tuple[str, Any]]:
    """The members of the object in a file: of lists each element, else the whole value.

    Args:
        file: UTF-8.
        name: for messages.

    Raises:
        InvalidInput: it is no JSON object, or has too large an element.
    """
    text = _Text(file)
    try:
        text.take("{")
        if text.peek() == "}":
            return
        while True:
            key = text.value()
            if not isinstance(key, str):
                raise _Damaged("a name in double quotes")
            text.take(":")
            if text.peek() == "[":
                yield from ((key, one) for one in _elements(text))
            else:
                yield key, text.value()
            if text.peek() == "}":
                return
            text.take(",")
    except _Damaged as expected:
        raise InvalidInput(
            f"The file '{name}' is no JSON as expected: about character {text.position} should "
            f"come {expected}.",
            param=name,
        ) from None


def _elements(text: _Text) -> Iterator[Any]:
    text.take("[")
    if text.peek() == "]":
        text.take("]")
        return
    while True:
        yield text.value()
        if text.peek() == "]":
            text.take("]")
            return
        text.take(",")


class _Text:
    """Text that is read as it is used."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")("strict")
        self._decoder = json.JSONDecoder(parse_constant=_no_number)
        self._buffer = ""
        self._at = 0
        self._passed = 0
        self._is_at_end = False

    @property
    def position(self) -> int:
        """How many characters were used."""
        return self._passed + self._at

    def peek(self) -> str:
        """The next character that is no space, "" at the end."""
        while True:
            while self._at < len(self._buffer):
                letter = self._buffer[self._at]
                if letter not in _SPACE:
                    return letter
                self._at += 1
            if not self._more():
                return ""

    def take(self, letter: str) -> None:
        """Go past a character that must come next."""
        if self.peek() != letter:
            raise _Damaged(f"'{letter}'")
        self._at += 1

    def value(self) -> Any:
        """The value that comes next."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._at)
            except (ValueError, RecursionError):  # cut off perhaps
                if not self._more():
                    raise _Damaged("a value that is no NaN and not too deep") from None
                continue
            is_ended = self._buffer[end : end + 1] in _ENDS  # else a number may go on
            if is_ended or not self._more():
                self._at = end
                return value

    def _more(self) -> bool:
        """Read on; gives whether there is more."""
        if self._is_at_end:
            return False
        rest = self._buffer[self._at :]
        if len(rest) > MAX_ELEMENT:
            raise _Damaged(f"the end of an element of more than {MAX_ELEMENT} characters")
        data = self._file.read(max(_CHUNK, len(rest)))  # doubled: a long one is not read too often
        try:
            text = self._utf8.decode(data, final=not data)
        except UnicodeDecodeError:
            raise _Damaged("UTF-8") from None
        self._passed += self._at
        self._buffer, self._at = rest + text, 0
        self._is_at_end = not data
        return bool(data)


def _no_number(word: str) -> Any:
    raise ValueError(word)
