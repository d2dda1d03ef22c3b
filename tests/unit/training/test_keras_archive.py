"""The zip of a `.keras` file, and the HDF5 file in it: what is read and what is refused."""

import struct
import warnings
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.keras_models import KERAS_2, TENSORFLOW, config_of, entries_of, write

from modelry.domain.errors import FileRefused
from modelry.training.recipes.keras.archive import read_keras_file
from modelry.training.recipes.keras.weight_file import check_weights

SOUND = TENSORFLOW.read_bytes()


def refusal(path, tmp_path):
    with pytest.raises(FileRefused) as caught:
        read_keras_file(path, tmp_path)
    return caught.value.message


def test_a_file_of_tensorflow_is_taken_apart(tmp_path):
    file = read_keras_file(TENSORFLOW, tmp_path)
    assert file.keras_version == "3.0.5"
    assert file.config == config_of()
    facts = check_weights(file.weights)
    assert facts.arrays == 6  # two of the optimiser
    assert facts.size_bytes == 4 * (18 + 2 + 54 * 1 + 3) + 4 + 8


def test_a_file_of_keras_2_is_refused_with_what_to_do(tmp_path):
    told = refusal(KERAS_2, tmp_path)
    assert "Keras 2.15.0" in told
    assert "Save the model again with Keras 3" in told


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"metadata.json": {"keras_version": "1.2.3"}}, "saved by Keras 1.2.3"),
        ({"metadata.json": {}}, "does not tell which Keras"),
        ({"metadata.json": {"keras_version": ["3"]}}, "does not tell which Keras"),
        ({"metadata.json": {"keras_version": "3.x"}}, "does not tell which Keras"),
        ({"metadata.json": b"\xff"}, "no JSON object"),
        ({"config.json": b"[1]"}, "no JSON object"),
        ({"config.json": b"[" * 100_000}, "no JSON object"),
        ({"config.json": b"1" * (8 * 2**20 + 1)}, "bytes; at most"),
        ({"assets/layers/lookup/vocabulary.txt": b"a"}, "vocabularies"),
        ({"../evil": b"a"}, "vocabularies"),
        ({"extra": b"a"}, "vocabularies"),
    ],
)
def test_what_else_is_in_the_zip_is_refused(tmp_path, change, expected):
    path = write(tmp_path / "m.keras", entries_of() | change)
    assert expected in refusal(path, tmp_path)


@pytest.mark.parametrize("name", ["metadata.json", "config.json", "model.weights.h5"])
def test_all_three_parts_must_be_there(tmp_path, name):
    entries = entries_of()
    del entries[name]
    assert "must be in it" in refusal(write(tmp_path / "m.keras", entries), tmp_path)


def test_a_part_that_is_there_twice_is_refused(tmp_path):
    path = tmp_path / "m.keras"
    path.write_bytes(SOUND)
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("config.json", "{}")
    assert "twice" in refusal(path, tmp_path)


def test_a_bomb_is_refused_before_it_grows(tmp_path):
    entries = entries_of() | {"model.weights.h5": bytes(4 * 2**20)}
    path = write(tmp_path / "m.keras", entries, zipfile.ZIP_DEFLATED)
    assert "grows from" in refusal(path, tmp_path)
    assert not (tmp_path / "base.weights.h5").exists()


def test_a_declared_size_that_is_too_small_is_damage(tmp_path):
    entries = entries_of()
    path = write(tmp_path / "m.keras", entries)
    data = bytearray(path.read_bytes())
    at = data.rfind(b"model.weights.h5") - 46
    data[at + 24 : at + 28] = struct.pack("<I", 100)
    path.write_bytes(data)
    assert "damaged" in refusal(path, tmp_path)


@settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), min_size=1, max_size=8
    ),
    st.one_of(st.none(), st.integers(0, len(SOUND))),
)
def test_damage_anywhere_is_told_or_harmless(tmp_path, changes, cut):
    data = bytearray(SOUND)
    for at, value in changes:
        data[at] = value
    path = tmp_path / "damaged.keras"
    path.write_bytes(data[:cut])
    try:
        file = read_keras_file(path, tmp_path)
        check_weights(file.weights)
    except FileRefused:
        return  # any other error fails the test


def weights(tmp_path, fill):
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.ones((2, 3), np.float32)
        fill(file)
    return path


def soft(file):
    file["layers/other"] = h5py.SoftLink("/layers/dense")


def external_link(file):
    file["layers/other"] = h5py.ExternalLink("/etc/passwd", "/")


def external_values(file):
    file.create_dataset("x", (64,), "u1", external=[("/etc/hostname", 0, 64)])


def virtual(file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "x", (4,))
    file.create_virtual_dataset("x", layout)


def compressed(file):
    file.create_dataset("x", data=np.zeros(10_000, np.float32), compression="gzip")


def hole(file):
    file.create_dataset("x", (10**12,), "f4")


def texts(file):
    file["x"] = "a text"


def references(file):
    file.create_dataset("x", data=file["layers"].ref, dtype=h5py.ref_dtype)


def named_type(file):
    file["x"] = np.dtype("f4")


def circle(file):
    file["layers/again"] = file["layers"]


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        (soft, "link"),
        (external_link, "link"),
        (external_values, "another file"),
        (virtual, "another file"),
        (compressed, "compressed"),
        (hole, "not at all (0 of 4000000000000 bytes)"),
        (texts, "no array"),
        (references, "no array"),
        (named_type, "no array"),
        (circle, "more than once"),
    ],
)
def test_weights_are_plain_arrays_and_nothing_else(tmp_path, fill, expected):
    with pytest.raises(FileRefused, match="its weights") as caught:
        check_weights(weights(tmp_path, fill))
    assert expected in caught.value.message


def test_weights_that_are_no_hdf5_are_refused(tmp_path):
    path = tmp_path / "w.h5"
    path.write_bytes(b"nothing")
    with pytest.raises(FileRefused, match="damaged, or no HDF5"):
        check_weights(path)
