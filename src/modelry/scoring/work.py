"""The work `score`: reads rows, has the server ask the version, scores, reports."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import orjson

from modelry.domain.datasets import DataDescription, Schema
from modelry.domain.errors import Cancelled
from modelry.runtime_api.items import encode_items
from modelry.runtime_api.tensors import pack_tensors, unpack_tensors
from modelry.runtime_api.work import Json, WorkHost
from modelry.scoring.contract import Answers, Question, Rows, Subject
from modelry.scoring.measuring import with_values
from modelry.scoring.scorers import scorer_for

PREDICT = "predict"
INFER = "infer"
"""What the server is asked, as the frames of these names are: `{items, options}` with bytes as
places in the body, or `{inputs}`; its answer has `{items, arrays, seconds}`."""
REPORT = "report.json"


class Score:
    """Scores a version on a split.

    The request has `subject` (see `subject_to_wire`), `split`, `shards` (their digests, which are
    the inputs' names), `rows` and `batch_rows`. The whole report is handed over as `REPORT`; the
    outcome has its metrics and its speed.
    """

    name: ClassVar[str] = "score"

    def run(self, host: WorkHost) -> Json:
        """See `Work.run`."""
        request = host.request
        scorer = scorer_for(subject_from_wire(request["subject"]))
        total, batch_rows = int(request["rows"]), int(request["batch_rows"])
        seconds: list[float] = []
        done, started = 0, time.perf_counter()
        for rows in _rows(host, scorer.columns):
            if host.stop.is_set():
                raise Cancelled("The evaluation was stopped.")
            answers, took = _ask(host, scorer.question(rows))
            seconds.append(took)
            scorer.add(rows, answers)
            done += rows.batch.num_rows
            host.progress(done, total, "rows")
        elapsed = time.perf_counter() - started
        speed = _speed(seconds, done / elapsed if elapsed else 0.0, batch_rows)
        found = scorer.report()
        metrics = with_values(found["metrics"])
        report = {**found, "metrics": metrics, "rows": done, "speed": speed}
        file = host.scratch / REPORT
        file.write_bytes(orjson.dumps(report, option=orjson.OPT_SERIALIZE_NUMPY))
        host.put(REPORT, file)
        return {"rows": done, "metrics": metrics, "speed": speed}


def subject_to_wire(subject: Subject) -> dict[str, Any]:
    """As JSON types."""
    return {
        "task": subject.task,
        "schema": subject.schema.to_wire(),
        "features": list(subject.features),
        "inputs": [list(one) for one in subject.inputs],
        "slices": list(subject.slices),
        "groups": list(subject.groups),
        "favourable": subject.favourable,
        "steps": list(subject.steps),
    }


def subject_from_wire(wire: Mapping[str, Any]) -> Subject:
    """The subject that `subject_to_wire` wrote."""
    return Subject(
        task=wire["task"],
        schema=Schema.from_wire(wire["schema"]),
        features=tuple(wire["features"]),
        inputs=tuple((name, datatype) for name, datatype in wire["inputs"]),
        slices=tuple(wire["slices"]),
        groups=tuple(wire["groups"]),
        favourable=wire["favourable"],
        steps=tuple(wire["steps"]),
    )


def _rows(host: WorkHost, columns: Sequence[str]) -> Iterator[Rows]:
    from modelry.datasets.reading import ShardRows

    request = host.request
    split = request["split"]
    schema = Schema.from_wire(request["subject"]["schema"])
    description = DataDescription("", "", schema, {split: int(request["rows"])})
    source = ShardRows(description, {split: request["shards"]}, host.open)
    first = 0
    for batch in source.batches(split, columns, int(request["batch_rows"])):
        yield Rows(batch, first)
        first += batch.num_rows


def _ask(host: WorkHost, question: Question) -> tuple[Answers, float]:
    if question.tensors:
        entries, parts = pack_tensors(question.tensors)
        answer = host.ask(INFER, {"inputs": entries}, b"".join(parts))
    else:
        items, body = encode_items(question.items)
        answer = host.ask(PREDICT, {"items": items, "options": dict(question.options)}, body)
    arrays = unpack_tensors(answer.header.get("arrays", []), answer.body)
    return Answers(answer.header.get("items", []), arrays), float(answer.header["seconds"])


def _speed(seconds: Sequence[float], rate: float, batch_rows: int) -> dict[str, Any]:
    """What the engine took for batches, one after the other, and the rate of the whole."""
    if not seconds:
        return {}
    p50, p99 = np.quantile(seconds, [0.5, 0.99]) * 1000
    return {
        "batch_rows": batch_rows,
        "p50_ms": round(float(p50), 3),
        "p99_ms": round(float(p99), 3),
        "rows_per_s": round(rate, 1),
    }
