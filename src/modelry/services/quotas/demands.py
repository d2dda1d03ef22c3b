"""What a request will use at most, as far as it can be told before it is run."""

from __future__ import annotations

import math

import orjson

from modelry.services.quotas.gates import NOTHING, Demand

BYTES_PER_TOKEN = 4
"""Of English text in most vocabularies; what was really used is settled at the end."""
UNBOUNDED_ANSWER_TOKENS = 256
"""Reserved for an answer to which the caller set no bound."""
IMAGE_TASKS = frozenset({"image-classification", "object-detection"})
TEXT_TASKS = frozenset({"text-embedding", "text-classification", "chat"})
WRITING_TASKS = frozenset({"translation", "summarization"})
"""Their answers are about as long as what they are asked, or shorter."""


def text_demand(prompt: bytes, answers: int = 0, max_tokens: int | None = None) -> Demand:
    """Of a text as it is sent to the worker, and of `answers` of up to `max_tokens` each."""
    bound = UNBOUNDED_ANSWER_TOKENS if max_tokens is None else max_tokens
    return Demand(tokens=len(prompt) // BYTES_PER_TOKEN + answers * bound)


def items_demand(task: str, count: int, header: bytes) -> Demand:
    """Of `count` items of `task`, whose texts are in `header`."""
    if task in IMAGE_TASKS:
        return Demand(images=count)
    if task in WRITING_TASKS:
        return Demand(tokens=2 * text_demand(header).tokens)
    return text_demand(header) if task in TEXT_TASKS else NOTHING


def counts_tensors(task: str) -> bool:
    """Whether `tensor_demand` of a model of `task` is more than a request."""
    return task in IMAGE_TASKS or task in TEXT_TASKS


def tensor_demand(task: str, header: bytes) -> Demand:
    """Of tensors for a model of `task`: an image for each row, a token for each number.

    Without it the tensor door would be a way round the limits of the typed ones.
    """
    if not counts_tensors(task):
        return NOTHING
    shapes = [one["shape"] for one in orjson.loads(header)["inputs"]]
    if task in IMAGE_TASKS:
        return Demand(images=max((shape[0] for shape in shapes if shape), default=1))
    return Demand(tokens=max((math.prod(shape) for shape in shapes), default=1))
