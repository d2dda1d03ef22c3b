"""Asking why a model answers as it does."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

from modelry.client.decoding import decode
from modelry.client.errors import InvalidInput, JobFailed, told_error
from modelry.client.exchange import Flow, Request, follow, send_json, sleep, work
from modelry.client.explained import (
    Explanation,
    ExplanationProgress,
    OnProgress,
    Row,
    as_sent,
    cells,
    decode_explanation,
)
from modelry.client.images import ImageInput, image_bytes
from modelry.client.job_records import JobRecord, KnownById, ids_of
from modelry.client.lines import EventSplitter, json_object
from modelry.client.operations.jobs import get_job
from modelry.client.operations.paths import api

PATH = "/v1/explanations"
ARTEFACT = "explanation.json"
JOB_ID = "job_id"
LOOK_S = 0.5
_FAILED_LATER = 502
_NO_WISHES = {"model", "on_progress"}
"""Parameters of `explain` that tell nothing of how to explain."""
_INPUTS = ("image", "text", "row", "messages", "request_id")
_INPUTS_TOLD = f"{', '.join(_INPUTS[:-1])} and {_INPUTS[-1]}"
_AS_JSON: Mapping[str, Callable[[Any], Any]] = {
    "row": cells,
    "messages": lambda messages: [dict(one) for one in messages],
    "within": list,
    "background": lambda rows: rows or None,
    "changeable": lambda rules: rules or None,
}
"""Wishes that are not sent as they are given, beside those of `as_sent`."""


def explain(
    model: str,
    *,
    image: ImageInput | None = None,
    text: str | None = None,
    row: Row | None = None,
    messages: Sequence[Mapping[str, Any]] | None = None,
    request_id: str | None = None,
    item: int | None = None,
    background: Sequence[Row] = (),
    changeable: Mapping[str, Any] | Sequence[str] = (),
    goal: Mapping[str, float] | None = None,
    most_changes: int | None = None,
    answer: str | None = None,
    compared_with: str | None = None,
    within: Sequence[int] | None = None,
    level: str | None = None,
    max_tokens: int | None = None,
    target: str | int | None = None,
    method: str | None = None,
    calls: int | None = None,
    seed: int = 0,
    checks: bool = True,
    picture: bool | None = None,
    min_score: float | None = None,
    seconds: float | None = None,
    on_progress: OnProgress | None = None,
) -> Flow[Explanation]:
    """Explain the answer to an image, a text, a row of a table or a conversation.

    Args:
        model: a deployment that classifies images or texts, finds objects in images, writes a text
            for a text, embeds texts, chats, or is of the task tabular; may be empty with a
            request_id.
        image: path, bytes or PIL image; or
        text: the text; or
        row: the row; or
        messages: the conversation; or
        request_id: the id of an earlier request, where its deployment keeps requests; and
        item: which of its items, where it had several.
        background: rows that stand for what is usual; by default those kept with the version.
        changeable: for counterfactuals: columns that may change, or by column true, false, or
            `min`, `max`, `step` and `values`; by default all may.
        goal: for counterfactuals of numbers: `above`, `below`, or both.
        most_changes: for counterfactuals: how many columns may change.
        answer: of chats and written texts, the answer to explain; by default the model's own.
        compared_with: of embeddings, the text whose likeness to `text` is explained.
        within: places of the messages of which parts are left out; by default all.
        level: what is left out at a time: messages, lines, sentences or words.
        max_tokens: of a chat's own answer.
        target: the label or index to explain; by default the best one. Of objects a label, or
            the place of one in the answer, of a written answer words of it; by default all.
        method: occlusion or rise for images, d-rise or occlusion for the objects in them,
            leave-one-out or shapley for others, counterfactual for rows; by gradients
            integrated-gradients, and grad-cam for images.
        calls: how often the model may be asked for the explanation itself.
        seed: of what is random.
        checks: whether to measure how far the explanation can be trusted.
        picture: whether to draw a heat map; by default of images.
        min_score: of objects that are explained.
        seconds: how long it may take with its check; what is known by then is told.
        on_progress: is called a few times a second with how far it is.
    """
    given = {name: one for name, one in locals().items() if name not in _NO_WISHES}
    sent = yield from _asked(model, given)

    def note(told: Explanation | ExplanationProgress) -> None:
        if on_progress is not None and isinstance(told, ExplanationProgress):
            on_progress(told)

    # as a stream also where nobody looks: a silent answer would be given up
    asked = Request("POST", PATH, json={**sent, "stream": True}, idempotent=True, streams=True)
    found: Explanation = yield from follow(asked, ExplanationParser, note)
    return found


class ExplanationParser:
    """Reads the events of an explanation: how far it is, then the explanation or an error."""

    def __init__(self) -> None:
        self._events = EventSplitter()
        self.is_complete = False

    def feed(self, chunk: bytes) -> list[Explanation | ExplanationProgress]:
        """The events that `chunk` completes; raises the error that the stream tells."""
        return [self._event(json_object(data)) for data in self._events.feed(chunk)]

    def _event(self, told: Mapping[str, Any]) -> Explanation | ExplanationProgress:
        if "error" in told:
            raise told_error(_FAILED_LATER, told["error"])
        if "phase" in told:
            return decode(ExplanationProgress, told)
        self.is_complete = True
        return decode_explanation(told)


def start_explanation(model: str, **wishes: Any) -> Flow[JobRecord]:
    """Have an answer explained by a job; `explanation_of` tells what it found.

    Args:
        model: a deployment.
        wishes: as `explain` takes them.
    """
    unknown = wishes.keys() - (signature(explain).parameters.keys() - _NO_WISHES)
    if unknown:
        raise TypeError(f"'{min(unknown)}' is no wish of an explanation")
    sent = yield from _asked(model, wishes)
    answer = yield from send_json(Request("POST", PATH, json={**sent, "job": True}))
    return (yield from get_job(str(answer[JOB_ID])))


def explanation_of(job: str | KnownById) -> Flow[Explanation]:
    """What a job of `start_explanation` found; waits for it.

    Args:
        job: the job, or its id.

    Raises:
        JobFailed: it failed, or was cancelled.
    """
    return (yield from _awaited(ids_of([job])[0]))


def _awaited(job_id: str) -> Flow[Explanation]:
    while not (job := (yield from get_job(job_id))).has_ended:
        yield from sleep(LOOK_S)
    if job.state != "succeeded":
        why = job.error.message if job.error is not None else f"Job '{job_id}' was cancelled."
        raise JobFailed(why)
    request = Request("GET", api("jobs", job_id, "artefacts", ARTEFACT), idempotent=True)
    return decode_explanation((yield from send_json(request)))


def _asked(model: str, wishes: Mapping[str, Any]) -> Flow[dict[str, Any]]:
    """The body of a request; `wishes` as `explain` takes them."""
    found = {name: one for name, one in wishes.items() if one is not None}
    if len(found.keys() & set(_INPUTS)) != 1:
        raise InvalidInput(f"Give one of {_INPUTS_TOLD}.", param="image")
    image: ImageInput | None = found.pop("image", None)
    body = {"model": model or None, "picture": image is not None, **found}
    for name, as_json in _AS_JSON.items():
        if name in found:
            body[name] = as_json(found[name])
    body = as_sent(body)
    if image is not None:
        body["image"] = yield from work(lambda: base64.b64encode(image_bytes(image)).decode())
    return body
