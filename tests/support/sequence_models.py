"""A small sequence model that translates word for word, so that its answers are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import orjson
from onnx import TensorProto, helper
from tests.support.onnx_models import model_of
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from modelry.runtime_api.engine import LoadSpec
from modelry.runtime_api.sequence_models import SequenceModel

DICTIONARY = {"the": "die", "cat": "katze", "sleeps": "schlaeft", "eats": "frisst", "mouse": "maus"}
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
WORDS = (*SPECIAL, *DICTIONARY, *DICTIONARY.values())
MODEL = SequenceModel(
    vocabulary=len(WORDS),
    pad=0,
    start=1,
    end=2,
    layers=1,
    heads=1,
    head_size=1,
    source_tokens=16,
    target_tokens=16,
    task="translation",
    source_language="en",
    target_language="de",
)
GAP = 6.0
"""By how much the right word's logit is above the others'."""


def tokenizer_file() -> bytes:
    """A tokenizer of whole words that ends a text with `</s>`."""
    made = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, "<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.decoder = decoders.WordPiece("##")
    made.add_special_tokens(list(SPECIAL[:3]))
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", MODEL.end)]
    )
    return made.to_str().encode()


def encoder() -> onnx.ModelProto:
    """Gives the source's token ids as keys and values."""
    shape = ["texts", "source"]
    memory = (TensorProto.FLOAT, ["texts", 1, "source", 1])
    return model_of(
        [
            helper.make_node("Mul", ["source", "source_mask"], ["seen"]),
            helper.make_node("Cast", ["seen"], ["ids"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["ids", "axes"], ["memory.0.key"]),
            helper.make_node("Identity", ["memory.0.key"], ["memory.0.value"]),
        ],
        {"source": (TensorProto.INT64, shape), "source_mask": (TensorProto.INT64, shape)},
        {"memory.0.key": memory, "memory.0.value": memory},
        {"axes": np.array([1, 3])},
    )


def decoder(*, breaks_on: int | None = None, gives_nan: bool = False) -> onnx.ModelProto:
    """Looks the source's token at the row's position up in the dictionary.

    Args:
        breaks_on: fails on sources with this token.
        gives_nan: every log-probability is NaN.
    """
    table = np.arange(len(WORDS))
    for source, target in DICTIONARY.items():
        table[WORDS.index(source)] = WORDS.index(target)
    # the word after the right one is second, so that beams have somewhere to go
    logits = np.zeros((len(WORDS), len(WORDS)), "f4")
    for at, right in enumerate(table):
        logits[at, right] = GAP
        logits[at, (right + 1) % len(WORDS)] = GAP / 2
    logits[:, :2] = -1e9
    if gives_nan:
        logits[:] = np.nan
    past = (TensorProto.FLOAT, ["before", 1, "columns", 1])
    present = (TensorProto.FLOAT, ["rows", 1, "more", 1])
    memory = (TensorProto.FLOAT, ["texts", 1, "source", 1])
    row = (TensorProto.INT64, ["rows"])
    node = helper.make_node
    nodes = [
        node("Squeeze", ["memory.0.key", "axes13"], ["sources"]),
        node("Shape", ["sources"], ["shape"]),
        node("Shape", ["tokens"], ["rows"]),
        node("Gather", ["shape", "first"], ["texts"]),
        node("Gather", ["shape", "second"], ["width"]),
        node("Div", ["rows", "texts"], ["beams"]),
        node("Concat", ["texts", "beams", "width"], ["wide"], axis=0),
        node("Unsqueeze", ["sources", "second"], ["sources1"]),
        node("Expand", ["sources1", "wide"], ["sources2"]),
        node("Concat", ["rows", "width"], ["flat"], axis=0),
        node("Reshape", ["sources2", "flat"], ["sources3"]),
        node("Sub", ["width", "one"], ["last"]),
        node("Min", ["positions", "last"], ["place"]),
        node("Unsqueeze", ["place", "second"], ["place1"]),
        node("GatherElements", ["sources3", "place1"], ["word"], axis=1),
        node("Squeeze", ["word", "second"], ["word1"]),
        node("Cast", ["word1"], ["word2"], to=TensorProto.INT64),
        node("Gather", ["logits", "word2"], ["scored"]),
        node("LogSoftmax", ["scored"], ["probable"], axis=-1),
        node("TopK", ["probable", "candidates"], ["scores", "next_tokens"]),
        node("Cast", ["tokens"], ["said"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["said", "axes123"], ["column"]),
        node("Gather", ["past.0.key", "parents"], ["before"]),
        node("Concat", ["before", "column"], ["present.0.key"], axis=2),
        node("Gather", ["past.0.value", "parents"], ["before1"]),
        node("Concat", ["before1", "column"], ["present.0.value"], axis=2),
    ]
    weights: dict[str, Any] = {
        "axes13": np.array([1, 3]),
        "axes123": np.array([1, 2, 3]),
        "first": np.array([0]),
        "second": np.array([1]),
        "one": np.array([1]),
        "logits": logits,
    }
    if breaks_on is not None:
        # looked up one word too far: the index is out of range for that word alone
        bad = np.arange(len(WORDS))
        bad[breaks_on] = len(WORDS)
        weights["bad"] = bad
        place = next(at for at, one in enumerate(nodes) if one.output[0] == "scored")
        nodes[place : place + 1] = [
            node("Gather", ["bad", "word2"], ["word3"]),
            node("Gather", ["logits", "word3"], ["scored"]),
        ]
    return model_of(
        nodes,
        {
            "tokens": row,
            "positions": row,
            "parents": row,
            "candidates": (TensorProto.INT64, [1]),
            "source_mask": (TensorProto.INT64, ["texts", "source"]),
            "memory.0.key": memory,
            "memory.0.value": memory,
            "past.0.key": past,
            "past.0.value": past,
        },
        {
            "scores": (TensorProto.FLOAT, ["rows", "wanted"]),
            "next_tokens": (TensorProto.INT64, ["rows", "wanted"]),
            "present.0.key": present,
            "present.0.value": present,
        },
        weights,
    )


def files(**decoding: Any) -> dict[str, bytes]:
    """The version's files, by role."""
    return {
        "model": orjson.dumps(MODEL.to_json()),
        "encoder": encoder().SerializeToString(),
        "decoder": decoder(**decoding).SerializeToString(),
        "tokenizer": tokenizer_file(),
    }


def spec_for(
    folder: Path,
    contents: dict[str, bytes] | None = None,
    *,
    manifest: dict[str, Any] | None = None,
    **options: Any,
) -> LoadSpec:
    """Writes the files into `folder` and says how to load them."""
    paths = {}
    for role, content in (contents or files()).items():
        paths[role] = folder / f"stored-{role}"
        paths[role].write_bytes(content)
    return LoadSpec("translation", "seq2seq", manifest or {}, paths, options)
