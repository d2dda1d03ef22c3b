"""Chat: a conversation goes in, text comes out, token by token.

Chats have no items: they go to the engine as the OpenAI door reads them.
"""

from __future__ import annotations

from modelry.tasks.contract import ModelFacts, Recognition, Task
from modelry.tasks.gguf_reading import embeds, is_language_model

NAME = "chat"


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


TASK = Task(
    name=NAME,
    summary="Answers a conversation, or goes on from a text.",
    counts_tokens=True,
    generates=True,
    formats=frozenset({"gguf"}),
    recognise=recognise,
)
