"""`POST /v1/explanations`: why a model answers one item as it does."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from modelry.domain.access import Permission
from modelry.domain.errors import InvalidInput, NotFound, NotSupported
from modelry.explaining.asked import Asked
from modelry.protocols.http.endpoint import Endpoint, json_response
from modelry.protocols.http.request import ApiRequest
from modelry.protocols.tasks import explained_texts
from modelry.protocols.tasks.description import MODEL, described
from modelry.protocols.tasks.form_question import FormQuestion, place_raw
from modelry.protocols.tasks.json_question import JsonQuestion
from modelry.protocols.tasks.later import (
    ACCEPTED,
    JOB_WISH,
    answer_by_job,
    stream_job,
)
from modelry.protocols.tasks.question import Question, check_names, items_of, options_of
from modelry.protocols.tasks.reading import read_question, with_inputs
from modelry.protocols.tasks.streamed import (
    JOB,
    STREAM,
    STREAM_WISH,
    STREAMED,
    check_stream,
    streamed,
)
from modelry.protocols.tasks.wishes import (
    BACKGROUND,
    OBJECTS,
    WISH_NAMES,
    WISHES,
    check_wishes,
    wish_in,
)
from modelry.services.explanation.asking import ExplanationJobs
from modelry.services.explanation.counting import check_explanations
from modelry.services.explanation.explainer import Explainer
from modelry.services.inference.answers import Explanation
from modelry.services.inference.explanations import OnProgress
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
REQUEST_ID = "request_id"
ITEM = "item"
_PLACE: Schema = {
    "type": "integer",
    "minimum": 0,
    "description": "Which item of that request; needed where it had several.",
}
_BESIDE = {**WISHES, **JOB_WISH, **STREAM_WISH}


def explanation_endpoint(
    inference: InferenceService,
    urls: InputUrls,
    max_body_bytes: int,
    *,
    explainer: Explainer,
    jobs: ExplanationJobs | None = None,
    kept: KeptQuestions | None = None,
) -> Endpoint:
    """The endpoint.

    Args:
        inference: answers the calls.
        urls: fetches inputs that are named by a URL.
        max_body_bytes: larger bodies are refused.
        explainer: explains while the caller waits.
        jobs: for explanations that take one.
        kept: finds what earlier requests asked, by their ids.
    """
    return Endpoint(
        "/v1/explanations",
        ("POST",),
        Permission.INFERENCE,
        _Handlers(inference, urls, explainer, jobs, kept).explain,
        "Explain an answer",
        max_body_bytes,
        _described(),
    )


class _Handlers:
    def __init__(
        self,
        inference: InferenceService,
        urls: InputUrls,
        explainer: Explainer,
        jobs: ExplanationJobs | None,
        kept: KeptQuestions | None,
    ) -> None:
        self._inference = inference
        self._urls = urls
        self._explainer = explainer
        self._jobs = jobs
        self._kept = kept

    async def explain(self, request: ApiRequest) -> Response:
        question = await read_question(request, instead_of_model=REQUEST_ID)
        if REQUEST_ID in question.names:
            target, asked = await self._asked_before(request, question)
        else:
            target, asked = await self._asked_now(request, question)
        is_job_wanted = bool(question.option(JOB, JOB_WISH[JOB]))
        is_stream = bool(question.option(STREAM, STREAM_WISH[STREAM]))
        check_stream(is_stream=is_stream, is_job=is_job_wanted)
        if is_job_wanted or not self._explainer.can_wait_for(asked.wish):
            await check_explanations(self._inference, request.principal)  # before it is kept
            if is_stream:
                return await stream_job(request, self._jobs, target, asked)
            return await answer_by_job(
                request, self._jobs, target, asked, is_job_wanted=is_job_wanted
            )

        async def make(on_progress: OnProgress | None) -> dict[str, Any]:
            return told(
                await self._explainer.explain(
                    request.principal,
                    target,
                    asked.item,
                    asked.options,
                    asked.wish,
                    on_progress=on_progress,
                )
            )

        if is_stream:
            return await streamed(request, make)
        return json_response(await request.while_connected(make(None)))

    async def _asked_now(
        self, request: ApiRequest, question: JsonQuestion | FormQuestion
    ) -> tuple[Target, Asked]:
        target = self._inference.target(request.principal, question.model)
        require_task(target, *TASKS)
        item, options = item_in(question, target, (JOB, STREAM, REQUEST_ID))
        wish = wish_in(question)
        (item,) = await with_inputs(request, self._urls, [item])
        return target, Asked(item, options, wish)

    async def _asked_before(self, request: ApiRequest, question: Question) -> tuple[Target, Asked]:
        """What an earlier request asked, and the version that answered it."""
        if self._kept is None:
            raise NotSupported("This server keeps no requests.", param=REQUEST_ID)
        ways = explained_texts.WAYS[explained_texts.CHAT]
        check_wishes(question.names, (REQUEST_ID, ITEM, JOB, STREAM, *ways))
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


def _described() -> dict[str, Any]:
    """As the other endpoints', with what is wished beside the item."""
    operation = described(TASKS, _BESIDE)
    rows = {"type": "array", "items": {"type": ["object", "array"]}, "minItems": 1}
    bodies = operation["requestBody"]["content"]["application/json"]["schema"]["anyOf"]
    for body in bodies:
        if "row" in body["properties"]:
            body["properties"] |= {BACKGROUND: rows, **OBJECTS}
        elif "text" in body["properties"]:
            for task in explained_texts.TASKS:
                body["properties"] |= explained_texts.wishes_of(task)
    bodies += (explained_texts.described_chat(_BESIDE), _described_by_id(rows))
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
        "content": {"application/json": {"schema": answer}, "text/event-stream": STREAMED},
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
            **_BESIDE,
            **OBJECTS,
            BACKGROUND: rows,
            **explained_texts.described_ways(),
        },
        "required": [REQUEST_ID],
        "additionalProperties": False,
    }
