"""Weights of an ONNX model: their lengths, and where external data may lie."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from modelry.domain.errors import FileRefused
from modelry.manifest.inspect.protobuf import BYTES, VARINT, Field, ProtobufReader
from modelry.manifest.inspect.window import ByteWindow, open_window
from modelry.manifest.nodes import shorten

_EXTERNAL = 1
_MAX_RANK = 32
_MAX_ELEMENTS = 2**48

# Bytes per element of the ONNX types whose elements take whole bytes.
_ELEMENT_BYTES = {
    1: 4,
    2: 1,
    3: 1,
    4: 2,
    5: 2,
    6: 4,
    7: 8,
    9: 1,
    10: 2,
    11: 8,
    12: 4,
    13: 8,
    14: 8,
    15: 16,
    16: 2,
}


class TensorChecker:
    """Checks TensorProto messages without reading their data."""

    def __init__(
        self, window: ByteWindow, wire: ProtobufReader, companions: Mapping[str, Path]
    ) -> None:
        self._window = window
        self._wire = wire
        self._declared = companions
        self._sizes: dict[str, int] = {}

    @property
    def companions(self) -> tuple[str, ...]:
        """Names of the external files that weights were found in."""
        return tuple(sorted(self._sizes))

    def check(self, tensor: Field) -> str:
        """Check one tensor; returns its name.

        Raises:
            FileRefused: lengths that disagree, or external data that is not acceptable.
        """
        dims: list[int] = []
        element = location = 0
        raw_bytes: int | None = None
        name = ""
        external: dict[str, str] = {}
        for part in self._wire.message(tensor):
            if part.number == 1:
                dims += self._wire.packed_varints(part, _MAX_RANK)
            elif part.number == 2 and part.wire == VARINT:
                element = part.value
            elif part.number == 8:
                name = self._wire.text(part, 4096)
            elif part.number == 9 and part.wire == BYTES:
                raw_bytes = part.size
            elif part.number == 13:
                key, value = self._entry(part)
                external[key] = value
            elif part.number == 14 and part.wire == VARINT:
                location = part.value
            if len(dims) > _MAX_RANK or len(external) > 16:
                raise self._window.refused(f"tensor {shorten(name)} is malformed.")
        expected = self._expected_bytes(name, dims, element)
        if location == _EXTERNAL or external:
            self._check_external(name, external, expected)
        elif raw_bytes is not None and expected is not None and raw_bytes != expected:
            raise self._window.refused(
                f"tensor {shorten(name)} of shape {dims} should have {expected} bytes of data; it "
                f"has {raw_bytes}. The file is damaged; export it again."
            )
        return name

    def check_sparse(self, tensor: Field) -> str:
        """Check a sparse tensor's two parts; returns the name of its values."""
        name = ""
        for part in self._wire.message(tensor):
            if part.number == 1:
                name = self.check(part)
            elif part.number == 2:
                self.check(part)
        return name

    def _expected_bytes(self, name: str, dims: list[int], element: int) -> int | None:
        elements = math.prod(dims)
        if elements > _MAX_ELEMENTS:
            raise self._window.refused(
                f"tensor {shorten(name)} claims the shape {dims}, which is not possible."
            )
        size = _ELEMENT_BYTES.get(element)
        return None if size is None else elements * size

    def _entry(self, part: Field) -> tuple[str, str]:
        key = value = ""
        for item in self._wire.message(part):
            if item.number == 1:
                key = self._wire.text(item, 64)
            elif item.number == 2:
                value = self._wire.text(item, 4096)
        return key, value

    def _check_external(self, name: str, external: dict[str, str], expected: int | None) -> None:
        location = external.get("location", "")
        size = self._size_of(location)
        offset = self._number(name, external.get("offset", "0"))
        rest = max(size - offset, 0)
        length = self._number(name, external.get("length", str(rest)))
        needed = length if expected is None else expected
        if offset + length > size or length < needed:
            raise self._window.refused(
                f"tensor {shorten(name)} needs {needed} bytes at byte {offset} of the external "
                f"file '{location}', which has {size}. The two files do not belong together, or "
                "one is cut off."
            )

    def _number(self, name: str, text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 15):
            raise self._window.refused(
                f"tensor {shorten(name)} has the external offset or length {shorten(text)}; "
                "expected a whole number of bytes."
            )
        return int(text)

    def _size_of(self, location: str) -> int:
        if location in self._sizes:
            return self._sizes[location]
        parts = location.split("/")
        if (
            not location.isprintable()
            or "\\" in location
            or ":" in location
            or "*" in location
            or any(part in ("", ".", "..") for part in parts)
        ):
            raise self._window.refused(
                f"its weights point at {shorten(location)}, which is outside its folder. External "
                "data must be a plain file name beside the model."
            )
        if location not in self._declared:
            role = "weights"
            raise self._window.refused(
                f"it keeps weights in the external file '{location}', which the manifest does not "
                f"name. Add it: 'files: {{model: …, {role}: {location}}}', or save the model in "
                "one file."
            )
        size = self._sizes[location] = self._regular_size(location)
        return size

    def _regular_size(self, location: str) -> int:
        try:
            with open_window(self._declared[location], location) as weights:
                return weights.size
        except FileRefused:
            raise self._window.refused(
                f"its external file '{location}' is not there as a regular file (symbolic links "
                "are not followed)."
            ) from None
