"""Files that were uploaded become versions, split as was asked; what is wrong with them is told."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.support.datasets import ME, DatasetKit

from modelry.datasets.import_work import ImportDataset
from modelry.domain.access import Role
from modelry.domain.datasets import ColumnRole, ColumnType
from modelry.domain.errors import (
    InvalidInput,
    NotFound,
    PermissionDenied,
    RowsInvalid,
    UnsupportedField,
)
from modelry.services.datasets.importing import ImportHandler
from modelry.services.datasets.previewing import RowsAsked
from modelry.testing.jobs import FakeJobRun
from modelry.testing.samples import principal

FLOWERS = b"length,width,kind\n" + b"".join(
    f"{one / 10},{one % 7},{'iris' if one % 4 else 'rose'}\n".encode() for one in range(200)
)


@pytest.fixture
def kit(tmp_path: Path) -> DatasetKit:
    return DatasetKit(tmp_path, ImportDataset())


def bring(kit: DatasetKit, files: Mapping[str, bytes], **parameters: Any) -> Any:
    handler = ImportHandler(kit.service)
    listed = [{"name": name, "digest": kit.upload(content)} for name, content in files.items()]
    checked = handler.check(ME, {"name": "data", "files": listed, **parameters})
    return handler.run(FakeJobRun(checked, principal=ME))


def test_a_table_becomes_a_dataset(kit: DatasetKit) -> None:
    outcome = bring(kit, {"flowers.csv": FLOWERS}, options={"label": "kind"})

    assert (outcome["ref"], outcome["rows"]) == ("data@1", {"train": 200})
    version = kit.service.find(ME, "data")
    assert [(one.name, one.type, one.role) for one in version.schema.columns] == [
        ("length", ColumnType.NUMBER, ColumnRole.FEATURE),
        ("width", ColumnType.INTEGER, ColumnRole.FEATURE),
        ("kind", ColumnType.TEXT, ColumnRole.LABEL),
    ]
    assert version.statistics["train"]["kind"]["classes"] == {"iris": 150, "rose": 50}
    assert version.statistics["train"]["width"]["max"] == 6
    (file,) = version.origin["import"]["files"]
    assert file["name"] == "flowers.csv"
    again = bring(kit, {"flowers.csv": FLOWERS}, options={"label": "kind"})
    assert (again["ref"], again["created"]) == ("data@1", False)


def test_rows_are_shared_out_alike_and_whatever_their_order(kit: DatasetKit) -> None:
    plan = {"fractions": {"train": 0.8, "test": 0.2}, "seed": 7}
    head, *lines = FLOWERS.splitlines(keepends=True)
    turned = head + b"".join(reversed(lines))

    bring(kit, {"flowers.csv": FLOWERS}, options={"label": "kind"}, split=plan)
    bring(kit, {"flowers.csv": turned}, name="turned", options={"label": "kind"}, split=plan)

    version = kit.service.find(ME, "data")
    classes = {name: one["kind"]["classes"] for name, one in version.statistics.items()}
    assert classes["train"] == {"iris": 120, "rose": 40}
    assert classes["test"] == {"iris": 30, "rose": 10}

    def tested(ref: str) -> set[float]:
        shown = kit.service.rows(ME, ref, RowsAsked("test", limit=100, columns=("length",)))
        return {row["length"] for row in shown.rows}

    assert tested("turned") == tested("data")
    other = {"fractions": plan["fractions"], "seed": 8}
    bring(kit, {"a.csv": FLOWERS}, name="other", options={"label": "kind"}, split=other)
    assert tested("other") != tested("data")


def idx(values: np.ndarray[Any, Any]) -> bytes:
    head = struct.pack(">BBBB", 0, 0, 8, values.ndim)
    return gzip.compress(head + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes())


def test_mnist_files_become_splits_of_images(kit: DatasetKit) -> None:
    random = np.random.default_rng(0)
    files = {}
    for prefix, rows in (("train", 30), ("t10k", 10)):
        files[f"{prefix}-images-idx3-ubyte.gz"] = idx(
            random.integers(0, 256, (rows, 4, 4), dtype=np.uint8)
        )
        files[f"{prefix}-labels-idx1-ubyte.gz"] = idx(np.arange(rows, dtype=np.uint8) % 10)

    outcome = bring(kit, files)

    assert outcome["rows"] == {"train": 30, "test": 10}
    version = kit.service.find(ME, "data")
    (label,) = version.schema.with_role(ColumnRole.LABEL)
    assert len(label.classes) == 10


def pictures(**changed: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for kind in ("cat", "dog"):
            for at in range(3):
                file = io.BytesIO()
                Image.new("RGB", (4, 3), (at * 40, 0, 9)).save(file, "PNG")
                content = changed.get(f"{kind}{at}", file.getvalue())
                archive.writestr(f"{kind}/{at}.png", content)
    return out.getvalue()


def test_a_corrupt_image_ends_the_import_or_is_left_out(kit: DatasetKit) -> None:
    broken = pictures(dog1=b"\x89PNG\r\n\x1a\n no more")

    with pytest.raises(RowsInvalid, match=r"dog/1\.png"):
        bring(kit, {"pets.zip": broken})
    assert kit.service.all(ME) == []

    outcome = bring(
        kit, {"pets.zip": broken}, options={"on_bad_rows": "skip"}, format="image-folder"
    )
    assert outcome["rows"] == {"train": 5}
    assert outcome["source"]["skipped_rows"] == 1
    shown = kit.service.rows(ME, "data", RowsAsked(limit=1))
    assert set(shown.rows[0]) >= {"image", "label"}
    statistics = kit.service.find(ME, "data").statistics["train"]
    assert statistics["image"]["sizes"] == {"4x3": 5}


def test_what_is_asked_for_is_checked_before(kit: DatasetKit) -> None:
    check = ImportHandler(kit.service).check
    file = {"name": "a.csv", "digest": kit.upload(FLOWERS)}
    asked = {"name": "data", "files": [file]}

    defaults = {"source": None, "format": None, "options": {}, "split": None}
    assert check(ME, asked) == {**asked, **defaults}
    missing = {"name": "b.csv", "digest": "sha256:" + "0" * 64}
    wrong: list[tuple[Mapping[str, Any], type[Exception], str]] = [
        ({"files": []}, InvalidInput, "list of 1 to 1000 files"),
        ({"files": [missing]}, NotFound, "upload it first"),
        ({"files": [file, file]}, InvalidInput, "Two files are called 'a.csv'"),
        ({"files": [{**file, "digest": "abc"}]}, InvalidInput, "sha256"),
        ({"files": [{**file, "path": "/etc/passwd"}]}, UnsupportedField, "path"),
        ({"files": [{**file, "name": "a\nb"}]}, InvalidInput, "printable"),
        ({"format": "pickle"}, InvalidInput, "no format 'pickle'"),
        ({"format": "csv", "options": {"lable": "x"}}, InvalidInput, "lable"),
        ({"options": []}, InvalidInput, "'options' must be an object"),
        ({"split": {"fractions": {"train": 1, "test": 0}}}, InvalidInput, "split.fractions.test"),
        ({"split": {"fractions": {"../x": 1}}}, InvalidInput, "split"),
        ({"splits": {}}, UnsupportedField, "splits"),
    ]
    for changes, kind, says in wrong:
        with pytest.raises(kind, match=says):
            check(ME, {**asked, **changes})
    with pytest.raises(PermissionDenied, match="datasets:write"):
        check(principal(Role.OPERATOR), asked)


def test_files_that_cannot_be_used_say_why(kit: DatasetKit) -> None:
    with pytest.raises(InvalidInput, match="cannot be told"):
        bring(kit, {"a.bin": b"\x01\x02\x03"})
    with pytest.raises(InvalidInput, match="has no row that can be used"):
        bring(kit, {"a.csv": b"a,b\n"})
    plan = {"fractions": {"train": 0.5, "test": 0.5}}
    with pytest.raises(InvalidInput, match=r"The split '\w+' would have no rows"):
        bring(kit, {"a.csv": b"a,b\n1,2\n"}, split=plan)
    assert kit.service.all(ME) == []
