"""Embeddings: the request, vectors cut to fewer dimensions, and the answer."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelry.domain.errors import InvalidInput, NotSupported
from modelry.protocols.http.values import model_name, one_of, whole
from modelry.protocols.openai.fields import check_fields
from modelry.protocols.openai.inputs import Input, texts_or_tokens
from modelry.protocols.openai.sampling import check_user
from modelry.runtime_api.tensors import Array
from modelry.services.inference.answers import Prediction
from modelry.services.inference.routing import Target

ENDPOINT = "POST /v1/embeddings"
MAX_INPUTS = 2048
ARRAY = "embedding"
INPUT_TOKENS = "input_tokens"


@dataclass(frozen=True, slots=True)
class EmbeddingCall:
    """What an embeddings body asks for."""

    model: str
    inputs: tuple[Input, ...]
    as_base64: bool
    dimensions: int | None


def parse_embedding(body: dict[str, Any]) -> EmbeddingCall:
    """Take an embeddings body apart.

    Raises:
        InvalidInput: a field is of another type or out of range; `param` names it.
        UnsupportedField: a field that is not honoured here.
    """
    check_fields(ENDPOINT, body)
    check_user(body)
    return EmbeddingCall(
        model=model_name(body),
        inputs=texts_or_tokens(body.get("input"), "input", most=MAX_INPUTS),
        as_base64=one_of(body, "encoding_format", ("float", "base64"), "float") == "base64",
        dimensions=whole(body, "dimensions", 1, 2**16),
    )


def check_dimensions(target: Target, wanted: int | None) -> None:
    """Refuse to cut the vectors of a model that was not trained for it.

    The manifest says so in `metadata.matryoshka`: `true`, or the sizes that it was trained
    for (`64, 128, 256`).

    Raises:
        NotSupported: it was not, or not for this size.
    """
    if wanted is None:
        return
    metadata: Mapping[str, Any] = target.version.manifest.get("metadata") or {}
    declared = str(metadata.get("matryoshka", "")).strip().lower()
    if declared in {"true", "yes"}:
        return
    sizes = declared.strip("[]()").replace(",", " ").split()
    if str(wanted) not in sizes:
        trained = f"for {', '.join(sizes)} only" if sizes and declared != "false" else "for that"
        kind = "" if sizes and declared != "false" else "not "
        raise NotSupported(
            f"dimensions is {wanted}, but model '{target.deployment.name}' was {kind}trained "
            f"{trained}: cut vectors would be wrong. Leave dimensions out, or declare "
            "metadata.matryoshka in the model's manifest.",
            param="dimensions",
        )


def cut(vectors: Array, dimensions: int | None) -> Array:
    """The first `dimensions` of each vector, scaled to length 1 again.

    Args:
        vectors: float32 of shape (inputs, size).
        dimensions: None for all.

    Raises:
        InvalidInput: the vectors are shorter than that.
    """
    if dimensions is None or dimensions == vectors.shape[1]:
        return vectors
    if dimensions > vectors.shape[1]:
        raise InvalidInput(
            f"dimensions is {dimensions}; this model's vectors have {vectors.shape[1]}.",
            param="dimensions",
        )
    return unit_length(vectors[:, :dimensions])


def unit_length(vectors: Array) -> Array:
    """Each row scaled to length 1; rows of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Array = (vectors / np.maximum(lengths, 1e-12)).astype("<f4")
    return scaled


def embedding_answer(call: EmbeddingCall, prediction: Prediction) -> dict[str, Any]:
    """The answer to an embeddings request."""
    vectors = cut(prediction.arrays[ARRAY], call.dimensions)
    rows = np.ascontiguousarray(vectors, dtype="<f4")
    return {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": at,
                "embedding": base64.b64encode(row.tobytes()).decode() if call.as_base64 else row,
            }
            for at, row in enumerate(rows)
        ],
        "model": prediction.target.deployment.name,
        "usage": input_usage(prediction),
    }


def input_usage(prediction: Prediction) -> dict[str, int]:
    """Token counts of an answer without generated tokens."""
    tokens = prediction.usage.get(INPUT_TOKENS, 0)
    return {"prompt_tokens": tokens, "total_tokens": tokens}
