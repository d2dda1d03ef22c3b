"""Segments: what is written is what is read, and adds up to what is billed."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelry.domain.usage import NOWHERE, Origin
from modelry.services.inference.metering import Meter
from modelry.services.inference.request_ids import new_request_id
from modelry.services.usage.segment_reader import SegmentReader, may_hold
from modelry.services.usage.segments import segments_of

SHARED = Origin("owner", "chat", "llm", 2, "chat", "sha256:v", "sha256:g", {"slots": 4})
OWN = Origin("a", "pets", "animals", 3, "tensor", "sha256:x", "sha256:y")

_ids = st.one_of(
    st.builds(lambda: new_request_id().decode()),
    st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True),
    st.sampled_from(["req_" + "A" * 28, "req_" + "0" * 28, "x" * 32, "req_" + "0" * 27]),
)
_requests = st.fixed_dictionaries(
    {
        "origin": st.sampled_from([SHARED, OWN, NOWHERE]),
        "tenant_id": st.sampled_from(["a", "b", "owner"]),
        "key_id": st.sampled_from(["k1", "k2"]),
        "status": st.sampled_from(["ok", "cancelled", "not_found"]),
        "replica_id": st.sampled_from(["", "r1", "r2"]),
        "parameters": st.sampled_from([b"", b'{"n":1}', b'{"temperature":0.5}']),
        "age_s": st.floats(0, 100),
        "duration_s": st.floats(0, 1000),
        "request_id": _ids,
        "units": st.one_of(
            st.none(),
            st.dictionaries(st.sampled_from(["items", "input_tokens"]), st.integers(1, 2**40)),
        ),
        "engine_us": st.integers(0, 2**40),
    }
)


def noted(requests: list[dict[str, Any]]) -> Any:
    meter = Meter()
    now = time.monotonic()
    for one in requests:
        key = tuple(
            one[name]
            for name in ("origin", "tenant_id", "key_id", "status", "replica_id", "parameters")
        )
        started = now - one["age_s"]
        used = (one["units"], one["engine_us"])
        meter.note(key, started, started + one["duration_s"], one["request_id"].encode(), used)
    return meter.take()


@settings(max_examples=40)
@given(st.lists(_requests, min_size=1, max_size=12))
def test_what_is_written_is_read_and_adds_up(requests: list[dict[str, Any]]) -> None:
    segments = segments_of(noted(requests), "run", 7)
    assert len({one.tenant_id for one in segments}) == len(segments)
    records = [
        record for one in segments for record in SegmentReader(one.tenant_id, one.data).records()
    ]
    paid = [one for one in records if not one.caller]
    assert sorted(one.request_id for one in paid) == sorted(one["request_id"] for one in requests)
    assert len(records) - len(paid) == sum(
        one["origin"].tenant_id not in ("", one["tenant_id"]) for one in requests
    )
    summed: Counter[tuple[str, str, str]] = Counter()
    for record in records:
        of = (record.tenant_id, record.caller)
        summed[*of, "requests"] += 1
        summed[*of, "duration_us"] += record.duration_us
        for unit, count in record.units.items():
            summed[*of, unit] += count
    told: Counter[tuple[str, str, str]] = Counter()
    for segment in segments:
        assert segment.records == sum(one.tenant_id == segment.tenant_id for one in records)
        for amount in segment.amounts:
            assert amount.tenant_id == segment.tenant_id
            told[amount.tenant_id, amount.caller, amount.unit] += amount.amount
    assert told == +summed
    for segment in segments:
        for record in SegmentReader(segment.tenant_id, segment.data).records():
            assert segment.first_at <= record.started_at <= segment.last_at
            if record.request_id not in _ours(segment):
                assert may_hold(segment.other_ids, record.request_id)


def _ours(segment: Any) -> set[str]:
    reader = SegmentReader(segment.tenant_id, segment.data)
    return {one for one in reader.request_ids if one.startswith("req_") and len(one) == 32}


def request(**changes: Any) -> dict[str, Any]:
    return {
        "origin": OWN, "tenant_id": "a", "key_id": "k1", "status": "ok", "replica_id": "r1",
        "parameters": b'{"top_k":3}', "age_s": 0.5, "duration_s": 0.25,
        "request_id": "mine", "units": {"items": 2}, "engine_us": 90,
    } | changes  # fmt: skip


def test_a_record_tells_what_made_the_answer() -> None:
    (segment,) = segments_of(noted([request()]), "run", 1)
    (record,) = SegmentReader("a", segment.data).records_of("mine")
    assert (record.tenant_id, record.key_id, record.caller) == ("a", "k1", "")
    assert (record.deployment, record.model, record.version_number) == ("pets", "animals", 3)
    assert (record.version_digest, record.graph_digest) == ("sha256:x", "sha256:y")
    assert (record.replica_id, record.status, record.task) == ("r1", "ok", "tensor")
    assert record.parameters == {"top_k": 3}
    assert record.units == {"items": 2, "engine_us": 90}
    assert record.duration_us == 250_000
    assert abs(time.time() - 0.5 - record.started_at.timestamp()) < 5


def test_a_shared_deployment_tells_neither_side_the_others_secrets() -> None:
    made = noted([request(origin=SHARED)])
    segments = {one.tenant_id: one for one in segments_of(made, "run", 1)}
    (callers,) = SegmentReader("a", segments["a"].data).records()
    assert (callers.deployment, callers.key_id) == ("chat@owner", "k1")
    assert not any((callers.replica_id, callers.version_digest, callers.graph_digest))
    assert callers.engine_options == {}
    (owners,) = SegmentReader("owner", segments["owner"].data).records()
    assert (owners.deployment, owners.key_id, owners.caller) == ("chat", "", "a")
    assert owners.replica_id == "r1"
    assert {one.caller for one in segments["owner"].amounts} == {"a"}


def test_requests_that_differ_in_units_are_added_one_by_one() -> None:
    varied = [request(units=units) for units in ({"items": 1}, None, {"input_tokens": 5})]
    (segment,) = segments_of(noted(varied), "run", 1)
    units = [one.units for one in SegmentReader("a", segment.data).records()]
    assert [{**one, "engine_us": 0} for one in units] == [
        {"items": 1, "engine_us": 0}, {"engine_us": 0}, {"input_tokens": 5, "engine_us": 0},
    ]  # fmt: skip


def test_data_of_another_format_is_refused() -> None:
    (segment,) = segments_of(noted([request()]), "run", 1)
    newer = replace(segment, data=b"\x09" + segment.data[1:])
    with pytest.raises(ValueError, match="format 9"):
        SegmentReader("a", newer.data)


def test_thousands_of_records_take_few_bytes_each() -> None:
    many = [
        request(
            age_s=at / 1000, duration_s=0.001 + at % 7 / 1e5, request_id=new_request_id().decode()
        )
        for at in range(5000)
    ]
    (segment,) = segments_of(noted(many), "run", 1)
    assert len(segment.data) / segment.records < 24
