"""What engines say of their use is taken as far as it can be true."""

from hypothesis import given, settings
from hypothesis import strategies as st

from modelry.domain.usage import MAX_COUNT, MAX_UNITS, counted

_anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)
_names = st.one_of(st.text(), st.sampled_from(["images", "requests", "engine_us", "a" * 41]))


@settings(max_examples=50)
@given(st.one_of(_anything, st.dictionaries(_names, _anything, max_size=30)))
def test_only_counts_of_well_named_units_are_kept(told):
    kept = counted(told)
    assert len(kept) <= MAX_UNITS
    for unit, count in kept.items():
        assert told[unit] == count
        assert type(count) is int
        assert 0 <= count <= MAX_COUNT
        assert unit.isascii()
        assert len(unit) <= 40
    assert not kept.keys() & {"requests", "duration_us", "engine_us"}


def test_plain_counts_are_kept():
    assert counted({"images": 2, "input_tokens": 0}) == {"images": 2, "input_tokens": 0}
    assert counted({"images": True, "rows": -1, "items": 1.0, "Big": 1, "=x": 1}) == {}
