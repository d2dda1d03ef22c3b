"""Text embedding: a text goes in, a vector of its meaning comes out.

GGUF models tokenise and pool in their engine; ONNX models by the version's processing graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from modelry.manifest.document import ManifestDocument
from modelry.processing.values import Context, Form, Stage
from modelry.runtime_api.tensors import Array
from modelry.tasks.contract import (
    DefaultSteps,
    ItemForm,
    ModelFacts,
    Recognition,
    Results,
    Task,
)
from modelry.tasks.gguf_reading import embeds
from modelry.tasks.rendering import check_rows, count_tokens
from modelry.tasks.signature_reading import name_list, text_inputs
from modelry.tasks.text_steps import (
    TEXT_ITEM,
    gives_vectors,
    sentence_vectors,
    token_vectors,
    tokenize_steps,
)

NAME = "text-embedding"
ARRAY = "embedding"


def recognise(facts: ModelFacts) -> Recognition | None:
    """Models that give vectors for texts."""
    if facts.format == "gguf":
        note = "its metadata say that it pools its tokens into one vector"
        return Recognition(NAME, 0.95, (note,)) if embeds(facts) else None
    if text_inputs(facts.signature) is None or not gives_vectors(facts):
        return None
    output = sentence_vectors(facts) or token_vectors(facts)
    assert output is not None
    notes = (
        "input 'input_ids' takes token ids",
        f"output '{output.name}' gives vectors of {output.shape[-1]} numbers",
    )
    if "tokenizer" in facts.files:
        return Recognition(NAME, 0.9, notes)
    return Recognition(NAME, 0.2, (*notes, "it needs a tokenizer: name it in files.tokenizer"))


def default_pre(document: ManifestDocument, facts: ModelFacts) -> DefaultSteps:
    """The tokenizer; nothing for engines that bring their own.

    Raises:
        ManifestInvalid: the model takes no token ids, or the manifest names no tokenizer.
    """
    return tokenize_steps(document, facts) if facts.signature.inputs else DefaultSteps()


def default_post(document: ManifestDocument, facts: ModelFacts) -> DefaultSteps:
    """The mean over the tokens where the model gives one vector each, at length 1.

    Raises:
        ManifestInvalid: it cannot be told which output gives the vectors.
    """
    if not facts.signature.inputs:
        return DefaultSteps()
    whole, tokens = sentence_vectors(facts), token_vectors(facts)
    output = whole or tokens
    if output is None:
        raise document.invalid(
            f"The model's outputs are {name_list(facts.signature.outputs)}; the task '{NAME}' "
            "cannot tell which of them gives the vectors. Declare 'post', for example: "
            "[output: NAME, pool: mean, l2_normalize].",
            "post",
        )
    steps: list[Any] = [{"output": output.name}] if len(facts.signature.outputs) > 1 else []
    if whole is not None:
        return DefaultSteps([*steps, "l2_normalize"])
    note = "vectors of tokens are pooled by their mean; if the model was trained otherwise, declare"
    return DefaultSteps([*steps, {"pool": "mean"}, "l2_normalize"], (f"{note} 'post'",))


def render(vectors: Array, context: Context, first: int) -> Results:
    """The vectors as one array, float32 of shape (items, dimensions).

    Raises:
        ModelFailed: a vector has numbers that are not finite.
    """
    del context
    check_rows(vectors, first, "vector")
    return Results(arrays={ARRAY: np.ascontiguousarray(vectors, np.float32)})


def _is_vector(form: Form) -> bool:
    return form.sizes is None or len(form.sizes) == 2


TASK = Task(
    name=NAME,
    summary="Gives a vector for a text, so that texts of similar meaning lie close.",
    counts_tokens=True,
    formats=frozenset({"gguf", "onnx"}),
    recognise=recognise,
    default_pre=default_pre,
    default_post=default_post,
    form=ItemForm(
        item=TEXT_ITEM,
        options={},
        result={
            "type": "array",
            "items": {"type": "number"},
            "description": "The vector: one row of the float32 array 'embedding'.",
        },
        ends_in=(Stage.TENSOR,),
        accepts=_is_vector,
        hint="End it in one vector per text: 'pool' the tokens' vectors, then 'l2_normalize'.",
        render=render,
        count=count_tokens,
    ),
)
