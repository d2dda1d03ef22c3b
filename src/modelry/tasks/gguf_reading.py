"""What a GGUF file's metadata tell about the question that the model answers."""

from __future__ import annotations

from modelry.tasks.contract import ModelFacts

_NO_POOLING, _RANK_POOLING = "0", "4"  # llama.cpp's `llama_pooling_type`
_NOT_MODELS = frozenset({"adapter", "mmproj", "projector", "imatrix"})
_ENCODERS = ("bert", "t5encoder", "clip", "wavtokenizer")


def is_model(facts: ModelFacts) -> bool:
    """Whether the file is a model by itself, not an addition to one."""
    return facts.format == "gguf" and facts.metadata.get("type", "model") not in _NOT_MODELS


def embeds(facts: ModelFacts) -> bool:
    """Whether the model was made to give one vector per text."""
    pooling = facts.metadata.get("pooling_type", _NO_POOLING)
    if pooling == _RANK_POOLING or not is_model(facts):
        return False
    return pooling != _NO_POOLING or "bert" in facts.metadata.get("architecture", "")


def is_language_model(facts: ModelFacts) -> bool:
    """Whether the model goes on from text."""
    architecture = facts.metadata.get("architecture", "")
    ranks = facts.metadata.get("pooling_type") == _RANK_POOLING
    return is_model(facts) and not ranks and not any(word in architecture for word in _ENCODERS)
