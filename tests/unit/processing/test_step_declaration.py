import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelry.domain.errors import ManifestInvalid
from modelry.processing.declaration import MAX_STEPS, normalize_steps
from modelry.processing.kinds import SIDES
from modelry.processing.registry import find_step, step_names

KINDS = [(side, name) for side in SIDES for name in step_names(side)]

words = st.text("abz:/01é\ud800", max_size=6)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
plausible = (
    st.sampled_from([0, 1, 2, 224, -1, 0.5, 1.0, "1/255", "rgb", "nchw", "mean", "dfl", True, None])
    | st.lists(st.integers(0, 300), min_size=1, max_size=4)
    | json_values
)


def parameters_of(kind: tuple[Any, str]) -> Any:
    declared = find_step(*kind)
    names = [*(parameter.name for parameter in declared.parameters), "zzz"]
    values = st.dictionaries(st.sampled_from(names), plausible, max_size=3)
    return st.tuples(st.just(kind), values)


def message(steps: Any, side: Any = "pre") -> ManifestInvalid:
    with pytest.raises(ManifestInvalid) as caught:
        normalize_steps(steps, side)
    return caught.value


def test_all_ways_to_write_a_step_mean_the_same():
    full = normalize_steps([{"step": "resize", "size": 256}], "pre")
    assert normalize_steps([{"resize": 256}], "pre") == full
    assert normalize_steps([{"resize": {"size": 256}}], "pre") == full
    assert full == [{"step": "resize", "size": 256, "interpolation": "bilinear", "antialias": True}]
    assert normalize_steps(["softmax", {"softmax": None}], "post") == [{"step": "softmax"}] * 2


def test_fractions_are_written_out():
    (step,) = normalize_steps([{"scale": "1/255"}], "pre")
    assert step["factor"] == pytest.approx(1 / 255)


@pytest.mark.parametrize(
    ("steps", "param", "words"),
    [
        ("softmax", "post", ["list of steps"]),
        ({"softmax": None}, "post", ["list of steps"]),
        (["softmxa"], "post[0]", ["softmxa", "Did you mean 'softmax'?"]),
        (["softmax", {"decode": "rgb"}], "post[1].decode", ["belongs under 'pre'"]),
        ([{"top_k": 0}], "post[0].top_k", ["'k' is 0", "integer from 1 to"]),
        ([{"top_k": True}], "post[0].top_k", ["'k' is True"]),
        ([{"top_k": 2**300}], "post[0].top_k", ["more than 77 digits"]),
        ([{"top_k": {"n": 3}}], "post[0].top_k", ["no parameter 'n'"]),
        ([{"softmax": 3}], "post[0].softmax", ["takes no bare value", "no parameters"]),
        ([{"decode_boxes": None}], "post[0].decode_boxes", ["'family' is missing", "'yolov8'"]),
        ([{"nms": math.nan}], "post[0].nms", ["number from 0 to 1"]),
        ([5], "post[0]", ["is 5"]),
        ([{"a": 1, "b": 2}], "post[0]", ["expected a step's name"]),
        ([{5: 1}], "post[0]", ["expected a step's name"]),
        ([{"step": ["x"]}], "post[0]", ["not known"]),
    ],
)
def test_errors_say_where_what_and_what_instead(steps, param, words):
    error = message(steps, "post")
    assert error.param == param
    for word in words:
        assert word in error.message


def test_the_number_of_steps_is_bounded():
    assert "at most" in message(["softmax"] * (MAX_STEPS + 1), "post").message


def test_messages_stay_short_whatever_is_given():
    assert len(message([{"resize": "x" * 100_000}]).message) < 500
    assert len(message(["x" * 100_000]).message) < 500


@settings(deadline=None)
@given(st.sampled_from(KINDS).flatmap(parameters_of))
def test_any_values_are_refused_or_kept_for_good(drawn):
    (side, name), given_values = drawn
    try:
        kept = normalize_steps([{name: given_values}], side)
    except ManifestInvalid:
        return
    assert normalize_steps(kept, side) == kept
    assert json.loads(json.dumps(kept, allow_nan=False)) == kept


@settings(deadline=None)
@given(json_values)
def test_any_list_is_refused_or_normalised(value):
    with contextlib.suppress(ManifestInvalid):
        normalize_steps([value], "pre")


@pytest.mark.parametrize("kind", KINDS)
def test_every_step_says_what_it_does(kind):
    declared = find_step(*kind)
    assert declared.run.__doc__
    assert declared.shorthand is None or declared.shorthand in {
        parameter.name for parameter in declared.parameters
    }
