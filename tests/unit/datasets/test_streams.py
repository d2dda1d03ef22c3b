"""What each step of a derivation makes of rows, and what it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest

from modelry.datasets.deriving import VersionRows, derived
from modelry.datasets.plans import read_steps
from modelry.datasets.writing import RowStream
from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema
from modelry.domain.errors import InvalidInput, RowsInvalid
from modelry.testing.datasets import rows_of

SCHEMA = Schema(
    (
        Column("id", ColumnType.TEXT, ColumnRole.ID),
        Column("n", ColumnType.INTEGER, is_nullable=True),
        Column("kind", ColumnType.TEXT),
    )
)
SPLITS: Mapping[str, Any] = {
    "train": {"id": ["a", "b", "c"], "n": [1, 2, None], "kind": ["x", "y", "x"]},
    "test": {"id": ["d", "e"], "n": [2, 5], "kind": ["y", "z"]},
}


def source(
    schema: Schema = SCHEMA, splits: Mapping[str, Any] = SPLITS, batch_rows: int = 2
) -> RowStream:
    return VersionRows(rows_of(schema, splits), list(splits), batch_rows=batch_rows)


def made(*steps: Any, of: tuple[RowStream, ...] = ()) -> tuple[Schema, dict[str, dict[str, Any]]]:
    stream = derived(of or (source(),), read_steps(list(steps)))
    found: dict[str, list[pa.RecordBatch]] = {name: [] for name in stream.splits}
    for name, batch in stream.rows():
        found[name].append(batch)
    tables = {
        name: pa.Table.from_batches(parts).to_pydict() if parts else {}
        for name, parts in found.items()
    }
    return stream.schema, tables


def test_no_steps_change_nothing() -> None:
    schema, found = made()
    assert schema == SCHEMA
    assert found == SPLITS


def test_rows_are_filtered_in_every_split() -> None:
    _, found = made({"filter": "n >= 2"})
    assert {name: one["id"] for name, one in found.items()} == {"train": ["b"], "test": ["d", "e"]}


def test_splits_are_joined_left_out_and_shared_out() -> None:
    _, found = made({"join": ["train", "test"], "to": "all"})
    assert found["all"]["id"] == ["a", "b", "c", "d", "e"]
    _, found = made({"splits": ["test"]})
    assert list(found) == ["test"]
    _, found = made({"split": {"fractions": {"one": 0.5, "two": 0.5}}, "of": "train"})
    assert list(found) == ["one", "two", "test"]
    assert sorted(found["one"]["id"] + found["two"]["id"]) == ["a", "b", "c"]
    _, found = made({"split": {"fractions": {"train": 0.6, "test": 0.4}, "seed": 1}})
    assert (len(found["train"]["id"]), len(found["test"]["id"])) == (3, 2)


def test_columns_are_renamed_left_out_and_given_other_types() -> None:
    schema, found = made({"rename": {"n": "number", "kind": "n"}}, {"drop": ["id"]})
    assert [one.name for one in schema.columns] == ["number", "n"]
    assert found["test"] == {"number": [2, 5], "n": ["y", "z"]}
    schema, found = made({"types": {"n": "number"}})
    assert found["train"]["n"] == [1.0, 2.0, None]
    schema, found = made({"types": {"n": "text"}})
    assert found["train"]["n"] == ["1", "2", None]


def test_a_text_that_becomes_a_label_has_classes() -> None:
    schema, _ = made({"roles": {"kind": "label", "n": "weight"}})
    (label,) = schema.with_role(ColumnRole.LABEL)
    assert label.classes == ("x", "y", "z")
    schema, _ = made({"roles": {"kind": "label"}}, {"classes": {"kind": ["z", "y", "x", "w"]}})
    assert schema.with_role(ColumnRole.LABEL)[0].classes == ("z", "y", "x", "w")
    schema, _ = made({"roles": {"kind": "label"}}, {"roles": {"kind": "ignored"}})
    assert schema.columns[2].classes == ()


def test_numbers_can_become_classes() -> None:
    labels = Schema((Column("y", ColumnType.INTEGER, ColumnRole.LABEL),))
    schema, found = made(
        {"types": {"y": "text"}}, of=(source(labels, {"train": {"y": [3, 1, 3]}}),)
    )
    (label,) = schema.columns
    assert (label.role, label.classes) == (ColumnRole.LABEL, ("1", "3"))
    assert found["train"]["y"] == ["3", "1", "3"]


def test_the_same_content_is_kept_once_and_where_it_comes_first() -> None:
    splits = {
        "test": {"id": ["1", "2"], "n": [7, 8], "kind": ["x", "x"]},
        "train": {"id": ["3", "4", "5"], "n": [7, 7, 9], "kind": ["x", "y", "x"]},
    }
    _, found = made({"distinct": True}, of=(source(splits=splits),))
    assert found["test"]["id"] == ["1", "2"]
    assert found["train"]["id"] == ["4", "5"]


def test_a_sample_follows_from_content_and_seed() -> None:
    numbers = list(range(200))
    splits = {"train": {"id": [str(n) for n in numbers], "n": numbers, "kind": ["x"] * 200}}

    def sampled(seed: int) -> list[str]:
        step = {"sample": 0.25, "seed": seed}
        ids: list[str] = made(step, of=(source(splits=splits, batch_rows=64),))[1]["train"]["id"]
        return ids

    assert 25 < len(sampled(0)) < 75
    assert sampled(0) == sampled(0) != sampled(1)


BOXED = (
    Schema((Column("o", ColumnType.BOXES, classes=("cat", "dog"), is_nullable=True),)),
    Schema((Column("o", ColumnType.BOXES, classes=("dog", "cow")),)),
)


def test_versions_are_appended_and_classes_put_together() -> None:
    schema, found = made(
        of=(source(), source(splits={"more": SPLITS["test"], "test": SPLITS["test"]}))
    )
    assert {name: len(one["id"]) for name, one in found.items()} == {
        "train": 3,
        "test": 4,
        "more": 2,
    }
    one = source(BOXED[0], {"train": {"o": [[(1, 0, 0, 1, 1)], None]}})
    other = source(BOXED[1], {"train": {"o": [[(0, 0, 0, 2, 2), (1, 0, 0, 3, 3)], []]}})
    schema, found = made(of=(one, other))
    assert schema.columns[0].classes == ("cat", "dog", "cow")
    boxes = found["train"]["o"]
    assert [[box["label"] for box in row] if row is not None else None for row in boxes] == [
        [1],
        None,
        [1, 2],
        [],
    ]


OTHER = Schema((Column("id", ColumnType.INTEGER),))


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ({"filter": "colour == 'red'"}, "reads the column 'colour'"),
        ({"join": ["train", "dev"], "to": "all"}, "no split 'dev'; there are train, test"),
        ({"join": ["train"], "to": "test"}, "There is a split 'test' already"),
        ({"splits": ["dev"]}, "no split 'dev'"),
        ({"split": {"fractions": {"test": 1}}, "of": "train"}, "a split 'test' already"),
        ({"rename": {"m": "k"}}, "no column 'm'"),
        ({"rename": {"n": "kind"}}, "Two columns would be called 'kind'"),
        ({"drop": ["id", "n", "kind"]}, "No column would be left"),
        ({"types": {"n": "time"}}, "is integer and cannot become time"),
        ({"classes": {"kind": ["x"]}}, "has no classes"),
        ({"roles": {"kind": "colour"}}, "steps.0.roles.kind"),
        ({"sample": 2}, "steps.0.sample"),
        ({"join": ["train"]}, "steps.0.to"),
        ({"distinct": False}, "steps.0.distinct"),
    ],
)
def test_steps_that_do_not_suit_are_refused(step: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        made(step)


def test_rows_that_do_not_suit_are_named() -> None:
    with pytest.raises(RowsInvalid, match="'kind' cannot become integer, in the split 'train'"):
        made({"types": {"kind": "integer"}})
    with pytest.raises(RowsInvalid, match="Row 2 of the split 'test' has a label"):
        made({"roles": {"kind": "label"}}, {"classes": {"kind": ["x", "y"]}})
    with pytest.raises(
        InvalidInput, match=r"'id' of the type text, another has one of the type int"
    ):
        made(of=(source(), source(OTHER, {"train": {"id": [1]}})))
