"""The endpoints of the typed door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.responses import Response

from modelry.domain.access import Permission
from modelry.protocols.http.endpoint import (
    DEFAULT_BODY_BYTES,
    Door,
    Endpoint,
    Handler,
    json_response,
)
from modelry.protocols.http.plain_errors import render_error
from modelry.protocols.http.request import ApiRequest
from modelry.protocols.tasks.description import described
from modelry.protocols.tasks.explanations import (
    TASKS,
    explanation_endpoint,
    one_item,
    told,
)
from modelry.protocols.tasks.form_question import FormQuestion, place_raw
from modelry.protocols.tasks.question import check_names, items_of, options_of
from modelry.protocols.tasks.reading import read_question, with_inputs
from modelry.protocols.tasks.wishes import EXPLAIN, wish_beside
from modelry.services.explanation.asking import ExplanationJobs
from modelry.services.explanation.counting import check_explanations
from modelry.services.explanation.explainer import Explainer
from modelry.services.inference.inputs import InputFetcher, InputUrls
from modelry.services.inference.service import InferenceService, require_task
from modelry.services.privacy.kept_questions import KeptQuestions
from modelry.tasks.contract import Schema
from modelry.tasks.registry import task_called

ENDPOINTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "/v1/classify": (
        "Classify images or texts",
        ("image-classification", "text-classification"),
    ),
    "/v1/detect": ("Find objects in images", ("object-detection",)),
    "/v1/tabular": ("Predict from rows of a table", ("tabular",)),
    "/v1/translate": ("Translate texts", ("translation",)),
    "/v1/summarize": ("Summarize texts", ("summarization",)),
}
"""Path → what it does, and the tasks whose models it asks."""


def build_door(
    inference: InferenceService,
    *,
    max_body_bytes: int = DEFAULT_BODY_BYTES,
    fetcher: InputFetcher | None = None,
    explainer: Explainer | None = None,
    explanation_jobs: ExplanationJobs | None = None,
    kept: KeptQuestions | None = None,
) -> Door:
    """The typed door.

    Args:
        inference: answers the calls.
        max_body_bytes: larger bodies are refused, and so is more that is fetched for one request.
        fetcher: fetches inputs that are named by a URL; None refuses them.
        explainer: explains while callers wait; by default without gradients.
        explanation_jobs: explain what nobody waits for; None refuses that.
        kept: finds what earlier requests asked; None explains none of them.
    """
    urls, explainer = InputUrls(fetcher, max_body_bytes), explainer or Explainer(inference)
    endpoints = tuple(
        Endpoint(
            path,
            ("POST",),
            Permission.INFERENCE,
            _handler(inference, explainer, tasks, urls),
            summary,
            max_body_bytes,
            described(tasks, explain_option(tasks)),
        )
        for path, (summary, tasks) in ENDPOINTS.items()
    )
    explanations = explanation_endpoint(
        inference,
        urls,
        max_body_bytes,
        explainer=explainer,
        jobs=explanation_jobs,
        kept=kept,
    )
    return Door("tasks", (*endpoints, explanations), render_error, inference.meter)


def explain_option(tasks: Sequence[str]) -> Mapping[str, Schema]:
    """The option `explain` of endpoints some of whose tasks can be explained, else none."""
    if not set(tasks) & set(TASKS):
        return {}
    words = (
        "Also explain the answer to one item: true, or an object of wishes as for /v1/explanations."
    )
    return {EXPLAIN: {"type": ["boolean", "object"], "description": words}}


def _handler(
    inference: InferenceService, explainer: Explainer, tasks: tuple[str, ...], urls: InputUrls
) -> Handler:
    async def handle(request: ApiRequest) -> Response:
        question = await read_question(request)
        target = inference.target(request.principal, question.model)
        require_task(target, *tasks)
        form = task_called(target.version.task).form
        assert form is not None, "the tasks of this door have items"
        if isinstance(question, FormQuestion):
            place_raw(question, form, target.version.task)
        explains = explain_option((target.version.task,))
        check_names(question, target.deployment.name, form, tuple(explains))
        items, options = items_of(question, form), options_of(question, form)
        wish = wish_beside(question) if explains else None
        if wish is not None:
            one_item(items)
            explainer.check(request.principal, target, wish)
            await check_explanations(inference, request.principal)
        items = await with_inputs(request, urls, items)
        prediction = await request.while_connected(
            inference.predict(request.principal, target, items, options)
        )
        answer = {
            "model": target.deployment.name,
            "version": target.version.number,
            "results": prediction.items,
            "usage": prediction.usage,
        }
        if wish is not None:
            explained = await request.while_connected(
                explainer.explain(request.principal, target, items[0], options, wish)
            )
            answer["explanation"] = told(explained)
        return json_response(answer)

    return handle
