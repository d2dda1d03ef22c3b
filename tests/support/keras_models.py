"""`.keras` files for tests: those of other versions of Keras, and ones with something changed."""

import copy
import json
import zipfile
from pathlib import Path

FILES = Path(__file__).parent / "keras_files"
TENSORFLOW = FILES / "tensorflow-2.16.keras"
ANSWERS = FILES / "tensorflow-2.16.npz"
KERAS_2 = FILES / "keras-2.keras"
ENTRIES = ("metadata.json", "config.json", "model.weights.h5")


def entries_of(path=TENSORFLOW):
    """Content by name."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def config_of(path=TENSORFLOW):
    """The config as an object of its own."""
    return copy.deepcopy(json.loads(entries_of(path)["config.json"]))


def write(target, entries, compression=zipfile.ZIP_STORED):
    """A zip of `entries`; texts and objects become JSON."""
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, content in dict(entries).items():
            data = content if isinstance(content, bytes) else json.dumps(content)
            archive.writestr(name, data)
    return target


def with_config(target, config):
    """The TensorFlow model's file with another config."""
    return write(target, entries_of() | {"config.json": config})
