"""Rewrites the Q4_1 tensors of a GGUF file as Q8_0 or Q4_0, which more engines run well.

Usage: python -m benchmarks.requantise SOURCE TARGET Q8_0|Q4_0

Q4_1 to Q8_0 keeps every weight to within 1/254 of its block's largest; Q4_0 rounds again, to 16
steps around zero. Everything else in the file is copied.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

BLOCK = 32
Q4_0, Q4_1, Q8_0 = 2, 3, 8
_BLOCK_SIZES = {0: (1, 4), 1: (1, 2), Q4_0: (32, 18), Q4_1: (32, 20), Q8_0: (32, 34)}
"""Elements and bytes of a block by tensor type."""
_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9
_ALIGNMENT = 32


@dataclass(frozen=True, slots=True)
class Tensor:
    """One entry of the tensor table; `offset` counts from the start of the data."""

    name: bytes
    dims: tuple[int, ...]
    kind: int
    offset: int

    def size(self) -> int:
        """Bytes that it takes."""
        block, size = _BLOCK_SIZES[self.kind]
        return math.prod(self.dims) // block * size


class _Cursor:
    def __init__(self, raw: memoryview) -> None:
        self.raw, self.at = raw, 0

    def take(self, layout: str) -> int:
        (value,) = struct.unpack_from(layout, self.raw, self.at)
        self.at += struct.calcsize(layout)
        return int(value)

    def text(self) -> bytes:
        length = self.take("<Q")
        self.at += length
        return bytes(self.raw[self.at - length : self.at])

    def skip_value(self, kind: int) -> None:
        if kind == _STRING:
            self.text()
        elif kind == _ARRAY:
            inner, count = self.take("<I"), self.take("<Q")
            if inner in _SCALARS:
                self.at += count * _SCALARS[inner]
            else:
                for _ in range(count):
                    self.skip_value(inner)
        else:
            self.at += _SCALARS[kind]


def requantise(source: Path, target: Path, kind: int) -> None:
    """Write `source` to `target` with its Q4_1 tensors as `kind` (`Q8_0` or `Q4_0`)."""
    raw = memoryview(np.memmap(source, np.uint8, "r"))  # type: ignore[arg-type] # is a buffer
    head, tensors, data_start = _read(raw, kind)
    quantise = {Q8_0: to_q8_0, Q4_0: to_q4_0}[kind]
    with target.open("wb") as file:
        file.write(head)
        offset = 0
        placed = []
        for tensor in tensors:
            new_kind = kind if tensor.kind == Q4_1 else tensor.kind
            placed.append(Tensor(tensor.name, tensor.dims, new_kind, offset))
            offset += -(-placed[-1].size() // _ALIGNMENT) * _ALIGNMENT
        for tensor in placed:
            file.write(struct.pack("<Q", len(tensor.name)) + tensor.name)
            file.write(struct.pack("<I", len(tensor.dims)))
            file.write(struct.pack(f"<{len(tensor.dims)}Q", *tensor.dims))
            file.write(struct.pack("<IQ", tensor.kind, tensor.offset))
        _pad(file.write, file.tell())
        for old in tensors:
            begin = data_start + old.offset
            data = np.frombuffer(raw[begin : begin + old.size()], np.uint8)
            new = quantise(from_q4_1(data)) if old.kind == Q4_1 else data
            file.write(new.tobytes())
            _pad(file.write, new.nbytes)


def _read(raw: memoryview, kind: int) -> tuple[bytes, list[Tensor], int]:
    """Header and metadata (with the file type of `kind`), the tensors, where their data starts."""
    cursor = _Cursor(raw)
    cursor.at = 8
    tensor_count, key_count = cursor.take("<Q"), cursor.take("<Q")
    file_type_at = 0
    for _ in range(key_count):
        key, value_kind = cursor.text(), cursor.take("<I")
        if key == b"general.alignment":
            raise SystemExit("Files with an alignment of their own are not handled.")
        if key == b"general.file_type":
            file_type_at = cursor.at
        cursor.skip_value(value_kind)
    head = bytearray(raw[: cursor.at])
    if file_type_at:
        struct.pack_into("<I", head, file_type_at, {Q8_0: 7, Q4_0: 2}[kind])
    tensors = []
    for _ in range(tensor_count):
        name, rank = cursor.text(), cursor.take("<I")
        dims = tuple(cursor.take("<Q") for _ in range(rank))
        tensors.append(Tensor(name, dims, cursor.take("<I"), cursor.take("<Q")))
    return bytes(head), tensors, -(-cursor.at // _ALIGNMENT) * _ALIGNMENT


def _pad(write: Callable[[bytes], int], size: int) -> None:
    write(bytes(-size % _ALIGNMENT))


def from_q4_1(data: Bytes) -> npt.NDArray[np.float32]:
    """Weights, float32 of shape (blocks, 32)."""
    blocks = data.reshape(-1, 20)
    scale = blocks[:, :2].copy().view("<f2").astype("f4")
    least = blocks[:, 2:4].copy().view("<f2").astype("f4")
    nibbles = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
    found: npt.NDArray[np.float32] = nibbles.astype("f4") * scale + least
    return found


def to_q8_0(weights: npt.NDArray[np.float32]) -> Bytes:
    """Blocks of a half-precision scale and 32 signed bytes."""
    scale = np.abs(weights).max(axis=1, keepdims=True) / 127
    steps = np.rint(np.divide(weights, scale, where=scale > 0, out=np.zeros_like(weights)))
    return np.concatenate([scale.astype("<f2").view(np.uint8), steps.astype("i1").view("u1")], 1)


def to_q4_0(weights: npt.NDArray[np.float32]) -> Bytes:
    """Blocks of a half-precision scale and 32 half bytes around 8."""
    at = np.abs(weights).argmax(axis=1)[:, None]
    scale = np.take_along_axis(weights, at, axis=1) / -8
    steps = np.divide(weights, scale, where=scale != 0, out=np.zeros_like(weights))
    steps = np.clip(np.floor(steps + 8.5), 0, 15).astype("u1")
    packed = steps[:, : BLOCK // 2] | (steps[:, BLOCK // 2 :] << 4)
    return np.concatenate([scale.astype("<f2").view(np.uint8), packed], axis=1)


if __name__ == "__main__":
    requantise(Path(sys.argv[1]), Path(sys.argv[2]), {"Q8_0": Q8_0, "Q4_0": Q4_0}[sys.argv[3]])
