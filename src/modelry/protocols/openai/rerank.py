"""Rerank: orders documents by how well they answer a query, in Jina's and Cohere's shape.

Models of the task text-embedding score by the cosine of query and document (-1 to 1); models of
the task text-classification read query and document as a pair, and the score of the label that
stands for "relevant" counts (0 to 1).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modelry.domain.errors import InvalidInput, NotSupported
from modelry.protocols.http.values import (
    flag,
    model_name,
    refuse_unknown_keys,
    required_text,
    shown,
    whole,
)
from modelry.protocols.openai.embeddings import ARRAY, input_usage, unit_length
from modelry.protocols.openai.fields import check_fields
from modelry.protocols.openai.sampling import check_user
from modelry.services.inference.answers import Prediction

ENDPOINT = "POST /v1/rerank"
MAX_DOCUMENTS = 1000
MAX_CHARS = 2**20
RELEVANT_LABELS = ("relevant", "label_1", "1", "yes", "true", "entailment", "positive")
"""Names of the label that stands for "relevant", where a model has several labels."""


@dataclass(frozen=True, slots=True)
class RerankCall:
    """What a rerank body asks for."""

    model: str
    query: str
    documents: tuple[str, ...]
    top_n: int
    return_documents: bool

    def pairs(self) -> list[dict[str, str]]:
        """Query and document as items of text-classification."""
        return [{"text": self.query, "text_pair": document} for document in self.documents]


def parse_rerank(body: dict[str, Any]) -> RerankCall:
    """Take a rerank body apart.

    Raises:
        InvalidInput: a field is of another type or out of range; `param` names it.
        UnsupportedField: a field that is not honoured here.
    """
    check_fields(ENDPOINT, body)
    check_user(body)
    documents = _documents(body.get("documents"))
    return RerankCall(
        model=model_name(body),
        query=required_text(body, "query", most_chars=MAX_CHARS),
        documents=documents,
        top_n=whole(body, "top_n", 1, MAX_DOCUMENTS) or len(documents),
        return_documents=flag(body, "return_documents"),
    )


def _documents(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_DOCUMENTS:
        raise InvalidInput(
            f"documents is {shown(value)}; expected a list of 1 to {MAX_DOCUMENTS} documents.",
            param="documents",
        )
    return tuple(_document(document, f"documents[{at}]") for at, document in enumerate(value))


def _document(value: Any, where: str) -> str:
    if isinstance(value, dict):
        refuse_unknown_keys(value, frozenset({"text"}), where)
        value = value.get("text")
    return required_text({"text": value}, "text", param=where, most_chars=MAX_CHARS)


def cosine_scores(prediction: Prediction) -> list[float]:
    """The cosine of the first vector with each of the others."""
    vectors = unit_length(prediction.arrays[ARRAY])
    scores: list[float] = (vectors[1:] @ vectors[0]).tolist()
    return scores


def pair_scores(prediction: Prediction) -> list[float]:
    """The score of the label that stands for "relevant", for each pair.

    Raises:
        NotSupported: the model has several labels and none is known to stand for it.
    """
    return [_relevance(item.get("labels") or []) for item in prediction.items]


def _relevance(labels: Sequence[dict[str, Any]]) -> float:
    if len(labels) == 1:
        return float(labels[0]["score"])
    by_name = {str(label["label"]).lower(): float(label["score"]) for label in labels}
    for name in RELEVANT_LABELS:
        if name in by_name:
            return by_name[name]
    raise NotSupported(
        f"The model's labels are {', '.join(by_name)[:200]}; reranking needs a model with one "
        f"label, or with one of: {', '.join(RELEVANT_LABELS)}.",
        param="model",
    )


def rerank_answer(
    call: RerankCall, prediction: Prediction, scores: Sequence[float]
) -> dict[str, Any]:
    """The best `top_n` documents, best first; equal scores keep their order."""
    best = sorted(range(len(scores)), key=lambda at: -scores[at])[: call.top_n]
    return {
        "id": f"rerank-{secrets.token_hex(12)}",
        "object": "list",
        "model": prediction.target.deployment.name,
        "results": [_result(call, at, scores[at]) for at in best],
        "usage": input_usage(prediction),
    }


def _result(call: RerankCall, at: int, score: float) -> dict[str, Any]:
    result: dict[str, Any] = {"index": at, "relevance_score": score}
    if call.return_documents:
        result["document"] = {"text": call.documents[at]}
    return result
