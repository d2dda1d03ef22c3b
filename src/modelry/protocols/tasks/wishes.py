"""How an answer shall be explained: what may be wished, and how it is read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from modelry.domain.errors import InvalidInput, UnsupportedField
from modelry.explaining.contract import (
    LEAST_SECONDS,
    MOST_CALLS,
    MOST_CHANGES,
    MOST_SECONDS,
    Wish,
)
from modelry.protocols.http.values import shown
from modelry.protocols.tasks.form_question import FormQuestion
from modelry.protocols.tasks.json_question import JsonQuestion
from modelry.protocols.tasks.question import Question
from modelry.tasks.contract import Schema

BACKGROUND = "background"
EXPLAIN = "explain"
"""What asks an endpoint of a task to explain its answer, too."""
WISHES: Mapping[str, Schema] = {
    "method": {
        "type": "string",
        "description": "occlusion or rise for images, d-rise or occlusion for the objects in them, "
        "leave-one-out or shapley for others, counterfactual for rows; by gradients: "
        "integrated-gradients, and grad-cam for images.",
    },
    "target": {
        "type": "string",
        "description": "The label to explain, or its index; by default the best one. Of objects in "
        "an image: a label, or an object's place in the answer; by default all of them. Of a "
        "written answer, words of it; by default all.",
    },
    "calls": {
        "type": "integer",
        "minimum": 2,
        "maximum": MOST_CALLS,
        "description": "How often the model may be asked for the explanation itself.",
    },
    "seconds": {
        "type": "number",
        "minimum": LEAST_SECONDS,
        "maximum": MOST_SECONDS,
        "description": "How long it may take in all; what is known by then is told.",
    },
    "seed": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    "checks": {
        "type": "boolean",
        "description": "Whether to measure how far the explanation can be trusted.",
    },
    "picture": {"type": "boolean", "description": "Whether to draw a heat map of an image."},
    "most_changes": {
        "type": "integer",
        "minimum": 1,
        "maximum": MOST_CHANGES,
        "description": "For counterfactuals: how many columns may change.",
    },
}
OBJECTS: Mapping[str, Schema] = {
    "changeable": {
        "type": "object",
        "description": "For counterfactuals: by column true, false, or min, max, step and values.",
    },
    "goal": {
        "type": "object",
        "description": "For counterfactuals of numbers: above, below, or both.",
    },
}
"""Wishes that are objects; in JSON only, as `background`."""
WISH_NAMES = (*WISHES, *OBJECTS, BACKGROUND)


def wish_in(question: Question) -> Wish:
    """How a question wants to be explained.

    Raises:
        InvalidInput: a wish is not of its type.
    """
    given = {name: question.option(name, schema) for name, schema in WISHES.items()}
    background: list[Any] = []
    if BACKGROUND in question.names:
        background = question.column(BACKGROUND, {"type": ["object", "array"]})
    given |= {name: _object(question, name) for name in OBJECTS if name in question.names}
    return Wish(
        background=tuple(background),
        **{name: value for name, value in given.items() if value is not None},
    )


def _object(question: Question, name: str) -> dict[str, Any]:
    values = question.column(name, OBJECTS[name])
    if len(values) != 1 or not isinstance(values[0], dict):
        raise InvalidInput(f"{name} is {shown(values)}; expected an object.", param=name)
    return values[0]


def wish_beside(question: Question) -> Wish | None:
    """What `explain` of a question of a task's own endpoint wants: `true`, or an object of wishes.

    Raises:
        InvalidInput: it is neither, or a wish is not of its type.
        UnsupportedField: a wish that is not known.
    """
    if EXPLAIN not in question.names:
        return None
    if isinstance(question, FormQuestion):
        return Wish() if question.option(EXPLAIN, {"type": "boolean"}) else None
    values = question.column(EXPLAIN, {"type": ["boolean", "object"]})
    return wish_of(values[0] if len(values) == 1 else values, question.model)


def wish_of(value: Any, model: str) -> Wish | None:
    """The wish that `true` or an object tells, None for `false`.

    Raises:
        InvalidInput, UnsupportedField: as `wish_beside`.
    """
    if isinstance(value, bool):
        return Wish() if value else None
    if not isinstance(value, dict):
        raise InvalidInput(
            f"{EXPLAIN} is {shown(value)}; expected true, or an object of: "
            f"{', '.join(WISH_NAMES)}.",
            param=EXPLAIN,
        )
    check_wishes([name for name, one in value.items() if one is not None])
    return wish_in(JsonQuestion({**value, "model": model}))


def check_wishes(names: Collection[str], more: Sequence[str] = ()) -> None:
    """Refuse what is neither a wish nor among `more`.

    Raises:
        UnsupportedField: names it, and what is known.
    """
    known = (*WISH_NAMES, *more)
    for name in names:
        if name not in known:
            raise UnsupportedField(
                f"{name[:80]} is not known here; known are: {', '.join(known)}.", param=name[:80]
            )
