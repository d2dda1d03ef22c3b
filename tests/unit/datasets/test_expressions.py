"""Expressions: what they find, what is refused, and that no text does anything else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelry.datasets import filtering
from modelry.datasets.expressions import MAX_CHARS, columns_of, parse
from modelry.domain.datasets import Column, ColumnType, Schema
from modelry.domain.errors import InvalidInput
from modelry.testing.datasets import batch_of

SCHEMA = Schema(
    (
        Column("n", ColumnType.INTEGER, is_nullable=True),
        Column("x", ColumnType.NUMBER),
        Column("s", ColumnType.TEXT, is_nullable=True),
        Column("b", ColumnType.BOOLEAN),
        Column("t", ColumnType.TIME),
        Column("odd name", ColumnType.INTEGER),
        Column("boxes", ColumnType.BOXES, classes=("a",)),
        Column("pixels", ColumnType.TENSOR, shape=(1,), dtype="uint8"),
    )
)
ROWS = batch_of(
    SCHEMA,
    {
        "n": [1, 2, None, 4],
        "x": [0.5, 1.5, 2.5, float("nan")],
        "s": ["cat", "dog", None, ""],
        "b": [True, False, True, False],
        "t": [datetime(2024, one, 1, tzinfo=UTC) for one in (1, 2, 3, 4)],
        "odd name": [10, 20, 30, 40],
        "boxes": [[], [(0, 1, 1, 1, 1)], [(0, 1, 1, 1, 1)] * 2, []],
        "pixels": [[0], [1], [2], [3]],
    },
)


def found(expression: str) -> list[int]:
    condition = parse(expression)
    filtering.check_filter(SCHEMA, condition)
    kept = filtering.kept_rows(SCHEMA, condition, ROWS).to_pylist()
    return [at for at, one in enumerate(kept) if one]


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ("n == 1", [0]),
        ("n != 1", [1, 3]),
        ("n < 4 and x > 0.5", [1]),
        ("n < 2 or n > 3", [0, 3]),
        ("not n == 1", [1, 3]),
        ("not (b or n > 3)", [1]),
        ("0 < n <= 2", [0, 1]),
        ("n is None", [2]),
        ("n is not None", [0, 1, 3]),
        ("s == None", [2]),
        ("s in ['cat', 'dog']", [0, 1]),
        ("s not in ['cat']", [1, 3]),
        ("n in []", []),
        ("b", [0, 2]),
        ("b == False", [1, 3]),
        ("length(s) == 3", [0, 1]),
        ("length(boxes) >= 1", [1, 2]),
        ("contains(s, 'a')", [0]),
        ("starts_with(s, 'd') or ends_with(s, 't')", [0, 1]),
        ("column('odd name') > 25", [2, 3]),
        ("n > -1", [0, 1, 3]),
        ("n < 1.5", [0]),
        ("n < 99999999999999999999", [0, 1, 3]),
        ("t >= '2024-03-01T00:00:00Z'", [2, 3]),
        ("x == x", [0, 1, 2]),
        ("1 == 1", [0, 1, 2, 3]),
        ("x > n", []),
    ],
)
def test_rows_are_found(expression: str, rows: list[int]) -> None:
    assert found(expression) == rows


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("n ==", "cannot be read"),
        ("", "cannot be read"),
        ("__import__('os').system('true')", "cannot stand"),
        ("n.bit_length() > 1", "cannot stand"),
        ("[n for n in n]", "cannot stand"),
        ("(lambda: 1)() == 1", "cannot stand"),
        ("n + 1 == 2", "cannot stand"),
        ("f'{n}' == '1'", "cannot stand"),
        ("s == b'cat'", "cannot stand"),
        ("s in s", "cannot stand"),
        ("(n := 3) == 3", "cannot stand"),
        ("n == 1j", "cannot stand"),
        ("contains(s, n)", "cannot stand"),
        ("length(s, n) == 1", "cannot stand"),
        ("missing == 1", "reads the column 'missing'; there are n, x"),
        ("n == 'one'", "type 'integer' with 'one'"),
        ("s == 1", "type 'text' with 1"),
        ("b == 1", "type 'boolean' with 1"),
        ("n == True", "type 'integer' with True"),
        ("pixels == 1", "cannot be compared"),
        ("length(n) == 1", "cannot be asked for its length"),
        ("contains(n, 'a')", "cannot be tested for a text"),
        ("n", "cannot be a condition by itself"),
        ("t > 'soon'", "no time with a time zone"),
        ("t > '2024-01-01'", "no time with a time zone"),
        ("(" * 300 + "b" + ")" * 300, "cannot be read"),
        ("not " * 60 + "b", "nested more than"),
        ("-" * 3000 + "1 == n", "cannot"),
        ("b or " * (MAX_CHARS // 5) + "b", "characters"),
    ],
)
def test_anything_else_is_refused(expression: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        found(expression)


@settings(max_examples=60)
@given(st.text(max_size=60) | st.text("nsxb()[]'\"=<>!,. andorit1", max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        condition = parse(text)
    except InvalidInput:
        return
    assert isinstance(columns_of(condition), set)


@settings(max_examples=30)
@given(st.integers(-(2**70), 2**70), st.sampled_from(["==", "!=", "<", "<=", ">", ">="]))
def test_comparisons_are_those_of_numbers(value: int, operator: str) -> None:
    numbers: list[Any] = [1, 2, 4]
    expected = [one for one in numbers if eval(f"{one} {operator} {value}")]
    kept = [ROWS["n"][at].as_py() for at in found(f"n {operator} {value}")]
    assert kept == expected
