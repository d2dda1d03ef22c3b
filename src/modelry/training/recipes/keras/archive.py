"""A `.keras` file's parts, read from its zip within bounds."""

from __future__ import annotations

import errno
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson

from modelry.domain.errors import FileRefused, InvalidInput
from modelry.manifest.inspect import ByteWindow
from modelry.manifest.inspect.archives import open_archive
from modelry.manifest.inspect.window import open_window
from modelry.manifest.nodes import shorten

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
MAX_CONFIG_BYTES = 8 * 2**20
MAX_METADATA_BYTES = 64 * 1024
MAX_WEIGHTS_BYTES = 8 * 2**30
_VERSION = re.compile(r"(\d{1,3})\.\d{1,4}(\.\w{1,16})*")
_COMPRESSION = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_MAX_RATIO = 200
"""Weights are nearly random numbers: deflate makes them a tenth smaller, a bomb a thousandfold."""


@dataclass(frozen=True, slots=True)
class KerasFile:
    """The parts of a file; nothing of them has been looked into.

    Attributes:
        config: architecture and, maybe, optimiser, loss and metrics.
        keras_version: that wrote the file.
        weights: a file of its own with the weights, in HDF5.
    """

    config: Mapping[str, Any]
    keras_version: str
    weights: Path


def read_keras_file(path: Path, scratch: Path, name: str = "model.keras") -> KerasFile:
    """Take a file apart.

    Args:
        path: of the file.
        scratch: where its weights are put.
        name: what the file is called towards the user.

    Raises:
        FileRefused: no `.keras` file of Keras 3, a damaged or an oversized one.
    """
    with open_window(path, name) as window, open_archive(window) as archive:
        entries = _entries(window, archive)
        metadata = _json(window, archive, entries[METADATA], MAX_METADATA_BYTES)
        version = _checked_version(window, metadata.get("keras_version"))
        config = _json(window, archive, entries[CONFIG], MAX_CONFIG_BYTES)
        target = scratch / "base.weights.h5"
        with archive.open(entries[WEIGHTS]) as source:
            _copy(source, target)
    return KerasFile(config, version, target)


def _copy(source: IO[bytes], target: Path) -> None:
    """The reader itself stops at the size that the entry declares, which is bounded."""
    try:
        with target.open("wb") as copy:
            while piece := source.read(2**20):
                copy.write(piece)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InvalidInput(
            "The model's weights do not fit into the space that training has for files; train a "
            "smaller model, or have more scratch space allowed."
        ) from None


def _entries(window: ByteWindow, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    found: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        if entry.filename in found:
            raise window.refused(f"it holds {shorten(entry.filename)} twice; save the model again.")
        found[entry.filename] = entry
    extra = sorted(set(found) - {CONFIG, METADATA, WEIGHTS})
    if WEIGHTS not in found or CONFIG not in found or METADATA not in found:
        raise window.refused(
            f"it is a zip archive and no '.keras' file: {CONFIG}, {METADATA} and {WEIGHTS} must be "
            "in it. Save the model with 'model.save(\"model.keras\")' of Keras 3."
        )
    if extra:
        raise window.refused(
            f"it holds {shorten(extra[0])}: files of layers' own, such as vocabularies, are not "
            "read. Leave the layer out, and prepare its values outside of the model."
        )
    bounds = ((CONFIG, MAX_CONFIG_BYTES), (METADATA, MAX_METADATA_BYTES),
              (WEIGHTS, MAX_WEIGHTS_BYTES))  # fmt: skip
    for name, most in bounds:
        _check_entry(window, found[name], most)
    return found


def _check_entry(window: ByteWindow, entry: zipfile.ZipInfo, most: int) -> None:
    if entry.compress_type not in _COMPRESSION or entry.flag_bits & 1:
        raise window.refused(f"its {entry.filename} is encrypted, or compressed in a way unknown.")
    if entry.file_size > most:
        raise window.refused(
            f"its {entry.filename} takes {entry.file_size} bytes; at most {most} are read."
        )
    if entry.file_size > _MAX_RATIO * max(entry.compress_size, 1024):
        raise window.refused(
            f"its {entry.filename} grows from {entry.compress_size} to {entry.file_size} bytes; "
            "no model does. Save the model again."
        )


def _json(
    window: ByteWindow, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int
) -> dict[str, Any]:
    with archive.open(entry) as file:
        data = file.read(most + 1)
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise window.refused(f"its {entry.filename} is no JSON object; save the model again.")
    return value


def _checked_version(window: ByteWindow, version: object) -> str:
    told = _VERSION.fullmatch(version) if isinstance(version, str) else None
    if told is None:
        raise window.refused(
            f"its {METADATA} does not tell which Keras wrote it; save the model again."
        )
    if int(told[1]) < 3:
        raise window.refused(
            f"it was saved by Keras {told[0]}, whose files Keras 3 cannot read. Save the model "
            "again with Keras 3 (that is also tensorflow.keras from TensorFlow 2.16 on): build it "
            "anew there, 'model.load_weights(…)', and 'model.save(\"model.keras\")'."
        )
    return told[0]


def refused(message: str, name: str = "model.keras") -> FileRefused:
    """An error about the user's file."""
    return FileRefused(f"File '{name}': {message}", param=name)
