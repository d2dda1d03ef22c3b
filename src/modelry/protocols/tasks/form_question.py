"""Questions in raw bodies and in multipart forms."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import Any

from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from modelry.domain.errors import InvalidInput, MalformedBody, NotSupported
from modelry.protocols.http.values import model_name
from modelry.protocols.tasks.question import (
    MAX_ITEMS,
    MAX_TEXT_CHARS,
    checked_text,
    is_binary,
    is_text,
    parse_option,
    single,
)
from modelry.tasks.contract import ItemForm, Schema

# Its warnings tell of damaged forms, which callers are told of already.
logging.getLogger("python_multipart").setLevel(logging.ERROR)

SLICE_BYTES = 2**18
"""How much of a form is parsed before others have their turn on the event loop."""
MAX_FIELDS = 2 * MAX_ITEMS + 32
_FOREIGN_CHARSET = re.compile(r"charset(?!\s*=\s*\"?utf-?8\b)", re.IGNORECASE)


class FormQuestion:
    """A `Question` whose values are texts and files by name, each possibly several times.

    Args:
        fields: the values; files are bytes.
        raw: a body without a name; it is the one field of an item that holds bytes.

    Raises:
        InvalidInput: no model is named.
    """

    def __init__(
        self, fields: Mapping[str, Sequence[str | bytes]], raw: bytes | None = None
    ) -> None:
        values = {name: list(found) for name, found in fields.items()}
        named = single(values, "model")
        self.model = model_name({"model": named})
        self._given = {name: found for name, found in values.items() if name != "model"}
        self._raw = raw

    @property
    def is_raw(self) -> bool:
        """Whether the body has no name, and `take_raw_as` must give it one."""
        return self._raw is not None

    @property
    def names(self) -> Collection[str]:
        """See `Question.names`."""
        return self._given

    def take_raw_as(self, name: str) -> None:
        """Say which field the body without a name is."""
        assert self._raw is not None, "a form names its fields"
        self._given.setdefault(name, []).append(self._raw)

    def column(self, name: str, schema: Schema) -> list[Any]:
        """See `Question.column`: a field that is repeated is many items."""
        wants_bytes = is_binary(schema)
        if not wants_bytes and not is_text(schema):
            raise NotSupported(f"A form cannot hold {name}; send JSON.", param=name)
        for value in self._given[name]:
            if isinstance(value, bytes) != wants_bytes:
                form = "a file, with a file name" if wants_bytes else "a text, without a file name"
                raise InvalidInput(f"{name} must be sent as {form}.", param=name)
            if not wants_bytes:
                checked_text(name, value)
            elif not value:
                raise InvalidInput(f"{name} is empty; send the file's bytes.", param=name)
        return self._given[name]

    def option(self, name: str, schema: Schema) -> Any:
        """See `Question.option`."""
        value = single(self._given, name)
        if isinstance(value, bytes):
            raise InvalidInput(f"{name} is a file; expected a value.", param=name)
        return None if value is None else parse_option(name, value, schema)


def place_raw(question: FormQuestion, form: ItemForm, task: str) -> None:
    """A body without a name is the field of an item that holds bytes.

    Raises:
        NotSupported: the task's items have no such field.
    """
    if not question.is_raw:
        return
    binary = [name for name, schema in form.item["properties"].items() if is_binary(schema)]
    if len(binary) != 1:
        raise NotSupported(
            f"The task '{task}' takes no raw bytes; send JSON or a form with "
            f"{', '.join(form.item['properties'])}.",
            param="content-type",
        )
    question.take_raw_as(binary[0])


async def parse_form(content_type: str, body: bytes) -> dict[str, list[str | bytes]]:
    """The fields of a multipart form.

    Args:
        content_type: the header, which names the boundary.
        body: the form.

    Raises:
        MalformedBody: not a complete form, or one with too many or too large fields.
    """
    if _FOREIGN_CHARSET.search(content_type):
        raise MalformedBody("The form's charset is not UTF-8; send texts in UTF-8.")
    try:
        form = await _Parser(content_type, body).parse()
    except MultiPartException as error:
        raise MalformedBody(f"The multipart form cannot be read: {error.message}") from None
    return await _values(form)


class _Parser(MultiPartParser):
    """Keeps files in memory, and refuses forms without an end."""

    spool_max_size = 0  # no limit: the body is bounded, and callers' files do not belong on disk

    def __init__(self, content_type: str, body: bytes) -> None:
        super().__init__(
            Headers({"content-type": content_type}),
            self._slices(body),
            max_files=MAX_ITEMS,
            max_fields=MAX_FIELDS,
            max_part_size=4 * MAX_TEXT_CHARS,
        )
        self._is_complete = False

    def on_end(self) -> None:
        self._is_complete = True

    async def _slices(self, body: bytes) -> AsyncGenerator[bytes, None]:
        for start in range(0, len(body), SLICE_BYTES):
            yield body[start : start + SLICE_BYTES]
            await asyncio.sleep(0)
        if not self._is_complete:  # raised here, the parser closes what it opened
            raise MultiPartException("it is cut off, its closing boundary is missing.")


async def _values(form: FormData) -> dict[str, list[str | bytes]]:
    found: dict[str, list[str | bytes]] = {}
    try:
        for name, value in form.multi_items():
            content = await value.read() if isinstance(value, UploadFile) else value
            found.setdefault(name, []).append(content)
    finally:
        await form.close()
    return found
