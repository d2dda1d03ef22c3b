import pickle
from importlib.metadata import EntryPoint

import pytest

from modelry.domain.errors import FileRefused
from modelry.domain.signature import Datatype, Signature, TensorSpec
from modelry.manifest.inspect import FileFacts, FileFormat, inspect_file, installed

SIGNATURE = Signature((TensorSpec("x", Datatype.FP32, (2,)),), (), batched=False)
SEEN: list[bytes] = []


def recognises(head: bytes) -> bool:
    SEEN.append(head)
    return head.startswith(b"OWN")


def read(window):
    if window.size < 8:
        raise window.refused("it is too short.")
    if window.read(3, 1) == b"!":
        raise ZeroDivisionError
    name = "other" if window.read(3, 1) == b"?" else "own"
    return FileFacts(name, window.size, signature=SIGNATURE)


OWN = FileFormat(recognises=recognises, read=read)
NO_FORMAT = "a text"


@pytest.fixture(autouse=True)
def _declared(monkeypatch):
    points = {
        name: EntryPoint(name, f"{__name__}:{value}", installed.GROUP)
        for name, value in {"own": "OWN", "broken": "NO_FORMAT", "absent": "GONE"}.items()
    }
    points["absent"] = EntryPoint("absent", "no_such_module:x", installed.GROUP)
    monkeypatch.setattr(installed, "_declared", lambda: points)
    installed._load.cache_clear()
    SEEN.clear()
    yield
    installed._load.cache_clear()


def inspected(tmp_path, content: bytes) -> FileFacts:
    path = tmp_path / "file.bin"
    path.write_bytes(content)
    return inspect_file(path)


def test_a_file_of_an_added_format_is_known_by_its_bytes(tmp_path):
    facts = inspected(tmp_path, b"OWN" + bytes(range(200, 210)))
    assert facts == FileFacts("own", 13, signature=SIGNATURE)


def test_other_files_are_what_they_were(tmp_path):
    assert inspected(tmp_path, b'{"a": 1}').format == "json"
    assert inspected(tmp_path, b"some text\n").format == "text"


def test_at_most_the_head_is_shown(tmp_path):
    inspected(tmp_path, b"text " * 1000)
    assert {len(head) for head in SEEN} == {installed.HEAD_BYTES}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"OWN", "too short"),
        (b"OWN!12345", r"broke on it \(ZeroDivisionError\)"),
        (b"OWN?12345", "calls it 'other'"),
    ],
)
def test_what_its_reader_refuses_is_told(tmp_path, content, words):
    with pytest.raises(FileRefused, match=words):
        inspected(tmp_path, content)


@pytest.mark.parametrize(
    "content", [pickle.dumps([1, "OWN"]), b"\x7fELF" + bytes(60), b"PK\x03\x04" + bytes(60)]
)
def test_what_is_always_refused_is_shown_to_no_reader(tmp_path, content):
    with pytest.raises(FileRefused):
        inspected(tmp_path, content)
    assert SEEN == []
