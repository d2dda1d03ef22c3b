from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelry.client.decoding import decode, decode_field, decode_list, encode
from modelry.client.errors import UnexpectedAnswer
from modelry.client.records import Deployment, Replica, Scale, TrafficShare, Version, VersionFile

TIMES = st.datetimes(timezones=st.just(UTC))
REPLICAS = st.builds(Replica, since=st.none() | TIMES)
DEPLOYMENTS = st.builds(
    Deployment,
    traffic=st.lists(st.builds(TrafficShare, percent=st.floats(0, 100)), max_size=2).map(tuple),
    scale=st.builds(Scale, idle_unload_s=st.none() | st.floats(0, 10)),
    limits=st.dictionaries(st.text(), st.integers()),
    engine_options=st.dictionaries(st.text(), st.booleans()),
    created_at=st.none() | TIMES,
    updated_at=st.none() | TIMES,
    replicas=st.lists(REPLICAS, max_size=2).map(tuple),
)


@given(DEPLOYMENTS)
def test_what_is_encoded_is_decoded_again(deployment):
    assert decode(Deployment, encode(deployment)) == deployment


def test_newer_fields_are_skipped_and_older_ones_may_be_missing():
    file = {"role": "model", "name": "a", "digest": "d", "size_bytes": 1, "new": True}
    told = {"model": "m", "version": 1, "digest": "d", "task": "t", "runtime": "r", "files": [file]}
    found = decode(Version, {**told, "surprise": {}})
    assert found.files == (VersionFile("model", "a", "d", 1),)
    assert found.created_at is None


@dataclass(frozen=True)
class Sample:
    number: int
    share: float = 0.0
    either: int | str | None = None
    names: tuple[str, ...] = ()
    table: Mapping[str, int] = field(default_factory=dict)
    when: datetime | None = None
    anything: Any = None


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (None, "answer"),
        ([], "answer"),
        ({}, "answer.number"),
        ({"number": "1"}, "answer.number"),
        ({"number": True}, "answer.number"),
        ({"number": None}, "answer.number"),
        ({"number": 1, "share": "x"}, "answer.share"),
        ({"number": 1, "either": 1.5}, "answer.either"),
        ({"number": 1, "names": "abc"}, "answer.names"),
        ({"number": 1, "names": ["a", 2]}, "answer.names[1]"),
        ({"number": 1, "table": {"a": "b"}}, "answer.table.a"),
        ({"number": 1, "table": []}, "answer.table"),
        ({"number": 1, "when": "yesterday"}, "answer.when"),
        ({"number": 1, "when": 3}, "answer.when"),
    ],
)
def test_what_does_not_fit_is_told_by_its_place(value, where):
    with pytest.raises(UnexpectedAnswer) as caught:
        decode(Sample, value)
    assert f"'{where}'" in caught.value.message


def test_plain_values():
    found = decode(Sample, {"number": 1, "share": 2, "either": "x", "anything": [1]})
    assert (found.share, found.either, found.anything) == (2.0, "x", [1])
    assert isinstance(found.share, float)


@pytest.mark.parametrize("body", [None, [], {}, {"items": {}}, {"items": 3}])
def test_a_missing_list_or_field_is_told(body):
    with pytest.raises(UnexpectedAnswer):
        decode_list(Sample, body, "items")
    with pytest.raises(UnexpectedAnswer):
        decode_field(Sample, body, "item")
