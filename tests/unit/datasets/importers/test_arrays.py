"""Arrays: NumPy archives and IDX files."""

from __future__ import annotations

import gzip
import io
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st
from tests.support.importing import columns_of, idx, npz, opened, zipped

from modelry.domain.datasets import ColumnRole, ColumnType
from modelry.domain.errors import InvalidInput

RNG = np.random.default_rng(4)
X = RNG.integers(0, 255, (30, 4, 3), dtype=np.uint8)
Y = np.arange(30, dtype=np.int64) % 7


def read_all(tmp_path: Path, files: dict[str, bytes], **options: Any) -> None:
    source = opened(tmp_path, files, **options)
    for split in source.splits:
        columns_of(source, split)


def refused(tmp_path: Path, files: dict[str, bytes], expected: str, **options: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_all(tmp_path, files, **options)
    assert expected in caught.value.message
    assert str(tmp_path) not in caught.value.message


def test_arrays_of_splits(tmp_path: Path) -> None:
    data = npz(x_train=X[:20], y_train=Y[:20], X_test=X[20:].astype(">u1"), y_test=Y[20:])
    source = opened(tmp_path, {"digits.npz": data})
    assert source.splits == ("train", "test")
    x, y = source.schema.columns
    assert (x.name, x.type, x.role, x.shape, x.dtype) == (
        "x", ColumnType.TENSOR, ColumnRole.FEATURE, (4, 3), "uint8",
    )  # fmt: skip
    assert (y.name, y.type, y.role) == ("y", ColumnType.TEXT, ColumnRole.LABEL)
    assert y.classes == tuple("0123456")
    rows = columns_of(source, "test")
    assert np.array_equal(np.array(rows["x"]).reshape(10, 4, 3), X[20:])
    assert rows["y"] == [str(one) for one in Y[20:]]


@pytest.mark.parametrize(
    ("y", "options", "classes"),
    [
        (Y % 2, {}, ("0", "1")),
        (np.array([0, 9] * 15), {}, tuple("0123456789")),  # class 9 is the tenth output
        (np.array([-1, 1] * 15), {}, ("-1", "1")),
        (np.array([10, 5000] * 15), {}, ("10", "5000")),
        (Y[:, None], {}, tuple("0123456")),
        (np.eye(7)[Y], {}, tuple("0123456")),
        (np.eye(7, dtype=bool)[Y], {"classes": list("abcdefg")}, tuple("abcdefg")),
        (Y % 2 == 1, {}, ("false", "true")),
        (np.array(["cat", "dog", "ox"] * 10), {}, ("cat", "dog", "ox")),
        (np.array([b"cat", b"dog"] * 15), {}, ("cat", "dog")),
        (Y, {"labels": "numbers"}, ()),
        (Y * 0.5, {}, ()),
        (RNG.random((30, 3)), {}, ()),
        (Y, {"classes": list("abcdefghij")}, tuple("abcdefghij")),
    ],
)
def test_labels(tmp_path: Path, y: Any, options: dict[str, Any], classes: tuple[str, ...]) -> None:
    source = opened(tmp_path, {"a.npz": npz(x=X, y=y)}, **options)
    assert source.schema.columns[1].classes == classes
    rows = columns_of(source)["y"]
    assert len(rows) == 30
    if classes and y.ndim == 2 and y.shape[1] > 1:
        assert rows == [classes[one] for one in y.argmax(axis=1)]


def test_features_of_other_kinds(tmp_path: Path) -> None:
    data = npz(
        price=Y * 0.5, count=Y, is_new=Y > 3, name=np.array(["a", "ü", "c"] * 10), points=X[:, 0]
    )
    source = opened(tmp_path, {"a.npz": data})
    types = {one.name: one.type.value for one in source.schema.columns}
    assert types == {
        "count": "integer", "is_new": "boolean", "name": "text", "points": "tensor",
        "price": "number",
    }  # fmt: skip
    rows = columns_of(source)
    assert rows["is_new"] == (Y > 3).tolist()
    assert rows["name"][1] == "ü"


def test_splits_of_narrower_types_are_widened(tmp_path: Path) -> None:
    narrow = {"x_test": X.astype(np.int16), "y_test": Y.astype(np.uint8)}
    source = opened(tmp_path, {"a.npz": npz(x_train=X, y_train=Y, **narrow)})
    assert source.schema.columns[0].dtype == "int16"
    for split in source.splits:
        rows = columns_of(source, split)
        assert np.array_equal(np.array(rows["x"]).reshape(X.shape), X)
        assert rows["y"] == [str(one) for one in Y]
    mixed = npz(x_train=X.astype(np.float32), x_test=X.astype(np.float64))
    assert opened(tmp_path, {"a.npz": mixed}).schema.columns[0].dtype == "float64"
    refused(tmp_path, {"a.npz": npz(x_train=X, x_test=X * 0.5)}, "All splits must have the same")


def test_columns_first_is_read_as_it_was_meant(tmp_path: Path) -> None:
    source = opened(tmp_path, {"a.npz": npz(x=np.asfortranarray(X), y=Y)})
    assert np.array_equal(np.array(columns_of(source)["x"]).reshape(X.shape), X)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    refused(tmp_path, {"a.npz": npz(x=np.array([print, "a"], dtype=object))}, "Python objects")


def _header(text: str, version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (4, 2), }", "is cut off"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }", "goes on after"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (-2, 2), }", "may be negative"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (0, 2), }", "at least one row"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (), }", "at least one row"),
        (
            "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 4294967296, 4294967296), }",
            "1 to",
        ),
        ("{'descr': '|u1', 'fortran_order': True, 'shape': (99999999, 9), }", "Fortran order"),
        ("{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", "of the type 'complex64'"),
        ("{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (1,), }", "of the type"),
        ("{'descr': __import__('os'), 'shape': (1,)}", "damaged or unknown header"),
        ("{" * 500, "damaged or unknown header"),
        ("", "damaged or unknown header"),
    ],
)
def test_hostile_headers(tmp_path: Path, header: str, expected: str) -> None:
    refused(tmp_path, {"a.npz": zipped({"x.npy": _header(header) + b"\1\2\3\4"})}, expected)


@pytest.mark.parametrize(
    ("arrays", "options", "expected"),
    [
        ({"x_train": X, "y_train": Y[:5]}, {}, "has 5"),
        ({"x_train": X, "y_train": Y, "x_test": X}, {}, "expected the same as in split 'train'"),
        ({"x_train": X, "x_test": X[:, :2]}, {}, "All splits must have the same"),
        ({"x_train": X, "y": Y}, {}, "names no split"),
        ({"x": X, "y": Y}, {"label": "z"}, "no array 'z'"),
        ({"x": X, "y": Y}, {"classes": ["a"]}, "1 class names"),
        ({"x": X, "y": Y * 0.5}, {"labels": "classes"}, "expected a whole number per row"),
        ({}, {}, "no arrays"),
    ],
)
def test_arrays_that_do_not_go_together(
    tmp_path: Path, arrays: dict[str, Any], options: dict[str, Any], expected: str
) -> None:
    refused(tmp_path, {"a.npz": npz(**arrays)}, expected, **options)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    data = npz(x=X, y=Y)
    refused(tmp_path, {"a.npz": data[:-30]}, "damaged or cut off")
    at = data.index(b"\x93NUMPY") + 200
    turned = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
    refused(tmp_path, {"a.npz": turned}, "is damaged or cut off")


MNIST = {
    "train-images-idx3-ubyte.gz": gzip.compress(idx(X[:20])),
    "train-labels-idx1-ubyte.gz": gzip.compress(idx(Y[:20].astype(np.uint8))),
    "t10k-images-idx3-ubyte": idx(X[20:]),
    "t10k-labels-idx1-ubyte": idx(Y[20:].astype(np.uint8)),
}


def test_idx_as_mnist_has_it(tmp_path: Path) -> None:
    source = opened(tmp_path, MNIST, classes=[f"digit {i}" for i in range(10)])
    assert source.splits == ("train", "test")
    image, label = source.schema.columns
    assert (image.name, image.shape, image.dtype) == ("image", (4, 3), "uint8")
    assert label.classes[9] == "digit 9"
    rows = columns_of(source, "train")
    assert np.array_equal(np.array(rows["image"]).reshape(20, 4, 3), X[:20])
    assert rows["label"][5] == "digit 5"


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("t10k-images-idx3-ubyte", idx(X[20:])[:-1], "is cut off: it ends 1 rows before"),
        ("t10k-images-idx3-ubyte", idx(X[20:]) + b"x", "goes on after the 10 rows"),
        ("t10k-labels-idx1-ubyte", idx(Y[:5].astype(np.uint8)), "has 5"),
        ("t10k-labels-idx1-ubyte", idx(X), "one file with images"),
        ("t10k-labels-idx1-ubyte", b"\0\0\x08", "no IDX file"),
        ("t10k-labels-idx1-ubyte", b"\0\0\x08\x02\0\0", "is cut off"),
        ("t10k-labels-idx1-ubyte", b"\0\0\x08\xff" + b"\xff" * 1020, "tells 255 dimensions"),
        ("t10k-images-idx3-ubyte", b"\0\0\x08\x03" + b"\xff" * 12, "bytes a row"),
        ("t10k-images-idx3-ubyte", b"\0\0\x08\x02" + b"\xff" * 4 + b"\0\0\0\1", "has 4294967295"),
        ("labels-idx1-ubyte", b"\0\0\x08\x01\0\0\0\1a", "does not"),
    ],
)
def test_wrong_idx_files(tmp_path: Path, name: str, data: bytes, expected: str) -> None:
    refused(tmp_path, {**MNIST, name: data}, expected, format_="idx")


@settings(max_examples=30)
@given(
    np_st.arrays(
        st.sampled_from(["u1", "i1", "i2", "i4", "f4", "f8"]),
        np_st.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=4),
    )
)
def test_any_array_is_read_as_it_was(array: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, data in (("a-idx-ubyte", idx(array)), ("a.npz", npz(image=array))):
            source = opened(Path(folder), {name: data})
            (column,) = source.schema.columns
            got = np.array(columns_of(source)["image"], column.dtype).reshape(array.shape)
            assert np.array_equal(got, array, equal_nan=array.dtype.kind == "f")


@settings(max_examples=30)
@given(st.binary(max_size=200), st.sampled_from(["idx", "npz", "entry"]))
def test_any_bytes_are_read_or_refused(data: bytes, kind: str) -> None:
    files = {
        "idx": {"a": b"\0\0\x08" + data},
        "npz": {"a": data},
        "entry": {"a": zipped({"x.npy": b"\x93NUMPY" + data})},
    }[kind]
    with tempfile.TemporaryDirectory() as folder, suppress(InvalidInput):
        columns_of(opened(Path(folder), files, "idx" if kind == "idx" else "npz"))


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_any_byte_turned_is_read_or_refused(place: int, turn: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", _npy(X))
    data = bytearray(buffer.getvalue())
    data[place % len(data)] ^= turn
    with tempfile.TemporaryDirectory() as folder, suppress(InvalidInput):
        columns_of(opened(Path(folder), {"a.npz": bytes(data)}, "npz"))


def _npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
