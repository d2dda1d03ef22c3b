"""Finds the records of a request by its id."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from modelry.domain.usage import UsageRecord
from modelry.services.inference.request_ids import made_at
from modelry.services.usage.ports import KeptSegment, UsageStore
from modelry.services.usage.segment_ids import LEEWAY_MS
from modelry.services.usage.segment_reader import SegmentReader, may_hold

MOST_RECORDS = 100


def find_records(store: UsageStore, tenant_id: str, request_id: str) -> list[UsageRecord]:
    """A tenant's records with that request id, the newest first; at most `MOST_RECORDS`.

    An id of our making tells its time, which leads to its segment. One that a caller chose is
    looked for in all segments that have such ids, by their fingerprints.
    """
    found = _read(_segments_at(store, tenant_id, request_id), request_id)
    if not found:
        others = store.segments_with_other_ids(
            tenant_id, lambda fingerprints: may_hold(fingerprints, request_id)
        )
        found = _read(others, request_id)
    return sorted(found, key=lambda one: one.started_at, reverse=True)


def _segments_at(store: UsageStore, tenant_id: str, request_id: str) -> Iterable[KeptSegment]:
    made = made_at(request_id)
    if made is None or made > datetime(9000, 1, 1, tzinfo=UTC).timestamp():
        return ()
    moment = datetime.fromtimestamp(made, UTC)
    leeway = timedelta(milliseconds=LEEWAY_MS)
    return store.find_segments(tenant_id, moment - leeway, moment + leeway)


def _read(segments: Iterable[KeptSegment], request_id: str) -> list[UsageRecord]:
    found: list[UsageRecord] = []
    for segment in segments:
        found += SegmentReader(segment.tenant_id, segment.data).records_of(request_id)
        if len(found) >= MOST_RECORDS:
            break
    return found[:MOST_RECORDS]
