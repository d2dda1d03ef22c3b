"""A third-party runtime that misbehaves as asked; installed for a server by `install_rogue`.

What its engine does is the first number of a request, or the engine option `at_load`.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from modelry.domain.signature import Datatype, Signature, TensorSpec
from modelry.runtime_api.engine import LoadSpec, StopSignal
from modelry.runtime_api.tensors import Array

SIGNATURE = Signature(
    inputs=(TensorSpec("x", Datatype.FP32, (-1, 3)),),
    outputs=(TensorSpec("y", Datatype.FP32, (-1, 3)),),
    batched=True,
)


def crash() -> None:
    """Reads where nothing is: SIGSEGV, as a bug in an engine would."""
    ctypes.string_at(0)


def leave() -> None:
    """Ends the process as if all were well."""
    os._exit(0)


def hang() -> None:
    """Never comes back and never looks at `stop`."""
    while True:
        time.sleep(1)


def hang_locked() -> None:
    """Never comes back, and lets no other Python thread run either."""
    ctypes.PyDLL(None).sleep(3600)


def allocate() -> None:
    """Takes memory until there is none."""
    taken = []
    while True:
        taken.append(np.ones(4 * 2**20, np.uint8))


def fail() -> None:
    """Raises something that no contract mentions, with a path in it."""
    raise RuntimeError("gone wrong in /secret/place")


DEEDS = {
    101: crash, 102: leave, 103: hang, 104: hang_locked, 105: allocate, 106: fail,
}  # fmt: skip
BY_NAME = {deed.__name__: deed for deed in DEEDS.values()}


class RogueEngine:
    """Gives its input back, unless asked for a deed."""

    signature = SIGNATURE
    capacity = 1

    def infer(self, inputs: Mapping[str, Array], stop: StopSignal) -> dict[str, Array]:
        """Do what the first number asks for."""
        x = inputs["x"]
        asked = int(x[0, 0]) if x.size else 0
        if asked == 107:
            nonsense: Any = "no array"
            return {"y": nonsense}
        if asked == 108:
            return {}
        if asked in DEEDS:
            DEEDS[asked]()
        return {"y": x}

    def close(self) -> None:
        """Nothing to let go of."""


class RogueRuntime:
    """Loads anything."""

    name: ClassVar[str] = "rogue"
    formats: ClassVar[frozenset[str]] = frozenset({"onnx"})

    def load(self, spec: LoadSpec) -> Any:
        """An engine, after the deed that the options ask for."""
        deed = spec.options.get("at_load")
        if deed:
            BY_NAME[str(deed)]()
        return RogueEngine()
