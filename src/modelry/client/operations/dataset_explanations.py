"""What versions decide by, over the rows of datasets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from modelry.client.decoding import decode, decode_list
from modelry.client.exchange import Flow, Request, send, send_json
from modelry.client.explanation_records import DatasetExplanation, ExplanationReport
from modelry.client.job_records import JobRecord
from modelry.client.operations.paths import api


def explain_dataset(
    version: str,
    dataset: str,
    *,
    split: str | None = None,
    rows: int | None = None,
    checked: int | None = None,
    method: str | None = None,
    target: str | None = None,
    calls: int | None = None,
    seed: int | None = None,
    slices: Sequence[str] = (),
    background: int | None = None,
    permutations: int | None = None,
    dependence: Sequence[str] = (),
    randomisations: int | None = None,
    seconds: float | None = None,
) -> Flow[JobRecord]:
    """Queue a job that explains rows of a dataset, through the engine that serves the version.

    Its outcome has the id of the explanations, which is the job's.

    Args:
        version: `name`, `name@3` or `name@alias`; of a task that classifies images or texts, or
            of the task tabular.
        dataset: `name` or `name@3`.
        split: by default `test`, else `validation`, else the only one.
        rows: how many are explained, drawn from the split; 200 by default.
        checked: of how many it is measured how far the explanation can be trusted; 20 by default.
        method: as for one explanation; by default the usual one for the task.
        target: the class to explain; by default the one that is answered.
        calls: how often the version may be asked for one explanation.
        seed: of what is random.
        slices: columns by whose values is told apart what counts.
        background: of tables, how many rows stand for what is usual; 50 by default.
        permutations: of tables, how often each column is shuffled; 5 by default, 0 for not at all.
        dependence: columns of tables whose partial dependence is told.
        randomisations: in how many steps the weights are drawn anew, to see whether the
            explanations depend on them; by default not at all.
        seconds: after which the report is made of the rows that are explained by then; by default
            all are.

    Raises:
        InvalidInput: version, dataset and wishes do not suit each other.
        NotFound: version, dataset or split are not there.
        NotSupported: versions of this task are not explained so.
    """
    asked: dict[str, Any] = {
        "version": version,
        "dataset": dataset,
        "split": split,
        "rows": rows,
        "checked": checked,
        "method": method,
        "target": target,
        "calls": calls,
        "seed": seed,
        "slices": list(slices) or None,
        "background": background,
        "permutations": permutations,
        "dependence": list(dependence) or None,
        "randomisations": randomisations,
        "seconds": seconds,
    }
    body = {name: value for name, value in asked.items() if value is not None}
    request = Request("POST", api("explanations"), json=body)
    return decode(JobRecord, (yield from send_json(request)))


def get_explanation(explanation_id: str) -> Flow[ExplanationReport]:
    """Explanations of a dataset with their report; their id is that of the job that made them."""
    request = Request("GET", api("explanations", explanation_id), idempotent=True)
    return decode(ExplanationReport, (yield from send_json(request)))


def explained_rows(explanation_id: str) -> Flow[list[dict[str, Any]]]:
    """The explanation of each row: place in the split, answer, label, attribution, sentence."""
    request = Request("GET", api("explanations", explanation_id, "rows"), idempotent=True)
    answer = yield from send(request)
    return [json.loads(line) for line in answer.content.splitlines()]


def list_explanations(model: str, version: int | None = None) -> Flow[list[DatasetExplanation]]:
    """The explanations of a version, or the newest of a model."""
    parts = ("models", model) if version is None else ("models", model, "versions", str(version))
    request = Request("GET", api(*parts, "explanations"), idempotent=True)
    return decode_list(DatasetExplanation, (yield from send_json(request)), "explanations")


def delete_explanation(explanation_id: str) -> Flow[None]:
    """Forget explanations."""
    yield from send(Request("DELETE", api("explanations", explanation_id), idempotent=True))
