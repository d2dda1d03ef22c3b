"""Conditions: how they are read, told and checked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelry.domain.errors import InvalidInput
from modelry.services.pipelines.conditions import Condition, read_conditions


@pytest.mark.parametrize(
    ("text", "condition", "told"),
    [
        ("accuracy>=0.9", Condition("accuracy", ">=", 0.9), "accuracy >= 0.9"),
        (" log_loss < 1e-3 ", Condition("log_loss", "<", 0.001), "log_loss < 0.001"),
        ("r2 > -0.5", Condition("r2", ">", -0.5), "r2 > -0.5"),
        ("f1 >= champion", Condition("f1", ">=", 0, "champion"), "f1 >= champion"),
        ("f1<=v2-old", Condition("f1", "<=", 0, "v2-old"), "f1 <= v2-old"),
        ("map_50 > boxes@3", Condition("map_50", ">", 0, "boxes@3"), "map_50 > boxes@3"),
        (
            "accuracy >= pets@best - 0.01",
            Condition("accuracy", ">=", -0.01, "pets@best"),
            "accuracy >= pets@best - 0.01",
        ),
        ("ece <= champion + 0.02", Condition("ece", "<=", 0.02, "champion"), "ece <= champion + 0.02"),  # noqa: E501
        ("accuracy >= 0.9 + 0.05", Condition("accuracy", ">=", 0.9 + 0.05), "accuracy >= 0.9500000000000001"),  # noqa: E501
    ],
)  # fmt: skip
def test_conditions_are_read(text: str, condition: Condition, told: str) -> None:
    [found] = read_conditions(text)
    assert found == condition
    assert str(found) == told
    assert read_conditions([str(found)]) == (found,)


@pytest.mark.parametrize(
    "given",
    [
        "accuracy", "accuracy = 0.9", "accuracy == 0.9", "accuracy >= ", ">= 0.9", "a >= nan",
        "a >= inf", "a >= Champion", "a >= x@", "a >= @3", "a >= champion - nan", "a >= 1 - 1e999",
        "a >= b >= c", "a >= b; drop", "", "x" * 400, 5, [5], [None], {"a": 1}, ["a >= 1"] * 17,
    ],
)  # fmt: skip
def test_what_is_no_condition_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInput) as told:
        read_conditions(given)
    assert told.value.param == "when"


def test_none_are_none() -> None:
    assert read_conditions(None) == read_conditions([]) == ()


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([">=", ">", "<=", "<"]))
def test_what_is_told_is_what_was_meant(number: float, sign: str) -> None:
    condition = Condition("accuracy", sign, number)
    assert read_conditions(str(condition)) == (condition,)


@pytest.mark.parametrize(
    ("sign", "worse", "same", "better"),
    [(">=", False, True, True), (">", False, False, True),
     ("<=", True, True, False), ("<", True, False, False)],
)  # fmt: skip
def test_signs(sign: str, worse: bool, same: bool, better: bool) -> None:
    condition = Condition("accuracy", sign, 0.5)
    assert [condition.is_met(value, 0.5) for value in (0.4, 0.5, 0.6)] == [worse, same, better]
    assert not condition.is_met(float("nan"), 0.5)
