"""`POST /v1/explanations`: why a model answers one item as it does."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from starlette.responses import Response

from modelry.domain.access import Permission
from modelry.domain.errors import InvalidInput, NotFound, NotSupported, UnsupportedField
from modelry.explaining.asked import Asked
from modelry.explaining.contract import MOST_CALLS, MOST_CHANGES, Wish
from modelry.protocols.http.endpoint import Endpoint, json_response
from modelry.protocols.http.request import ApiRequest
from modelry.protocols.http.values import shown
from modelry.protocols.tasks import explained_texts
from modelry.protocols.tasks.description import MODEL, described
from modelry.protocols.tasks.form_question import FormQuestion, place_raw
from modelry.protocols.tasks.json_question import JsonQuestion
from modelry.protocols.tasks.later import ACCEPTED, JOB, JOB_WISH, answer_by_job, takes_job
from modelry.protocols.tasks.question import Question, check_names, items_of, options_of
from modelry.protocols.tasks.reading import read_question, with_inputs
from modelry.services.explanation.asking import ExplanationJobs
from modelry.services.explanation.counting import check_explanations
from modelry.services.inference.answers import Explanation
from modelry.services.inference.inputs import InputUrls
from modelry.services.inference.routing import Target
from modelry.services.inference.service import InferenceService, require_task
from modelry.services.privacy.kept_questions import KeptQuestion, KeptQuestions
from modelry.tasks.contract import Schema
from modelry.tasks.registry import task_called

TASKS = (
    *("image-classification", "object-detection", "text-classification", "tabular"),
    *explained_texts.TASKS,
)
BACKGROUND = "background"
EXPLAIN = "explain"
"""What asks an endpoint of a task to explain its answer, too."""
REQUEST_ID = "request_id"
ITEM = "item"
_PLACE: Schema = {
    "type": "integer",
    "minimum": 0,
    "description": "Which item of that request; needed where it had several.",
}
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


def explanation_endpoint(
    inference: InferenceService,
    urls: InputUrls,
    max_body_bytes: int,
    jobs: ExplanationJobs | None = None,
    kept: KeptQuestions | None = None,
) -> Endpoint:
    """The endpoint.

    Args:
        inference: answers the calls.
        urls: fetches inputs that are named by a URL.
        max_body_bytes: larger bodies are refused.
        jobs: for explanations that take one.
        kept: finds what earlier requests asked, by their ids.
    """
    return Endpoint(
        "/v1/explanations",
        ("POST",),
        Permission.INFERENCE,
        _Handlers(inference, urls, jobs, kept).explain,
        "Explain an answer",
        max_body_bytes,
        _described(),
    )


class _Handlers:
    def __init__(
        self,
        inference: InferenceService,
        urls: InputUrls,
        jobs: ExplanationJobs | None,
        kept: KeptQuestions | None,
    ) -> None:
        self._inference = inference
        self._urls = urls
        self._jobs = jobs
        self._kept = kept

    async def explain(self, request: ApiRequest) -> Response:
        question = await read_question(request, instead_of_model=REQUEST_ID)
        if REQUEST_ID in question.names:
            target, asked = await self._asked_before(request, question)
        else:
            target, asked = await self._asked_now(request, question)
        is_job_wanted = bool(question.option(JOB, JOB_WISH[JOB]))
        if takes_job(asked, is_job_wanted=is_job_wanted):
            await check_explanations(self._inference, request.principal)  # before it is kept
            return await answer_by_job(
                request, self._jobs, target, asked, is_job_wanted=is_job_wanted
            )
        found = await request.while_connected(
            self._inference.explain(
                request.principal, target, asked.item, asked.options, asked.wish
            )
        )
        return json_response(told(found))

    async def _asked_now(
        self, request: ApiRequest, question: JsonQuestion | FormQuestion
    ) -> tuple[Target, Asked]:
        target = self._inference.target(request.principal, question.model)
        require_task(target, *TASKS)
        item, options = item_in(question, target, (JOB, REQUEST_ID))
        wish = wish_in(question)
        (item,) = await with_inputs(request, self._urls, [item])
        return target, Asked(item, options, wish)

    async def _asked_before(self, request: ApiRequest, question: Question) -> tuple[Target, Asked]:
        """What an earlier request asked, and the version that answered it."""
        if self._kept is None:
            raise NotSupported("This server keeps no requests.", param=REQUEST_ID)
        ways = explained_texts.WAYS[explained_texts.CHAT]
        _check_wishes(question.names, (REQUEST_ID, ITEM, JOB, *ways))
        request_id = question.option(REQUEST_ID, {"type": "string"})
        found = await asyncio.to_thread(self._kept.find, request.principal, request_id)
        if question.model and question.model != found.deployment:
            raise InvalidInput(
                f"That request was answered by '{found.deployment}'; leave model out, or name it.",
                param="model",
            )
        target = self._inference.target(request.principal, found.deployment, found.version_number)
        if target.deployment.created_at > found.at:
            raise NotFound(
                f"The deployment '{found.deployment}' that answered that request is gone; the one "
                "of that name was made later. Send the input itself.",
                param=REQUEST_ID,
            )
        require_task(target, *TASKS)
        item = explained_texts.with_ways(
            _kept_item(found, question.option(ITEM, _PLACE)), question, target.version.task
        )
        return target, Asked(item, found.options, wish_in(question))


def item_in(
    question: Question, target: Target, more: Sequence[str] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The item to explain, and the options of its prediction.

    Raises:
        InvalidInput: the request has not what the model's task takes, or something else.
    """
    task = target.version.task
    if task == explained_texts.CHAT:
        return explained_texts.read_chat(question, (*WISHES, *more))
    form = task_called(task).form
    assert form is not None, "all other tasks have items"
    if isinstance(question, FormQuestion):
        place_raw(question, form, task)
    known = (*WISH_NAMES, *more, *explained_texts.wishes_of(task))
    check_names(question, target.deployment.name, form, known)
    item = one_item(items_of(question, form))
    return explained_texts.with_wishes(item, question, task), options_of(question, form)


def told(found: Explanation) -> dict[str, Any]:
    """An explanation as its JSON."""
    picture = base64.b64encode(found.picture).decode() if found.picture else None
    return {
        "model": found.target.deployment.name,
        "version": found.target.version.number,
        **found.told,
        "picture": picture,
        "usage": found.usage,
    }


def one_item(items: list[dict[str, Any]]) -> dict[str, Any]:
    """The only item.

    Raises:
        InvalidInput: there are several.
    """
    if len(items) != 1:
        raise InvalidInput(f"The request has {len(items)} items; explain one at a time.")
    return items[0]


def _kept_item(found: KeptQuestion, place: int | None) -> Mapping[str, Any]:
    count = len(found.items)
    if place is None and count > 1:
        raise InvalidInput(
            f"That request had {count} items; say which one: {ITEM} is 0 to {count - 1}.",
            param=ITEM,
        )
    if (place or 0) >= count:
        raise InvalidInput(f"{ITEM} is {place}; that request had {count} items.", param=ITEM)
    return found.items[place or 0]


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
    _check_wishes([name for name, one in value.items() if one is not None])
    return wish_in(JsonQuestion({**value, "model": model}))


def _check_wishes(names: Collection[str], more: Sequence[str] = ()) -> None:
    known = (*WISH_NAMES, *more)
    for name in names:
        if name not in known:
            raise UnsupportedField(
                f"{name[:80]} is not known here; known are: {', '.join(known)}.", param=name[:80]
            )


def _described() -> dict[str, Any]:
    """As the other endpoints', with what is wished beside the item."""
    operation = described(TASKS, {**WISHES, **JOB_WISH})
    rows = {"type": "array", "items": {"type": ["object", "array"]}, "minItems": 1}
    bodies = operation["requestBody"]["content"]["application/json"]["schema"]["anyOf"]
    for body in bodies:
        if "row" in body["properties"]:
            body["properties"] |= {BACKGROUND: rows, **OBJECTS}
        elif "text" in body["properties"]:
            for task in explained_texts.TASKS:
                body["properties"] |= explained_texts.wishes_of(task)
    bodies += (explained_texts.described_chat({**WISHES, **JOB_WISH}), _described_by_id(rows))
    answer = {
        "type": "object",
        "properties": {
            "model": MODEL,
            "version": {"type": "integer"},
            "method": {"type": "string"},
            "target": {"type": "object"},
            "attribution": {"type": "object"},
            "baseline": {"type": "string"},
            "parameters": {"type": "object"},
            "faithfulness": {"type": ["object", "null"]},
            "sentence": {"type": "string"},
            "cost": {"type": "object"},
            "picture": {"type": ["string", "null"], "contentEncoding": "base64"},
            "usage": {"type": "object", "additionalProperties": {"type": "integer"}},
        },
        "required": ["model", "version", "method", "target", "attribution", "sentence", "cost"],
    }
    operation["responses"]["200"] = {
        "description": "The explanation.",
        "content": {"application/json": {"schema": answer}},
    }
    operation["responses"]["202"] = ACCEPTED
    return operation


def _described_by_id(rows: Schema) -> Schema:
    """The body that explains the answer to an earlier request."""
    earlier: Schema = {
        "type": "string",
        "minLength": 1,
        "description": "The id of an earlier request that its deployment kept.",
    }
    return {
        "type": "object",
        "properties": {
            REQUEST_ID: earlier,
            ITEM: _PLACE,
            "model": MODEL,
            **WISHES,
            **JOB_WISH,
            **OBJECTS,
            BACKGROUND: rows,
            **explained_texts.described_ways(),
        },
        "required": [REQUEST_ID],
        "additionalProperties": False,
    }
