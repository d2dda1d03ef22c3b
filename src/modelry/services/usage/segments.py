"""Segments: the records of one tenant and one flush, as compressed columns.

A row per request would cost a database more than the request cost us. A segment holds thousands:
what its records have in common once, the rest column by column, bytes of the same significance
next to each other, so that it compresses to a few bytes per record beside the request's id.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson

from modelry.domain.usage import DURATION, ENGINE, REQUESTS
from modelry.runtime_api.tensors import Array
from modelry.services.inference.metering import Series, Taken
from modelry.services.usage.ports import Segment, UsageAmount
from modelry.services.usage.segment_ids import SegmentIds

FORMAT = 1
MINUTE_US = 60_000_000
_COMPRESSION = 1
PREFIX = struct.Struct("<BI")
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
    ids = SegmentIds([view.series for view in views])
    header = orjson.dumps({"series": entries, "others": ids.others})
    data = b"".join((header, ids.packed, *columns))
    first, last = int(started_us.min()), int((started_us + duration_us).max())
    return Segment(
        tenant_id=tenant_id,
        run_id=identity[0],
        sequence=identity[1],
        first_at=moment_of(first),
        last_at=moment_of(last),
        records=at,
        data=PREFIX.pack(FORMAT, len(header)) + zlib.compress(data, _COMPRESSION),
        other_ids=ids.fingerprints(first, last),
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


def moment_of(unix_us: int) -> datetime:
    """A time in microseconds since 1970."""
    return datetime.fromtimestamp(unix_us / 1e6, UTC)
