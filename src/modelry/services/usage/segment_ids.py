"""The ids of a segment's records: those of our making as their bytes, all others by their place.

Thousands are looked at as one array: the event loop runs on meanwhile.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from modelry.runtime_api.tensors import Array
from modelry.services.inference.metering import Series
from modelry.services.inference.request_ids import ID_CHARS

OUR_ID_BYTES = 14
_PREFIX = np.frombuffer(b"req_", np.uint8)
_TIME_BYTES = 6
LEEWAY_MS = 1000
"""How far the time in an id may be from those of its request."""


class SegmentIds:
    """The ids of the requests of some series, in their order.

    `packed` has the bytes of the ids that we made, those of the same significance together;
    `others` the rest, with their places.
    """

    def __init__(self, series: Sequence[Series]) -> None:
        alike = np.frombuffer(b"".join([one.ids for one in series]), np.uint8)
        alike = alike.reshape(-1, ID_CHARS)
        raw, is_ours = _bytes_of(alike)
        self.others = _others(series, alike, is_ours)
        self._ours = alike[is_ours]
        self._raw = raw[:, is_ours]
        self.packed = self._raw.tobytes()

    def fingerprints(self, first_us: int, last_us: int) -> bytes:
        """Sorted CRC-32s of the ids that are not found by the time in them.

        These are the `others`, and ids that look like ours but tell a time at which no request
        of the segment ran.

        Args:
            first_us: when the first request came, in microseconds since 1970.
            last_us: when the last one ended.
        """
        texts = [one.encode() for _, one in self.others]
        texts += map(bytes, self._ours[self._is_misdated(first_us // 1000, last_us // 1000)])
        return np.array(sorted({zlib.crc32(one) for one in texts}), "<u4").tobytes()

    def _is_misdated(self, first_ms: int, last_ms: int) -> Array:
        made_ms = np.zeros(len(self._ours), np.int64)
        for byte in self._raw[:_TIME_BYTES]:
            made_ms = made_ms << 8 | byte
        return (made_ms < first_ms - LEEWAY_MS) | (made_ms > last_ms + LEEWAY_MS)


def _bytes_of(characters: Array) -> tuple[Array, Array]:
    """What the digits of ids say, a row per byte, and which of the ids are of our making.

    Args:
        characters: a row per id.
    """
    digits = np.ascontiguousarray(characters[:, len(_PREFIX) :].T)
    values = (digits & 15) + 9 * (digits >> 6)  # of 0-9 and a-f; of others, anything
    is_hex = (values + 48 + 39 * (values > 9).view(np.uint8) == digits).all(axis=0)
    is_ours = is_hex & (characters[:, : len(_PREFIX)] == _PREFIX).all(axis=1)
    return values[::2] << 4 | values[1::2], is_ours


def _others(series: Sequence[Series], alike: Array, is_ours: Array) -> list[tuple[int, str]]:
    ends = np.cumsum([len(one) for one in series])
    others = [
        (int(end) - len(one) + place, request_id.decode())
        for end, one in zip(ends, series, strict=True)
        for place, request_id in one.other_ids
    ]
    if is_ours.all():
        return others
    places = np.delete(np.arange(ends[-1]), [place for place, _ in others])
    return others + [
        (int(places[at]), bytes(alike[at]).decode()) for at in np.flatnonzero(~is_ours)
    ]
