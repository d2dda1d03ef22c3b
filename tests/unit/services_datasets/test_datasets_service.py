"""Versions are found, looked at, derived, deleted; what a work tells is not taken for granted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.support.datasets import ME, DatasetKit

from modelry.datasets.works import DeriveDataset
from modelry.domain.access import Role
from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema
from modelry.domain.errors import (
    Cancelled,
    Conflict,
    InvalidInput,
    NotFound,
    PermissionDenied,
    UnsupportedField,
    WorkFailed,
)
from modelry.domain.jobs import Job
from modelry.runtime_api.work import WorkHost
from modelry.services.datasets.deriving import DeriveHandler
from modelry.services.datasets.needed import needing
from modelry.services.datasets.previewing import RowsAsked
from modelry.testing.datasets import keep_rows
from modelry.testing.jobs import FakeJobRun
from modelry.testing.samples import NOW, OTHER_TENANT_ID, principal
from modelry.testing.work import ThreadWorks

SCHEMA = Schema(
    (
        Column("n", ColumnType.INTEGER),
        Column("x", ColumnType.TENSOR, shape=(2,), dtype="float32"),
        Column("label", ColumnType.TEXT, ColumnRole.LABEL, classes=("even", "odd")),
    )
)


def numbers(first: int, count: int) -> Mapping[str, Any]:
    n = list(range(first, first + count))
    x = np.array([[one, -one] for one in n], dtype="float32").reshape(count, 2)
    return {"n": n, "x": x, "label": [("even", "odd")[one % 2] for one in n]}


@pytest.fixture
def kit(tmp_path: Path) -> DatasetKit:
    made = DatasetKit(tmp_path)
    keep_rows(
        made.service, ME, "numbers", SCHEMA, {"train": numbers(0, 50), "test": numbers(50, 10)}
    )
    return made


def derive(kit: DatasetKit, **parameters: Any) -> Any:
    handler = DeriveHandler(kit.service)
    checked = handler.check(ME, parameters)
    return handler.run(FakeJobRun(checked, principal=ME))


def test_versions_are_found_by_reference(kit: DatasetKit) -> None:
    version = kit.service.find(ME, "numbers")

    assert version == kit.service.find(ME, "numbers@1")
    assert version.ref == "numbers@1"
    assert {one.name: one.rows for one in version.splits} == {"train": 50, "test": 10}
    assert version.statistics["train"]["label"]["classes"] == {"even": 25, "odd": 25}
    described = kit.service.describe(ME, "numbers@1")
    assert described.rows == {"train": 50, "test": 10}
    assert described.schema == SCHEMA
    assert [one.dataset.name for one in kit.service.all(ME)] == ["numbers"]
    for ref, says in (("numbers@2", "no version 2"), ("letters", "no dataset 'letters'")):
        with pytest.raises(NotFound, match=says):
            kit.service.find(ME, ref)
    for ref in ("numbers@0", "numbers@", "numbers@x", "numbers@99999999999", "numbers@²"):
        with pytest.raises(InvalidInput, match="names no version"):
            kit.service.find(ME, ref)
    with pytest.raises(NotFound):
        kit.service.find(principal(tenant_id=OTHER_TENANT_ID), "numbers")


def test_shards_are_kept_encrypted_and_opened_for_others(kit: DatasetKit, tmp_path: Path) -> None:
    (shard,) = kit.service.find(ME, "numbers").splits[1].shards

    opened = kit.service.open_shard(ME.tenant_id, shard.digest)
    assert pq.read_table(opened.path)["n"].to_pylist() == list(range(50, 60))
    opened.close()

    files = [one.read_bytes() for one in (tmp_path / "blobs").rglob("*") if one.is_file()]
    assert files
    assert not any(b"PAR1" in one for one in files)
    with pytest.raises(NotFound):
        kit.service.open_shard(OTHER_TENANT_ID, shard.digest)


def test_rows_are_shown_a_page_at_a_time(kit: DatasetKit) -> None:
    shown = kit.service.rows(ME, "numbers", RowsAsked("train", offset=48, limit=5))

    assert (shown.split, shown.offset, shown.total) == ("train", 48, 50)
    assert shown.rows == [
        {"n": 48, "x": [48.0, -48.0], "label": "even"},
        {"n": 49, "x": [49.0, -49.0], "label": "odd"},
    ]
    narrow = kit.service.rows(ME, "numbers", RowsAsked(columns=("n",), limit=1))
    assert narrow.rows == [{"n": 0}]
    assert kit.service.rows(ME, "numbers", RowsAsked(offset=50)).rows == []
    left_out = kit.service.rows(ME, "numbers", RowsAsked(limit=1, max_value_bytes=4))
    assert left_out.rows == [{"n": 0, "x": {"omitted_bytes": 8}, "label": "even"}]
    with pytest.raises(NotFound, match="no split 'dev'; it has train, test"):
        kit.service.rows(ME, "numbers", RowsAsked("dev"))
    with pytest.raises(NotFound, match="no column 'm'"):
        kit.service.rows(ME, "numbers", RowsAsked(columns=("m",)))


def test_looking_at_rows_takes_a_right_of_its_own(kit: DatasetKit) -> None:
    viewer = principal(Role.VIEWER)
    assert kit.service.find(viewer, "numbers").number == 1
    with pytest.raises(PermissionDenied, match="rows:read"):
        kit.service.rows(viewer, "numbers", RowsAsked())
    with pytest.raises(PermissionDenied):
        kit.service.delete(viewer, "numbers")
    with pytest.raises(PermissionDenied):
        DeriveHandler(kit.service).check(viewer, {"name": "a", "from": ["numbers"]})


def test_a_version_is_derived_of_another(kit: DatasetKit) -> None:
    outcome = derive(
        kit,
        name="odd-numbers",
        **{"from": ["numbers"]},
        steps=[
            {"filter": 'label == "odd" and n < 56'},
            {"join": ["train", "test"], "to": "all"},
            {"rename": {"n": "number"}},
            {"drop": ["x"]},
        ],
    )

    assert outcome["ref"] == "odd-numbers@1"
    assert outcome["rows"] == {"all": 28}
    version = kit.service.find(ME, "odd-numbers")
    assert [one.name for one in version.schema.columns] == ["number", "label"]
    assert version.origin["from"] == ["numbers@1"]
    shown = kit.service.rows(ME, "odd-numbers", RowsAsked(limit=2, offset=26))
    assert shown.rows == [{"number": 53, "label": "odd"}, {"number": 55, "label": "odd"}]


def test_the_same_derivation_is_the_same_version(kit: DatasetKit) -> None:
    asked = {"name": "numbers", "from": ["numbers@1"], "steps": [{"filter": "n >= 0"}]}

    outcome = derive(kit, **asked)

    assert (outcome["ref"], outcome["created"]) == ("numbers@1", False)
    changed = derive(kit, **asked | {"steps": [{"filter": "n > 0"}]})
    assert (changed["ref"], changed["created"]) == ("numbers@2", True)


def test_what_is_asked_for_is_pinned_and_checked_before(kit: DatasetKit) -> None:
    check = DeriveHandler(kit.service).check
    asked = {"name": "more", "from": ["numbers"]}

    assert check(ME, asked)["from"] == ["numbers@1"]
    wrong: list[tuple[Mapping[str, Any], type[Exception], str]] = [
        ({"name": "No!"}, InvalidInput, "not allowed"),
        ({"name": None}, InvalidInput, "'name' must be given"),
        ({"from": []}, InvalidInput, "list of 1 to 64"),
        ({"from": ["letters"]}, NotFound, "letters"),
        ({"steps": {}}, InvalidInput, "must be a list"),
        ({"steps": [{"fliter": "n > 1"}]}, InvalidInput, "steps.0 must be an object with one of"),
        ({"steps": [{"filter": "n > "}]}, InvalidInput, r"steps\.0\.filter: The expression"),
        ({"steps": [{"split": {"fractions": {"a": 0.5}}}]}, InvalidInput, "add up to 0.5"),
        ({"dry_run": True}, UnsupportedField, "dry_run"),
    ]
    for changes, kind, says in wrong:
        with pytest.raises(kind, match=says):
            check(ME, {**asked, **changes})


def test_jobs_need_the_versions_that_they_name(kit: DatasetKit) -> None:
    version = kit.service.find(ME, "numbers")
    jobs = [
        Job(ME.tenant_id, f"j{at}", "train", parameters, NOW, "me")
        for at, parameters in enumerate(
            (
                {"dataset": "numbers@1"},
                {"from": ["a@1", "numbers@1"]},
                {"dataset": "numbers@11"},
                {},
            )
        )
    ]

    assert needing(version, jobs) == ["the job j0 (train)", "the job j1 (train)"]


def test_what_needs_a_version_keeps_it(kit: DatasetKit) -> None:
    needed: list[str] = ["job 'j1'"]
    kit.service.used_by(lambda _, version: needed if version.number == 1 else [])

    with pytest.raises(Conflict, match="numbers@1 is needed by job 'j1'"):
        kit.service.delete_version(ME, "numbers", 1)
    with pytest.raises(Conflict):
        kit.service.delete(ME, "numbers")
    needed.clear()
    kit.service.delete_version(ME, "numbers", 1)
    with pytest.raises(NotFound, match=r"no versions \(any more\)"):
        kit.service.find(ME, "numbers")
    assert kit.service.get(ME, "numbers").newest is None
    with pytest.raises(NotFound):
        kit.service.delete_version(ME, "numbers", 1)
    kit.service.delete(ME, "numbers")
    assert kit.service.all(ME) == []


class Lying:
    """A work that was taken over: it tells what it did not hand over."""

    name: ClassVar[str] = "derive-dataset"
    changes: ClassVar[Mapping[str, Any]] = {}

    def run(self, host: WorkHost) -> Mapping[str, Any]:
        return {**DeriveDataset().run(host), **self.changes}


@pytest.mark.parametrize(
    "changes",
    [
        {"splits": [{"name": "train", "shards": [{"digest": "sha256:" + "0" * 64, "rows": 1}]}]},
        {"splits": []},
        {"splits": None},
        {"schema": [{"name": "a", "type": "code", "role": "label"}]},
        {"schema": []},
        {"digest": "0"},
        {"statistics": "none"},
    ],
)
def test_a_work_that_lies_makes_no_version(kit: DatasetKit, changes: Mapping[str, Any]) -> None:
    lying = Lying()
    lying.changes = changes  # type: ignore[misc]
    kit.service.works = ThreadWorks(lying)

    with pytest.raises(WorkFailed, match="does not fit"):
        derive(kit, name="lies", **{"from": ["numbers"]})

    assert [one.dataset.name for one in kit.service.all(ME)] == ["numbers"]


def test_a_stopped_job_makes_nothing(kit: DatasetKit) -> None:
    handler = DeriveHandler(kit.service)
    run = FakeJobRun(handler.check(ME, {"name": "more", "from": ["numbers"]}), principal=ME)
    run.stop.set()

    with pytest.raises(Cancelled):
        handler.run(run)
    assert [one.dataset.name for one in kit.service.all(ME)] == ["numbers"]


def test_a_version_that_is_gone_ends_the_job_clearly(kit: DatasetKit) -> None:
    handler = DeriveHandler(kit.service)
    checked = handler.check(ME, {"name": "more", "from": ["numbers"]})
    kit.service.delete_version(ME, "numbers", 1)

    with pytest.raises(NotFound, match="no version 1"):
        handler.run(FakeJobRun(checked, principal=ME))


def test_the_server_reads_no_rows_itself() -> None:
    program = (
        "import sys; import modelry.services.datasets.service, modelry.services.datasets.deriving; "
        "sys.exit('pyarrow' in sys.modules or 'PIL' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
