"""`POST /v1/explanations`: why a model answers one item as it does."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from modelry.domain.access import Permission
from modelry.domain.errors import InvalidInput
from modelry.explaining.asked import Asked
from modelry.explaining.contract import MOST_CALLS, Wish
from modelry.protocols.http.endpoint import Endpoint, Handler, json_response
from modelry.protocols.http.request import ApiRequest
from modelry.protocols.tasks import explained_texts
from modelry.protocols.tasks.description import MODEL, described
from modelry.protocols.tasks.form_question import FormQuestion, place_raw
from modelry.protocols.tasks.later import ACCEPTED, JOB, JOB_WISH, answer_by_job, takes_job
from modelry.protocols.tasks.question import Question, check_names, items_of, options_of
from modelry.protocols.tasks.reading import read_question
from modelry.services.explanation.asking import ExplanationJobs
from modelry.services.inference.inputs import InputUrls
from modelry.services.inference.routing import Target
from modelry.services.inference.service import InferenceService, require_task
from modelry.tasks.contract import ItemForm, Schema
from modelry.tasks.registry import task_called

TASKS = (
    *("image-classification", "object-detection", "text-classification", "tabular"),
    *explained_texts.TASKS,
)
BACKGROUND = "background"
WISHES: Mapping[str, Schema] = {
    "method": {
        "type": "string",
        "description": "occlusion or rise for images, d-rise or occlusion for the objects in them, "
        "leave-one-out or shapley for others; by gradients: integrated-gradients, and grad-cam for "
        "images.",
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
}


def explanation_endpoint(
    inference: InferenceService,
    urls: InputUrls,
    max_body_bytes: int,
    jobs: ExplanationJobs | None = None,
) -> Endpoint:
    """The endpoint; `jobs` are for explanations that take one."""
    return Endpoint(
        "/v1/explanations",
        ("POST",),
        Permission.INFERENCE,
        _handler(inference, urls, jobs),
        "Explain an answer",
        max_body_bytes,
        _described(),
    )


def _handler(inference: InferenceService, urls: InputUrls, jobs: ExplanationJobs | None) -> Handler:
    async def handle(request: ApiRequest) -> Response:
        question = await read_question(request)
        target = inference.target(request.principal, question.model)
        require_task(target, *TASKS)
        item, options = _item(question, target)
        wish = _wish(question)
        (item,) = await request.while_connected(urls.fetched([item]))
        asked = Asked(item, options, wish)
        is_job_wanted = bool(question.option(JOB, JOB_WISH[JOB]))
        if takes_job(asked, is_job_wanted=is_job_wanted):
            return await answer_by_job(request, jobs, target, asked, is_job_wanted=is_job_wanted)
        explained = await request.while_connected(
            inference.explain(request.principal, target, item, options, wish)
        )
        picture = base64.b64encode(explained.picture).decode() if explained.picture else None
        return json_response(
            {
                "model": target.deployment.name,
                "version": target.version.number,
                **explained.told,
                "picture": picture,
                "usage": explained.usage,
            }
        )

    return handle


def _item(question: Question, target: Target) -> tuple[dict[str, Any], dict[str, Any]]:
    """The item to explain, and the options of its prediction.

    Raises:
        InvalidInput: the request has not what the model's task takes, or something else.
    """
    task = target.version.task
    if task == explained_texts.CHAT:
        return explained_texts.read_chat(question, (*WISHES, JOB))
    form = task_called(task).form
    assert form is not None, "all other tasks have items"
    if isinstance(question, FormQuestion):
        place_raw(question, form, task)
    more = (*WISHES, BACKGROUND, JOB, *explained_texts.wishes_of(task))
    check_names(question, target.deployment.name, form, more)
    (item,) = _one_item(question, form)
    return explained_texts.with_wishes(item, question, task), options_of(question, form)


def _one_item(question: Question, form: ItemForm) -> list[dict[str, Any]]:
    items = items_of(question, form)
    if len(items) != 1:
        raise InvalidInput(f"The request has {len(items)} items; explain one at a time.")
    return items


def _wish(question: Question) -> Wish:
    given = {name: question.option(name, schema) for name, schema in WISHES.items()}
    background: list[Any] = []
    if BACKGROUND in question.names:
        background = question.column(BACKGROUND, {"type": ["object", "array"]})
    return Wish(
        background=tuple(background),
        **{name: value for name, value in given.items() if value is not None},
    )


def _described() -> dict[str, Any]:
    """As the other endpoints', with what is wished beside the item."""
    operation = described(TASKS, {**WISHES, **JOB_WISH})
    rows = {"type": "array", "items": {"type": ["object", "array"]}, "minItems": 1}
    content = operation["requestBody"]["content"]["application/json"]["schema"]
    for body in content["anyOf"]:
        if "row" in body["properties"]:
            body["properties"][BACKGROUND] = rows
        elif "text" in body["properties"]:
            for task in explained_texts.TASKS:
                body["properties"] |= explained_texts.wishes_of(task)
    content["anyOf"].append(explained_texts.described_chat({**WISHES, **JOB_WISH}))
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
