"""Weights that an ONNX model keeps in further files, put into it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from modelry.domain.errors import NotSupported
from modelry.gradients.twin import no_twin

MOST_BYTES = 2 * 10**9
"""Of a model in one piece: what its format itself can hold."""


def in_one_piece(content: bytes, files: Mapping[str, Path]) -> bytes:
    """The model with all of its weights.

    Args:
        content: the ONNX file.
        files: the version's other files, by the names that the model knows.

    Raises:
        NotSupported: a file is not there, or the whole is too large.
    """
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # noqa: BLE001 - protobuf's errors are not public
        raise no_twin(f"its file is no ONNX model ({type(error).__name__}).") from None
    apart = [
        one for one in model.graph.initializer if one.data_location == onnx.TensorProto.EXTERNAL
    ]
    if not apart:
        return content
    size = len(content)
    for tensor in apart:
        data = _read(tensor, files)
        size += len(data)
        if size > MOST_BYTES:
            raise _too_large()
        tensor.raw_data = data
        tensor.ClearField("external_data")
        tensor.data_location = onnx.TensorProto.DEFAULT
    whole: bytes = model.SerializeToString()
    return whole


def _read(tensor: Any, files: Mapping[str, Path]) -> bytes:
    told = {one.key: one.value for one in tensor.external_data}
    path = files.get(told.get("location", ""))
    if path is None:
        raise no_twin(f"the file with its weight '{tensor.name[:80]}' is not there.")
    size = path.stat().st_size
    try:
        offset = int(told.get("offset", "0"))
        length = int(told.get("length", size - offset))
    except ValueError:
        offset, length = -1, -1
    if offset < 0 or length < 0 or offset + length > size:
        raise no_twin(f"its weight '{tensor.name[:80]}' is at no place in its file.")
    if length > MOST_BYTES:
        raise _too_large()
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def _too_large() -> NotSupported:
    return no_twin(f"its weights have more than {MOST_BYTES} bytes.")
