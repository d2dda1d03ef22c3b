"""Loads a sequence model: its description, two ONNX graphs and its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime as ort
import orjson

from modelry.domain.errors import InvalidInput, ModelFailed
from modelry.processing.parameters import Unfit
from modelry.processing.sequences.graphs import SequenceGraphs, cache_names, memory_names
from modelry.processing.text_encoder import TextEncoder, load_text_encoder
from modelry.runtime_api.engine import LoadSpec
from modelry.runtime_api.sequence_models import (
    DECODER_ROLE,
    ENCODER_ROLE,
    TOKENIZER_ROLE,
    SequenceModel,
)
from modelry.runtime_api.tensors import Array
from modelry.runtime_api.text_to_text import TextOptions
from modelry.runtimes.engine_options import EngineOptions, available_cores
from modelry.runtimes.engine_reasons import file_name, tell_reason
from modelry.runtimes.model_files import main_file
from modelry.runtimes.onnx.arena import bound_arena
from modelry.runtimes.onnx.runtime import PROVIDERS
from modelry.runtimes.seq2seq.engine import Seq2SeqEngine

USUAL_ROWS = 64
DEFAULTS = TextOptions(beams=4, max_tokens=256, length_penalty=1.0)
MAX_DESCRIPTION_BYTES = 2**20
_FATAL_ONLY = 4


class Seq2SeqRuntime:
    """The runtime `seq2seq`.

    Engine options: `rows` (sequences that are followed at once, of all requests together; a text
    takes as many as it has beams; default 64) and `threads` (cores; by default all of them).
    """

    name: ClassVar[str] = "seq2seq"
    formats: ClassVar[frozenset[str]] = frozenset({"seq2seq"})

    def load(self, spec: LoadSpec) -> Seq2SeqEngine:
        """An engine over the files `model`, `encoder`, `decoder` and `tokenizer`.

        Raises:
            ModelFailed: a file is missing, cannot be loaded, or does not fit the others.
            InvalidInput: an unknown engine option, or a value that it does not take.
        """
        model = _description(spec)
        wanted = EngineOptions(spec.options, self.name)
        rows = wanted.integer("rows", USUAL_ROWS, 1, 4096)
        threads = wanted.integer("threads", available_cores(), 1, 256)
        wanted.finish()
        tokenizer = _tokenizer(spec, model)
        options = _session_options(threads, spec.memory_bytes)
        encoder = _session(spec, ENCODER_ROLE, options)
        decoder = _session(spec, DECODER_ROLE, options)
        _check_names(spec, ENCODER_ROLE, encoder, *_encoder_names(model))
        _check_names(spec, DECODER_ROLE, decoder, *_decoder_names(model))
        graphs = SequenceGraphs(model, encoder, decoder, _to_value)
        _try_out(graphs)
        context = (spec.manifest.get("limits") or {}).get("context") or model.source_tokens
        defaults = TextOptions.from_wire(spec.manifest.get("defaults") or {}).over(DEFAULTS)
        return Seq2SeqEngine(graphs, tokenizer, defaults, min(context, model.source_tokens), rows)


def _description(spec: LoadSpec) -> SequenceModel:
    path = main_file(spec)
    name = file_name(spec, "model")
    try:
        if path.stat().st_size > MAX_DESCRIPTION_BYTES:
            raise InvalidInput(f"it has more than {MAX_DESCRIPTION_BYTES} bytes.")
        document = orjson.loads(path.read_bytes())
        if not isinstance(document, dict):
            raise InvalidInput("its JSON is not an object.")
        return SequenceModel.from_json(document)
    except orjson.JSONDecodeError as error:
        reason = f"it is not valid JSON ({error.msg})."
    except InvalidInput as error:
        reason = error.message
    raise ModelFailed(f"'{name}' is no description of a sequence model: {reason}")


def _file(spec: LoadSpec, role: str) -> Path:
    path = spec.files.get(role)
    if path is None or not path.is_file():
        roles = ", ".join(sorted(spec.files))
        raise ModelFailed(
            f"The version has no file with the role '{role}' (it has: {roles}). A sequence model "
            "needs: model, encoder, decoder, tokenizer."
        )
    return path


def _tokenizer(spec: LoadSpec, model: SequenceModel) -> TextEncoder:
    try:
        found = load_text_encoder(_file(spec, TOKENIZER_ROLE))
    except Unfit as reason:
        raise ModelFailed(f"The version's tokenizer cannot be loaded: {reason}") from None
    if found.vocabulary_size > model.vocabulary:
        raise ModelFailed(
            f"The tokenizer has {found.vocabulary_size} tokens, the model {model.vocabulary}: they "
            "do not belong together."
        )
    return found


def _session_options(threads: int, memory_bytes: int | None) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _FATAL_ONLY
    if memory_bytes is not None:
        bound_arena(options, memory_bytes)
    # idle threads must not spin on cores that other workers and the gateway need
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def _session(spec: LoadSpec, role: str, options: ort.SessionOptions) -> ort.InferenceSession:
    path = _file(spec, role)
    try:
        return ort.InferenceSession(str(path), options, providers=PROVIDERS)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base class
        reason = tell_reason(str(error), spec)
        raise ModelFailed(
            f"ONNX Runtime {ort.__version__} cannot load '{file_name(spec, role)}': {reason}"
        ) from None


def _encoder_names(model: SequenceModel) -> tuple[set[str], set[str]]:
    return {"source", "source_mask"}, set(memory_names(model))


def _decoder_names(model: SequenceModel) -> tuple[set[str], set[str]]:
    past, present = (set(cache_names(name, model.layers)) for name in ("past", "present"))
    rows = {"tokens", "positions", "parents", "candidates", "source_mask", *memory_names(model)}
    return rows | past, {"scores", "next_tokens"} | present


def _check_names(
    spec: LoadSpec,
    role: str,
    session: ort.InferenceSession,
    inputs: set[str],
    outputs: set[str],
) -> None:
    for what, found, expected in (
        ("inputs", {one.name for one in session.get_inputs()}, inputs),
        ("outputs", {one.name for one in session.get_outputs()}, outputs),
    ):
        odd = sorted(found ^ expected)
        if odd:
            more = "has" if odd[0] in found else "lacks"
            raise ModelFailed(
                f"'{file_name(spec, role)}' does not have the {what} of the {role} of a sequence "
                f"model as the description says: it {more} '{odd[0]}'."
            )


def _try_out(graphs: SequenceGraphs) -> None:
    """One step: a graph that does not fit the description is found when it is loaded."""
    model = graphs.model
    try:
        memory = graphs.encode([[model.end]])
        row = np.array([model.start], np.int64)
        nothing = np.zeros(1, np.int64)
        rows = {"tokens": row, "positions": nothing, "parents": nothing, "candidates": row * 0 + 2}
        scores, tokens, _ = graphs.step(rows, graphs.empty_past(), graphs.memory_values(memory))
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base class
        raise ModelFailed(
            f"The model's graphs do not do a step together: {tell_reason(str(error))}"
        ) from None
    if scores.shape != (1, 2) or tokens.shape != (1, 2):
        raise ModelFailed(
            f"The decoder gives scores of shape {list(scores.shape)} for one row and two "
            "candidates; expected [1, 2]."
        )


def _to_value(array: Array) -> Any:
    return ort.OrtValue.ortvalue_from_numpy(array)
