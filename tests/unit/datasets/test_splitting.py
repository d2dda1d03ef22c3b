"""Rows are shared out by their content: alike, repeatably, and never the same one twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.datasets.test_shards import EVERY_TYPE, some_rows

from modelry.datasets import splitting
from modelry.datasets.plans import SplitPlan, read_plan
from modelry.datasets.row_hashes import row_hashes, telling
from modelry.datasets.splitting import Splitter
from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema
from modelry.domain.errors import InvalidInput
from modelry.testing.datasets import batch_of

LABELLED = Schema(
    (
        Column("id", ColumnType.INTEGER, ColumnRole.ID),
        Column("n", ColumnType.INTEGER),
        Column("label", ColumnType.TEXT, ColumnRole.LABEL, classes=("a", "b", "c")),
    )
)


def rows(numbers: list[int], labels: list[str], ids: list[int] | None = None) -> pa.RecordBatch:
    return batch_of(
        LABELLED, {"id": ids or list(range(len(numbers))), "n": numbers, "label": labels}
    )


def shared(schema: Schema, plan: dict[str, Any], *batches: pa.RecordBatch) -> dict[str, pa.Table]:
    splitter = Splitter(schema, read_plan(SplitPlan, plan, "split"))
    for one in batches:
        splitter.look(one)
    splitter.settle()
    found: dict[str, list[pa.RecordBatch]] = {name: [] for name in splitter.names}
    for one in batches:
        for name, part in splitter.share(one):
            found[name].append(part)
    return {name: pa.Table.from_batches(parts) for name, parts in found.items()}


def test_every_class_is_shared_out_to_the_row() -> None:
    labels = ["a"] * 700 + ["b"] * 200 + ["c"] * 100
    batch = rows(list(range(1000)), labels)

    found = shared(
        LABELLED, {"fractions": {"train": 0.7, "validation": 0.1, "test": 0.2}, "seed": 3}, batch
    )

    assert Counter(found["train"]["label"].to_pylist()) == {"a": 490, "b": 140, "c": 70}
    assert Counter(found["validation"]["label"].to_pylist()) == {"a": 70, "b": 20, "c": 10}
    assert Counter(found["test"]["label"].to_pylist()) == {"a": 140, "b": 40, "c": 20}
    assert sorted(n for one in found.values() for n in one["n"].to_pylist()) == list(range(1000))
    assert found["train"]["n"].to_pylist() == sorted(found["train"]["n"].to_pylist())


def test_many_small_classes_together_meet_the_proportions() -> None:
    schema = Schema((Column("n", ColumnType.INTEGER), Column("kind", ColumnType.TEXT)))
    kinds = [f"k{one // 2}" for one in range(1000)]
    batch = batch_of(schema, {"n": list(range(1000)), "kind": kinds})

    found = shared(schema, {"fractions": {"train": 0.8, "test": 0.2}, "stratify": "kind"}, batch)

    assert 150 < len(found["test"]) < 250


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(40)), st.integers(1, 39))
def test_the_order_of_rows_does_not_matter(order: list[int], cut: int) -> None:
    plan = {"fractions": {"train": 0.75, "test": 0.25}, "seed": 5}
    labels = ["ab"[one % 2] for one in range(40)]
    batch = rows(list(range(40)), labels)
    turned = batch.take(pa.array(order))

    one = shared(LABELLED, plan, batch)
    other = shared(LABELLED, plan, turned.slice(0, cut), turned.slice(cut))

    assert set(one["test"]["n"].to_pylist()) == set(other["test"]["n"].to_pylist())
    assert len(one["test"]) == 10


def test_the_same_content_is_never_in_two_splits() -> None:
    numbers = [one % 50 for one in range(500)]
    batch = rows(numbers, ["a"] * 500)  # with ids that differ

    found = shared(LABELLED, {"fractions": {"train": 0.5, "test": 0.5}}, batch)

    train, test = (set(found[name]["n"].to_pylist()) for name in ("train", "test"))
    assert not train & test
    assert train | test == set(range(50))


def test_another_seed_shares_out_otherwise() -> None:
    batch = rows(list(range(200)), ["a", "b"] * 100)
    plan = {"fractions": {"train": 0.5, "test": 0.5}}

    one, other = (shared(LABELLED, plan | {"seed": seed}, batch)["test"] for seed in (1, 2))

    common = set(one["n"].to_pylist()) & set(other["n"].to_pylist())
    assert 25 < len(common) < 75


def test_more_rows_than_are_remembered_are_shared_out_by_chance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(splitting, "MAX_EXACT_ROWS", 100)
    batches = [rows(list(range(at, at + 500)), ["a"] * 500) for at in range(0, 2000, 500)]

    found = shared(LABELLED, {"fractions": {"train": 0.8, "test": 0.2}}, *batches)

    assert 300 < len(found["test"]) < 500
    assert len(found["train"]) + len(found["test"]) == 2000


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ({"stratify": "colour"}, "no column 'colour' to stratify by; there are id, n, label"),
        (
            {"fractions": {"train": 0.99, "test": 0.01}, "seed": 1},
            "The split 'test' would have no rows",
        ),
    ],
)
def test_what_cannot_be_shared_out_is_refused(plan: dict[str, Any], says: str) -> None:
    batch = rows([1, 2, 3], ["a", "a", "a"])
    with pytest.raises(InvalidInput, match=says):
        shared(LABELLED, {"fractions": {"train": 0.5, "test": 0.5}} | plan, batch)


def test_columns_that_cannot_be_told_apart_are_no_strata(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = Schema((Column("x", ColumnType.NUMBER), Column("s", ColumnType.TEXT)))
    batch = batch_of(schema, {"x": [0.5] * 9, "s": [str(one) for one in range(9)]})
    plan = {"fractions": {"train": 0.5, "test": 0.5}}
    with pytest.raises(InvalidInput, match="'x' of the type 'number'"):
        shared(schema, plan | {"stratify": "x"}, batch)
    monkeypatch.setattr(splitting, "MAX_STRATA", 5)
    with pytest.raises(InvalidInput, match="more than 5 values"):
        shared(schema, plan | {"stratify": "s"}, batch)


def test_hashes_follow_from_content_alone() -> None:
    batch = some_rows()
    columns = telling(EVERY_TYPE)

    whole = row_hashes(columns, batch)

    apart = np.concatenate([row_hashes(columns, batch.slice(at, 1)) for at in range(len(batch))])
    assert (whole == apart).all()
    assert len(set(whole.tolist())) == len(batch)
    for at, column in enumerate(EVERY_TYPE.columns):
        other = [one if at != i else one.take(pa.array([1, 2, 0])) for i, one in enumerate(batch)]
        changed = row_hashes(columns, pa.RecordBatch.from_arrays(other, schema=batch.schema))
        is_same_everywhere = len(batch.column(at).unique()) == 1 if at == 4 else False
        assert (changed == whole).all() == is_same_everywhere, column.name


def test_hashes_are_the_same_everywhere() -> None:
    schema = Schema((Column("n", ColumnType.INTEGER), Column("s", ColumnType.TEXT)))
    batch = batch_of(schema, {"n": [1, 2], "s": ["a", "ä"]})
    assert row_hashes(schema, batch).tolist() == [KNOWN_1, KNOWN_2]


KNOWN_1, KNOWN_2 = 576424478385480105, 2119722075839451007
"""Written down once: a change of them would share rows out otherwise than before."""
