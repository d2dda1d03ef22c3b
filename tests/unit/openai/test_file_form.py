"""Multipart forms with a file, in pieces of any size, and forms that are none."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelry.domain.errors import InvalidInput, MalformedBody
from modelry.protocols.openai.file_form import MAX_FIELD_BYTES, MAX_FIELDS, FileForm

KIND = "multipart/form-data; boundary=xx"
FILE = 'form-data; name="file"; filename="rows.jsonl"'


def part(disposition: str, content: bytes) -> bytes:
    return b"--xx\r\nContent-Disposition: %s\r\n\r\n%s\r\n" % (disposition.encode(), content)


def form_of(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--xx--\r\n"


PURPOSE = part('form-data; name="purpose"', b"fine-tune")


async def _pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def read(body: bytes, size: int = 1 << 20, kind: str = KIND) -> tuple[FileForm, bytes]:
    form = FileForm(kind, _pieces(body, size))
    await form.until_file()
    content = b""
    if form.file_name is not None:
        content = b"".join([one async for one in form.file_bytes()])
    await form.rest()
    return form, content


@pytest.mark.anyio
@pytest.mark.parametrize("is_file_first", [False, True])
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
async def test_fields_stand_before_or_behind_the_file(is_file_first: bool, size: int) -> None:
    content = b"a--xx is no boundary\r\n--x\r\n" * 3
    parts = [PURPOSE, part(FILE, content)]
    form, found = await read(form_of(*(reversed(parts) if is_file_first else parts)), size)
    assert found == content
    assert form.fields == {"purpose": "fine-tune"}
    assert form.file_name == "rows.jsonl"


@pytest.mark.anyio
@settings(max_examples=40)
@given(content=st.binary(max_size=200), size=st.integers(1, 64))
async def test_every_content_arrives_as_it_is(content: bytes, size: int) -> None:
    body = form_of(PURPOSE, part(FILE, content))
    if b"\r\n--xx" in b"\r\n" + content:
        return
    assert (await read(body, size))[1] == content


@pytest.mark.anyio
async def test_the_fields_are_known_before_the_file_is_read() -> None:
    form = FileForm(KIND, _pieces(form_of(PURPOSE, part(FILE, b"a" * 1000)), 50))
    await form.until_file()
    assert form.fields == {"purpose": "fine-tune"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("given_name", "name"),
    [("a/b\\c.jsonl", "c.jsonl"), ("ünï.jsonl", "ünï.jsonl"), ("../../etc/passwd", "passwd")],
)
async def test_folders_are_no_part_of_a_name(given_name: str, name: str) -> None:
    disposition = f'form-data; name="file"; filename="{given_name}"'
    form, _ = await read(form_of(part(disposition, b"a")))
    assert form.file_name == name


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "error", "said"),
    [
        (b"", MalformedBody, "cut off"),
        (PURPOSE, MalformedBody, "cut off"),
        (part(FILE, b"abc"), MalformedBody, "cut off"),
        (b"nothing of the kind", MalformedBody, "damaged"),
        (form_of(PURPOSE, PURPOSE), MalformedBody, "twice"),
        (form_of(part("form-data", b"")), MalformedBody, "no name"),
        (form_of(part('form-data; name="p"', b"\xff")), MalformedBody, "not UTF-8"),
        (
            form_of(part('form-data; name="p"', b"a" * (MAX_FIELD_BYTES + 1))),
            MalformedBody,
            "more than",
        ),
        (
            form_of(*(part(f'form-data; name="p{at}"', b"") for at in range(MAX_FIELDS + 1))),
            MalformedBody,
            "more than",
        ),
        (form_of(part(FILE, b"a"), part(FILE, b"b")), InvalidInput, "one file"),
        (
            form_of(part('form-data; name="other"; filename="a"', b"a")),
            InvalidInput,
            "'other'",
        ),
        (b"--xx\r\n" + b"X-Long: " + b"a" * 100_000 + b"\r\n\r\n", MalformedBody, "damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_forms_that_are_none(body: bytes, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        await read(body)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "kind", ["", "application/json", "multipart/form-data", "multipart/mixed; boundary=xx"]
)
async def test_bodies_that_are_declared_as_something_else(kind: str) -> None:
    with pytest.raises(MalformedBody, match="send a form"):
        await read(form_of(PURPOSE), kind=kind)


@pytest.mark.anyio
async def test_a_boundary_that_is_too_long() -> None:
    with pytest.raises(MalformedBody):
        await read(b"", kind=f"multipart/form-data; boundary={'x' * 1000}")
