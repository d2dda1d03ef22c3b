"""Questions in JSON: `{"model", "image": base64, URL or a list of them, "top_k"}`."""

from __future__ import annotations

import binascii
from collections.abc import Collection, Mapping
from typing import Any

from modelry.domain.errors import InvalidInput
from modelry.protocols.http.values import model_name, shown
from modelry.protocols.tasks.question import (
    MAX_ITEMS,
    checked_text,
    is_binary,
    is_text,
    read_option,
)
from modelry.services.inference.inputs import InputUrl
from modelry.tasks.contract import Schema

_URL_SCHEMES = ("https://", "http://")
"""What begins so is no base64, which has no colons."""


class JsonQuestion:
    """A `Question` in JSON; fields that are null are as good as not there.

    Args:
        body: the JSON object.
        instead_of_model: a field that makes naming a model needless; `model` is empty then.

    Raises:
        InvalidInput: no model is named.
    """

    def __init__(self, body: Mapping[str, Any], *, instead_of_model: str | None = None) -> None:
        is_needless = instead_of_model is not None and body.get(instead_of_model) is not None
        has_model = body.get("model") is not None
        self.model = model_name(body) if has_model or not is_needless else ""
        self._given = {
            name: value for name, value in body.items() if name != "model" and value is not None
        }

    @property
    def names(self) -> Collection[str]:
        """See `Question.names`."""
        return self._given

    def column(self, name: str, schema: Schema) -> list[Any]:
        """See `Question.column`: one value, or a list of them."""
        value = self._given[name]
        if not isinstance(value, list) or _is_one_item(value, schema):
            return [_value(name, value, schema)]
        return [
            _value(f"{name}[{at}]", one, schema) for at, one in enumerate(value[: MAX_ITEMS + 1])
        ]

    def option(self, name: str, schema: Schema) -> Any:
        """See `Question.option`."""
        return read_option(name, self._given.get(name), schema)


def _is_one_item(value: list[Any], schema: Schema) -> bool:
    """Whether a list is itself one item, such as the cells of a row, and no list of items."""
    return "array" in schema.get("type", ()) and not any(
        isinstance(one, list | dict) for one in value
    )


def _value(name: str, value: Any, schema: Schema) -> Any:
    if is_binary(schema):
        return _decoded(name, value)
    if is_text(schema):
        return checked_text(name, value)
    return value  # the version's first step reads it, and knows what it expects


def _decoded(name: str, value: Any) -> bytes | InputUrl:
    if not isinstance(value, str):
        raise InvalidInput(f"{name} is {shown(value)}; expected bytes in base64.", param=name)
    if value.lower().startswith(_URL_SCHEMES):
        return InputUrl(value, name)
    try:
        decoded = binascii.a2b_base64(value, strict_mode=True)
    except (binascii.Error, ValueError) as error:
        hint = " without 'data:…,' before it" if value.startswith("data:") else ""
        raise InvalidInput(
            f"{name} is not valid base64 ({error}); send the file's bytes in standard base64 with "
            f"padding{hint}.",
            param=name,
        ) from None
    if not decoded:
        raise InvalidInput(f"{name} is empty; send the file's bytes in base64.", param=name)
    return decoded
