"""What is made of a version's answers, against numbers worked out by hand."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema
from modelry.domain.errors import InvalidInput, NotSupported, RowsInvalid
from modelry.scoring.contract import Answers, Question, Rows, Subject
from modelry.scoring.measuring import with_values
from modelry.scoring.scorers import scorer_for
from modelry.testing.datasets import rows_of

LABEL = Column("kind", ColumnType.TEXT, ColumnRole.LABEL, classes=("cat", "dog"))
TEXT = Column("words", ColumnType.TEXT)
PLACE = Column("place", ColumnType.TEXT, ColumnRole.IGNORED, is_nullable=True)


def scored(
    subject: Subject,
    columns: Mapping[str, Any],
    answer: Callable[[Question], Answers],
    batch_rows: int = 2,
) -> dict[str, Any]:
    scorer = scorer_for(subject)
    first = 0
    for batch in rows_of(subject.schema, {"test": columns}).batches(
        "test", list(scorer.columns), batch_rows
    ):
        rows = Rows(batch, first)
        scorer.add(rows, answer(scorer.question(rows)))
        first += batch.num_rows
    return scorer.report()


def ranked(cat: float) -> dict[str, Any]:
    labels = [
        {"label": "cat", "index": 0, "score": cat},
        {"label": "dog", "index": 1, "score": 1 - cat},
    ]
    return {"labels": sorted(labels, key=lambda one: -one["score"])}


def by_length(question: Question) -> Answers:
    """Cats are short: sure of it for one letter, unsure for two, a dog from three on."""
    chances = {1: 0.9, 2: 0.6, 3: 0.2}
    return Answers([ranked(chances[len(one["text"])]) for one in question.items])


def test_classes_are_counted_by_class_and_slice() -> None:
    subject = Subject("text-classification", Schema((TEXT, LABEL, PLACE)), slices=("place",))
    told = scored(
        subject,
        {
            "words": ["a", "bb", "ccc", "dd", "e"],
            "kind": ["cat", "cat", "dog", "dog", "dog"],
            "place": ["in", "in", "out", None, "out"],
        },
        by_length,
    )
    assert told["metrics"]["accuracy"]["value"] == pytest.approx(0.6)
    assert told["metrics"]["accuracy"]["low"] <= 0.6 <= told["metrics"]["accuracy"]["high"]
    assert told["confusion"] == {"classes": ["cat", "dog"], "counts": [[2, 0], [2, 1]]}
    cat, dog = told["per_class"]
    assert (cat["rows"], cat["precision"], cat["recall"]) == (2, 0.5, 1.0)
    assert (dog["rows"], dog["precision"], dog["recall"]) == (
        3,
        1.0,
        pytest.approx(1 / 3, abs=1e-5),
    )
    losses = -np.log([0.9, 0.6, 0.8, 0.4, 0.1])
    assert told["metrics"]["log_loss"]["value"] == pytest.approx(losses.mean())
    assert told["slices"]["place"] == [
        {"value": "in", "rows": 2, "accuracy": 1.0},
        {"value": "out", "rows": 2, "accuracy": 0.5},
        {"value": "(missing)", "rows": 1, "accuracy": 0.0},
    ]
    assert told["worst"] == [
        {"row": 4, "label": "dog", "answer": "cat", "score": 0.9},
        {"row": 3, "label": "dog", "answer": "cat", "score": 0.6},
    ]


def test_scores_that_mean_what_they_say_are_calibrated() -> None:
    rows = 1000
    kinds = ["cat"] * 600 + ["dog"] * 400
    told = scored(
        Subject("text-classification", Schema((TEXT, LABEL))),
        {"words": ["bb"] * rows, "kind": kinds},
        by_length,
        batch_rows=64,
    )
    assert told["metrics"]["accuracy"]["value"] == pytest.approx(0.6)
    assert told["metrics"]["ece"]["value"] == pytest.approx(0.0, abs=1e-9)
    (bin_,) = told["calibration"]
    assert (bin_["rows"], bin_["score"], bin_["accuracy"]) == (rows, pytest.approx(0.6), 0.6)


def test_a_class_that_no_schema_told_is_a_class_of_its_own() -> None:
    told = scored(
        Subject("text-classification", Schema((TEXT, LABEL))),
        {"words": ["a"], "kind": ["cat"]},
        lambda _: Answers([{"labels": [{"label": "bird", "index": 7, "score": 1.0}]}]),
    )
    assert told["confusion"]["classes"] == ["cat", "dog", "bird"]
    assert told["metrics"]["accuracy"]["value"] == 0.0


def test_a_version_that_tells_no_scores_gets_no_calibration() -> None:
    told = scored(
        Subject("text-classification", Schema((TEXT, LABEL))),
        {"words": ["a"], "kind": ["cat"]},
        lambda _: Answers([{"labels": [{"label": "cat", "index": 0}]}]),
    )
    assert set(told["metrics"]) == {"accuracy", "macro_f1"}
    assert "calibration" not in told


@pytest.mark.parametrize("said", [(2.5, -1.0), (-0.5, -3.0)])
def test_scores_that_are_no_probabilities_have_neither_loss_nor_calibration(
    said: tuple[float, float],
) -> None:
    """Of networks without a softmax: below 0, too, the best class is the answer."""

    def answer(question: Question) -> Answers:
        least = question.options["min_score"]
        named = zip(("cat", "dog"), said, strict=True)
        labels = [{"label": name, "score": score} for name, score in named if score >= least]
        return Answers([{"labels": labels} for _ in question.items])

    subject = Subject("text-classification", Schema((TEXT, LABEL, PLACE)), groups=("place",))
    places = ["in"] * 10 + ["out"] * 10
    columns = {"words": ["a"] * 20, "kind": ["cat", "dog"] * 10, "place": places}
    told = scored(subject, columns, answer)
    assert told["metrics"]["accuracy"]["value"] == 0.5
    assert not {"log_loss", "ece"} & set(told["metrics"])
    assert "ece" not in told["groups"]["place"]["groups"][0]


def test_the_score_of_a_class_that_is_not_among_those_told_is_not_taken_for_0() -> None:
    kinds = Column("kind", ColumnType.TEXT, ColumnRole.LABEL)

    def answer(question: Question) -> Answers:
        best = [f"class {at}" for at in range(question.options["top_k"])]
        labels = [{"label": name, "score": 0.1} for name in best]
        return Answers([{"labels": labels} for _ in question.items])

    told = scored(
        Subject("text-classification", Schema((TEXT, kinds))),
        {"words": ["a", "b"], "kind": ["class 0", "class 77"]},
        answer,
    )
    assert told["metrics"]["accuracy"]["value"] == 0.5
    assert "log_loss" not in told["metrics"]


TABLE = {name: Column("y", kind, ColumnRole.LABEL, classes=classes) for name, kind, classes in (
    ("number", ColumnType.NUMBER, ()), ("whole", ColumnType.INTEGER, ()),
    ("class", ColumnType.TEXT, ("0", "1")),
)}  # fmt: skip


@pytest.mark.parametrize("label", ["whole", "class"])
@pytest.mark.parametrize("step", ["top_k", "classes"])
def test_a_version_that_answers_with_classes_is_measured_so_whatever_its_labels_are(
    label: str, step: str
) -> None:
    asked: list[Mapping[str, Any]] = []

    def answer(question: Question) -> Answers:
        asked.append(question.options)
        return Answers([{"labels": [{"label": "1", "index": 1}]} for _ in question.items])

    schema = Schema((Column("x", ColumnType.NUMBER), TABLE[label]))
    values: list[Any] = [1, 0] if label == "whole" else ["1", "0"]
    subject = Subject("tabular", schema, features=("x",), steps=("output", step))
    told = scored(subject, {"x": [1.0, 2.0], "y": values}, answer)
    assert told["metrics"]["accuracy"]["value"] == 0.5
    assert ("top_k" in asked[0]) is (step == "top_k"), "others take no such option"


@pytest.mark.parametrize(
    ("label", "step", "told"),
    [
        ("number", "top_k", "answers with classes; the label 'y' has numbers"),
        ("class", "output", "answers with numbers; the label 'y' names classes"),
    ],
)
def test_labels_of_another_kind_than_the_answers_are_refused(
    label: str, step: str, told: str
) -> None:
    schema = Schema((Column("x", ColumnType.NUMBER), TABLE[label]))
    with pytest.raises(InvalidInput, match=told):
        scorer_for(Subject("tabular", schema, features=("x",), steps=(step,)))


NUMBERS = Schema(
    (
        Column("x", ColumnType.NUMBER),
        Column("y", ColumnType.NUMBER, ColumnRole.LABEL, is_nullable=True),
    )
)


def test_numbers_are_measured_by_their_distance() -> None:
    told = scored(
        Subject("tabular", NUMBERS, features=("x",)),
        {"x": [1.0, 2.0, 3.0], "y": [2.0, 4.0, 9.0]},
        lambda question: Answers([{"value": 2 * one["row"]["x"]} for one in question.items]),
    )
    metrics = told["metrics"]
    assert metrics["mean_absolute_error"]["value"] == pytest.approx(1.0)
    assert metrics["root_mean_squared_error"]["value"] == pytest.approx(3**0.5)
    assert metrics["r_squared"]["value"] == pytest.approx(1 - 9 / 26)
    assert told["worst"][0] == {"row": 2, "label": 9.0, "answer": 6.0}


def test_a_metric_that_has_no_value_is_left_out() -> None:
    told = scored(
        Subject("tabular", NUMBERS, features=("x",)),
        {"x": [1.0, 2.0], "y": [3.0, 3.0]},
        lambda question: Answers([{"value": one["row"]["x"]} for one in question.items]),
    )
    assert set(with_values(told["metrics"])) == {"mean_absolute_error", "root_mean_squared_error"}


def test_a_row_that_does_not_say_what_is_right_is_named() -> None:
    with pytest.raises(RowsInvalid, match="Row 3 has no 'y'"):
        scored(
            Subject("tabular", NUMBERS, features=("x",)),
            {"x": [1.0, 2.0, 3.0], "y": [2.0, 4.0, None]},
            lambda question: Answers([{"value": 0.0} for _ in question.items]),
        )


TENSORS = Schema(
    (
        Column("x", ColumnType.TENSOR, shape=(2, 2), dtype="uint8"),
        Column("y", ColumnType.INTEGER, ColumnRole.LABEL),
    )
)


def test_tensors_go_in_as_the_version_takes_them() -> None:
    seen: list[np.ndarray[Any, Any]] = []

    def answer(question: Question) -> Answers:
        (given,) = question.tensors.values()
        seen.append(given)
        chances = np.eye(3)[given.reshape(len(given), -1).max(axis=1).astype(int)] * 0.8 + 0.2 / 3
        return Answers(arrays={"scores": chances})

    told = scored(
        Subject("tensor", TENSORS, inputs=(("images", "FP32"),)),
        {"x": np.array([[[0, 0], [0, 0]], [[0, 1], [0, 0]], [[2, 0], [0, 1]]]), "y": [0, 1, 1]},
        answer,
    )
    assert {one.dtype for one in seen} == {np.dtype("float32")}
    assert [one.shape for one in seen] == [(2, 2, 2), (1, 2, 2)]
    assert told["metrics"]["accuracy"]["value"] == pytest.approx(2 / 3)
    assert told["worst"][0]["row"] == 2


def test_of_several_tensors_none_is_taken_for_the_scores() -> None:
    both = {"scores": np.ones((1, 3)), "features": np.ones((1, 8))}
    with pytest.raises(InvalidInput, match=r"answers with 2 tensors \(scores, features\)"):
        scored(
            Subject("tensor", TENSORS, inputs=(("images", "FP32"),)),
            {"x": np.zeros((1, 2, 2)), "y": [0]},
            lambda _: Answers(arrays=both),
        )


def test_pixels_are_sent_as_image_files() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    schema = Schema((Column("pixels", ColumnType.TENSOR, shape=(4, 3), dtype="uint8"), LABEL))
    seen: list[np.ndarray[Any, Any]] = []

    def answer(question: Question) -> Answers:
        seen.extend(np.asarray(Image.open(io.BytesIO(one["image"]))) for one in question.items)
        return Answers([ranked(0.9) for _ in question.items])

    columns = {"pixels": pixels, "kind": ["cat", "dog"]}
    told = scored(Subject("image-classification", schema), columns, answer)
    assert np.array_equal(np.stack(seen), pixels)
    assert told["metrics"]["accuracy"]["value"] == 0.5


BOXES = Schema(
    (
        Column("picture", ColumnType.IMAGE),
        Column("objects", ColumnType.BOXES, ColumnRole.LABEL, classes=("car", "bus")),
    )
)


def test_boxes_are_measured_as_coco_does() -> None:
    def found(label: str, box: list[float], score: float) -> dict[str, Any]:
        return {"label": label, "index": 0, "box": box, "score": score}

    answers = iter(
        [
            {"objects": [found("car", [10, 10, 30, 30], 0.9), found("bus", [0, 0, 5, 5], 0.1)]},
            {"objects": [found("bus", [0, 0, 8, 8], 0.8), found("tram", [0, 0, 8, 8], 0.8)]},
        ]
    )
    told = scored(
        Subject("object-detection", BOXES),
        {
            "picture": [b"first", b"second"],
            "objects": [[(0, 10, 10, 20, 20)], [(1, 0, 0, 10, 10)]],
        },
        lambda question: Answers([next(answers) for _ in question.items]),
    )
    assert told["metrics"]["map_50"]["value"] == pytest.approx(1.0)
    assert told["metrics"]["map"]["value"] == pytest.approx((1.0 + 0.3) / 2)  # overlap is 0.64
    assert told["of_unknown_classes"] == 1


PAIRS = Schema(
    (
        Column("de", ColumnType.TEXT, ColumnRole.SOURCE),
        Column("en", ColumnType.TEXT, ColumnRole.TARGET),
    )
)


def test_written_texts_are_measured_against_those_that_are_there() -> None:
    words = {"Datei öffnen": "Open file", "Seite löschen": "Delete page", "Ja": "No"}
    told = scored(
        Subject("translation", PAIRS),
        {"de": [*words], "en": ["Open file", "Delete page", "Yes"]},
        lambda question: Answers([{"text": words[one["text"]]} for one in question.items]),
    )
    assert told["metrics"]["exact"]["value"] == pytest.approx(200 / 3)
    assert told["metrics"]["rouge_l"]["value"] == pytest.approx(200 / 3)
    assert 50 < told["metrics"]["chrf"]["value"] < 100
    assert told["worst"][0] == {"row": 2, "rouge_l": 0.0}
    assert set(scored(
        Subject("summarization", PAIRS), {"de": ["Ja"], "en": ["Yes"]},
        lambda _: Answers([{"text": "Yes"}]),
    )["metrics"]) == {"exact", "rouge_1", "rouge_2", "rouge_l"}  # fmt: skip


@pytest.mark.parametrize(
    ("subject", "error", "told"),
    [
        (Subject("chat", Schema((TEXT,))), NotSupported, "'chat' cannot be evaluated"),
        (Subject("text-classification", Schema((TEXT,))), InvalidInput, "'label'; it has none"),
        (Subject("text-classification", Schema((TEXT, TEXT, LABEL))), InvalidInput, "several"),
        (Subject("image-classification", Schema((TEXT, LABEL))), InvalidInput, "type 'image'"),
        (Subject("object-detection", Schema((LABEL,))), InvalidInput, "type 'image'"),
        (Subject("tensor", TENSORS, inputs=()), InvalidInput, "takes 0 tensor"),
        (Subject("tabular", NUMBERS, slices=("x",)), InvalidInput, "'x' is no column"),
        (Subject("tabular", NUMBERS, slices=("z",)), InvalidInput, "'z' is no column"),
    ],
)  # fmt: skip
def test_data_that_does_not_suit_is_refused(
    subject: Subject, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        scorer_for(subject)
