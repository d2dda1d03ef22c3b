"""Items and their bytes: what is written is read, and places outside of the body are refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelry.domain.errors import InvalidInput
from modelry.runtime_api.items import decode_item, encode_items

_values = st.one_of(st.none(), st.integers(), st.text(max_size=5), st.binary(max_size=9))


@given(st.lists(st.dictionaries(st.text(max_size=4), _values, max_size=4), max_size=5))
def test_what_is_written_is_read(items: list[dict[str, Any]]) -> None:
    encoded, body = encode_items(items)
    assert [decode_item(one, body) for one in encoded] == items


@pytest.mark.parametrize(
    "place", [[0, 6], [6, 0], [-1, 2], [0], [0, 1, 2], "01", None, [0.0, 1], [True, 1], {}]
)
def test_places_outside_of_the_body_are_refused(place: Any) -> None:
    with pytest.raises(InvalidInput, match="'image' points at bytes that were not sent"):
        decode_item({"image": {"$bytes": place}}, b"12345")
