"""The four forms of a prompt or an embedding input: text, texts, token ids, lists of token ids."""

from __future__ import annotations

from typing import Any

from modelry.domain.errors import InvalidInput
from modelry.protocols.http.values import shown

MAX_TOKENS_IN_ALL = 2**20
_EXPECTED = "a text, a list of texts, a list of token ids, or a list of lists of token ids"

Input = str | list[int]


def texts_or_tokens(value: Any, param: str, *, most: int) -> tuple[Input, ...]:
    """The inputs, as a list even if there is one only; none of them is empty.

    Args:
        value: the field's value.
        param: the field's name.
        most: how many inputs are allowed.

    Raises:
        InvalidInput: another form, an empty input, or too many.
    """
    if isinstance(value, str):
        return (_text(value, param),)
    if not isinstance(value, list) or not value:
        raise InvalidInput(f"{param} is {shown(value)}; expected {_EXPECTED}.", param=param)
    if type(value[0]) is int:
        return (_tokens(value, param),)
    if len(value) > most:
        raise InvalidInput(
            f"{param} has {len(value)} entries; at most {most} are allowed in one request.",
            param=param,
        )
    if isinstance(value[0], str):
        return tuple(_text(entry, f"{param}[{at}]") for at, entry in enumerate(value))
    found = tuple(_tokens(entry, f"{param}[{at}]") for at, entry in enumerate(value))
    if sum(map(len, found)) > MAX_TOKENS_IN_ALL:
        raise InvalidInput(
            f"{param} has more than {MAX_TOKENS_IN_ALL} token ids in all.", param=param
        )
    return found


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"{where} is {shown(value)}; expected a text.", param=where)
    if not value:
        raise InvalidInput(f"{where} is an empty text; expected some characters.", param=where)
    return value


def _tokens(value: Any, where: str) -> list[int]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_TOKENS_IN_ALL:
        raise InvalidInput(
            f"{where} is {shown(value)}; expected {_EXPECTED}, none of them empty.", param=where
        )
    for at, token in enumerate(value):
        if type(token) is not int or not 0 <= token < 2**31:
            raise InvalidInput(
                f"{where}[{at}] is {shown(token)}; expected a token id (a whole number from 0).",
                param=f"{where}[{at}]",
            )
    return value
