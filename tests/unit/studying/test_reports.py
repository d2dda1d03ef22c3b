"""What is made of many answers and explanations, against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelry.domain.datasets import Schema
from modelry.domain.errors import InvalidInput
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.items import decode_item
from modelry.runtime_api.work import Answer
from modelry.scoring.contract import Subject
from modelry.studying.allowance import Allowance
from modelry.studying.asking import Asking
from modelry.studying.contract import Plan, Shards, StudiedRow
from modelry.studying.dependence import partial_dependence
from modelry.studying.examples import MOST_CLASSES, by_class
from modelry.studying.explained import ExplainedRows
from modelry.studying.parts import PartTable, part_table
from modelry.studying.permutation import permutation_importance
from modelry.studying.rows import spread

Row = Mapping[str, Any]


class Host:
    """Has rows answered by a function; refuses those that it raises for, as servers do."""

    def __init__(self, answer: Callable[[Row], Any]) -> None:
        self.stop = StopSignal()
        self.options: list[Mapping[str, Any]] = []
        self._answer = answer

    def ask(self, what: str, header: Mapping[str, Any], body: bytes = b"") -> Answer:
        assert what == "predict"
        self.options.append(header["options"])
        items = [decode_item(one, body) for one in header["items"]]
        return Answer({"items": [self._answer(one["row"]) for one in items]})


def asking(answer: Callable[[Row], Any], *steps: str) -> tuple[Asking, Host]:
    host = Host(answer)
    subject = Subject("tabular", Schema(()), steps=steps)
    nothing = Shards("only", ())
    plan = Plan(subject, nothing, nothing, 1, 0)
    return Asking(host, plan, Allowance(None, wants_more=False)), host  # type: ignore[arg-type] # as far as needed


def rows(labels: Sequence[Any], **columns: Sequence[Any]) -> list[StudiedRow]:
    return [
        StudiedRow(at, {"row": {name: cells[at] for name, cells in columns.items()}}, label, {})
        for at, label in enumerate(labels)
    ]


def ranked(**scores: float) -> dict[str, Any]:
    order = sorted(scores.items(), key=lambda one: -one[1])
    return {"labels": [{"label": name, "score": score} for name, score in order]}


def shuffled(labels: Sequence[Any], answer: Callable[[Row], Any], **columns: Any) -> dict[str, Any]:
    asked, _ = asking(answer)
    return permutation_importance(asked, rows(labels, **columns), 3, 0, lambda *_: None)


def test_whole_numbers_are_the_names_of_classes_where_those_are_answered() -> None:
    x = [0, 1] * 10
    told = shuffled(x, lambda row: ranked(**{str(row["x"]): 0.9, "other": 0.1}), x=x, noise=x)
    columns = {one["name"]: one for one in told["columns"]}
    assert told["base"]["error_rate"]["value"] == 0
    assert 0.3 < columns["x"]["error_rate"]["value"] < 0.7
    assert columns["noise"]["error_rate"]["value"] == 0
    assert "mean_absolute_error" not in told["base"]


def test_losses_are_left_out_where_scores_are_no_probabilities_or_not_all_told() -> None:
    labels = ["a", "b"] * 10
    x = [0, 1] * 10

    def probable(row: Row) -> Any:
        return ranked(a=0.9, b=0.1) if row["x"] == 0 else ranked(a=0.1, b=0.9)

    def best_alone(row: Row) -> Any:
        return {"labels": probable(row)["labels"][:1]}

    def odds(row: Row) -> Any:
        return ranked(a=3.0, b=-3.0) if row["x"] == 0 else ranked(a=-3.0, b=3.0)

    assert set(shuffled(labels, probable, x=x)["base"]) == {"error_rate", "log_loss"}
    for answer in (best_alone, odds):
        told = shuffled(labels, answer, x=x)
        assert set(told["base"]) == {"error_rate"}
        assert set(told["columns"][0]) == {"name", "error_rate"}


def test_answers_that_are_of_another_kind_than_the_labels_are_not_compared() -> None:
    told = shuffled(["a", "b"], lambda row: {"value": row["x"]}, x=[1, 2])
    assert "neither classes nor single numbers" in told["left_out"]
    told = shuffled([1.0, 2.0], lambda _: {"values": [1, 2]}, x=[1, 2])
    assert "neither classes nor single numbers" in told["left_out"]


def test_rows_that_the_version_does_not_take_are_left_out() -> None:
    def answer(row: Row) -> Any:
        if row["x"] is None:
            raise InvalidInput("There is no x.")
        return {"value": row["x"]}

    told = shuffled([1.0, 2.0, 3.0, 4.0], answer, x=[1.0, None, 3.0, 4.0])
    assert told["rows"] == 3
    assert told["base"]["mean_absolute_error"]["value"] == 0
    asked, _ = asking(answer)
    found = asked.each_answer([{"row": {"x": one}} for one in (None, 2.0, None)])
    assert [getattr(one, "score", None) for one in found] == [None, 2.0, None]
    assert isinstance(found[2], InvalidInput)


@pytest.mark.parametrize("steps", [("output", "top_k"), ("output",)])
def test_all_classes_are_asked_for_of_versions_that_rank_some(steps: Sequence[str]) -> None:
    asked, host = asking(lambda _: ranked(a=0.7, b=0.3), *steps)
    asked.answers([{"row": {"x": 1}}])
    assert host.options == [{"top_k": 1000, "min_score": -1e9} if "top_k" in steps else {}]


def test_a_curve_is_the_mean_of_all_rows_at_each_value() -> None:
    asked, _ = asking(lambda row: ranked(a=row["x"] / 10, b=1 - row["x"] / 10))
    told = partial_dependence(asked, rows("ab", x=[1, 3], y=[0, 0]), "x", "a")
    assert told["values"] == [1, 3]
    assert told["lines"][0]["label"] == "a"
    assert [one["value"] for one in told["lines"][0]["means"]] == pytest.approx([0.1, 0.3])


def test_as_many_are_spread_as_are_wanted_and_evenly() -> None:
    for count in range(12):
        chosen = spread(range(10), count)
        assert len(chosen) == min(count, 10)
        assert chosen == sorted(set(chosen))
        if count:
            assert max(np.diff([-1, *chosen, 10])) <= -(-10 // count) + 1


def test_every_class_has_its_prototypes_also_one_that_is_called_none() -> None:
    explained = [
        {"row": at, "label": answer, "answer": answer, "score": 0.9}
        for at, answer in enumerate(["None", "None", "yes", None])
    ]
    weights = np.array([[1.0, 0], [1, 0.1], [0, 1], [1, 1]])
    table = PartTable("table", ["a", "b"], weights, weights >= 0)
    told = by_class(table, explained)
    assert [(one["label"], one["rows"]) for one in told] == [("None", 2), ("yes", 1)]
    assert sorted(one["row"] for one in told[0]["prototypes"]) == [0, 1]


def test_of_many_classes_those_that_are_answered_most_are_told() -> None:
    names = [f"rare {at}" for at in range(MOST_CLASSES)] + ["usual"] * 2
    explained = [{"row": 0, "label": one, "answer": one, "score": 1.0} for one in names]
    ones = np.ones((len(names), 1))
    told = by_class(PartTable("table", ["a"], ones, ones > 0), explained)
    assert len(told) == MOST_CLASSES
    assert told[0]["label"] == "usual"


def test_what_is_kept_of_rows_is_the_same_after_it_was_written(tmp_path: Path) -> None:
    texts = [[("Good", 2.0), ("good", 1.0), ("cat", -1.0)], [("cat", 4.0)]]
    kept = ExplainedRows()
    for at, words in enumerate(texts):
        told = [{"text": text, "weight": weight} for text, weight in words]
        kept.add({"row": at, "attribution": {"kind": "text", "words": told}})
    file = tmp_path / "rows"
    file.write_bytes(b"".join(kept.lines()))
    again = ExplainedRows()
    with file.open("rb") as lines:
        again.add_lines(lines)
    assert [again.told(at) for at in range(2)] == [kept.told(at) for at in range(2)]
    table = part_table(again.attributions)
    assert table is not None
    assert list(table.names) == ["cat", "good"]
    assert table.weights.tolist() == [[-1, 3], [4, 0]]
    assert table.present.tolist() == [[True, True], [True, False]]
