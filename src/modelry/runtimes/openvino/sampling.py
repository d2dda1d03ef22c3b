"""A request's sampling as OpenVINO GenAI takes it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import openvino_genai

from modelry.domain.errors import UnsupportedField
from modelry.runtime_api.generation import ChatRequest, CompletionRequest, Sampling
from modelry.runtimes.openvino.json_grammar import grammar_of

_DEFAULTS = {"temperature": 0.8, "top_p": 0.95, "top_k": 40, "min_p": 0.05}
"""For what neither request nor manifest says: llama.cpp's, so that engines can be exchanged."""
_SEEDS = 2**63


def refuse_unsupported(request: ChatRequest | CompletionRequest) -> None:
    """Refuse what this engine cannot do.

    Raises:
        UnsupportedField: `param` names it.
    """
    if request.sampling.logit_bias:
        raise UnsupportedField(
            "logit_bias is not supported by the runtime 'openvino'; leave it out, or deploy the "
            "model with the runtime 'llamacpp'.",
            param="logit_bias",
        )
    if request.top_logprobs:
        raise UnsupportedField(
            "The runtime 'openvino' knows the log-probability of the chosen token only: set "
            "top_logprobs to 0, or deploy the model with the runtime 'llamacpp'.",
            param="top_logprobs",
        )


def generation_configs(
    request: ChatRequest | CompletionRequest,
    model: openvino_genai.GenerationConfig,
    max_tokens: int,
) -> Iterator[openvino_genai.GenerationConfig]:
    """One configuration per choice; they differ in their seed.

    Args:
        request: with the manifest's defaults filled in, and a compiled schema.
        model: the configuration that came with the model: which tokens end an answer.
        max_tokens: what fits, at least 1.

    Raises:
        UnsupportedField: a JSON schema that this engine cannot enforce.
    """
    sampling = request.sampling
    schema = request.json_schema if isinstance(request, ChatRequest) else None
    structure = openvino_genai.StructuredOutputConfig()
    if schema is not None:
        structure.grammar = grammar_of(schema)
    seed = secrets.randbelow(_SEEDS) if sampling.seed is None else sampling.seed % _SEEDS
    for index in range(request.n):
        config = openvino_genai.GenerationConfig()
        config.eos_token_id = model.eos_token_id
        config.stop_token_ids = model.stop_token_ids
        config.max_new_tokens = max_tokens
        config.apply_chat_template = False
        config.logprobs = 0 if request.top_logprobs is None else 1
        if schema is not None:
            config.structured_output_config = structure
        if sampling.presence_penalty is not None:
            config.presence_penalty = sampling.presence_penalty
        if sampling.frequency_penalty is not None:
            config.frequency_penalty = sampling.frequency_penalty
        _choose(config, sampling, (seed + index) % _SEEDS)
        yield config


def _choose(config: openvino_genai.GenerationConfig, sampling: Sampling, seed: int) -> None:
    wanted = {
        name: default if getattr(sampling, name) is None else getattr(sampling, name)
        for name, default in _DEFAULTS.items()
    }
    config.do_sample = wanted["temperature"] > 0 and wanted["top_p"] > 0 and wanted["min_p"] < 1
    if config.do_sample:
        config.temperature = wanted["temperature"]
        config.top_p = wanted["top_p"]
        config.min_p = wanted["min_p"]
        if wanted["top_k"]:
            config.top_k = int(wanted["top_k"])
        config.rng_seed = seed
