"""From a GGUF file to a chat engine."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import openvino_genai

from modelry.domain.errors import ModelFailed
from modelry.manifest.inspect.facts import FileFacts
from modelry.runtime_api.engine import LoadSpec
from modelry.runtimes.chat.defaults import ChatDefaults
from modelry.runtimes.engine_reasons import file_name, tell_reason
from modelry.runtimes.memory_copy import copied
from modelry.runtimes.native_stderr import caught_stderr
from modelry.runtimes.openvino.chat_engine import OpenVinoChatEngine
from modelry.runtimes.openvino.chat_settings import ChatSettings
from modelry.runtimes.openvino.gguf_rules import refuse_adapters, refuse_unfaithful
from modelry.runtimes.openvino.tokens import TokenBook


def load_chat(spec: LoadSpec, facts: FileFacts) -> OpenVinoChatEngine:
    """The engine over the GGUF file of `spec`.

    Raises:
        NotSupported: OpenVINO would not serve it faithfully.
        ModelFailed: OpenVINO refused the file.
        InvalidInput: an engine option is unknown or out of range.
    """
    name = file_name(spec, "model")
    refuse_adapters(spec.files)
    refuse_unfaithful(facts, name)
    settings = ChatSettings.of(spec, facts)
    defaults = ChatDefaults.of(spec)
    folder = Path(tempfile.mkdtemp(prefix="modelry-"))
    try:
        # the library goes by the extension, and opens the file for writing, though it writes
        # nothing: a copy of its own, which is gone once the weights are in the engine
        named = folder / "model.gguf"
        with copied(spec.files["model"], name) as copy, caught_stderr():
            named.symlink_to(copy)
            pipeline = openvino_genai.ContinuousBatchingPipeline(
                str(named), settings.scheduler(), "CPU", settings.properties(), {}
            )
            book = TokenBook(pipeline.get_tokenizer())
    except RuntimeError as error:
        raise ModelFailed(
            f"OpenVINO cannot load '{name}': {tell_reason(str(error), spec)}"
        ) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return OpenVinoChatEngine(pipeline, book, defaults, settings)
