"""The model file: a JSON object such as `{"echo": 1, "says": "words", "pause_ms": 20}`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from modelry.domain.signature import NO_TENSORS, Datatype, Signature, TensorSpec

BEGINNING = b'{"echo": 1'
MAX_BYTES = 1 << 20


class NotEcho(ValueError):
    """Bytes that are no model file; the message says why."""


@dataclass(frozen=True, slots=True)
class EchoModel:
    """What a model file says.

    Args:
        signature: the tensors that are given back; none for a model that gives back words.
        pause_s: seconds before each word.
    """

    signature: Signature
    pause_s: float


def read_model(content: bytes) -> EchoModel:
    """The model in a file's content.

    Raises:
        NotEcho: it is damaged, or says something else.
    """
    if not content.startswith(BEGINNING):
        raise NotEcho(f"it does not begin with {BEGINNING.decode()}")
    try:
        document = json.loads(content)
    except ValueError as error:
        raise NotEcho(f"it is no JSON ({error})") from None
    pause_ms = document.get("pause_ms", 0)
    if type(pause_ms) is not int or not 0 <= pause_ms <= 10_000:
        raise NotEcho("'pause_ms' must be a whole number from 0 to 10000")
    says = document.get("says")
    if says == "words":
        return EchoModel(NO_TENSORS, pause_ms / 1000)
    if says == "tensors":
        return EchoModel(_signature(document.get("tensors")), pause_ms / 1000)
    raise NotEcho("'says' must be 'words' or 'tensors'")


def _signature(entries: Any) -> Signature:
    try:
        inputs = tuple(
            TensorSpec(str(one["name"]), Datatype(one["datatype"]), tuple(map(int, one["shape"])))
            for one in entries
        )
    except (TypeError, KeyError, ValueError):
        raise NotEcho("'tensors' must be a list of {name, datatype, shape}") from None
    outputs = tuple(TensorSpec(f"{one.name}_again", one.datatype, one.shape) for one in inputs)
    is_batched = all(one.shape[:1] == (-1,) for one in inputs)
    return Signature(inputs, outputs, batched=is_batched and bool(inputs))
