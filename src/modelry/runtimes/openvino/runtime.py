"""Loads GGUF files for chat, and ONNX files, into OpenVINO."""

from __future__ import annotations

from typing import ClassVar

from modelry.domain.errors import FileRefused, ModelFailed, NotSupported
from modelry.manifest.inspect.files import inspect_file
from modelry.runtime_api.engine import LoadSpec
from modelry.runtimes.engine_reasons import file_name
from modelry.runtimes.model_files import main_file, opened
from modelry.runtimes.openvino.chat_engine import OpenVinoChatEngine
from modelry.runtimes.openvino.chat_loading import load_chat
from modelry.runtimes.openvino.tensor_engine import OpenVinoTensorEngine
from modelry.runtimes.openvino.tensor_loading import load_tensors


class OpenVinoRuntime:
    """The runtime `openvino`.

    For chat (GGUF: architectures, tokenisers and quantisations in which it is faithful), engine
    options: `slots` (choices at once, default 8), `context` (tokens of one request; default the
    manifest's `limits.context`, else the model's own up to 4,096), `threads` (default all cores,
    one less from 3 on), `batch` (tokens per step, default 256), `kv_cache` (`f16`, or `u8`:
    half the memory, answers differ a little) and `prefix_cache` (`on`; `off` to serve tenants that
    the deployment is shared with, between whom nothing may be reused).

    For tensors (ONNX): `threads` (default all cores).
    """

    name: ClassVar[str] = "openvino"
    formats: ClassVar[frozenset[str]] = frozenset({"gguf", "onnx"})

    def load(self, spec: LoadSpec) -> OpenVinoChatEngine | OpenVinoTensorEngine:
        """The engine over the file with the role `model`.

        Raises:
            NotSupported: OpenVINO cannot serve this model, or not faithfully.
            ModelFailed: OpenVINO refused the file; the message carries its reason.
            InvalidInput: an engine option is unknown or out of range.
        """
        path = main_file(spec)
        try:
            facts = inspect_file(opened(path), name=file_name(spec, "model"))
        except FileRefused as error:
            raise ModelFailed(error.message) from None
        if facts.format == "onnx":
            return load_tensors(spec, facts)
        if facts.format != "gguf":
            raise ModelFailed(
                f"Runtime 'openvino' loads ONNX and GGUF files; '{file_name(spec, 'model')}' is "
                f"of the format '{facts.format}'."
            )
        if spec.task == "text-embedding":
            raise NotSupported(
                "Runtime 'openvino' gives no embeddings from GGUF files; use the runtime 'llamacpp'"
                ", or an ONNX model."
            )
        return load_chat(spec, facts)
