# ruff: noqa: D102 - the names of the tests say what they check
"""What an engine that embeds text by itself must do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modelry.domain.errors import Cancelled, ContextLengthExceeded
from modelry.runtime_api.engine import StopSignal, SupportsTextEmbedding
from modelry.runtime_api.tensors import Array
from modelry.testing.runtime.engine import EngineContract

TEXTS = ["A man is eating food.", "The stock market fell again today, as it did yesterday.", "x"]


class TextEmbeddingContract(EngineContract):
    """Embeddings. `too_long` is a text that does not fit; None where every text does."""

    proves = (SupportsTextEmbedding,)
    too_long: str | None = "word " * 20_000

    def test_one_vector_per_text(self, engine: Any) -> None:
        found = engine.embed(TEXTS, StopSignal())
        assert found.vectors.dtype == np.float32
        assert found.vectors.ndim == 2
        assert len(found.vectors) == len(found.token_counts) == len(TEXTS)
        assert np.isfinite(found.vectors).all()
        assert all(type(count) is int and count > 0 for count in found.token_counts)

    def test_a_vector_does_not_depend_on_its_neighbours(self, engine: Any) -> None:
        together = engine.embed(TEXTS, StopSignal())
        for place, text in enumerate(TEXTS):
            alone = engine.embed([text], StopSignal())
            assert alone.token_counts == [together.token_counts[place]]
            assert _cosine(alone.vectors[0], together.vectors[place]) > 0.999

    def test_other_texts_have_other_vectors(self, engine: Any) -> None:
        vectors = engine.embed(TEXTS, StopSignal()).vectors
        assert _cosine(vectors[0], vectors[1]) < 0.9999

    def test_a_text_that_does_not_fit_is_refused(self, engine: Any) -> None:
        if self.too_long is None:
            return
        with pytest.raises(ContextLengthExceeded):
            engine.embed([TEXTS[0], self.too_long], StopSignal())
        self.test_one_vector_per_text(engine)

    def test_a_call_that_was_stopped_before_does_not_run(self, engine: Any) -> None:
        stop = StopSignal()
        stop.set()
        with pytest.raises(Cancelled):
            engine.embed(TEXTS, stop)
        self.test_one_vector_per_text(engine)


def _cosine(a: Array, b: Array) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
