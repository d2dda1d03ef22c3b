"""Embeddings and reranking."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelry.client.decoding import decode_list
from modelry.client.exchange import Answer, Flow, Request, send, send_json
from modelry.client.operations.batches import in_batches

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MAX_INPUTS = 2048
"""Inputs of one request; longer lists are sent in several."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A document's place: its `index` in the request, and how well it answers the query."""

    index: int
    relevance_score: float
    document: Any = None


def embed(
    model: str,
    inputs: str | Sequence[str] | Sequence[Sequence[int]],
    *,
    dimensions: int | None = None,
) -> Flow[npt.NDArray[np.float32]]:
    """Embed texts (or lists of token ids).

    Args:
        model: a deployment of the task text-embedding.
        inputs: one text, or several.
        dimensions: cut the vectors, for models that were trained for it.

    Returns:
        float32 of shape (inputs, size); one row for a single text.
    """
    import numpy as np

    given: list[Any] = [inputs] if isinstance(inputs, str) else list(inputs)
    parts = []
    for part in in_batches(given, MAX_INPUTS):
        body: dict[str, Any] = {"model": model, "input": part, "encoding_format": "base64"}
        if dimensions is not None:
            body["dimensions"] = dimensions
        request = Request("POST", "/v1/embeddings", json=body, idempotent=True)
        answer = yield from send(request)
        parts.append(_vectors(answer))
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def _vectors(answer: Answer) -> npt.NDArray[np.float32]:
    import numpy as np

    body = answer.json()
    try:
        rows = sorted(body["data"], key=lambda row: int(row["index"]))
        raw = b"".join(base64.b64decode(row["embedding"], validate=True) for row in rows)
        vectors = np.frombuffer(raw, "<f4").reshape(len(rows), -1)
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise answer.unexpected("something that is no list of embeddings") from None
    return vectors


def rerank(
    model: str,
    query: str,
    documents: Sequence[str],
    *,
    top_n: int | None = None,
    return_documents: bool = False,
) -> Flow[list[Ranked]]:
    """Order documents by how well they answer a query, best first."""
    body: dict[str, Any] = {"model": model, "query": query, "documents": list(documents)}
    if top_n is not None:
        body["top_n"] = top_n
    if return_documents:
        body["return_documents"] = True
    request = Request("POST", "/v1/rerank", json=body, idempotent=True)
    return decode_list(Ranked, (yield from send_json(request)), "results")
