"""What tasks on text share: telling models that give vectors, and the steps before them."""

from __future__ import annotations

from modelry.domain.signature import DYNAMIC, TensorSpec
from modelry.manifest.document import ManifestDocument
from modelry.tasks.contract import DefaultSteps, ModelFacts, Schema
from modelry.tasks.signature_reading import FLOATS, flat_outputs, name_list

TEXT_ITEM: Schema = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "text_pair": {"type": "string", "description": "The second text of a pair."},
        "tokens": {
            "type": "array",
            "items": {"type": "integer", "minimum": 0},
            "description": "The model's own token ids, instead of text.",
        },
    },
    "additionalProperties": False,
}
VECTOR_NAMES = ("sentence_embedding", "text_embeds", "embedding", "embeddings", "pooled_output")
TOKEN_NAMES = ("last_hidden_state", "token_embeddings", "hidden_states", "encoder_output")
_SCORE_WORDS = ("logit", "prob", "score", "class")
_LEAST_DIMENSIONS = 64


def sentence_vectors(facts: ModelFacts) -> TensorSpec | None:
    """The output with one vector per text, if the model has one."""
    outputs = flat_outputs(facts.signature)
    for name in VECTOR_NAMES:
        for spec in outputs:
            if spec.name == name:
                return spec
    if len(facts.signature.outputs) == 1 and outputs and _looks_like_vector(outputs[0]):
        return outputs[0]
    return None


def token_vectors(facts: ModelFacts) -> TensorSpec | None:
    """The output with one vector per token, if the model has one."""
    outputs = [
        spec
        for spec in facts.signature.outputs
        if spec.datatype in FLOATS and len(spec.shape) == 3 and not _says_scores(spec)
    ]
    for name in TOKEN_NAMES:
        for spec in outputs:
            if spec.name == name:
                return spec
    return outputs[0] if len(outputs) == 1 else None


def gives_vectors(facts: ModelFacts) -> bool:
    """Whether the model gives vectors rather than scores of classes."""
    return sentence_vectors(facts) is not None or token_vectors(facts) is not None


def tokenize_steps(document: ManifestDocument, facts: ModelFacts) -> DefaultSteps:
    """The tokenizer of the role `tokenizer`.

    Raises:
        ManifestInvalid: the model takes no token ids, or the manifest names no tokenizer.
    """
    if not all(len(spec.shape) == 2 for spec in facts.signature.inputs):
        raise document.invalid(
            f"The model's inputs are {name_list(facts.signature.inputs)}; the task "
            f"'{document.task}' needs a model that takes token ids ('input_ids', with "
            "'attention_mask' and 'token_type_ids' if the model has them). Choose another task, "
            "or 'tensor'.",
            "task",
        )
    if "tokenizer" not in facts.files:
        raise document.invalid(
            f"The task '{document.task}' needs the model's tokenizer; name its tokenizer.json in "
            "the manifest: files.tokenizer. For token ids made elsewhere, choose the task "
            "'tensor'.",
            "files",
        )
    return DefaultSteps(["tokenize"])


def _looks_like_vector(spec: TensorSpec) -> bool:
    dimensions = spec.shape[1]
    known = dimensions != DYNAMIC and dimensions >= _LEAST_DIMENSIONS and dimensions % 32 == 0
    return known and not _says_scores(spec)


def _says_scores(spec: TensorSpec) -> bool:
    return any(word in spec.name.lower() for word in _SCORE_WORDS)
