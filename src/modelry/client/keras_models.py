"""Keras models of the user's own: saved to be sent, and loaded when they come back.

Keras is the user's: nothing here imports it before there is a model to load.
"""

from __future__ import annotations

import importlib
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelry.client.errors import InvalidInput

SUFFIX = ".keras"
KEPT = "model.keras"
"""What the trained model is called among the files of its job."""
MAX_NAME = 64


def is_keras_model(model: Any) -> bool:
    """Whether an object is a Keras model, without importing Keras."""
    families = {one.__module__.partition(".")[0] for one in type(model).__mro__}
    return bool(families & {"keras", "tf_keras", "tensorflow"}) and hasattr(model, "save")


@contextmanager
def as_file(model: Any) -> Iterator[Path]:
    """The `.keras` file of a model, or of a path to one.

    Raises:
        InvalidInput: there is no such file, or Keras cannot save the model.
    """
    if not is_keras_model(model):
        path = Path(model)
        if not path.is_file():
            raise InvalidInput(f"'{path}' is not there.", param="model")
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="modelry-") as folder:
        path = Path(folder) / KEPT
        try:
            model.save(path)
        except Exception as error:
            raise InvalidInput(
                f"Keras cannot save the model: {str(error)[:500]}", param="model"
            ) from error
        yield path


def name_of(model: Any) -> str:
    """What to call a version of a model: as Keras calls it, or as its file is called."""
    told = str(getattr(model, "name", "")) if is_keras_model(model) else Path(model).stem
    return clean_name(told)


def clean_name(text: str) -> str:
    """`text` as the name of a model or a dataset."""
    name = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("._-")
    return name[:MAX_NAME].rstrip("._-") or "model"


def load_model(content: bytes) -> Any:
    """The model in a `.keras` file, by the Keras that is installed here.

    Raises:
        InvalidInput: there is none.
    """
    keras = _installed()
    with tempfile.TemporaryDirectory(prefix="modelry-") as folder:
        path = Path(folder) / KEPT
        path.write_bytes(content)
        return keras.saving.load_model(path)


def _installed() -> Any:
    # a program that uses tensorflow.keras goes on with the Keras that it has loaded
    loaded = sys.modules.get("keras")
    if loaded is not None:
        return loaded
    try:
        return importlib.import_module("keras")
    except ImportError:
        raise InvalidInput(
            "The trained model is a Keras model, and Keras is not installed here: 'pip install "
            "keras' and one of its backends. 'job.download(\"model.keras\")' saves the file."
        ) from None
