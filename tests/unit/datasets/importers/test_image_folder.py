"""Folders of images in a zip."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.importing import columns_of, opened, picture, zipped

from modelry.domain.datasets import ColumnRole, ColumnType
from modelry.domain.errors import InvalidInput, RowsInvalid

PICTURES = {
    "cat/1.png": picture(1),
    "cat/2.JPG": picture(2, kind="JPEG"),
    "dog/1.webp": picture(3, kind="WebP"),
}


def read(tmp_path: Path, entries: Mapping[str, bytes], split: str = "", **options: Any) -> Any:
    source = opened(tmp_path, {"pets.zip": zipped(entries)}, "image-folder", **options)
    return source, columns_of(source, split)


@pytest.mark.parametrize("prefix", ["", "pets/", "data/pets/"])
def test_folders_are_classes(tmp_path: Path, prefix: str) -> None:
    clutter = {"__MACOSX/cat/._1.png": b"x", f"{prefix}.DS_Store": b"x"}
    source, rows = read(
        tmp_path, {prefix + name: data for name, data in PICTURES.items()} | clutter
    )
    image, label, file = source.schema.columns
    assert (image.type, label.classes, file.role) == (
        ColumnType.IMAGE, ("cat", "dog"), ColumnRole.ID,
    )  # fmt: skip
    assert sorted(zip(rows["file"], rows["label"], strict=True)) == [
        (f"{prefix}cat/1.png", "cat"), (f"{prefix}cat/2.JPG", "cat"),
        (f"{prefix}dog/1.webp", "dog"),
    ]  # fmt: skip
    assert sorted(rows["image"]) == sorted(PICTURES.values())


def test_splits_above_classes(tmp_path: Path) -> None:
    entries = {
        f"pets/{split}/{name}": data
        for split in ("training", "test", "val")
        for name, data in PICTURES.items()
    }
    source, rows = read(tmp_path, entries, "validation")
    assert source.splits == ("train", "validation", "test")
    assert rows["file"][0].startswith("pets/val/")
    assert source.schema.columns[1].classes == ("cat", "dog")


def test_a_corrupt_image_in_the_middle_is_named(tmp_path: Path) -> None:
    cut = picture(5, 200, 200, "JPEG")[:-4000]
    entries = PICTURES | {
        "cat/3.jpg": cut,
        "cat/4.png": b"",
        "dog/notes.txt": b"x",
        "dog/5.png": picture(6),
    }
    with pytest.raises(RowsInvalid) as caught:
        read(tmp_path, entries)
    for name in ("cat/3.jpg", "cat/4.png", "dog/notes.txt"):
        assert f"pets.zip, entry {name}: " in caught.value.message
    source, rows = read(tmp_path, entries, on_bad_rows="skip")
    assert len(rows["file"]) == 4
    assert source.problems.to_wire()["skipped_rows"] == 3
    columns_of(source)
    assert source.problems.to_wire()["skipped_rows"] == 3, "reading again counts nothing twice"


@pytest.mark.parametrize(
    ("entries", "options", "expected"),
    [
        ({}, {}, "no image in it"),
        ({"readme.txt": b"x"}, {}, "no image in it"),
        ({"1.png": picture()}, {}, "lies in no folder"),
        ({"a/1.png": picture(), "a/b/2.png": picture()}, {}, "expected one folder"),
        ({"train/a/1.png": picture(), "b/2.png": picture()}, {}, "Some images lie in folders"),
        (PICTURES, {"classes": ["cat", "ox"]}, "the class 'dog', which is not among"),
        ({"../a/1.png": picture()}, {}, "points out of it"),
        ({"/a/1.png": picture()}, {}, "points out of it"),
        ({"a\\..\\1.png": picture()}, {}, "points out of it"),
        ({"C:/a/1.png": picture()}, {}, "points out of it"),
    ],
)
def test_folders_that_cannot_be_used(
    tmp_path: Path, entries: dict[str, bytes], options: dict[str, Any], expected: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(tmp_path, entries, **options)
    assert expected in caught.value.message
    assert str(tmp_path) not in caught.value.message


def opening_fails(tmp_path: Path, data: bytes, expected: str) -> None:
    with pytest.raises(InvalidInput, match=expected):
        columns_of(opened(tmp_path, {"pets.zip": data}, "image-folder"))


def test_links_passwords_and_rare_packings_are_refused(tmp_path: Path) -> None:
    opening_fails(tmp_path, zipped(PICTURES, zipfile.ZIP_LZMA), "packed in an unusual way")
    link = zipfile.ZipInfo("cat/1.png")
    link.external_attr = 0o120777 << 16
    path = tmp_path / "link.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    opening_fails(tmp_path, path.read_bytes(), "is a link")
    locked = bytearray(zipped(PICTURES))
    at = locked.index(b"PK\1\2")
    locked[at + 8] |= 1
    opening_fails(tmp_path, bytes(locked), "is encrypted")


def test_entries_over_each_other_are_refused(tmp_path: Path) -> None:
    """As the bombs do it that unpack the same bytes a thousand times."""
    data = bytearray(zipped({"a/1.png": b"x" * 5000, "a/2.png": b"x" * 5000}))
    first, second = (at for at in range(len(data)) if data[at : at + 4] == b"PK\1\2")
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    opening_fails(tmp_path, bytes(data), "lies over another")


def test_the_same_name_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/1.png", picture())
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a/1.png", picture(2))
    opening_fails(tmp_path, path.read_bytes(), "two entries 'a/1.png'")


def test_a_huge_directory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelry.datasets.importers.archives.MAX_ENTRIES", 2)
    opening_fails(tmp_path, zipped(PICTURES), "at most 2 entries")


def test_an_image_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelry.datasets.importers.streams.FREE_BYTES", 2**16)
    bomb = zipped({"a/1.png": b"\0" * 2**24}, zipfile.ZIP_DEFLATED)
    opening_fails(tmp_path, bomb, "more than 200 times")


def test_an_image_of_too_many_pixels_is_a_bad_row(tmp_path: Path) -> None:
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (60_000).to_bytes(4) * 2 + b"\x08\2\0\0\0"
    with pytest.raises(RowsInvalid, match="60000 x 60000 pixels"):
        read(tmp_path, {"a/1.png": header + b"\0" * 40})


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_any_byte_turned_is_read_or_refused(place: int, turn: int) -> None:
    data = bytearray(zipped(PICTURES, zipfile.ZIP_DEFLATED))
    data[place % len(data)] ^= turn
    with tempfile.TemporaryDirectory() as folder, suppress(InvalidInput):
        source = opened(Path(folder), {"pets.zip": bytes(data)}, "image-folder")
        assert len(columns_of(source)["image"]) <= 3
