"""Chat: a conversation goes in, text comes out, token by token.

Chats have no items: they go to the engine as the OpenAI door reads them. A version may have a file
with LoRA adapters beside its model, with the role `adapter`.
"""

from __future__ import annotations

from modelry.manifest.document import ManifestDocument
from modelry.manifest.inspect import inspect_file
from modelry.tasks.contract import ModelFacts, Recognition, Task
from modelry.tasks.gguf_reading import embeds, is_language_model

NAME = "chat"
ADAPTER_ROLE = "adapter"
_ADDS_ADAPTERS = "llamacpp"


def recognise(facts: ModelFacts) -> Recognition | None:
    """Language models; sure when the file brings a chat template."""
    if not is_language_model(facts):
        return None
    if embeds(facts):
        return Recognition(NAME, 0.1, ("it has a language model's parts, but is for embeddings",))
    if facts.metadata.get("chat_template") == "true":
        return Recognition(NAME, 0.95, ("the GGUF file brings a chat template",))
    note = "it is a language model without a chat template: a base model may only go on from text"
    return Recognition(NAME, 0.6, (note,))


def check_files(document: ManifestDocument, facts: ModelFacts) -> None:
    """An adapter must be one for the model, and go to a runtime that adds it."""
    if ADAPTER_ROLE not in facts.files:
        return
    where = f"files.{ADAPTER_ROLE}"
    if document.runtime not in (None, _ADDS_ADAPTERS):
        raise document.invalid(
            f"The runtime '{document.runtime}' adds no adapters; take '{_ADDS_ADAPTERS}'.",
            "runtime",
        )
    name = document.files[ADAPTER_ROLE].name
    if facts.formats[ADAPTER_ROLE] != "gguf":
        raise document.invalid(
            f"The adapter '{name}' is of the format '{facts.formats[ADAPTER_ROLE]}'; expected LoRA "
            "adapters as a GGUF file.",
            where,
        )
    found = inspect_file(facts.files[ADAPTER_ROLE], name=name).metadata
    architecture = facts.metadata.get("architecture", "unknown")
    if found.get("type") != "adapter" or found.get("architecture") != architecture:
        raise document.invalid(
            f"The file '{name}' is of the type '{found.get('type', 'model')}' and the architecture "
            f"'{found.get('architecture')}'; expected an adapter for '{architecture}', as the "
            "model is.",
            where,
        )


TASK = Task(
    name=NAME,
    summary="Answers a conversation, or goes on from a text.",
    counts_tokens=True,
    generates=True,
    formats=frozenset({"gguf"}),
    check_files=check_files,
    recognise=recognise,
)
