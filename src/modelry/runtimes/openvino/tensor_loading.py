"""From an ONNX file to a compiled OpenVINO model."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import openvino

from modelry.domain.errors import ModelFailed, NotSupported
from modelry.domain.signature import Datatype, Signature
from modelry.manifest.inspect.facts import FileFacts
from modelry.runtime_api.engine import LoadSpec
from modelry.runtimes.engine_options import EngineOptions, available_cores
from modelry.runtimes.engine_reasons import file_name, tell_reason
from modelry.runtimes.native_stderr import caught_stderr
from modelry.runtimes.openvino.tensor_engine import OpenVinoTensorEngine

_REFUSED = frozenset({Datatype.BYTES, Datatype.BF16})


def load_tensors(spec: LoadSpec, facts: FileFacts) -> OpenVinoTensorEngine:
    """The engine over the ONNX file of `spec`, with the signature that the file declares.

    Raises:
        NotSupported: inputs or outputs that it cannot carry, or a name that it changed.
        ModelFailed: OpenVINO refused the file; the message carries its reason.
        InvalidInput: an engine option is unknown or out of range.
    """
    options = EngineOptions(spec.options, "openvino")
    threads = options.integer("threads", available_cores(), 1, 256)
    options.finish()
    name = file_name(spec, "model")
    signature = facts.signature
    _refuse_types(signature)
    # the precision is the file's own: the hint's default may be bfloat16
    properties = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
    }
    folder = Path(tempfile.mkdtemp(prefix="modelry-"))
    try:
        # the library goes by the extension
        named = folder / "model.onnx"
        named.symlink_to(spec.files["model"].absolute())
        with caught_stderr():
            model = openvino.Core().compile_model(str(named), "CPU", properties)
    except RuntimeError as error:
        raise ModelFailed(
            f"OpenVINO cannot load '{name}': {tell_reason(str(error), spec)}"
        ) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _check_names(model, signature, name)
    return OpenVinoTensorEngine(model, signature)


def _refuse_types(signature: Signature) -> None:
    for spec in (*signature.inputs, *signature.outputs):
        if spec.datatype in _REFUSED:
            raise NotSupported(
                f"Tensor '{spec.name}' is of the type {spec.datatype}, which the runtime "
                "'openvino' does not carry; use the runtime 'onnx'.",
                param=spec.name,
            )


def _check_names(model: openvino.CompiledModel, signature: Signature, name: str) -> None:
    for ports, specs in ((model.inputs, signature.inputs), (model.outputs, signature.outputs)):
        known = set().union(*(port.get_names() for port in ports))
        missing = [spec.name for spec in specs if spec.name not in known]
        if missing:
            raise NotSupported(
                f"OpenVINO lost the tensor '{missing[0]}' of '{name}'; use the runtime 'onnx'.",
                param=missing[0],
            )
