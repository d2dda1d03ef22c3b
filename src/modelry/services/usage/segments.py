"""Segments: the records of one tenant and one flush, as compressed columns.

A row per request would cost a database more than the request cost us. A segment holds thousands:
what its records have in common once, the rest column by column, bytes of the same significance
next to each other, so that it compresses to a few bytes per record beside the request's id.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson

from modelry.domain.usage import DURATION, ENGINE, REQUESTS
from modelry.runtime_api.tensors import Array
from modelry.services.inference.metering import Series, Taken
from modelry.services.inference.request_ids import made_at
from modelry.services.usage.ports import Segment, UsageAmount

FORMAT = 1
MINUTE_US = 60_000_000
_COMPRESSION = 1
PREFIX = struct.Struct("<BI")
_OUR_ID = b"req_"
_OUR_CHARS = 32
OUR_ID_BYTES = 14
_OUR_TIME_BYTES = 6
LEEWAY_MS = 1000
"""How far the time in an id may be from those of its request."""
_TOTALLED = ("caller", "key_id", "deployment", "model", "version_number", "task", "status")


def segments_of(taken: Taken, run_id: str, sequence: int) -> list[Segment]:
    """What was taken from the meter as segments, one per tenant that it concerns.

    Args:
        taken: notes of ended requests.
        run_id: tells the runs of all servers apart.
        sequence: the number of the flush within the run.
    """
    by_tenant: dict[str, list[_View]] = {}
    for series in taken.series:
        for view in _views(series):
            by_tenant.setdefault(view.tenant_id, []).append(view)
    return [
        _segment(tenant_id, (run_id, sequence), views, taken.clock_offset_s)
        for tenant_id, views in by_tenant.items()
    ]


@dataclass(frozen=True, slots=True)
class _View:
    """A series as one tenant may see it."""

    tenant_id: str
    series: Series
    fields: dict[str, Any]


def _views(series: Series) -> Iterator[_View]:
    key = series.key
    origin = key.origin
    common = {
        "model": origin.model,
        "version_number": origin.version_number,
        "task": origin.task,
        "status": key.status,
        "parameters": orjson.loads(key.parameters) if key.parameters else {},
    }
    inside = {
        "replica_id": key.replica_id,
        "version_digest": origin.version_digest,
        "graph_digest": origin.graph_digest,
        "engine_options": dict(origin.engine_options),
    }
    is_own = origin.tenant_id in ("", key.tenant_id)
    own = {"caller": "", "key_id": key.key_id, "deployment": origin.name_for(key.tenant_id)}
    yield _View(key.tenant_id, series, common | own | (inside if is_own else {}))
    if not is_own:
        other = {"caller": key.tenant_id, "key_id": "", "deployment": origin.deployment}
        yield _View(origin.tenant_id, series, common | other | inside)


def _segment(
    tenant_id: str, identity: tuple[str, int], views: Sequence[_View], offset_s: float
) -> Segment:
    started = np.concatenate([np.frombuffer(view.series.started) for view in views])
    started_us = np.rint((started + offset_s) * 1e6).astype("<i8")
    durations = np.concatenate([np.frombuffer(view.series.durations) for view in views])
    duration_us = np.rint(np.maximum(durations, 0) * 1e6).astype("<i8")
    engine_us = np.concatenate([np.frombuffer(view.series.engine_us, "i8") for view in views])
    amounts: Counter[UsageAmount] = Counter()
    entries: list[dict[str, Any]] = []
    columns = [_packed(np.diff(started_us, prepend=0)), _packed(duration_us), _packed(engine_us)]
    at = 0
    for view in views:
        until = at + len(view.series)
        constant, varying = _units(view.series.units, until - at)
        entries.append(
            {
                **view.fields,
                "count": until - at,
                "units": constant,
                "columns": list(varying),
            }
        )
        columns += [_packed(column) for column in varying.values()]
        measured = {
            DURATION: duration_us[at:until],
            ENGINE: engine_us[at:until],
            **varying,
        }
        _add_up(amounts, view, started_us[at:until], measured, constant)
        at = until
    request_ids = [one for view in views for one in view.series.request_ids]
    packed_ids, others = _packed_ids(request_ids)
    header = orjson.dumps({"series": entries, "others": others})
    data = b"".join((header, packed_ids, *columns))
    first, last = int(started_us.min()), int((started_us + duration_us).max())
    return Segment(
        tenant_id=tenant_id,
        run_id=identity[0],
        sequence=identity[1],
        first_at=moment_of(first),
        last_at=moment_of(last),
        records=len(request_ids),
        data=PREFIX.pack(FORMAT, len(header)) + zlib.compress(data, _COMPRESSION),
        other_ids=_fingerprints(
            [*(other for _, other in others), *_misdated(request_ids, packed_ids, (first, last))]
        ),
        amounts=tuple(replace(one, amount=amount) for one, amount in amounts.items()),
    )


def _units(
    units: Sequence[tuple[int, Mapping[str, int] | None]], count: int
) -> tuple[Mapping[str, int], dict[str, Array]]:
    """Units that are the same for all requests of a series, or else their columns by name.

    Args:
        units: as `Series.units` has them.
        count: of the requests.
    """
    first = units[0][1]
    if all(one == first for _, one in units):
        return first or {}, {}
    names = sorted({name for _, one in units if one for name in one})
    lengths = np.diff([place for place, _ in units], append=count)
    return {}, {
        name: np.repeat(
            np.array([one.get(name, 0) if one else 0 for _, one in units], "<i8"), lengths
        )
        for name in names
    }


def _add_up(
    amounts: Counter[UsageAmount],
    view: _View,
    started_us: Array,
    measured: Mapping[str, Array],
    constant: Mapping[str, int],
) -> None:
    minutes = started_us // MINUTE_US
    first, last = int(minutes.min()), int(minutes.max())
    fields = {name: view.fields[name] for name in _TOTALLED}
    for minute in range(first, last + 1):
        within = slice(None) if first == last else minutes == minute
        count = len(minutes[within])
        sums = {
            REQUESTS: count,
            **{unit: count * amount for unit, amount in constant.items()},
            **{unit: int(column[within].sum()) for unit, column in measured.items()},
        }
        for unit, amount in sums.items():
            if amount:
                of = UsageAmount(view.tenant_id, minute, **fields, unit=unit, amount=0)
                amounts[of] += amount


def _packed(column: Array) -> bytes:
    """The bytes of 64-bit numbers, those of the same significance together."""
    return np.ascontiguousarray(column, "<i8").view(np.uint8).reshape(-1, 8).T.tobytes()


def _packed_ids(request_ids: Sequence[bytes]) -> tuple[bytes, list[tuple[int, str]]]:
    """Ids of our making as their bytes, and all others by their place."""
    raw = _our_bytes(request_ids)
    if raw is not None:
        return raw, []
    ours: list[bytes] = []
    others: list[tuple[int, str]] = []
    for place, one in enumerate(request_ids):
        if made_at(one.decode()) is None:
            others.append((place, one.decode()))
        else:
            ours.append(one)
    return _our_bytes(ours) or b"", others


def _our_bytes(request_ids: Sequence[bytes]) -> bytes | None:
    """The bytes of ids that all look like ours, by significance; None when one does not.

    Thousands are looked at as one array: the event loop runs on meanwhile.
    """
    if set(map(len, request_ids)) - {_OUR_CHARS}:
        return None
    joined = np.frombuffer(b"".join(request_ids), np.uint8)
    characters = joined.reshape(len(request_ids), _OUR_CHARS)
    if (characters[:, : len(_OUR_ID)] != np.frombuffer(_OUR_ID, np.uint8)).any():
        return None
    digits = np.ascontiguousarray(characters[:, len(_OUR_ID) :].T)
    values = (digits & 15) + 9 * (digits >> 6)  # of 0-9 and a-f; of others, anything
    if (values + 48 + 39 * (values > 9).view(np.uint8) != digits).any():
        return None
    return (values[::2] << 4 | values[1::2]).tobytes()


def _misdated(
    request_ids: Sequence[bytes], packed_ids: bytes, bounds_us: tuple[int, int]
) -> list[str]:
    """Ids that look like ours and tell a time at which no request of the segment ran."""
    by_significance = np.frombuffer(packed_ids, np.uint8).reshape(OUR_ID_BYTES, -1)
    made_ms = np.zeros(by_significance.shape[1], np.int64)
    for byte in by_significance[:_OUR_TIME_BYTES]:
        made_ms = made_ms << 8 | byte
    first_ms, last_ms = (bound // 1000 for bound in bounds_us)
    if not ((made_ms < first_ms - LEEWAY_MS) | (made_ms > last_ms + LEEWAY_MS)).any():
        return []
    return [
        one
        for one in map(bytes.decode, request_ids)
        if (made := made_at(one)) is not None
        and not first_ms - LEEWAY_MS <= made * 1000 <= last_ms + LEEWAY_MS
    ]


def _fingerprints(request_ids: Iterable[str]) -> bytes:
    found = sorted({zlib.crc32(one.encode()) for one in request_ids})
    return np.array(found, "<u4").tobytes()


def moment_of(unix_us: int) -> datetime:
    """A time in microseconds since 1970."""
    return datetime.fromtimestamp(unix_us / 1e6, UTC)
