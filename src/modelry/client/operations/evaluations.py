"""How good versions are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelry.client.decoding import decode, decode_list
from modelry.client.evaluation_records import Comparison, Evaluation, EvaluationReport
from modelry.client.exchange import Flow, Request, send, send_json
from modelry.client.job_records import JobRecord
from modelry.client.operations.paths import api


def evaluate(
    version: str,
    dataset: str,
    *,
    split: str | None = None,
    slices: Sequence[str] = (),
    groups: Sequence[str] = (),
    favourable: str | None = None,
    batch_rows: int | None = None,
) -> Flow[JobRecord]:
    """Queue a job that measures a version on a dataset, through the engine that serves it.

    Its outcome has the metrics and the evaluation's id, which is the job's.

    Args:
        version: `name`, `name@3` or `name@alias`.
        dataset: `name` or `name@3`.
        split: by default `test`, else `validation`, else the only one.
        slices: columns by whose values the metrics are told apart.
        groups: sensitive columns, whose groups are compared: parity, odds and calibration.
        favourable: the class that counts in that; by default the second of two, and of more each.
        batch_rows: how many rows are asked at once.

    Raises:
        InvalidInput: the dataset lacks what the version's task needs.
        NotFound: version, dataset or split are not there.
    """
    body: dict[str, Any] = {"version": version, "dataset": dataset}
    if split is not None:
        body["split"] = split
    if slices:
        body["slices"] = list(slices)
    if groups:
        body["groups"] = list(groups)
    if favourable is not None:
        body["favourable"] = favourable
    if batch_rows is not None:
        body["batch_rows"] = batch_rows
    return decode(JobRecord, (yield from send_json(Request("POST", api("evaluations"), json=body))))


def get_evaluation(evaluation_id: str) -> Flow[EvaluationReport]:
    """An evaluation with its whole report; its id is that of the job that made it."""
    request = Request("GET", api("evaluations", evaluation_id), idempotent=True)
    return decode(EvaluationReport, (yield from send_json(request)))


def list_evaluations(model: str, version: int | None = None) -> Flow[list[Evaluation]]:
    """The evaluations of a version, or the newest of a model."""
    parts = ("models", model) if version is None else ("models", model, "versions", str(version))
    request = Request("GET", api(*parts, "evaluations"), idempotent=True)
    return decode_list(Evaluation, (yield from send_json(request)), "evaluations")


def delete_evaluation(evaluation_id: str) -> Flow[None]:
    """Forget an evaluation."""
    yield from send(Request("DELETE", api("evaluations", evaluation_id), idempotent=True))


def compare(*versions: str) -> Flow[Comparison]:
    """Versions side by side, on the splits that all of them were measured on."""
    params = {"version": tuple(versions)}
    request = Request("GET", api("comparisons"), params=params, idempotent=True)
    return decode(Comparison, (yield from send_json(request)))


def model_card(model: str, version: int) -> Flow[str]:
    """The model card of a version: Markdown with front matter."""
    path = api("models", model, "versions", str(version), "card")
    answer = yield from send(Request("GET", path, idempotent=True))
    return answer.content.decode()
