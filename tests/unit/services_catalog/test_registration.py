"""Registering: what is inferred, what is refused, and that the same is the same."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper
from tests.support import databases

from modelry.adapters.blobs.file_store import FileBlobStore
from modelry.adapters.sql.database import Database
from modelry.domain.access import Role
from modelry.domain.errors import (
    Conflict,
    DigestMismatch,
    FileRefused,
    InvalidInput,
    ManifestInvalid,
    NotFound,
    NotSupported,
    PermissionDenied,
    SourceUnavailable,
)
from modelry.domain.signature import Datatype, TensorSpec
from modelry.manifest.digests import digest_of_bytes
from modelry.manifest.document import ManifestDocument, parse_manifest
from modelry.services.catalog.resolution import name_from_file
from modelry.services.catalog.service import CatalogService
from modelry.testing.catalog_fakes import FakeFetcher, FakeStarters, FakeTaskRules
from modelry.testing.encryption import memory_encryption
from modelry.testing.samples import OTHER_TENANT_ID, principal

ME = principal(Role.DEVELOPER)
LABELS = b"cat\ndog\n"


def tiny_onnx(bias: float = 1.0, path: Path | None = None) -> bytes:
    """y = x + bias; with `path`, the bias lies in a file of its own beside it."""
    spec = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in "xy"]
    constant = helper.make_tensor("bias", TensorProto.FLOAT, [2], [bias, bias])
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "bias"], ["y"])], "g", spec[:1], spec[1:], [constant]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if path is None:
        return bytes(model.SerializeToString())
    for tensor in model.graph.initializer:
        tensor.raw_data = onnx.numpy_helper.to_array(tensor).tobytes()
        tensor.ClearField("float_data")
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path.read_bytes()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = databases.with_tenants(tmp_path)
    yield database
    database.close()


class Kit:
    """A catalogue service and what it stands on."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.folder = folder
        self.rules = FakeTaskRules()
        self.fetcher = FakeFetcher()
        self.blobs = FileBlobStore(folder / "blobs", memory_encryption())
        self.database = database
        self.entries: list[ManifestDocument] = []
        self.service = self.make()

    def make(self) -> CatalogService:
        self.service = CatalogService(
            store=self.database.catalog,
            blobs=self.blobs,
            rules=self.rules,
            fetcher=self.fetcher,
            starters=FakeStarters(*self.entries),
            scratch=self.folder / "scratch",
            max_file_bytes=2**20,
        )
        return self.service

    def send(self, content: bytes) -> str:
        upload = self.service.begin_upload(ME, len(content), digest_of_bytes(content))
        if upload.digest is None:
            upload = self.service.append_upload(ME, upload.upload_id, 0, [content])
        assert upload.digest is not None
        return upload.digest

    def file(self, name: str, content: bytes) -> Path:
        path = self.folder / "sources" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    def count_versions(self) -> int:
        return sum(
            len(self.service.list_versions(ME, one.model.name))
            for one in self.service.list_models(ME)
        )


@pytest.fixture
def kit(database: Database, tmp_path: Path) -> Kit:
    return Kit(database, tmp_path)


def manifest(text: str = "", **changes: Any) -> ManifestDocument:
    base = {"name": "adder", "task": "tensor", "files": "{model: add.onnx}"}
    lines = [f"{key}: {value}" for key, value in {**base, **changes}.items()]
    (document,) = parse_manifest("\n".join([*lines, text]))
    return document


# ---- manifests --------------------------------------------------------------------------------


def test_a_manifest_becomes_a_version(kit: Kit) -> None:
    digest = kit.send(tiny_onnx())
    registration = kit.service.register(ME, manifest(), {"model": digest})
    version = registration.version
    assert registration.created
    assert version.ref == "adder@1"
    assert (version.task, version.runtime, version.source) == ("tensor", "onnx", "upload")
    assert version.signature.inputs == (TensorSpec("x", Datatype.FP32, (-1, 2)),)
    assert version.signature.batched
    assert version.manifest == {
        "name": "adder",
        "task": "tensor",
        "runtime": "onnx",
        "format": "onnx",
        "files": {"model": {"name": "add.onnx", "digest": digest, "size_bytes": len(tiny_onnx())}},
        "pre": [],
        "post": [{"step": "identity"}],
        "labels": None,
        "batch": {"max": None},
        "defaults": {},
        "limits": {"context": None, "on_overflow": "error"},
        "scale": {},
        "metadata": {},
    }
    assert kit.service.get_version(ME, "adder", 1) == version
    opened = kit.service.reader.open_files(version)
    assert opened["model"].path.read_bytes() == tiny_onnx()
    for file in opened.values():
        file.close()
    assert any("runtime 'onnx'" in note for note in registration.notes)
    assert any("identity" in note for note in registration.notes)


def test_everything_declared_is_kept(kit: Kit) -> None:
    files = {"model": kit.send(tiny_onnx()), "labels": kit.send(LABELS)}
    document = manifest(
        "pre: [a]\npost: [b]\nbatch: {max: 4}\nscale: {replicas: 0..2, idle_unload: 10m}\n"
        "metadata: {license: MIT}\nruntime: openvino\n",
        files="{model: add.onnx, labels: labels.txt}",
    )
    version = kit.service.register(ME, document, files).version
    assert version.runtime == "openvino"
    assert version.manifest["pre"] == [{"step": "a"}]
    assert version.manifest["batch"] == {"max": 4}
    assert version.manifest["scale"] == {
        "min_replicas": 0, "max_replicas": 2, "idle_unload_s": 600.0,
    }  # fmt: skip
    assert version.manifest["metadata"] == {"license": "MIT"}
    assert [one.role for one in version.files] == ["labels", "model"]


def test_the_same_again_is_the_same_version(kit: Kit) -> None:
    digest = kit.send(tiny_onnx())
    first = kit.service.register(ME, manifest(), {"model": digest})
    again = kit.service.register(ME, manifest(), {"model": kit.send(tiny_onnx())})
    assert not again.created
    assert again.version == first.version
    other = kit.service.register(ME, manifest(), {"model": kit.send(tiny_onnx(2.0))})
    assert (other.created, other.version.number) == (True, 2)
    renamed = kit.service.register(ME, manifest(name="other"), {"model": digest})
    assert renamed.version.ref == "other@1"


def test_registered_at_once_it_is_registered_once(kit: Kit) -> None:
    same = kit.send(tiny_onnx())
    others = [kit.send(tiny_onnx(float(bias))) for bias in range(10, 14)]
    outcomes: list[tuple[int, bool]] = []
    start = threading.Barrier(8)

    def register(digest: str) -> None:
        start.wait()
        registration = kit.service.register(ME, manifest(), {"model": digest})
        outcomes.append((registration.version.number, registration.created))

    threads = [threading.Thread(target=register, args=(one,)) for one in [same] * 4 + others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(created for _, created in outcomes) == 5
    assert {number for number, _ in outcomes} == {1, 2, 3, 4, 5}
    assert [one.number for one in kit.service.list_versions(ME, "adder")] == [5, 4, 3, 2, 1]


def test_a_model_keeps_its_task(kit: Kit) -> None:
    digest = kit.send(tiny_onnx())
    kit.service.register(ME, manifest(), {"model": digest})
    with pytest.raises(Conflict, match="keeps its task"):
        kit.service.register(ME, manifest(task="tabular"), {"model": digest})


def test_files_that_are_not_there_or_not_named(kit: Kit) -> None:
    digest = kit.send(tiny_onnx())
    with pytest.raises(NotFound) as told:
        kit.service.register(ME, manifest(), {"model": digest_of_bytes(b"nothing")})
    assert told.value.param == "files.model"
    for hostile in ("../../etc/passwd", "", "sha256:", "sha256:" + "z" * 64):
        with pytest.raises(NotFound):
            kit.service.register(ME, manifest(), {"model": hostile})
    with pytest.raises(ManifestInvalid) as missing:
        kit.service.register(
            ME, manifest(files="{model: a.onnx, labels: l.txt}"), {"model": digest}
        )
    assert (missing.value.line, missing.value.param) == (3, "files.labels")
    with pytest.raises(InvalidInput, match="'extra'"):
        kit.service.register(ME, manifest(), {"model": digest, "extra": digest})
    assert kit.count_versions() == 0


def test_contents_of_another_tenant_are_not_there(kit: Kit) -> None:
    digest = kit.send(tiny_onnx())
    stranger = principal(Role.OWNER, OTHER_TENANT_ID)
    with pytest.raises(NotFound):
        kit.service.register(stranger, manifest(), {"model": digest})


def test_unknown_words_point_at_their_line(kit: Kit) -> None:
    digest = kit.send(tiny_onnx())
    with pytest.raises(ManifestInvalid, match="known are: chat, tabular, tensor") as task:
        kit.service.register(ME, manifest(task="poetry"), {"model": digest})
    assert task.value.line == 2
    with pytest.raises(ManifestInvalid, match="onnx") as runtime:
        kit.service.register(ME, manifest("runtime: tensorrt"), {"model": digest})
    assert runtime.value.line == 4
    with pytest.raises(ManifestInvalid, match="reads gguf"):
        kit.service.register(ME, manifest("runtime: llamacpp"), {"model": digest})


def test_what_the_rules_refuse_is_not_registered(kit: Kit) -> None:
    digest = kit.send(tiny_onnx())
    kit.rules.refuse = ManifestInvalid("does not fit")
    with pytest.raises(ManifestInvalid, match="does not fit"):
        kit.service.register(ME, manifest(), {"model": digest})
    assert kit.service.list_models(ME) == []


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94.",
        b"PK\x03\x04" + b"\x00" * 60,
        b"#!/bin/sh\nrm -rf /\n\x00",
        tiny_onnx()[:40],
        os.urandom(100),
    ],
    ids=["pickle", "zip", "script", "cut-off", "noise"],
)
def test_hostile_files_are_refused(kit: Kit, content: bytes) -> None:
    digest = kit.send(content)
    with pytest.raises((FileRefused, NotSupported)) as told:
        kit.service.register(ME, manifest(), {"model": digest})
    assert str(kit.folder) not in told.value.message
    assert kit.count_versions() == 0


def test_a_format_without_a_runtime_is_told(kit: Kit) -> None:
    digest = kit.send(b'{"a": 1}')
    with pytest.raises(NotSupported, match="gguf, onnx"):
        kit.service.register(ME, manifest(), {"model": digest})


@pytest.mark.parametrize("labels", [b"\xff\xfe\x00", b"\xff\xff\xff\xff"])
def test_labels_must_be_text(kit: Kit, labels: bytes) -> None:
    files = {"model": kit.send(tiny_onnx()), "labels": kit.send(labels)}
    with pytest.raises((ManifestInvalid, FileRefused)):
        kit.service.register(ME, manifest(files="{model: a.onnx, labels: l.txt}"), files)


def test_external_data_must_be_named(kit: Kit) -> None:
    path = kit.folder / "external.onnx"
    content = tiny_onnx(path=path)
    weights = (kit.folder / "weights.bin").read_bytes()
    model = kit.send(content)
    with pytest.raises((ManifestInvalid, FileRefused), match=r"weights\.bin"):
        kit.service.register(ME, manifest(), {"model": model})
    document = manifest(files="{model: a.onnx, weights: weights.bin}")
    version = kit.service.register(
        ME, document, {"model": model, "weights": kit.send(weights)}
    ).version
    assert version.manifest["files"]["weights"]["name"] == "weights.bin"


def test_who_may_register(kit: Kit) -> None:
    for role in (Role.VIEWER, Role.OPERATOR, Role.INFERENCE, Role.AUDITOR):
        with pytest.raises(PermissionDenied):
            kit.service.register(principal(role), manifest(), {})
        with pytest.raises(PermissionDenied):
            kit.service.register_bare(principal(role), "a.onnx", "x")
        with pytest.raises(PermissionDenied):
            kit.service.pull(principal(role), "a")


# ---- bare files -------------------------------------------------------------------------------


def test_a_bare_file_says_what_was_inferred(kit: Kit) -> None:
    registration = kit.service.register_bare(ME, "My Adder (v2).onnx", kit.send(tiny_onnx()))
    assert registration.version.ref == "my-adder-v2@1"
    assert registration.version.task == "tensor"
    text = "\n".join(registration.notes)
    assert "name 'my-adder-v2'" in text
    assert "task 'tensor': it is onnx" in text
    named = kit.service.register_bare(
        ME, "a.onnx", kit.send(tiny_onnx()), name="sum", task="tensor"
    )
    assert named.version.ref == "sum@1"
    assert not any(note.startswith(("name", "task")) for note in named.notes)


def test_a_bare_file_that_tells_nothing(kit: Kit) -> None:
    digest = kit.send(b"just words\n")
    with pytest.raises(InvalidInput, match="Say which it is") as told:
        kit.service.register_bare(ME, "words.txt", digest)
    assert told.value.param == "task"


@pytest.mark.parametrize("file_name", ["", "/", "..", "a/..", "\n", "a\x00.onnx", "ä" * 200])
def test_unfit_file_names(kit: Kit, file_name: str) -> None:
    digest = kit.send(tiny_onnx())
    with pytest.raises(InvalidInput):
        kit.service.register_bare(ME, file_name, digest, name="x", task="tensor")


@pytest.mark.parametrize(
    ("file_name", "name"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m-instruct.q4_1"),
        ("/etc/model.onnx", "model"),
        ("C:\\models\\Net.onnx", "net"),
        ("__x__.onnx", "x"),
        ("a" * 80 + ".onnx", "a" * 64),
        ("modèle.onnx", "mod-le"),
    ],
)
def test_names_made_of_file_names(file_name: str, name: str) -> None:
    assert name_from_file(file_name) == name


def test_no_name_can_be_made_of_some(kit: Kit) -> None:
    for file_name in ("___.onnx", "模型.onnx"):
        with pytest.raises(InvalidInput, match="give one"):
            name_from_file(file_name)


# ---- pulling ----------------------------------------------------------------------------------

SOURCE = "pypi://models==1.0/models/add.onnx"


def test_a_starter_is_pulled_once(kit: Kit) -> None:
    kit.fetcher.files[SOURCE] = kit.file("add.onnx", tiny_onnx())
    digest = digest_of_bytes(tiny_onnx()).removeprefix("sha256:")
    kit.entries = [manifest(files=f"{{model: '{SOURCE}#sha256={digest}'}}")]
    service = kit.make()
    progress: list[str] = []
    first = service.pull(ME, "adder", lambda one: progress.append(one.phase))
    assert (first.created, first.version.source) == (True, "catalog:adder")
    assert first.version.files[0].name == "add.onnx"
    assert progress == ["done"]
    again = service.pull(ME, "adder")
    assert (again.created, len(kit.fetcher.fetched)) == (False, 1)
    assert [one.name for one in service.starters(ME)] == ["adder"]
    assert list((kit.folder / "scratch").iterdir()) == []


def test_a_single_source_is_pulled(kit: Kit) -> None:
    kit.fetcher.files[SOURCE] = kit.file("add.onnx", tiny_onnx())
    registration = kit.service.pull(ME, SOURCE)
    assert registration.version.ref == "add@1"
    assert registration.version.source == f"{SOURCE}@exact"


def test_a_manifest_with_sources_is_pulled(kit: Kit) -> None:
    kit.fetcher.files[SOURCE] = kit.file("add.onnx", tiny_onnx())
    version = kit.service.pull(ME, manifest(files=f"{{model: '{SOURCE}'}}")).version
    assert version.ref == "adder@1"


def test_what_cannot_be_pulled(kit: Kit) -> None:
    with pytest.raises(NotFound, match="no entry 'nobody'"):
        kit.service.pull(ME, "nobody")
    for path in ("/etc/passwd", "../x.onnx", "model.onnx"):
        with pytest.raises(InvalidInput, match="Upload"):
            kit.service.pull(ME, path)
    with pytest.raises(InvalidInput, match="Upload"):
        kit.service.pull(ME, manifest())
    with pytest.raises(SourceUnavailable):
        kit.service.pull(ME, SOURCE)
    with pytest.raises(InvalidInput):
        kit.service.pull(ME, "ftp://host/file")
    assert kit.count_versions() == 0


def test_web_addresses_are_for_admins(kit: Kit) -> None:
    url = "https://host.example/add.onnx"
    kit.fetcher.files[url] = kit.file("add.onnx", tiny_onnx())
    with pytest.raises(PermissionDenied):
        kit.service.pull(ME, url)
    with pytest.raises(PermissionDenied):
        kit.service.pull(ME, manifest(files=f"{{model: '{url}'}}"))
    assert kit.fetcher.fetched == []
    assert kit.service.pull(principal(Role.ADMIN), url).created


def test_a_fetcher_that_tells_a_wrong_digest_is_caught(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit.fetcher.files[SOURCE] = kit.file("add.onnx", tiny_onnx())
    monkeypatch.setattr(
        "modelry.testing.catalog_fakes.digest_of_file", lambda path: digest_of_bytes(b"other")
    )
    with pytest.raises(DigestMismatch):
        kit.service.pull(ME, SOURCE)
    assert list((kit.folder / "scratch").iterdir()) == []


def test_what_a_killed_fetch_left_is_cleared(kit: Kit) -> None:
    stale, young = kit.folder / "scratch" / "pull-old", kit.folder / "scratch" / "pull-new"
    for folder in (stale, young):
        folder.mkdir(parents=True)
        (folder / "half").write_bytes(b"x")
    long_ago = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
    os.utime(stale, (long_ago, long_ago))
    kit.service.sweep()
    assert not stale.exists()
    assert young.exists()


def test_contents_beside_files_of_versions_are_kept_and_opened(kit: Kit, tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    file.write_bytes(b"rows" * 1000)
    contents = kit.service.contents
    kept = contents.keep_file(ME.tenant_id, file)
    assert kept == contents.keep(ME.tenant_id, [b"rows" * 1000])
    opened = contents.open(ME.tenant_id, kept.digest, "rows")
    assert opened.path.read_bytes() == file.read_bytes()
    opened.close()
    with pytest.raises(NotFound):
        contents.open(OTHER_TENANT_ID, kept.digest, "rows")
