"""Reads segments of usage again."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from modelry.domain.usage import ENGINE, UsageRecord
from modelry.runtime_api.tensors import Array
from modelry.services.usage.segment_ids import OUR_ID_BYTES
from modelry.services.usage.segments import FORMAT, PREFIX, moment_of


def may_hold(other_ids: bytes, request_id: str) -> bool:
    """Whether a segment with these fingerprints may have a record of a caller's own id."""
    wanted = zlib.crc32(request_id.encode())
    fingerprints = np.frombuffer(other_ids, "<u4")
    place = int(np.searchsorted(fingerprints, wanted))
    return place < len(fingerprints) and int(fingerprints[place]) == wanted


class SegmentReader:
    """Gives the records of a segment.

    Args:
        tenant_id: whose segment it is.
        data: as `Segment.data` has it.

    Raises:
        ValueError: the data is not a segment, or of a newer format.
    """

    def __init__(self, tenant_id: str, data: bytes) -> None:
        version, header_bytes = PREFIX.unpack_from(data)
        if version != FORMAT:
            raise ValueError(f"a usage segment of format {version}; known is {FORMAT}")
        self._tenant_id = tenant_id
        self._view = memoryview(zlib.decompress(memoryview(data)[PREFIX.size :]))
        header = orjson.loads(self._view[:header_bytes])
        self._position = header_bytes
        self._entries: list[dict[str, Any]] = header["series"]
        self._ends = np.cumsum([entry["count"] for entry in self._entries])
        count = int(self._ends[-1])
        self.request_ids = self._ids(count, header["others"])
        self._started = np.cumsum(self._column(count))
        self._duration = self._column(count)
        self._compute = self._column(count)
        self._units = [
            {name: self._column(entry["count"]) for name in entry["columns"]}
            for entry in self._entries
        ]

    def __len__(self) -> int:
        return len(self.request_ids)

    def _take(self, size: int) -> memoryview:
        start = self._position
        self._position += size
        return self._view[start : self._position]

    def _column(self, count: int) -> Array:
        return _unpacked(self._take(8 * count), count)

    def _ids(self, count: int, others: list[tuple[int, str]]) -> list[str]:
        ours = count - len(others)
        raw = np.frombuffer(self._take(OUR_ID_BYTES * ours), np.uint8).reshape(OUR_ID_BYTES, ours)
        digits = raw.T.tobytes().hex()
        width = 2 * OUR_ID_BYTES
        made = iter(
            [f"req_{digits[start : start + width]}" for start in range(0, width * ours, width)]
        )
        told: dict[int, str] = dict(others)
        return [told[at] if at in told else next(made) for at in range(count)]

    def records(self) -> Iterator[UsageRecord]:
        """All records, in no particular order."""
        return map(self.record, range(len(self)))

    def records_of(self, request_id: str) -> Iterator[UsageRecord]:
        """The records with that id."""
        return (self.record(at) for at, one in enumerate(self.request_ids) if one == request_id)

    def record(self, at: int) -> UsageRecord:
        """The record at a place."""
        which = int(np.searchsorted(self._ends, at, side="right"))
        entry = self._entries[which]
        within = at - (int(self._ends[which]) - entry["count"])
        units = dict(entry["units"])
        for name, column in self._units[which].items():
            if column[within]:
                units[name] = int(column[within])
        if self._compute[at]:
            units[ENGINE] = int(self._compute[at])
        return UsageRecord(
            request_id=self.request_ids[at],
            tenant_id=self._tenant_id,
            started_at=moment_of(int(self._started[at])),
            duration_us=int(self._duration[at]),
            units=units,
            **{name: value for name, value in entry.items() if name not in _NOT_FIELDS},
        )


_NOT_FIELDS = frozenset({"count", "units", "columns"})


def _unpacked(data: memoryview, count: int) -> Array:
    by_significance = np.frombuffer(data, np.uint8).reshape(8, count)
    return np.ascontiguousarray(by_significance.T).view("<i8").reshape(count)
