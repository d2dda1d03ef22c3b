"""Changes that flip a decision, of models whose decisions are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from tests.support.explained import Explainer, linear
from tests.support.task_models import ServedVersion, linear_classifier, written

from modelry.domain.errors import InvalidInput
from modelry.explaining.contract import Wish
from modelry.explaining.counterfactuals import Search
from modelry.explaining.decisions import Decision

BACKGROUND = tuple([float(a), float(b), float(c)] for a, b, c in zip(
    range(0, 40, 2), range(20, 0, -1), [0, 5] * 10, strict=True
))  # fmt: skip


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Explainer:
    """The class of the greatest of three columns."""
    files = written(tmp_path_factory.mktemp("decided"), model=linear_classifier(["a", "b", "c"]))
    columns = ["a", "b", "c"]
    version = ServedVersion("tabular", files, pre=[{"columns": columns}], labels=columns)
    return Explainer(version, columns)


@pytest.fixture(scope="module")
def priced(tmp_path_factory: pytest.TempPathFactory) -> Explainer:
    """2 rooms - age + 3."""
    files = written(tmp_path_factory.mktemp("priced"), model=linear([2.0, -1.0, 0.0]))
    columns = [{"name": "rooms", "type": "number"}, {"name": "age", "type": "number"}, "garden"]
    names = ["rooms", "age", "garden"]
    return Explainer(ServedVersion("tabular", files, pre=[{"columns": columns}]), names)


def flipped(explainer: Explainer, row: list[float], **wish: Any) -> Any:
    return explainer({"row": row}, method="counterfactual", **{"background": BACKGROUND, **wish})


def test_the_nearest_change_of_one_column_is_found_and_flips_the_decision(
    decided: Explainer,
) -> None:
    explained = flipped(decided, [10.0, 2.0, 3.0])
    told = explained.told["attribution"]
    assert (told["kind"], told["found"]) == ("counterfactual", True)
    best = told["counterfactuals"][0]
    (change,) = best["changes"]
    assert best["label"] != "a"
    if change["name"] == "a":
        assert 2.0 < change["to"] <= 3.0
    else:
        assert 10.0 < change["to"] < 11.0
    row = dict(zip("abc", [10.0, 2.0, 3.0], strict=True)) | {change["name"]: change["to"]}
    again = decided({"row": row}, method="leave-one-out", background=BACKGROUND, checks=False)
    assert again.told["target"]["label"] == best["label"]
    assert again.told["target"]["score"] == pytest.approx(best["score"], abs=1e-6)
    assert explained.told["sentence"].startswith(f"It would be '{best['label']}'")
    assert explained.told["faithfulness"] is None
    assert explained.usage["model_calls"] == decided.rows - again.usage["model_calls"]


def test_a_target_and_what_may_change_are_kept_to(decided: Explainer) -> None:
    rules = {"a": {"min": 4, "max": 40, "step": 3}, "b": True}
    told = flipped(decided, [10.0, 2.0, 3.0], target="b", changeable=rules).told
    for one in told["attribution"]["counterfactuals"]:
        assert one["label"] == "b"
        changed = {change["name"]: change["to"] for change in one["changes"]}
        assert "c" not in changed
        assert (changed.get("a", 4) - 4) % 3 == 0
    assert told["target"]["label"] == "b"


def test_two_columns_change_where_one_is_not_enough(decided: Explainer) -> None:
    rules = {"a": {"min": 8, "max": 12}, "b": {"values": [6.0, 9.0]}}
    told = flipped(decided, [10.0, 2.0, 3.0], target="b", changeable=rules).told["attribution"]
    best = told["counterfactuals"][0]
    assert {one["name"] for one in best["changes"]} == {"a", "b"}
    alone = flipped(decided, [10.0, 2.0, 3.0], target="b", changeable=rules, most_changes=1).told
    assert alone["attribution"] == {
        "kind": "counterfactual", "found": False, "counterfactuals": []
    }  # fmt: skip
    assert alone["sentence"].startswith("No change of so few columns")


def test_a_number_is_brought_within_its_goal(priced: Explainer) -> None:
    told = flipped(priced, [4.0, 6.0, 1.0], goal={"above": 9}, changeable={"rooms": True}).told
    best = told["attribution"]["counterfactuals"][0]
    (change,) = best["changes"]
    assert change == {"name": "rooms", "from": 4.0, "to": pytest.approx(6.0, abs=0.1)}
    assert best["score"] > 9
    assert "rooms were 6" in told["sentence"]


def test_rows_that_were_kept_with_the_version_are_used(priced: Explainer) -> None:
    kept = Explainer(priced.version, ["rooms", "age", "garden"], background=BACKGROUND)
    told = kept({"row": [4.0, 6.0, 1.0]}, method="counterfactual", goal={"below": 0}).told
    assert told["attribution"]["found"]
    assert told["baseline"] == "the cells of 20 background rows"
    weights = kept({"row": [4.0, 6.0, 1.0]}, checks=False).told["attribution"]["columns"]
    assert [one["weight"] for one in weights] == pytest.approx([-30, 4.5, 0], abs=1e-4)


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"target": "a"}, "decided as 'a' already"),
        ({"goal": {"above": 1}}, "goal is for models that give a number"),
        ({"changeable": {"d": True}}, "'d', which is no column"),
        ({"changeable": {"a": 7}}, r"changeable\.a is 7; expected true, false"),
        ({"changeable": {"a": {"min": 3, "max": 1}}}, "min <= max"),
        ({"changeable": {"a": {"step": -1}}}, "above 0"),
        ({"changeable": {"a": {"values": [10.0]}}}, "Nothing is left that could change"),
        ({"changeable": {"a": {"values": [1.0], "min": 4}}}, "Nothing is left that could change"),
        ({"background": ()}, "background has 0 rows"),
        ({"picture": True}, "picture is for images alone"),
        ({"calls": 1}, "needs at least 2"),
    ],
)
def test_wishes_that_cannot_be_are_told(decided: Explainer, wish: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        flipped(decided, [10.0, 2.0, 3.0], **wish)


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        ({}, "say which it shall be"),
        ({"above": 3, "below": 2}, "say which it shall be"),
        ({"near": 3}, "say which it shall be"),
        ({"below": 100}, "already, within the goal"),
    ],
)
def test_goals_of_numbers_that_cannot_be_are_told(priced: Explainer, goal: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        flipped(priced, [4.0, 6.0, 1.0], goal=goal)
    with pytest.raises(InvalidInput, match="target is for classes"):
        flipped(priced, [4.0, 6.0, 1.0], goal={"above": 9}, target="0")


def test_few_calls_are_not_exceeded_and_it_is_told_that_not_all_was_tried(
    decided: Explainer,
) -> None:
    told = flipped(decided, [10.0, 2.0, 3.0], calls=30, checks=False).told
    assert told["parameters"]["calls"] <= 30
    assert not told["parameters"]["is_complete"]
    assert told["attribution"]["found"]  # half of them at least are for looking


@pytest.mark.parametrize(
    "rule",
    [
        {"min": -1e308, "max": 1e308, "step": 5e-324},
        {"min": -1e308, "max": 1e308},
        {"min": -1e308, "step": 1e307},
    ],
)
@pytest.mark.parametrize("cell", [10.0, 10])
def test_ranges_as_wide_as_numbers_go_are_kept_to(rule: dict[str, float], cell: float) -> None:
    def ask(rows: Sequence[Mapping[str, Any]]) -> Any:
        return np.array([[float(row[name]) for name in "ab"] for row in rows])

    wish = Wish(background=([0.0, 1.0], [5.0, 6.0]), changeable={"a": rule}, checks=False)
    found = Search([cell, 2.0], ["a", "b"], ask, Decision(0), wish).found()
    (change,) = found.attribution["counterfactuals"][0]["changes"]
    assert change["to"] < 2


def test_rows_of_many_columns_are_asked_a_few_at_a_time() -> None:
    names = [f"c{at}" for at in range(20_000)]
    asked: list[int] = []

    def ask(rows: Sequence[Mapping[str, Any]]) -> Any:
        asked.append(len(rows))
        return np.array([[1.0, row["c0"] + row["c1"]] for row in rows])

    row, usual = [0.0] * len(names), [0.3] * len(names)
    wish = Wish(
        background=(usual,),
        changeable={name: {"values": [0.1, 0.2, 0.3, 0.6]} for name in names[:5]},
    )
    found = Search(row, names, ask, Decision(0), wish).found()
    assert found.attribution["found"]
    assert sum(asked) > 50
    assert max(asked) <= 16  # of 148 in all, in 3 steps
