"""What tasks share in which a whole text is written for a text."""

from __future__ import annotations

from modelry.manifest.document import ManifestDocument
from modelry.runtime_api.sequence_models import DECODER_ROLE, ENCODER_ROLE, TOKENIZER_ROLE
from modelry.runtime_api.text_to_text import MAX_BEAMS, MAX_LENGTH_PENALTY, MAX_TOKENS
from modelry.tasks.contract import ItemForm, ModelFacts, Recognition, Task

FORMAT = "seq2seq"
FORMATS_OF_ROLES = {
    ENCODER_ROLE: "onnx",
    DECODER_ROLE: "onnx",
    TOKENIZER_ROLE: "tokenizer-json",
}
FORM = ItemForm(
    item={
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
        "additionalProperties": False,
    },
    options={
        "beams": {
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_BEAMS,
            "description": "Candidates that are followed at once; 1 takes the likeliest token "
            "each time.",
        },
        "max_tokens": {
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_TOKENS,
            "description": "Tokens of an answer, at most.",
        },
        "length_penalty": {
            "type": "number",
            "minimum": 0,
            "maximum": MAX_LENGTH_PENALTY,
            "description": "0 favours short answers, larger values longer ones; with several "
            "beams.",
        },
    },
    result={
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "score": {
                "type": "number",
                "description": "Mean log-probability of the answer's tokens, at most 0.",
            },
            "is_complete": {
                "type": "boolean",
                "description": "Whether the model ended the answer itself; false when it was cut.",
            },
        },
        "required": ["text", "score", "is_complete"],
    },
)


def task_of(name: str, summary: str) -> Task:
    """A task of this kind."""

    def recognise(facts: ModelFacts) -> Recognition | None:
        return _recognise(facts, name)

    return Task(
        name=name,
        summary=summary,
        formats=frozenset({FORMAT}),
        recognise=recognise,
        check_files=_check_files,
        form=FORM,
        counts_tokens=True,
    )


def _recognise(facts: ModelFacts, name: str) -> Recognition | None:
    """Models that say so; others could be for any task of this kind."""
    said = facts.metadata.get("task", "")
    if said == name:
        return Recognition(name, 0.95, (f"the description says that it is for '{name}'",))
    why = f"says that it is for '{said}'" if said else "does not say what it is for"
    return Recognition(name, 0.2, (f"it is a sequence model; its description {why}",))


def _check_files(document: ManifestDocument, facts: ModelFacts) -> None:
    """Refuse a version without graphs and tokenizer.

    Raises:
        ManifestInvalid: a file is missing, or is something else.
    """
    for role, expected in FORMATS_OF_ROLES.items():
        found = facts.formats.get(role)
        if found is None:
            raise document.invalid(
                f"A sequence model needs the files {', '.join(FORMATS_OF_ROLES)} beside its "
                f"description; '{role}' is missing. Name it in the manifest: files.{role}.",
                "files",
            )
        if found != expected:
            raise document.invalid(
                f"The file '{role}' of a sequence model must be of the format '{expected}'; this "
                f"is '{found}'.",
                f"files.{role}",
            )
