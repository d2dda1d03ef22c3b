"""Folders and arrays as files to send: the same ones give the same bytes; what is odd is said."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from modelry.client.errors import InvalidInput
from modelry.client.row_files import arrays_file, name_of, sendable


def test_a_folder_is_sent_as_an_archive_that_depends_on_its_files_alone(tmp_path: Path) -> None:
    folder = tmp_path / "Pets"
    for kind in ("dog", "cat"):
        (folder / kind).mkdir(parents=True)
        (folder / kind / "1.png").write_bytes(kind.encode() * 50)
    (folder / ".cache").mkdir()
    (folder / ".cache" / "junk").write_bytes(b"junk")

    with sendable([folder]) as (archive,):
        first = archive.read_bytes()
        assert archive.name == "Pets.zip"
        with zipfile.ZipFile(archive) as opened:
            assert opened.namelist() == ["cat/1.png", "dog/1.png"]
            assert opened.read("dog/1.png") == b"dog" * 50
    assert not archive.exists()
    os.utime(folder / "cat" / "1.png", (1, 1))
    with sendable([folder]) as (archive,):
        assert archive.read_bytes() == first


def test_files_are_sent_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("a\n1\n")
    with sendable([file]) as files:
        assert files == [file]
    assert file.exists()


def test_what_cannot_be_sent_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "b").mkdir()
    for place in (tmp_path / "a.csv", tmp_path / "b" / "a.csv"):
        place.write_text("a\n")
    for paths, says in (
        ([], "no file to import"),
        ([tmp_path / "missing.csv"], "is not there"),
        ([tmp_path / "empty"], "has no files"),
        ([tmp_path / "a.csv", tmp_path / "b" / "a.csv"], "Two of the files are called 'a.csv'"),
    ):
        with pytest.raises(InvalidInput, match=says), sendable(paths):
            pass


def test_arrays_make_the_same_archive_twice() -> None:
    arrays = {"x_train": np.arange(6).reshape(3, 2), "y_train": [0, 1, 0]}
    with arrays_file(arrays) as path:
        first = path.read_bytes()
        with np.load(path, allow_pickle=False) as loaded:
            assert loaded["x_train"].tolist() == [[0, 1], [2, 3], [4, 5]]
    with arrays_file(arrays) as path:
        assert path.read_bytes() == first
    for bad, says in ((np.array([{}]), "objects"), (np.array(3), "no rows"), ([], "no rows")):
        with pytest.raises(InvalidInput, match=says), arrays_file({"x": bad}):
            pass


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("data/Digits (2).csv.gz", "digits-2"),
        ("pets/", "pets"),
        ("train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"),
    ],
)
def test_names_are_made_of_files(path: str, name: str) -> None:
    assert name_of(path) == name


def test_a_file_without_letters_needs_a_name() -> None:
    with pytest.raises(InvalidInput, match="give one"):
        name_of("???.csv")
