"""Sequence models through the catalogue: translation and summarization."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import databases, sequence_models
from tests.support.task_models import facts_of, tokenizer_file, written
from tests.unit.tasks.test_registering import register

from modelry.adapters.blobs.file_store import FileBlobStore
from modelry.domain.errors import FileRefused, InvalidInput, ManifestInvalid, NotSupported
from modelry.domain.signature import NO_TENSORS
from modelry.manifest.inspect import inspect_file
from modelry.runtime_api.sequence_models import SequenceModel
from modelry.services.catalog.service import CatalogService
from modelry.tasks.rules import InstalledTasks
from modelry.testing.catalog_fakes import FakeFetcher, FakeStarters
from modelry.testing.encryption import memory_encryption

MANIFEST = """\
name: en-de
task: translation
files: {model: m.json, encoder: e.onnx, decoder: d.onnx, tokenizer: t.json}
"""


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


def test_a_version_is_registered_with_its_four_files(catalog: CatalogService) -> None:
    found = register(catalog, MANIFEST, **sequence_models.files()).version
    assert (found.task, found.runtime, found.manifest["format"]) == (
        "translation",
        "seq2seq",
        "seq2seq",
    )
    assert found.signature == NO_TENSORS
    assert {one.role for one in found.files} == {"model", "encoder", "decoder", "tokenizer"}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("defaults: {beams: 99}", "Default of 'beams' is 99"),
        ("defaults: {beams: yes}", "Default of 'beams'"),
        ("defaults: {temperature: 1}", "no default 'temperature'"),
        ("defaults: {max_tokens: 20000}", "Default of 'max_tokens'"),
        ("pre: [tokenize]", "takes its input as it comes"),
        ("runtime: onnx", "reads onnx"),
    ],
)
def test_what_the_manifest_cannot_say_is_refused(
    catalog: CatalogService, more: str, told: str
) -> None:
    with pytest.raises(ManifestInvalid, match=told):
        register(catalog, MANIFEST + more, **sequence_models.files())


def test_defaults_and_limits_are_kept(catalog: CatalogService) -> None:
    text = MANIFEST + "defaults: {beams: 2, max_tokens: 9, length_penalty: 1}\nlimits: {context: 8}"
    found = register(catalog, text, **sequence_models.files()).version
    assert found.manifest["defaults"] == {"beams": 2, "max_tokens": 9, "length_penalty": 1}
    assert found.manifest["limits"]["context"] == 8


@pytest.mark.parametrize("role", ["encoder", "decoder", "tokenizer"])
def test_a_missing_file_is_named(catalog: CatalogService, role: str) -> None:
    files = sequence_models.files()
    del files[role]
    text = MANIFEST.replace(f", {role}: {role[0]}.{'json' if role == 'tokenizer' else 'onnx'}", "")
    with pytest.raises(ManifestInvalid, match=f"'{role}' is missing"):
        register(catalog, text, **files)


def test_a_file_of_another_kind_is_refused(catalog: CatalogService) -> None:
    files = {**sequence_models.files(), "decoder": tokenizer_file()}
    with pytest.raises(ManifestInvalid, match=r"'decoder'.*'onnx'.*'tokenizer-json'"):
        register(catalog, MANIFEST, **files)


def test_other_tasks_refuse_a_sequence_model(catalog: CatalogService) -> None:
    with pytest.raises(NotSupported, match="'seq2seq'"):
        register(catalog, MANIFEST.replace("translation", "chat"), **sequence_models.files())


def test_a_description_says_what_it_is_for(tmp_path: Path) -> None:
    files = written(tmp_path, **sequence_models.files())
    found = InstalledTasks().recognise(facts_of(files))
    assert [one.task for one in found] == ["translation", "summarization"]
    assert found[0].score > 0.9 > found[1].score


def test_inspection_tells_the_description(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_bytes(sequence_models.files()["model"])
    facts = inspect_file(tmp_path / "m.json")
    assert (facts.format, facts.signature) == ("seq2seq", NO_TENSORS)
    assert facts.metadata["source_language"] == "en"
    assert facts.metadata["target_tokens"] == "16"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"format_version": 2}, "version"),
        ({"vocabulary": "many"}, "'vocabulary'"),
        ({"vocabulary": True}, "'vocabulary'"),
        ({"pad": -1}, "'pad'"),
        ({"end": 10**9}, "'end'"),
        ({"start": 2}, "different"),
        ({"layers": 0}, "'layers'"),
        ({"target_tokens": 1}, "'target_tokens'"),
        ({"task": "x" * 100}, "'task'"),
        ({"source_language": "\u202eevil"}, "'source_language'"),
        ({"target_language": None}, "'target_language'"),
    ],
)
def test_a_description_with_values_that_cannot_be_is_refused(
    tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    document = {**sequence_models.MODEL.to_json(), **changes}
    with pytest.raises(InvalidInput, match=told):
        SequenceModel.from_json(document)
    (tmp_path / "m.json").write_text(json.dumps(document))
    with pytest.raises(FileRefused, match=told):
        inspect_file(tmp_path / "m.json")


def test_a_description_comes_back_as_it_was_written() -> None:
    assert SequenceModel.from_json(sequence_models.MODEL.to_json()) == sequence_models.MODEL
