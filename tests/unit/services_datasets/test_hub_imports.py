"""Datasets of a hub become versions: from a local hub that speaks the same API."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.datasets import ME, DatasetKit
from tests.support.fetching import Fetching
from tests.support.web_places import Place, Served, place_on_loopback

from modelry.adapters.hubs.types import FetchPolicy
from modelry.datasets.import_work import ImportDataset
from modelry.domain.errors import Cancelled, InvalidInput, NotSupported, SourceUnavailable
from modelry.services.datasets.hub_files import HubFiles
from modelry.services.datasets.importing import ImportHandler
from modelry.testing.jobs import FakeJobRun

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "README.md": b"# Flowers",
    "data/train-0.csv": b"length,kind\n1.5,iris\n2.5,rose\n3.5,iris\n",
    "data/train-1.csv": b"length,kind\n4.5,rose\n",
    "data/test.csv": b"length,kind\n9.5,iris\n8.5,rose\n",
}


@pytest.fixture
def hub() -> Iterator[Place]:
    told = {"id": "org/flowers", "sha": COMMIT, "private": False, "tags": [], "downloads": 0,
            "likes": 0, "siblings": [{"rfilename": name} for name in FILES]}  # fmt: skip
    with place_on_loopback() as place:
        place.paths["/api/datasets/org/flowers/revision/main"] = Served(json.dumps(told).encode())
        for name, content in FILES.items():
            digits = hashlib.sha256(content).hexdigest()
            place.paths[f"/datasets/org/flowers/resolve/{COMMIT}/{name}"] = Served(
                content, etag=f'"{digits}"', headers={"X-Repo-Commit": COMMIT}
            )
        yield place


@pytest.fixture
def kit(tmp_path: Path) -> DatasetKit:
    return DatasetKit(tmp_path, ImportDataset())


@pytest.fixture
def handler(kit: DatasetKit, hub: Place, tmp_path: Path) -> ImportHandler:
    fetching = Fetching(tmp_path)
    fetching.policy = FetchPolicy(hub_endpoint=hub.url, hub_token="hf_secret")
    files = HubFiles(fetching.fetcher(), kit.catalog.contents, tmp_path / "pulls")
    return ImportHandler(kit.service, files)


def asked(handler: ImportHandler, source: str, **more: Any) -> FakeJobRun:
    return FakeJobRun(
        handler.check(ME, {"name": "flowers", "source": source, **more}), principal=ME
    )


def test_a_dataset_of_a_hub_becomes_a_version(
    handler: ImportHandler, kit: DatasetKit, hub: Place, tmp_path: Path
) -> None:
    run = asked(handler, "hf://datasets/org/flowers", options={"label": "kind"})
    outcome = handler.run(run)
    assert (outcome["ref"], outcome["rows"]) == ("flowers@1", {"train": 4, "test": 2})
    version = kit.service.find(ME, "flowers")
    assert version.origin["import"]["source"] == f"hf://datasets/org/flowers@{COMMIT}"
    names = [one["name"] for one in version.origin["import"]["files"]]
    assert names == ["data/test.csv", "data/train-0.csv", "data/train-1.csv"]
    assert {one.headers.get("authorization") for one in hub.seen} == {"Bearer hf_secret"}
    assert list((tmp_path / "pulls").iterdir()) == []
    assert handler.run(run)["created"] is False, "a second attempt makes nothing twice"


def test_a_part_of_a_repository(handler: ImportHandler) -> None:
    outcome = handler.run(asked(handler, "hf://datasets/org/flowers@main/data/test.csv"))
    assert outcome["rows"] == {"test": 2}


def test_what_cannot_be_brought(handler: ImportHandler, kit: DatasetKit, hub: Place) -> None:
    with pytest.raises(InvalidInput, match="no file of parquet"):
        handler.run(asked(handler, "hf://datasets/org/flowers", format="parquet"))
    with pytest.raises(SourceUnavailable):
        handler.run(asked(handler, "hf://datasets/org/nothing"))
    stopped = asked(handler, "hf://datasets/org/flowers")
    stopped.stop.set()
    with pytest.raises(Cancelled):
        handler.run(stopped)
    for source in ("hf://org/flowers", "https://example.com/a.csv", "/etc/passwd"):
        with pytest.raises(InvalidInput, match="hf://datasets/org/repo"):
            asked(handler, source)
    with pytest.raises(InvalidInput, match="not both"):
        asked(handler, "hf://datasets/org/flowers", files=[{"name": "a", "digest": "b"}])
    with pytest.raises(NotSupported):
        ImportHandler(kit.service).check(ME, {"name": "a", "source": "hf://datasets/a/b"})
