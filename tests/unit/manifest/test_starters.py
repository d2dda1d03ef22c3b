import pytest

from modelry.domain.errors import ManifestInvalid
from modelry.manifest.sources import HubSource, PackageSource
from modelry.manifest.starters import StarterEntries

ENTRIES = StarterEntries()


def test_a_fresh_installation_chats_embeds_and_detects():
    assert set(ENTRIES.defaults()) == {"assistant", "minilm", "layout"}
    tasks = {ENTRIES.find(name).task for name in ENTRIES.defaults()}
    assert tasks == {"chat", "text-embedding", "object-detection"}


def test_the_smallest_download_comes_first_and_starters_before_others():
    assert list(ENTRIES.defaults()) == ["layout", "minilm", "assistant"]
    assert list(ENTRIES.names())[:3] == list(ENTRIES.defaults())


@pytest.mark.parametrize("name", ENTRIES.names())
def test_every_entry_says_what_it_is_and_pins_its_bytes(name):
    entry = ENTRIES.find(name)
    assert entry.name == name
    assert {"description", "license", "url", "size_bytes"} <= set(entry.metadata)
    for source in entry.files.values():
        assert isinstance(source, PackageSource | HubSource)
        assert source.digest is not None


def test_other_names_are_not_found():
    assert ENTRIES.find("../assistant") is None
    assert ENTRIES.find("assistant.yaml") is None


MANIFEST = "name: a\ntask: tensor\nfiles: a.onnx\n"


def test_a_folder_of_manifests_is_a_catalogue(tmp_path):
    (tmp_path / "a.yaml").write_text(MANIFEST)
    (tmp_path / "readme.txt").write_text("not a manifest")
    entries = StarterEntries(tmp_path)
    assert list(entries.names()) == ["a"]
    assert list(entries.defaults()) == []


@pytest.mark.parametrize(
    ("file_name", "text", "words"),
    [
        ("b.yaml", MANIFEST, "holds the model 'a'"),
        ("a.yaml", f"{MANIFEST}---\n{MANIFEST}", "one document"),
        ("a.yaml", f"{MANIFEST}unknown: 1\n", "unknown"),
    ],
)
def test_a_wrong_manifest_is_told(tmp_path, file_name, text, words):
    (tmp_path / file_name).write_text(text)
    with pytest.raises(ManifestInvalid, match=words):
        StarterEntries(tmp_path).names()
