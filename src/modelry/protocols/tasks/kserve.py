"""KServe's first protocol: `:predict` and `:explain`, `{"instances": […]}` in JSON.

An instance is an item of the version's task: an object of its fields, or the one field by itself
(a text, a row, an image in base64 or as `{"b64": …}`). Models of tensors take nested lists by the
names of their inputs, or the list itself where there is one input. `parameters` are the options of
the task, as in Vertex AI's form of the protocol, and for `:explain` the wishes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from modelry.domain.access import Permission
from modelry.domain.errors import InvalidInput, ModelryError, NotSupported
from modelry.protocols.http.endpoint import DEFAULT_BODY_BYTES, Door, Endpoint, json_response
from modelry.protocols.http.errors import error_headers, status_of
from modelry.protocols.http.request import ApiRequest
from modelry.protocols.tasks.explained_texts import wishes_of, with_wishes
from modelry.protocols.tasks.explanations import TASKS, told
from modelry.protocols.tasks.instances import (
    INSTANCES,
    PARAMETERS,
    plain_rows,
    question_of,
    read_instances,
    refuse_others,
    tensors_of,
)
from modelry.protocols.tasks.question import MAX_ITEMS, check_names, items_of, options_of
from modelry.protocols.tasks.reading import with_inputs
from modelry.protocols.tasks.wishes import WISH_NAMES, wish_in
from modelry.services.explanation.counting import check_explanations
from modelry.services.explanation.explainer import Explainer
from modelry.services.inference.explanations import MOST_EXPLAINED
from modelry.services.inference.inputs import InputFetcher, InputUrls
from modelry.services.inference.routing import Target
from modelry.services.inference.service import InferenceService, require_task
from modelry.tasks.registry import task_called

_TOKENS = 2**31


def build_kserve_door(
    inference: InferenceService,
    *,
    max_body_bytes: int = DEFAULT_BODY_BYTES,
    fetcher: InputFetcher | None = None,
    explainer: Explainer | None = None,
) -> Door:
    """The door of KServe's first protocol.

    Args:
        inference: answers the calls.
        max_body_bytes: larger bodies are refused.
        fetcher: fetches inputs that are named by a URL; None refuses them.
        explainer: explains; by default without gradients.
    """
    urls = InputUrls(fetcher, max_body_bytes)
    handlers = _Handlers(inference, explainer or Explainer(inference), urls)
    endpoints = tuple(
        Endpoint(
            f"/v1/models/{{model}}:{verb}",
            ("POST",),
            Permission.INFERENCE,
            handler,
            summary,
            max_body_bytes,
            _described(answers, most),
        )
        for verb, handler, summary, answers, most in (
            ("predict", handlers.predict, "Predict instances", "predictions", MAX_ITEMS),
            (
                "explain",
                handlers.explain,
                "Explain the answers to instances",
                "explanations",
                MOST_EXPLAINED,
            ),
        )
    )
    return Door("kserve", endpoints, render_error, inference.meter)


def render_error(error: ModelryError) -> Response:
    """KServe's error shape: `{"error": message}`."""
    return json_response({"error": error.message}, status_of(error), error_headers(error))


class _Handlers:
    def __init__(self, inference: InferenceService, explainer: Explainer, urls: InputUrls) -> None:
        self._inference = inference
        self._explainer = explainer
        self._urls = urls

    async def predict(self, request: ApiRequest) -> Response:
        target = self._inference.target(request.principal, request.path_params["model"])
        instances, parameters = read_instances(await request.json_object())
        task = target.version.task
        form = task_called(task).form
        if form is None:
            require_task(target, "tensor")
            refuse_others(parameters, ())
            predictions = await self._tensors(request, target, instances)
        else:
            question = question_of(target.deployment.name, form, instances, parameters)
            check_names(question, target.deployment.name, form)
            items, options = items_of(question, form), options_of(question, form)
            if task == "text-embedding":
                inputs = [_embedded(at, item) for at, item in enumerate(items)]
                work = self._inference.embed(request.principal, target, inputs)
            else:
                items = await with_inputs(request, self._urls, items)
                work = self._inference.predict(request.principal, target, items, options)
            found = await request.while_connected(work)
            predictions = found.items or list(next(iter(found.arrays.values())))
        return json_response({"predictions": predictions, **_version(target)})

    async def _tensors(
        self, request: ApiRequest, target: Target, instances: Sequence[Any]
    ) -> list[Any]:
        inputs = tensors_of(instances, target.version.signature)
        found = await request.while_connected(
            self._inference.infer(request.principal, target, inputs)
        )
        columns = {name: plain_rows(array) for name, array in found.outputs.items()}
        for name, column in columns.items():
            if len(column) != len(instances):
                raise NotSupported(f"Output '{name}' has no row for each instance.", param="model")
        if len(columns) == 1:
            return next(iter(columns.values()))
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    async def explain(self, request: ApiRequest) -> Response:
        target = self._inference.target(request.principal, request.path_params["model"])
        instances, parameters = read_instances(await request.json_object(), MOST_EXPLAINED)
        task = target.version.task
        form = task_called(task).form
        if task not in TASKS or form is None:
            raise NotSupported(
                f"The task '{task}' has no instances that could be explained.", param="model"
            )
        question = question_of(target.deployment.name, form, instances, parameters)
        known = (*WISH_NAMES, *wishes_of(task))
        check_names(question, target.deployment.name, form, known)
        items = [with_wishes(item, question, task) for item in items_of(question, form)]
        options = options_of(question, form)
        wish = wish_in(question)
        # each is counted when it is made; if not all of them may be, none is made for nothing
        self._explainer.check(request.principal, target, wish)
        await check_explanations(self._inference, request.principal, len(items))
        items = await with_inputs(request, self._urls, items)
        found = []
        for item in items:  # one after the other: a replica explains one answer at a time
            work = self._explainer.explain(request.principal, target, item, options, wish)
            found.append(told(await request.while_connected(work)))
        return json_response({"explanations": found, **_version(target)})


def _embedded(at: int, item: Mapping[str, Any]) -> str | list[int]:
    """What is embedded of an item: its text, or its tokens.

    Raises:
        InvalidInput: it has neither, or both.
    """
    if set(item) == {"text"}:
        return str(item["text"])
    tokens = item.get("tokens")
    is_fit = isinstance(tokens, list) and all(
        type(one) is int and 0 <= one < _TOKENS for one in tokens
    )
    if set(item) != {"tokens"} or not is_fit or not tokens:
        raise InvalidInput(
            f"{INSTANCES}[{at}] is neither a text nor a list of token ids.", param=INSTANCES
        )
    return list(tokens)


def _version(target: Target) -> dict[str, str]:
    return {"model_version": str(target.version.number)}


def _described(answers: str, most: int) -> dict[str, Any]:
    body = {
        "type": "object",
        "properties": {
            INSTANCES: {"type": "array", "items": {}, "minItems": 1, "maxItems": most},
            PARAMETERS: {"type": "object"},
        },
        "required": [INSTANCES],
        "additionalProperties": False,
    }
    answer = {
        "type": "object",
        "properties": {
            answers: {"type": "array", "items": {}},
            "model_version": {"type": "string"},
        },
        "required": [answers],
    }
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": {
                "description": "One per instance, in their order.",
                "content": {"application/json": {"schema": answer}},
            }
        },
    }
