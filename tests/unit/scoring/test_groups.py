"""Groups of a sensitive column in the report of an evaluation."""

from __future__ import annotations

from typing import Any

import pytest

from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema
from modelry.domain.errors import InvalidInput, NotSupported
from modelry.scoring.contract import Answers, Question, Rows, Subject
from modelry.scoring.scorers import scorer_for
from modelry.testing.datasets import rows_of

SEX = Column("sex", ColumnType.TEXT, ColumnRole.IGNORED, is_nullable=True)
AGE = Column("age", ColumnType.NUMBER)


def label(*classes: str) -> Column:
    return Column("loan", ColumnType.TEXT, ColumnRole.LABEL, classes=classes)


def report(subject: Subject, columns: dict[str, list[Any]], said: list[Any]) -> dict[str, Any]:
    """The report on rows that are answered with `said`, a class with score 0.8 or a number."""
    scorer = scorer_for(subject)
    (batch,) = rows_of(subject.schema, {"test": columns}).batches("test", list(scorer.columns))
    rows = Rows(batch, 0)
    question: Question = scorer.question(rows)
    assert len(question.items) == len(said)
    scorer.add(
        rows,
        Answers(
            [
                {"labels": [{"label": one, "score": 0.8}]} if isinstance(one, str)
                else {"value": one}
                for one in said
            ]
        ),
    )  # fmt: skip
    told: dict[str, Any] = scorer.report()
    return told


def asked(*classes: str, **more: Any) -> Subject:
    schema = Schema((AGE, SEX, label(*classes)))
    return Subject("tabular", schema, features=("age",), groups=("sex",), **more)


WOMEN, MEN = 20, 30
COLUMNS: dict[str, list[Any]] = {
    "age": [1.0] * 55,
    "sex": ["f"] * WOMEN + ["m"] * MEN + [None] * 5,
    "loan": ["no", "yes"] * 27 + ["no"],
}
SAID = ["yes"] * 5 + ["no"] * 15 + ["yes"] * 15 + ["no"] * 15 + ["yes"] * 5


def test_groups_are_compared_by_the_second_of_two_classes() -> None:
    told = report(asked("no", "yes"), COLUMNS, SAID)
    found = told["groups"]["sex"]
    women, men, missing = found["groups"]
    assert (women["value"], women["rows"], women["selection_rate"]) == ("f", 20, 0.25)
    assert (men["value"], men["rows"], men["selection_rate"]) == ("m", 30, 0.5)
    assert (missing["value"], missing["is_compared"]) == ("(missing)", False)
    assert found["favourable"] == "yes"
    difference = found["metrics"]["demographic_parity_difference"]
    assert difference["value"] == pytest.approx(0.25)
    assert difference["low"] < 0.25 < difference["high"]
    assert found["metrics"]["demographic_parity_ratio"]["value"] == pytest.approx(0.5)
    assert told["metrics"]["demographic_parity_difference[sex]"] == difference
    # said with 0.8, right in 50 %: of the women 2 of the first 5 "yes", 8 of the 15 "no"
    right = sum(
        one == other for one, other in zip(COLUMNS["loan"][:WOMEN], SAID[:WOMEN], strict=True)
    )
    assert women["ece"]["value"] == pytest.approx(abs(0.8 - right / WOMEN))


def test_another_class_may_count() -> None:
    found = report(asked("no", "yes", favourable="no"), COLUMNS, SAID)["groups"]["sex"]
    assert (found["favourable"], found["groups"][0]["selection_rate"]) == ("no", 0.75)
    with pytest.raises(InvalidInput, match="the classes are no, yes"):
        scorer_for(asked("no", "yes", favourable="perhaps"))


def test_of_more_classes_the_worst_one_is_told() -> None:
    found = report(asked("no", "yes", "later"), COLUMNS, SAID)["groups"]["sex"]
    assert found["favourable"] is None
    assert [one["label"] for one in found["by_class"]] == ["no", "yes", "later"]
    worst = max(one["demographic_parity_difference"]["value"] for one in found["by_class"])
    assert found["metrics"]["demographic_parity_difference"]["value"] == worst


def test_a_small_group_is_told_and_not_compared() -> None:
    columns = {**COLUMNS, "sex": ["f"] * 5 + ["m"] * 50}
    told = report(asked("no", "yes"), columns, SAID)
    assert [one["is_compared"] for one in told["groups"]["sex"]["groups"]] == [False, True]
    assert told["groups"]["sex"]["metrics"] == {}
    assert not any("[sex]" in name for name in told["metrics"])


def test_numbers_are_compared_by_their_means_and_errors() -> None:
    worth = Column("worth", ColumnType.NUMBER, ColumnRole.LABEL)
    subject = Subject(
        "tabular", Schema((AGE, SEX, worth)), features=("age",), groups=("sex",)
    )  # fmt: skip
    columns = {"age": [1.0] * 40, "sex": ["f", "m"] * 20, "worth": [10.0] * 40}
    told = report(subject, columns, [10.0, 13.0] * 20)
    found = told["groups"]["sex"]
    assert found["metrics"]["answer_difference"]["value"] == pytest.approx(3)
    assert told["metrics"]["error_difference[sex]"]["value"] == pytest.approx(3)
    assert found["groups"][1]["mean_absolute_error"]["value"] == pytest.approx(3)


def test_written_texts_have_no_groups() -> None:
    schema = Schema(
        (
            Column("de", ColumnType.TEXT, ColumnRole.SOURCE),
            Column("en", ColumnType.TEXT, ColumnRole.TARGET),
            SEX,
        )
    )
    with pytest.raises(NotSupported, match="'translation' give neither"):
        scorer_for(Subject("translation", schema, groups=("sex",)))
