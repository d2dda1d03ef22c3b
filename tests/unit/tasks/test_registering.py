"""Bare files and manifests through the catalogue with the installed tasks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import databases
from tests.support.onnx_models import tiny_cnn
from tests.support.task_models import (
    linear_classifier,
    token_vectors,
    tokenizer_file,
    word_counter,
)

from modelry.adapters.blobs.file_store import FileBlobStore
from modelry.domain.access import Role
from modelry.domain.errors import ManifestInvalid
from modelry.manifest.digests import digest_of_bytes
from modelry.manifest.document import parse_manifest
from modelry.services.catalog.registration import Registration
from modelry.services.catalog.service import CatalogService
from modelry.tasks.rules import InstalledTasks
from modelry.testing.catalog_fakes import FakeFetcher, FakeStarters
from modelry.testing.encryption import memory_encryption
from modelry.testing.samples import principal

ME = principal(Role.DEVELOPER)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[CatalogService]:
    database = databases.with_tenants(tmp_path)
    yield CatalogService(
        store=database.catalog,
        blobs=FileBlobStore(tmp_path / "blobs", memory_encryption()),
        rules=InstalledTasks(),
        fetcher=FakeFetcher(),
        starters=FakeStarters(),
        scratch=tmp_path / "scratch",
    )
    database.close()


def send(catalog: CatalogService, content: bytes) -> str:
    upload = catalog.begin_upload(ME, len(content), digest_of_bytes(content))
    if upload.digest is None:
        catalog.append_upload(ME, upload.upload_id, 0, [content])
    return digest_of_bytes(content)


def register(catalog: CatalogService, text: str, **files: bytes) -> Registration:
    (document,) = parse_manifest(text)
    digests = {role: send(catalog, content) for role, content in files.items()}
    return catalog.register(ME, document, digests)


@pytest.mark.parametrize(
    ("model", "task", "words"),
    [
        (tiny_cnn(), "image-classification", ["28x28", "pixels from 0 to 1", "logits", "top_k"]),
        (linear_classifier([0, 1]), "tabular", ["LinearClassifier", "f0, f1", "probabilities"]),
        (token_vectors(), "tensor", ["files.tokenizer"]),
    ],
)
def test_a_bare_file_says_what_was_inferred(
    catalog: CatalogService, model: object, task: str, words: list[str]
) -> None:
    content = model.SerializeToString()  # type: ignore[attr-defined]
    registration = catalog.register_bare(ME, "digits.onnx", send(catalog, content))
    assert registration.version.ref == "digits@1"
    assert registration.version.task == task
    notes = "\n".join(registration.notes)
    assert f"task '{task}'" in notes
    for word in words:
        assert word in notes


def test_the_resolved_steps_registered_again_are_the_same_version(catalog: CatalogService) -> None:
    text = "name: e\ntask: text-embedding\nfiles: {model: m.onnx, tokenizer: t.json}\n"
    files = {"model": token_vectors().SerializeToString(), "tokenizer": tokenizer_file()}
    first = register(catalog, text, **files)
    again = register(catalog, text + "post: [pool, l2_normalize]\npre: [tokenize]\n", **files)
    assert (again.created, again.version) == (False, first.version)


def test_labels_name_classes_whether_steps_say_so_or_not(catalog: CatalogService) -> None:
    text = (
        "name: c\ntask: text-classification\nlabels: [a, b]\n"
        "files: {model: m.onnx, tokenizer: t.json}\n"
    )
    files = {"model": word_counter().SerializeToString(), "tokenizer": tokenizer_file()}
    for more in ("", "post: [softmax, top_k: 2]\n", "post: [softmax, top_k: 2, label]\n"):
        version = register(catalog, text + more, **files).version
        assert [step["step"] for step in version.manifest["post"]] == ["softmax", "top_k", "label"]
        assert version.number == 1


@pytest.mark.parametrize(
    ("more", "line", "word"),
    [
        ("post: [softmax, top_k: 0]\n", 4, "'k' is 0"),
        ("post:\n  - softmax\n  - topk: 5\n", 6, "topk"),
        ("pre:\n  - resize: 3\n", 5, "resize"),
        ("labels: [one]\n", 4, "1 labels"),
    ],
)
def test_what_does_not_fit_points_at_its_line(
    catalog: CatalogService, more: str, line: int, word: str
) -> None:
    text = "name: c\ntask: text-classification\nfiles: {model: m.onnx, tokenizer: t.json}\n" + more
    files = {"model": word_counter().SerializeToString(), "tokenizer": tokenizer_file()}
    with pytest.raises(ManifestInvalid) as told:
        register(catalog, text, **files)
    assert word in told.value.message
    assert told.value.line == line
