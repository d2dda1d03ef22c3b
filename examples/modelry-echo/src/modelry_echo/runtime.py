"""Loads echo models."""

from __future__ import annotations

from typing import ClassVar

from modelry.domain.errors import InvalidInput, ModelFailed
from modelry.runtime_api.engine import LoadSpec
from modelry_echo.chat import EchoChat
from modelry_echo.model_file import NotEcho, read_model
from modelry_echo.tensors import EchoTensors

DEFAULT_SLOTS = 4


class EchoRuntime:
    """The runtime `echo`. Engine option: `slots`, chats at once (1 to 64, default 4)."""

    name: ClassVar[str] = "echo"
    formats: ClassVar[frozenset[str]] = frozenset({"echo"})

    def load(self, spec: LoadSpec) -> EchoTensors | EchoChat:
        """The engine over the file with the role `model`.

        Raises:
            ModelFailed: the file cannot be read, or is no echo model.
            InvalidInput: an engine option is unknown or out of range.
        """
        slots = _slots(spec)
        try:
            model = read_model(spec.files["model"].read_bytes())
        except OSError as error:
            raise ModelFailed(f"The model file cannot be read: {error.strerror}.") from None
        except NotEcho as error:
            raise ModelFailed(f"The file is no echo model: {error}.") from None
        if model.signature.inputs:
            return EchoTensors(model.signature)
        return EchoChat(slots, model.pause_s)


def _slots(spec: LoadSpec) -> int:
    unknown = sorted(set(spec.options) - {"slots"})
    if unknown:
        raise InvalidInput(
            f"Unknown engine option '{unknown[0]}' of the runtime 'echo'; known is: slots.",
            param=unknown[0],
        )
    slots = spec.options.get("slots", DEFAULT_SLOTS)
    if type(slots) is not int or not 1 <= slots <= 64:
        raise InvalidInput(
            f"Engine option 'slots' is {slots!r:.80}; expected a whole number from 1 to 64.",
            param="slots",
        )
    return slots
