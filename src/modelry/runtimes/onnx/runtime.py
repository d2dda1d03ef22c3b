"""Loads ONNX files into ONNX Runtime sessions."""

from __future__ import annotations

from typing import ClassVar

import onnxruntime as ort

from modelry.domain.errors import ModelFailed
from modelry.runtime_api.engine import LoadSpec
from modelry.runtimes.engine_options import EngineOptions, available_cores
from modelry.runtimes.engine_reasons import file_name, tell_reason
from modelry.runtimes.model_files import main_file
from modelry.runtimes.onnx.arena import bound_arena
from modelry.runtimes.onnx.engine import OnnxEngine
from modelry.runtimes.onnx.external_data import offered_files
from modelry.runtimes.onnx.signature import signature_of

SMALL_MODEL_BYTES = 2**20
PROVIDERS = ["CPUExecutionProvider"]
_LEVELS = {
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
_FATAL_ONLY = 4


class OnnxRuntime:
    """The runtime `onnx`.

    Engine options: `threads` (cores for one run; by default all of them, and 1 for files below
    1 MiB, whose operators are too small to share), `optimisation` (`none`, `basic`, `extended`,
    `all`; default `all`) and `arena` (keep freed memory for the next run; default true, and
    false makes small runs slower and memory smaller).
    """

    name: ClassVar[str] = "onnx"
    formats: ClassVar[frozenset[str]] = frozenset({"onnx"})

    def load(self, spec: LoadSpec) -> OnnxEngine:
        """A session over the file with the role `model`.

        Raises:
            ModelFailed: ONNX Runtime refused the file; the message carries its reason.
            NotSupported: inputs or outputs that no request can carry.
            InvalidInput: an unknown engine option, or a value that it does not take.
        """
        path = main_file(spec)
        options = self._session_options(spec, path.stat().st_size)
        try:
            with offered_files(spec, options):
                session = ort.InferenceSession(str(path), options, providers=PROVIDERS)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base class
            reason = tell_reason(str(error), spec)
            raise ModelFailed(
                f"ONNX Runtime {ort.__version__} cannot load '{file_name(spec, 'model')}': {reason}"
            ) from None
        session.disable_fallback()
        return OnnxEngine(session, signature_of(session))

    def _session_options(self, spec: LoadSpec, file_bytes: int) -> ort.SessionOptions:
        wanted = EngineOptions(spec.options, self.name)
        cores = available_cores()
        threads = wanted.integer("threads", 1 if file_bytes < SMALL_MODEL_BYTES else cores, 1, 256)
        level = wanted.choice("optimisation", "all", tuple(_LEVELS))
        arena = wanted.boolean("arena", default=True)
        wanted.finish()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = _LEVELS[level]
        options.enable_cpu_mem_arena = arena
        if arena and spec.memory_bytes is not None:
            bound_arena(options, spec.memory_bytes)
        options.log_severity_level = _FATAL_ONLY
        # idle threads must not spin on cores that other workers and the gateway need
        options.add_session_config_entry("session.force_spinning_stop", "1")
        return options
