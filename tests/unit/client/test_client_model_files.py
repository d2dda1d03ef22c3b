from pathlib import Path

import pytest

from modelry.client.errors import InvalidInput
from modelry.client.model_files import BareFile, LocalManifest, RemoteManifest, read_registrable
from modelry.manifest.document import ManifestInvalid, parse_manifest


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_a_model_file_is_bare(tmp_path):
    write(tmp_path, digits__onnx="x")
    bare = BareFile(tmp_path / "digits.onnx")
    assert read_registrable(str(tmp_path / "digits.onnx")) == [bare]
    assert read_registrable(tmp_path) == [bare]


def test_a_manifests_files_are_relative_to_it(tmp_path):
    text = "name: a\ntask: tensor\nfiles: {model: m.onnx, labels: 'l.txt'}\n"
    write(tmp_path, model__yaml=text, m__onnx="x", l__txt="y")
    (found,) = read_registrable(tmp_path)
    assert isinstance(found, LocalManifest)
    assert found.files == {"model": tmp_path / "m.onnx", "labels": tmp_path / "l.txt"}
    assert parse_manifest(found.text)[0].name == "a"


def test_promised_digests_belong_to_the_source_not_to_the_name(tmp_path):
    text = f"name: a\ntask: tensor\nfiles: {{model: 'm.onnx#sha256={'0' * 64}'}}\n"
    write(tmp_path, model__yaml=text, m__onnx="x")
    (found,) = read_registrable(tmp_path)
    assert isinstance(found, LocalManifest)
    assert found.files["model"] == tmp_path / "m.onnx"


def test_several_manifests_keep_their_lines(tmp_path):
    text = (
        "# first\nname: a\ntask: tensor\nfiles: {model: m.onnx}\n"
        "---\n\nname: b\ntask: tensor\nfiles: {model: 'hf://org/repo/m.onnx'}\nwrong: 1\n"
        "---\n# nothing\n"
    )
    write(tmp_path, model__yaml=text, m__onnx="x")
    first, second = read_registrable(tmp_path / "model.yaml")
    assert isinstance(first, LocalManifest)
    assert isinstance(second, RemoteManifest)
    assert parse_manifest(first.text)[0].name == "a"
    with pytest.raises(ManifestInvalid) as caught:
        parse_manifest(second.text)
    assert caught.value.line == 10


def test_what_the_server_must_judge_is_left_to_it(tmp_path):
    write(tmp_path, model__yaml="just: words\n")
    (found,) = read_registrable(tmp_path)
    assert found == LocalManifest("just: words\n", {})


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({}, "neither a model.yaml nor"),
        ({"a__onnx": "x", "labels__txt": "y"}, "labels: labels.txt"),
        ({"a__onnx": "x", "b__gguf": "y"}, "several files"),
        ({"model__yaml": "files: {model: a.onnx}"}, "'a.onnx'"),
        ({"model__yaml": "files: {model: a.onnx, x: 'hf://o/r/f'}", "a__onnx": ""}, "elsewhere"),
        ({"model__yaml": "a: [1"}, "not valid YAML"),
        ({"model__yaml": ""}, "holds no manifest"),
    ],
)
def test_what_cannot_be_registered_is_told(tmp_path, files, word):
    write(tmp_path, **files)
    with pytest.raises(InvalidInput, match=word.replace("[", r"\[")):
        read_registrable(tmp_path)


def test_a_missing_path_and_one_that_is_no_text_are_told(tmp_path):
    with pytest.raises(InvalidInput, match="not there"):
        read_registrable(tmp_path / "nothing")
    (tmp_path / "model.yaml").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(InvalidInput, match="UTF-8"):
        read_registrable(tmp_path)
