"""Files of every kind become datasets on a whole server: read in a locked-down process."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.importing import idx, picture, zipped
from tests.support.server import Running, server

from modelry import Client
from modelry.client.dataset_records import DatasetVersion
from modelry.client.errors import InvalidInput


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with server(tmp_path_factory.mktemp("imports") / "data") as started:
        yield started


@pytest.fixture
def client(running: Running) -> Iterator[Client]:
    with Client(running.url, running.key) as calling:
        yield calling


def rows_of(made: DatasetVersion) -> dict[str, int]:
    return {one.name: one.rows for one in made.splits}


def test_a_table_with_splits(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "flowers.csv"
    path.write_text("length,kind\n" + "".join(f"{i / 10},{'ab'[i % 2]}\n" for i in range(100)))
    made = client.datasets.import_(
        path, options={"label": "kind"}, split={"train": 0.8, "test": 0.2}, seed=3
    )
    assert rows_of(made) == {"train": 80, "test": 20}
    assert made.report["errors"] == 0
    path.write_text("length,kind\n1,a\n2,b\n3\n")
    with pytest.raises(InvalidInput, match="row 4: it has 1 cells"):
        client.datasets.import_(path)


def test_a_folder_of_images(client: Client, tmp_path: Path) -> None:
    for at in range(6):
        file = tmp_path / "pets" / "train" / ["cat", "dog"][at % 2] / f"{at}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(at, kind=["PNG", "JPEG", "WebP"][at % 3]))
    made = client.datasets.import_(tmp_path / "pets")
    assert rows_of(made) == {"train": 6}


def test_images_with_boxes(client: Client, tmp_path: Path) -> None:
    told = {
        "images": [{"id": at, "file_name": f"{at}.png"} for at in range(3)],
        "annotations": [
            {"id": at, "image_id": at, "category_id": 1, "bbox": [1, 1, 3, 3]} for at in range(3)
        ],
        "categories": [{"id": 1, "name": "thing"}],
    }
    (tmp_path / "things.json").write_text(json.dumps(told))
    (tmp_path / "things.zip").write_bytes(zipped({f"{at}.png": picture(at) for at in range(3)}))
    made = client.datasets.import_([tmp_path / "things.json", tmp_path / "things.zip"])
    assert rows_of(made) == {"train": 3}
    yolo = {
        "data.yaml": b"names: [thing]",
        "images/val/a.png": picture(1),
        "labels/val/a.txt": b"0 0.5 0.5 0.5 0.5",
    }
    (tmp_path / "yolo.zip").write_bytes(zipped(yolo))
    assert rows_of(client.datasets.import_(tmp_path / "yolo.zip")) == {"validation": 1}


def test_arrays(client: Client, tmp_path: Path) -> None:
    x = np.arange(60, dtype=np.uint8).reshape(10, 2, 3)
    made = client.datasets.from_arrays(
        "digits", x, np.arange(10) % 3, x_test=x, y_test=x[:, 0, 0] % 3
    )
    assert rows_of(made) == {"train": 10, "test": 10}
    codes = {one["code"] for one in made.report["findings"]}
    assert "leakage" in codes, "the test split is the training split"
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(x))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(10, dtype=np.uint8)))
    made = client.datasets.import_(sorted(tmp_path.iterdir()), "mnist")
    assert rows_of(made) == {"train": 10}


def test_rows_of_other_programs(client: Client, tmp_path: Path) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": ["a", "b"], "label": [0, 1]}), sink)
    (tmp_path / "rows.parquet").write_bytes(sink.getvalue())
    assert rows_of(client.datasets.import_(tmp_path / "rows.parquet")) == {"train": 2}
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "v": [1, 2]}\n{"text": "b", "v": [3, 4]}\n')
    assert rows_of(client.datasets.import_(tmp_path / "rows.jsonl", "lines")) == {"train": 2}


def test_texts_for_texts(client: Client, tmp_path: Path) -> None:
    (tmp_path / "pairs.tmx").write_text(
        '<tmx version="1.4"><header srclang="en"/><body><tu><tuv xml:lang="en"><seg>yes</seg></tuv>'
        '<tuv xml:lang="de"><seg>Ja</seg></tuv></tu></body></tmx>'
    )
    assert rows_of(client.datasets.import_(tmp_path / "pairs.tmx")) == {"train": 1}
    hostile = tmp_path / "hostile.tmx"
    hostile.write_text(
        '<!DOCTYPE tmx [<!ENTITY a SYSTEM "file:///etc/passwd">]><tmx version="1.4">&a;</tmx>'
    )
    with pytest.raises(InvalidInput, match="remove the DOCTYPE"):
        client.datasets.import_(hostile)


def test_hostile_archives_end_the_import_and_nothing_else(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.png", b"\0" * (40 * 2**20))
        archive.writestr("../../a/2.png", picture())
    with pytest.raises(InvalidInput, match="points out of it"):
        client.datasets.import_(path)
    assert "bomb" not in {one.name for one in client.datasets.list()}
