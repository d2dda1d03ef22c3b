"""The conformance suite of Modelry, for this runtime."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from modelry_echo.runtime import EchoRuntime

from modelry.domain.errors import NotSupported
from modelry.manifest.inspect import inspect_file
from modelry.runtime_api.engine import LoadSpec, StopSignal
from modelry.runtime_api.generation import ChatRequest
from modelry.runtime_api.registry import load_runtime
from modelry.testing.runtime import ChatContract, LoadingContract, TensorContract

MODELS = Path(__file__).parents[1] / "models"


class Parrot:
    runtime_class = EchoRuntime
    model: ClassVar[str] = "parrot"
    task: ClassVar[str] = "chat"

    @classmethod
    def make_spec(cls, folder: Path) -> LoadSpec:
        path = folder / f"{cls.model}.json"
        path.write_bytes((MODELS / path.name).read_bytes())
        manifest = {"name": cls.model, "files": {"model": {"name": path.name}}}
        return LoadSpec(cls.task, "echo", manifest, {"model": path})


class Mirror(Parrot):
    model = "mirror"
    task = "tensor"


class TestLoading(Parrot, LoadingContract):
    pass


class TestChat(Parrot, ChatContract):
    def test_what_an_echo_cannot_do_is_refused(self, engine) -> None:
        request = ChatRequest([{"role": "user", "content": "x"}], json_schema={})
        with pytest.raises(NotSupported):
            engine.chat(request, lambda event: None, StopSignal())


class TestTensors(Mirror, TensorContract):
    def reference(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {f"{name}_again": array for name, array in inputs.items()}


def test_modelry_finds_the_runtime_and_the_format():
    assert isinstance(load_runtime("echo"), EchoRuntime)
    assert inspect_file(MODELS / "parrot.json").format == "echo"
    (spec,) = inspect_file(MODELS / "mirror.json").signature.inputs
    assert spec.name == "x"
