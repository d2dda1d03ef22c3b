"""GGUF (version 2 and 3, little-endian): header, metadata and tensor table, never the weights."""

from __future__ import annotations

import math
import struct

from modelry.manifest.inspect.facts import FileFacts
from modelry.manifest.inspect.gguf_types import FILE_TYPES, TENSOR_TYPES
from modelry.manifest.inspect.window import ByteWindow
from modelry.manifest.nodes import shorten

MAGIC = b"GGUF"
MAX_KEYS = 65_536
MAX_KEY_BYTES = 1024
MAX_STRING_BYTES = 8 * 2**20
MAX_STRINGS = 8_000_000
MAX_TENSORS = 200_000
MAX_TENSOR_NAME_BYTES = 256
MAX_RANK = 4
MAX_KEPT_CHARS = 4096

_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_STRING, _ARRAY = 8, 9
_KEPT = frozenset(
    {
        "general.architecture",
        "general.type",
        "general.name",
        "general.license",
        "general.file_type",
        "general.alignment",
        "general.size_label",
        "tokenizer.ggml.model",
        "tokenizer.ggml.pre",
        "split.count",
        "pooling_type",
    }
)
_KEPT_OF_ARCHITECTURE = ("context_length", "embedding_length", "block_count", "pooling_type")

Value = str | int | float | bool


def read_gguf(window: ByteWindow) -> FileFacts:
    """The facts of a GGUF file.

    Raises:
        FileRefused: damaged, cut off, of another version or byte order, or one part of several.
    """
    return _GgufReader(window).read()


class _GgufReader:
    """Reads forward through the header."""

    def __init__(self, window: ByteWindow) -> None:
        self._window = window
        self._position = 0
        self._strings = 0
        self._values: dict[str, Value] = {}
        self._lengths: dict[str, int] = {}

    def read(self) -> FileFacts:
        window = self._window
        self._position = len(MAGIC)
        self._check_version()
        tensor_count = self._unsigned("the tensor count")
        key_count = self._unsigned("the metadata count")
        if key_count > MAX_KEYS or tensor_count > MAX_TENSORS:
            raise window.refused(
                f"it claims {key_count} metadata keys and {tensor_count} tensors; at most "
                f"{MAX_KEYS} and {MAX_TENSORS} are accepted. The file is damaged or not GGUF."
            )
        seen: set[str] = set()
        for _ in range(key_count):
            key = self._string(MAX_KEY_BYTES, "a metadata key")
            if key in seen:
                raise window.refused(f"its metadata key {shorten(key)} stands there twice.")
            seen.add(key)
            self._keyed_value(key)
        alignment = self._alignment()
        quantities, end = self._tensors(tensor_count, alignment)
        return self._facts(tensor_count, quantities, end)

    def _check_version(self) -> None:
        (version,) = struct.unpack("<I", self._take(4, "its version"))
        if version in (2 << 24, 3 << 24):
            raise self._window.refused(
                "it is a big-endian GGUF file; convert it to little-endian first."
            )
        if version not in (2, 3):
            raise self._window.refused(
                f"it is GGUF version {version}; versions 2 and 3 are accepted. Convert it with a "
                "current llama.cpp."
            )

    def _keyed_value(self, key: str) -> None:
        (kind,) = struct.unpack("<I", self._take(4, f"the type of {key}"))
        if kind == _ARRAY:
            self._lengths[key] = self._array(key)
        elif kind == _STRING:
            text = self._string(MAX_STRING_BYTES, key)
            if key == "tokenizer.chat_template":
                self._lengths[key] = len(text)
            self._keep(key, text[:MAX_KEPT_CHARS])
        elif kind in _SCALARS:
            layout = _SCALARS[kind]
            (value,) = struct.unpack(layout, self._take(struct.calcsize(layout), key))
            self._keep(key, value)
        else:
            raise self._window.refused(
                f"metadata key {shorten(key)} has the unknown type {kind}; the file is damaged."
            )

    def _keep(self, key: str, value: Value) -> None:
        if key in _KEPT or key.endswith(_KEPT_OF_ARCHITECTURE):
            self._values[key] = value

    def _array(self, key: str) -> int:
        kind, length = struct.unpack("<IQ", self._take(12, f"the list {key}"))
        if kind == _STRING:
            self._strings += length
            if self._strings > MAX_STRINGS or length * 8 > self._window.size:
                raise self._window.refused(
                    f"metadata list {shorten(key)} claims {length} texts, which is not possible in "
                    f"a file of {self._window.size} bytes."
                )
            self._skip_strings(length, key)
        elif kind in _SCALARS:
            self._skip(length * struct.calcsize(_SCALARS[kind]), f"the list {key}")
        else:
            raise self._window.refused(
                f"metadata list {shorten(key)} has elements of type {kind}, which is not accepted."
            )
        return int(length)

    def _skip_strings(self, count: int, key: str) -> None:
        window, position, size = self._window, self._position, self._window.size
        unpack = struct.Struct("<Q").unpack_from
        for _ in range(count):
            chunk, at = window.chunk_at(position, 8)
            if len(chunk) - at < 8:
                raise window.truncated(f"the list {key}")
            position += 8 + unpack(chunk, at)[0]
            if position > size:
                raise window.truncated(f"the list {key}")
        self._position = position

    def _alignment(self) -> int:
        alignment = self._values.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 1 <= alignment <= 2**16 or alignment % 8:
            raise self._window.refused(
                f"its alignment is {alignment}; expected a multiple of 8 up to 65536."
            )
        return alignment

    def _tensors(self, count: int, alignment: int) -> tuple[dict[str, int], int]:
        """How many elements each tensor type has, and where the last tensor ends."""
        quantities: dict[str, int] = {}
        names: set[str] = set()
        last_end, last_name = 0, ""
        for _ in range(count):
            name = self._string(MAX_TENSOR_NAME_BYTES, "a tensor's name")
            if name in names:
                raise self._window.refused(f"its tensor {shorten(name)} stands there twice.")
            names.add(name)
            end, kind, elements = self._tensor(name, alignment)
            quantities[kind] = quantities.get(kind, 0) + elements
            if end > last_end:
                last_end, last_name = end, name
        data_start = -(-self._position // alignment) * alignment
        end = data_start + last_end if count else self._position
        if end > self._window.size:
            raise self._window.refused(
                f"it is cut off: tensor '{last_name}' ends at byte {end}, the file has "
                f"{self._window.size}. Fetch it again and compare its sha256."
            )
        return quantities, end

    def _tensor(self, name: str, alignment: int) -> tuple[int, str, int]:
        (rank,) = struct.unpack("<I", self._take(4, f"tensor {name}"))
        if rank > MAX_RANK:
            raise self._window.refused(
                f"tensor {shorten(name)} has {rank} dimensions; at most {MAX_RANK}."
            )
        layout = f"<{rank}QIQ"
        *dims, kind, offset = struct.unpack(
            layout, self._take(struct.calcsize(layout), f"tensor {name}")
        )
        elements = math.prod(dims)
        if offset % alignment or elements > 2**48 or 0 in dims:
            raise self._window.refused(
                f"tensor {shorten(name)} has the shape {dims} at offset {offset}, which is not "
                "possible; the file is damaged."
            )
        known = TENSOR_TYPES.get(kind)
        if known is None:
            # a newer engine may know the type; that it starts inside the file is still checked
            return offset + 1, f"type {kind}", elements
        if (dims[0] if dims else 1) % known.block:
            raise self._window.refused(
                f"tensor {shorten(name)} has rows of {dims[0]} elements; {known.name} needs a "
                f"multiple of {known.block}."
            )
        return offset + elements // known.block * known.block_bytes, known.name, elements

    def _facts(self, tensor_count: int, quantities: dict[str, int], end: int) -> FileFacts:
        window, values = self._window, self._values
        architecture = values.get("general.architecture")
        if not isinstance(architecture, str) or not architecture:
            raise window.refused(
                "its metadata names no 'general.architecture'; no engine can load it."
            )
        parts = values.get("split.count", 1)
        if isinstance(parts, int) and parts > 1:
            raise window.refused(
                f"it is one of {parts} parts. Join them with 'llama-gguf-split --merge' first."
            )
        warnings = [
            f"Tensors of the unknown {kind} were not checked."
            for kind in quantities
            if kind.startswith("type ")
        ]
        if tensor_count and window.size - end > 2**16:
            warnings.append(f"{window.size - end} bytes follow the last tensor.")
        return FileFacts(
            format="gguf",
            size_bytes=window.size,
            metadata=self._metadata(architecture, tensor_count, quantities),
            warnings=tuple(warnings),
        )

    def _metadata(
        self, architecture: str, tensor_count: int, quantities: dict[str, int]
    ) -> dict[str, str]:
        values = self._values
        found = {
            "architecture": architecture,
            "tensors": str(tensor_count),
            "parameters": str(sum(quantities.values())),
            "tensor_types": ",".join(sorted(quantities)),
            "chat_template": str(self._lengths.get("tokenizer.chat_template", 0) > 0).lower(),
        }
        for key in _KEPT_OF_ARCHITECTURE:
            value = values.get(f"{architecture}.{key}")
            if isinstance(value, int) and not isinstance(value, bool):
                found[key] = str(value)
        names = {
            "general.type": "type",
            "general.name": "name",
            "general.license": "license",
            "general.size_label": "size_label",
            "tokenizer.ggml.model": "tokenizer",
            "tokenizer.ggml.pre": "pre_tokenizer",
        }
        for key, name in names.items():
            if isinstance(values.get(key), str):
                found[name] = str(values[key])
        file_type = values.get("general.file_type")
        if isinstance(file_type, int):
            found["quantisation"] = FILE_TYPES.get(file_type, f"file type {file_type}")
        elif quantities:
            found["quantisation"] = max(quantities, key=lambda kind: quantities[kind])
        if "tokenizer.ggml.tokens" in self._lengths:
            found["vocabulary"] = str(self._lengths["tokenizer.ggml.tokens"])
        return found

    def _unsigned(self, what: str) -> int:
        return int(struct.unpack("<Q", self._take(8, what))[0])

    def _string(self, limit: int, what: str) -> str:
        length = self._unsigned(what)
        if length > limit:
            raise self._window.refused(
                f"{what} claims {length} bytes; at most {limit}. The file is damaged or not GGUF."
            )
        return self._take(length, what).decode("utf-8", "replace")

    def _take(self, count: int, what: str) -> bytes:
        data = self._window.read(self._position, count, shorten(what))
        self._position += count
        return data

    def _skip(self, count: int, what: str) -> None:
        if self._position + count > self._window.size:
            raise self._window.truncated(shorten(what))
        self._position += count
