"""The job that explains rows of a dataset, by real engines: what it finds, keeps and refuses."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from tests.support.explained import bright_square, linear, looks_at, words_that_count
from tests.support.studied import Kit
from tests.support.task_models import tokenizer_file, written

from modelry.domain.access import Permission, Role
from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema
from modelry.domain.errors import (
    Cancelled,
    InvalidInput,
    ModelryError,
    NotFound,
    NotSupported,
    PermissionDenied,
)
from modelry.services.explanation.card import explained_lines
from modelry.services.explanation.service import ExplanationService, without_rows
from modelry.studying import work
from modelry.studying.allowance import Allowance
from modelry.studying.rows import in_portions
from modelry.testing import samples
from modelry.testing.jobs import FakeJobRun

ME = samples.principal()
WEIGHTS = {"a": 2.0, "b": -1.0, "c": 0.0}
TABLE = Schema(
    (
        *(Column(name, ColumnType.NUMBER) for name in WEIGHTS),
        Column("place", ColumnType.TEXT, ColumnRole.IGNORED, is_nullable=True),
        Column("worth", ColumnType.NUMBER, ColumnRole.LABEL),
    )
)
TEXTS = Schema(
    (
        Column("words", ColumnType.TEXT),
        Column("kind", ColumnType.TEXT, ColumnRole.LABEL, classes=("no", "yes")),
    )
)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()


def rows(count: int, seed: int) -> dict[str, list[Any]]:
    random = np.random.default_rng(seed)
    columns: dict[str, list[Any]] = {
        name: random.normal(size=count).round(3).tolist() for name in WEIGHTS
    }
    columns["place"] = ["north" if at % 3 else None for at in range(count)]
    columns["worth"] = [
        2 * a - b + 3 for a, b in zip(columns["a"], columns["b"], strict=True)
    ]  # fmt: skip
    return columns


@pytest.fixture
def table(tmp_path: Path, loop: asyncio.AbstractEventLoop) -> Iterator[Kit]:
    files = written(tmp_path, model=linear(list(WEIGHTS.values())))
    more = {"pre": [{"columns": list(WEIGHTS)}]}
    splits = {"train": rows(90, 1), "test": rows(70, 2)}
    kit = Kit(tmp_path, loop, ("tabular", files, more), (TABLE, splits), list(WEIGHTS))
    yield kit
    asyncio.run_coroutine_threadsafe(kit.deployments.stop(0.1), loop).result(5)


@pytest.fixture
def text(tmp_path: Path, loop: asyncio.AbstractEventLoop) -> Iterator[Kit]:
    model = words_that_count({"good": 4, "cat": 1, "bad": -4})
    files = written(tmp_path, model=model, tokenizer=tokenizer_file())
    words = ["a good cat", "bad dog", "the good good dog", "...", "cat", "a dog"] * 10
    kinds = ["yes", "no", "yes", "no", "no", "yes"] * 10
    splits = {"only": {"words": words, "kind": kinds}}
    version = ("text-classification", files, {"labels": ["no", "yes"]})
    kit = Kit(tmp_path, loop, version, (TEXTS, splits))
    yield kit
    asyncio.run_coroutine_threadsafe(kit.deployments.stop(0.1), loop).result(5)


def explained(
    kit: Kit, job_id: str = "job-1", **asked: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The report, and the lines of the rows."""
    told = kit.handler.check(ME, {"version": "filter", "dataset": "rows", **asked})
    outcome = kit.handler.run(FakeJobRun(told, job_id=job_id))
    found = kit.store.kept[outcome["explanation_id"]]
    lines = kit.contents.path(found.rows_digest).read_bytes().splitlines()
    return kit.contents.json(found.report_digest), [orjson.loads(one) for one in lines]


def test_a_linear_model_counts_its_columns_as_its_weights_say(table: Kit) -> None:
    report, lines = explained(
        table, rows=50, checked=4, slices=["place"], dependence=["a"], permutations=2
    )
    assert (report["rows"], report["rows_of_split"], report["method"]) == (50, 70, "shapley")
    assert [one["row"] for one in lines] == sorted({one["row"] for one in lines})
    assert max(one["row"] for one in lines) > 40, "the second shard has some"

    # Shapley values of a linear model: weight x (cell - mean of the background)
    parts = {one["name"]: one for one in report["importance"]["parts"]}
    cells = rows(70, 2)
    assert list(parts) == ["a", "b", "c"]
    for line in lines[:3]:
        weights = {one["name"]: one["weight"] for one in line["attribution"]["columns"]}
        assert weights["c"] == 0
        assert line["label"] == pytest.approx(line["score"], abs=1e-4)
        assert line["attribution"]["columns"][0]["value"] == cells["a"][line["row"]]
    by_hand = [abs(one["attribution"]["columns"][0]["weight"]) for one in lines]
    assert parts["a"]["weight"] == pytest.approx(np.mean(by_hand))
    assert parts["a"]["low"] < parts["a"]["weight"] < parts["a"]["high"]
    assert parts["c"]["weight"] == 0
    assert report["trust"]["rows"] == 4
    assert report["sentence"].startswith("Over 50 rows counted most: a (")

    # shuffling what the model takes makes it worse, and by how much is known for a linear model
    columns = {one["name"]: one["mean_absolute_error"] for one in report["permutation"]["columns"]}
    a = np.array(cells["a"])
    expected = 2 * np.abs(a[:, None] - a).sum() / (len(a) * (len(a) - 1))
    assert columns["a"]["value"] == pytest.approx(expected, rel=0.2)
    assert columns["a"]["low"] > columns["b"]["value"] > columns["c"]["high"] - 1e-6
    assert report["permutation"]["base"]["mean_absolute_error"]["value"] < 1e-4

    (curve,) = report["dependence"]
    means = [one["value"] for one in curve["lines"][0]["means"]]
    slopes = np.diff(means) / np.diff(curve["values"])
    assert slopes == pytest.approx(np.full(len(slopes), 2.0), abs=1e-3)
    assert len(curve["curves"][0]["scores"]) == len(curve["values"])

    slices = {one["value"]: one for one in report["slices"]["place"]}
    assert set(slices) == {"north", "(missing)"}
    assert slices["north"]["agreement"] == 1.0, "what counts is the same everywhere"
    assert table.pool.niceness == [7]


def test_words_are_put_together_over_texts_and_confusions_are_named(text: Kit) -> None:
    report, lines = explained(text, rows=60, checked=0)
    parts = report["importance"]["parts"]
    good = next(one for one in parts if one["name"] == "good")
    assert {one["name"] for one in parts[:2]} == {"good", "bad"}
    assert good["rows"] == 20
    assert good["signed"] > 0
    assert report["trust"] is None
    yes = next(one for one in report["per_class"] if one["label"] == "yes")
    assert yes["parts"][0]["name"] == "good"
    prototype = yes["prototypes"][0]
    line = next(one for one in lines if one["row"] == prototype["row"])
    assert (line["answer"], line["label"]) == ("yes", "yes")
    pairs = {(one["label"], one["answer"]): one for one in report["confusions"]}
    assert pairs["no", "yes"]["rows"] == 10  # "cat" alone
    assert pairs["no", "yes"]["examples"][0]["row"] % 6 == 4
    assert pairs["no", "yes"]["parts"][0]["name"] == "cat"
    hidden = orjson.dumps(without_rows(report))
    assert b"prototypes" not in hidden
    assert b'"good"' not in hidden


def test_rows_that_cannot_be_explained_are_counted_and_named(text: Kit) -> None:
    text.datasets = type(text.datasets)(
        text.contents.path("x").parent, TEXTS, {"new": {"words": ["good", " ", "bad"] * 4,
                                                        "kind": ["yes"] * 12}},
    )  # fmt: skip
    text.handler.datasets = text.datasets
    report, lines = explained(text, checked=0)
    assert len(lines) == 8
    assert report["unexplained"]["rows"] == 4
    first = report["unexplained"]["examples"][0]
    assert first["row"] == 1
    assert "no words" in first["reason"]


def test_rows_that_the_version_does_not_take_are_counted_and_named_too(
    tmp_path: Path, loop: asyncio.AbstractEventLoop
) -> None:
    image = Column("picture", ColumnType.IMAGE, is_nullable=True)
    kind = Column("kind", ColumnType.INTEGER, ColumnRole.LABEL)
    files = written(tmp_path, model=looks_at(8, 20))
    version = ("image-classification", files, {"labels": ["0", "1"]})
    pictures = [bright_square(8, 20), None, bright_square(8, 20), b"no picture"] * 5
    split = {"picture": pictures, "kind": [1, 0, 0, 0] * 5}
    kit = Kit(tmp_path, loop, version, (Schema((image, kind)), {"only": split}))
    report, lines = explained(kit, checked=0)
    assert [one["row"] for one in lines] == list(range(0, 20, 2))
    assert report["unexplained"]["rows"] == 10
    assert [one["row"] for one in report["unexplained"]["examples"]] == list(range(1, 20, 2))
    assert (lines[0]["label"], lines[0]["answer"]) == ("1", "1"), "its labels are names"
    (wrong,) = report["confusions"]
    assert (wrong["label"], wrong["answer"], wrong["rows"]) == ("0", "1", 5)
    assert report["per_class"][0]["prototypes"]
    asyncio.run_coroutine_threadsafe(kit.deployments.stop(0.1), loop).result(5)


def test_a_wish_that_no_row_allows_ends_the_study_early(text: Kit) -> None:
    told = text.handler.check(ME, {"version": "filter", "dataset": "rows", "target": "maybe"})
    with pytest.raises(InvalidInput, match="target is 'maybe'"):
        text.handler.run(FakeJobRun(told))
    assert text.pool.explained < 10


def test_as_many_explanations_are_measured_as_was_asked_for(table: Kit) -> None:
    report, _ = explained(table, rows=30, checked=20, permutations=0)
    assert report["trust"]["rows"] == 20


def test_an_attempt_goes_on_where_the_one_before_was_stopped(text: Kit) -> None:
    told = text.handler.check(ME, {"version": "filter", "dataset": "rows", "checked": 0})
    first = FakeJobRun(told)
    text.pool.on_explain = lambda count: first.stop.set() if count == 20 else None
    with pytest.raises(Cancelled):
        text.handler.run(first)
    assert not text.store.kept
    (checkpoint,) = first.checkpoints
    assert 15 <= checkpoint[0] <= 20
    text.pool.on_explain = None
    again = first.next_attempt()
    outcome = text.handler.run(again)
    assert outcome["rows"] == 60
    assert text.pool.explained <= 61, "no row is explained twice, but for the one under way"
    report = text.contents.json(text.store.kept[outcome["explanation_id"]].report_digest)
    whole, _ = explained(text, checked=0)
    assert report["importance"] == whole["importance"]


def test_explanations_change_when_weights_are_drawn_anew(
    tmp_path: Path, loop: asyncio.AbstractEventLoop
) -> None:
    image = Column("picture", ColumnType.IMAGE)
    pictures = [bright_square(8, 20) for _ in range(6)]
    files = written(tmp_path, model=looks_at(8, 20))
    version = ("image-classification", files, {"labels": ["dark", "bright"]})
    kit = Kit(tmp_path, loop, version, (Schema((image,)), {"only": {"picture": pictures}}))
    report, lines = explained(kit, checked=0, randomisations=3)
    found = report["randomisation"]
    (stage,) = found["stages"]  # the model has one layer with weights
    assert (stage["layers"], stage["of"]) == (1, 1)
    assert stage["correlation"]["value"] < 0.5
    assert found["changes"] is True
    assert len(kit.pool.started) == 2, "the version, and one copy"
    assert kit.let_go, "the copy's file is let go of"
    assert lines[0]["label"] is None
    grid = np.array(report["importance"]["grid"])
    assert np.unravel_index(grid.argmax(), grid.shape)[0] in range(4, 8)
    lines_of_card = explained_lines([(kit.store.kept["job-1"], report)])
    assert lines_of_card[0] == "## What counts"
    assert any("depend on the weights: with 1 of 1 layers" in one for one in lines_of_card)
    asyncio.run_coroutine_threadsafe(kit.deployments.stop(0.1), loop).result(5)


@pytest.mark.parametrize(
    ("parameters", "error", "told"),
    [
        ({"version": "other"}, NotFound, "'other'"),
        ({"dataset": "none"}, NotFound, "'none'"),
        ({"split": "holdout"}, NotFound, "no split 'holdout'"),
        ({"rows": 0}, InvalidInput, "'rows' must be a whole number from 1 to 5000"),
        ({"rows": True}, InvalidInput, "'rows' must be"),
        ({"method": "rise"}, InvalidInput, "are explained by: shapley, leave-one-out"),
        ({"calls": 1}, InvalidInput, "from 2 to"),
        ({"slices": ["nowhere"]}, InvalidInput, "'nowhere' is no column"),
        ({"dependence": ["place"]}, InvalidInput, "'place' is no column that filter@1 takes"),
        ({"why": True}, InvalidInput, "'why' is no parameter"),
    ],
)
def test_what_cannot_be_explained_is_refused_before_it_is_queued(
    table: Kit, parameters: dict[str, Any], error: type[ModelryError], told: str
) -> None:
    with pytest.raises(error, match=told):
        table.handler.check(ME, {"version": "filter", "dataset": "rows", **parameters})


def test_other_tasks_other_files_and_other_rights_are_refused(table: Kit) -> None:
    asked = {"version": "filter", "dataset": "rows"}
    with pytest.raises(PermissionDenied):
        table.handler.check(samples.principal(Role.OPERATOR), asked)
    large = tuple(replace(one, size_bytes=2**31) for one in table.version.files)
    small, table.version = table.version, replace(table.version, files=large)
    with pytest.raises(InvalidInput, match="has 2048 MiB; copies of up to 1024 MiB can be made"):
        table.handler.check(ME, {**asked, "randomisations": 1})
    table.version = small
    files = tuple(replace(one, name="model.gguf") for one in table.version.files)
    table.version = replace(table.version, files=files)
    with pytest.raises(InvalidInput, match="no model file of the format ONNX"):
        table.handler.check(ME, {**asked, "randomisations": 1})
    table.version = replace(table.version, task="chat")
    with pytest.raises(NotSupported, match="'chat' are not explained over datasets"):
        table.handler.check(ME, asked)


def test_the_words_of_texts_are_in_no_outcome_and_in_no_list_without_the_right_to_rows(
    text: Kit,
) -> None:
    told = text.handler.check(ME, {"version": "filter", "dataset": "rows", "rows": 6, "checked": 0})
    assert "sentence" not in text.handler.run(FakeJobRun(told))
    kept = text.store.kept["job-1"]
    assert "'" not in kept.sentence
    assert "good" in kept.sentence
    service = ExplanationService(text.store, text, text.contents)  # type: ignore[arg-type] # as far as it is needed
    (own,) = service.of(ME, "filter", 1)
    assert own.sentence == kept.sentence
    (seen,) = service.of(samples.principal(Role.VIEWER), "filter", 1)
    assert seen.sentence == ""
    report = service.get(samples.principal(Role.VIEWER), "job-1").report
    assert "sentence" not in report
    assert "good" not in "\n".join(service.card_lines(samples.principal(Role.VIEWER), text.version))
    with pytest.raises(PermissionDenied):
        service.rows(samples.principal(Role.VIEWER), "job-1")
    assert len(b"".join(service.rows(ME, "job-1")).splitlines()) == 6


def test_reports_without_the_right_to_rows_keep_what_tells_of_none() -> None:
    report = {
        "sentence": "words",
        "importance": {"kind": "table", "parts": [{"name": "age", "weight": 1}]},
        "per_class": [{"label": "yes", "prototypes": [{"row": 1}], "parts": []}],
        "dependence": [{"column": "age", "curves": [{"row": 1}], "lines": []}],
    }
    told = without_rows(report)
    assert told["importance"] == report["importance"]
    assert told["per_class"] == [{"label": "yes", "parts": []}]
    assert told["dependence"] == [{"column": "age", "lines": []}]
    assert Permission.ROWS_READ not in samples.principal(Role.OPERATOR).permissions


def in_time_of(monkeypatch: pytest.MonkeyPatch, step_s: float) -> None:
    """Each look at the clock takes so long."""
    looks = itertools.count()
    clock = partial(Allowance, clock=lambda: next(looks) * step_s)
    monkeypatch.setattr(work, "Allowance", clock)


def test_a_time_that_suffices_changes_nothing(table: Kit) -> None:
    free, lines = explained(table, rows=30, checked=2, permutations=1)
    timed, in_time = explained(table, "job-2", rows=30, checked=2, permutations=1, seconds=600)
    time = timed.pop("time")
    assert (time["seconds"], time["rows_asked"]) == (600, 30)
    assert 0 < time["took"] < 600
    assert timed == free
    assert in_time == lines


def test_rows_that_were_reached_are_from_everywhere_and_the_rest_is_told(
    table: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_time_of(monkeypatch, 0.1)
    report, lines = explained(table, rows=70, checked=0, seconds=20.0, permutations=2)
    assert 10 < len(lines) < 60
    places = [one["row"] for one in lines]
    assert places == sorted(places)
    assert min(places) < 20
    assert max(places) > 50
    assert report["rows"] == len(lines)
    assert f"{len(lines)} of 70 rows were explained, as 20 s were given." in report["sentence"]
    assert report["permutation"]["columns"], "a third of the time was left for it"


def test_what_there_was_no_time_for_is_left_out_and_told(
    table: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_time_of(monkeypatch, 1.5)
    report, lines = explained(
        table, rows=70, checked=0, seconds=20.0, permutations=50, dependence=["a"]
    )
    assert lines
    assert "no time left" in report["dependence"][0]["left_out"]
    assert "There was no time left for: " in report["sentence"]
    assert "dependence of a" in report["sentence"]


def test_a_time_for_no_row_is_refused(table: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    in_time_of(monkeypatch, 2.0)
    with pytest.raises(InvalidInput, match="not one row could be explained in that time") as found:
        explained(table, rows=5, seconds=1)
    assert found.value.param == "seconds"
    for seconds in (0.5, "1", True, 1e9, float("nan")):
        with pytest.raises(InvalidInput, match="'seconds' must be a number from 1 to 604800"):
            table.handler.check(ME, {"version": "filter", "dataset": "rows", "seconds": seconds})


def test_portions_have_each_place_once_and_twice_as_many_each_time() -> None:
    found = in_portions(range(5, 105), 3)
    assert [len(one) for one in found] == [16, 32, 52]
    assert all(one == sorted(one) for one in found)
    assert sorted(itertools.chain(*found)) == list(range(5, 105))
    assert min(found[0]) < 30
    assert max(found[0]) > 80
