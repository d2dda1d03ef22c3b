"""Files that go with models: safetensors, tokenizer.json, sequence models' descriptions, other
JSON, plain text.
"""

from __future__ import annotations

import codecs
import math
from typing import Any

import orjson

from modelry.domain.errors import InvalidInput
from modelry.manifest.inspect.facts import FileFacts
from modelry.manifest.inspect.window import ByteWindow
from modelry.manifest.nodes import shorten
from modelry.runtime_api import sequence_models

MAX_SAFETENSORS_HEADER_BYTES = 16 * 2**20
MAX_JSON_BYTES = 64 * 2**20
MAX_TEXT_BYTES = 64 * 2**20
_TEXT_CHUNK_BYTES = 1024 * 1024
_ALLOWED_CONTROLS = frozenset("\t\n\r\f")

SAFETENSORS_BITS = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "U16": 16,
    "I16": 16,
    "F16": 16,
    "BF16": 16,
    "U32": 32,
    "I32": 32,
    "F32": 32,
    "U64": 64,
    "I64": 64,
    "F64": 64,
    "C64": 64,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
}


def looks_like_safetensors(head: bytes, size: int) -> bool:
    """Whether the file begins with a header length that fits and a JSON object."""
    return (
        len(head) >= 9
        and head[8:9] == b"{"
        and 2 <= int.from_bytes(head[:8], "little") <= max(size, 2**32)
    )


def read_safetensors(window: ByteWindow) -> FileFacts:
    """The facts of a safetensors file.

    Raises:
        FileRefused: a header that is malformed, or does not describe exactly the bytes after it.
    """
    header_bytes = int.from_bytes(window.read(0, 8), "little")
    if header_bytes > MAX_SAFETENSORS_HEADER_BYTES:
        raise window.refused(
            f"its safetensors header claims {header_bytes} bytes; at most "
            f"{MAX_SAFETENSORS_HEADER_BYTES} are read."
        )
    header = _json_object(window, window.read(8, header_bytes, "the safetensors header"))
    words = header.pop("__metadata__", None) or {}
    if not isinstance(words, dict) or not all(isinstance(value, str) for value in words.values()):
        raise window.refused("its '__metadata__' must map text to text.")
    spans = sorted(_span(window, name, entry) for name, entry in header.items())
    position = 0
    for begin, end, name in spans:
        if begin != position:
            raise window.refused(
                f"tensor {shorten(name)} begins at byte {begin} of the data; expected {position} "
                "(tensors must follow each other without gaps and overlaps)."
            )
        position = end
    data_bytes = window.size - 8 - header_bytes
    if position > data_bytes:
        raise window.refused(
            f"it is cut off: its tensors take {position} bytes, {data_bytes} are here. Fetch it "
            "again and compare its sha256."
        )
    if position < data_bytes:
        raise window.refused(f"{data_bytes - position} bytes follow the last tensor.")
    types = {str(entry["dtype"]) for entry in header.values()}
    return FileFacts(
        format="safetensors",
        size_bytes=window.size,
        metadata={
            **{str(key)[:256]: value[:4096] for key, value in list(words.items())[:256]},
            "tensors": str(len(header)),
            "types": ",".join(sorted(types)),
        },
    )


def _span(window: ByteWindow, name: str, entry: Any) -> tuple[int, int, str]:
    try:
        kind, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        whole = all(type(number) is int and 0 <= number < 2**53 for number in (*shape, begin, end))
        valid = whole and kind in SAFETENSORS_BITS and begin <= end
        elements = math.prod(shape) if len(shape) <= 32 else -1
    except (KeyError, TypeError, ValueError):
        raise window.refused(
            f"its header describes tensor {shorten(name)} wrongly; expected 'dtype', 'shape' and "
            "'data_offsets'."
        ) from None
    if not valid or elements * SAFETENSORS_BITS[kind] != (end - begin) * 8:
        raise window.refused(
            f"tensor {shorten(name)} of type {shorten(str(kind))} and shape "
            f"{shorten(str(shape))} does not fit its bytes {begin}..{end}."
        )
    return begin, end, name


def read_json(window: ByteWindow) -> FileFacts:
    """The facts of a JSON object: a tokenizer, a sequence model's description, something else.

    Raises:
        FileRefused: not JSON, beyond 64 MiB, or a description with values that cannot be.
    """
    if window.size > MAX_JSON_BYTES:
        raise window.refused(f"JSON files of at most {MAX_JSON_BYTES // 2**20} MiB are accepted.")
    document = _json_object(window, window.read(0, window.size))
    if document.get("format") == sequence_models.FORMAT:
        return _sequence_model(window, document)
    model = document.get("model")
    if not isinstance(model, dict) or "vocab" not in model or "added_tokens" not in document:
        return FileFacts(format="json", size_bytes=window.size)
    vocabulary = model["vocab"]
    metadata = {"model": str(model.get("type") or "unnamed")[:64]}
    if isinstance(vocabulary, dict | list):
        metadata["vocabulary"] = str(len(vocabulary))
    for part in ("truncation", "padding"):
        metadata[part] = str(isinstance(document.get(part), dict)).lower()
    truncation = document.get("truncation")
    if isinstance(truncation, dict) and type(truncation.get("max_length")) is int:
        metadata["max_length"] = str(truncation["max_length"])
    return FileFacts(format="tokenizer-json", size_bytes=window.size, metadata=metadata)


def _sequence_model(window: ByteWindow, document: dict[str, Any]) -> FileFacts:
    try:
        model = sequence_models.SequenceModel.from_json(document)
    except InvalidInput as error:
        raise window.refused(error.message) from None
    told = {name: value for name, value in model.to_json().items() if name != "format"}
    metadata = {name: str(value) for name, value in told.items() if value != ""}
    return FileFacts(format="seq2seq", size_bytes=window.size, metadata=metadata)


def _json_object(window: ByteWindow, data: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise window.refused(
            f"it begins like JSON and is not valid JSON ({error.msg}, position {error.pos}); it "
            "may be cut off."
        ) from None
    if not isinstance(document, dict):
        raise window.refused("its JSON is not an object.")
    return document


def read_text(window: ByteWindow) -> FileFacts | None:
    """The facts of a UTF-8 text without control characters; None when it is not one.

    Raises:
        FileRefused: a text beyond 64 MiB.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines = position = 0
    last = "\n"
    while position < window.size:
        count = min(_TEXT_CHUNK_BYTES, window.size - position)
        data = window.read(position, count)
        position += count
        try:
            text = decoder.decode(data, final=position == window.size)
        except UnicodeDecodeError:
            return None
        if not _is_printable(text):
            return None
        if window.size > MAX_TEXT_BYTES:
            raise window.refused(
                f"text files of at most {MAX_TEXT_BYTES // 2**20} MiB are accepted."
            )
        lines += text.count("\n")
        last = text[-1:] or last
    if last != "\n":
        lines += 1
    return FileFacts(format="text", size_bytes=window.size, metadata={"lines": str(lines)})


def _is_printable(text: str) -> bool:
    controls = {character for character in set(text) if character < " " or character == "\x7f"}
    return controls <= _ALLOWED_CONTROLS
