"""The work `explain-rows`: has rows of a split explained, and makes a report of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, ClassVar

import orjson

from modelry.domain.errors import Cancelled, InvalidInput, ModelryError, NotFound
from modelry.runtime_api.work import Json, WorkHost
from modelry.studying.asking import Asking
from modelry.studying.contract import (
    CHECKPOINT,
    REPORT,
    ROWS,
    TABULAR,
    Answered,
    Plan,
    StudiedRow,
)
from modelry.studying.dependence import partial_dependence
from modelry.studying.permutation import permutation_importance, rows_for
from modelry.studying.randomising import MOST_ROWS as RANDOMISED_ROWS
from modelry.studying.randomising import randomisation_check
from modelry.studying.report import report_of
from modelry.studying.rows import RowReader, chosen

CHECKPOINT_S = 20.0
BATCH_ROWS = 16
MOST_NAMED = 20
"""Rows that could not be explained, with the reason."""
_OF_THE_WISH = frozenset({"background", "calls", "method", "picture", "seed", "target"})
_Line = dict[str, Any]


class ExplainRows:
    """Explains rows of a split.

    The request is a `Plan`. `ROWS` has a line of JSON for each row that was explained, `REPORT` is
    what was made of them; checkpoints hold the lines so far, so that another attempt goes on.
    """

    name: ClassVar[str] = "explain-rows"

    def run(self, host: WorkHost) -> Json:
        """See `Work.run`."""
        plan = Plan.from_wire(host.request)
        reader = RowReader(plan.subject, host.open)
        asking = Asking(host, plan, reader, _background(plan, reader))
        study = _Study(host, plan, reader, asking)
        study.explain()
        report = study.report()
        _put(host, ROWS, b"".join(orjson.dumps(one) + b"\n" for one in study.lines))
        _put(host, REPORT, orjson.dumps(report, option=orjson.OPT_SERIALIZE_NUMPY))
        return {name: report[name] for name in ("rows", "method", "sentence", "model_calls")}


class _Study:
    """One study under way."""

    def __init__(self, host: WorkHost, plan: Plan, reader: RowReader, asking: Asking) -> None:
        self._host = host
        self._plan = plan
        self._reader = reader
        self._asking = asking
        self._wanted = chosen(plan.data.rows, plan.rows, plan.seed)
        self._checked = frozenset(_spread(self._wanted, plan.checked))
        self.lines: list[_Line] = []
        self._failures: list[dict[str, Any]] = []
        self._failed = 0
        self._saved_at = time.monotonic()

    def explain(self) -> None:
        """Explain each row, going on from the last checkpoint."""
        self._resume()
        done = len(self.lines) + self._failed
        try:
            self._explain_from(done)
        except Cancelled:
            with contextlib.suppress(ModelryError):
                self._save()
            raise
        if not self.lines:
            raise InvalidInput(
                "None of the rows could be explained; the first one: "
                f"{self._failures[0]['reason']}",
                param="dataset",
            )
        if len(self.lines) + self._failed > done:
            self._save()

    def report(self) -> _Line:
        """What was found, with all that is made beside it."""
        plan = self._plan
        report = report_of(self.lines, plan.seed)
        report["rows_of_split"] = plan.data.rows
        if self._failed:
            report["unexplained"] = {"rows": self._failed, "examples": self._failures}
        if plan.subject.task == TABULAR and plan.permutations and self._reader.label is not None:
            report["permutation"] = self._permutation()
        if plan.dependence:
            rows = self._read(self._wanted[:: max(1, len(self._wanted) // 100)])
            told = self._telling("partial dependence")
            report["dependence"] = []
            for at, column in enumerate(plan.dependence):
                found = partial_dependence(self._asking, rows, column, plan.target)
                report["dependence"].append(found)
                told(at + 1, len(plan.dependence))
        if plan.randomisations:
            report["randomisation"] = self._randomisation()
        return report

    def _permutation(self) -> _Line:
        plan = self._plan
        count = rows_for(len(self._reader.items.columns), plan.permutations, plan.data.rows)
        rows = self._read(chosen(plan.data.rows, count, plan.seed))
        tell = self._telling("permutation importance")
        return permutation_importance(self._asking, rows, plan.permutations, plan.seed, tell)

    def _randomisation(self) -> _Line:
        by_place = {one["row"]: one for one in self.lines[:RANDOMISED_ROWS]}
        rows = self._read(sorted(by_place))
        return randomisation_check(
            self._host,
            self._asking,
            [(row, by_place[row.row]) for row in rows],
            self._plan.randomisations,
            seed=self._plan.seed,
            tell=self._telling("weights drawn anew"),
        )

    def _read(self, places: list[int]) -> list[StudiedRow]:
        return list(self._reader.read(self._plan.data, places))

    def _telling(self, phase: str) -> Callable[[int, int], None]:
        return lambda done, total: self._host.progress(done, total, "steps", phase)

    def _explain_from(self, done: int) -> None:
        total = len(self._wanted)
        batch: list[StudiedRow] = []
        for row in self._reader.read(self._plan.data, self._wanted[done:]):
            batch.append(row)
            if len(batch) == BATCH_ROWS:
                done = self._explain_batch(batch, done, total)
                batch = []
        self._explain_batch(batch, done, total)

    def _explain_batch(self, batch: list[StudiedRow], done: int, total: int) -> int:
        answers = self._asking.answers([one.item for one in batch])
        for row, answer in zip(batch, answers, strict=True):
            self._explain_row(row, answer)
            done += 1
            self._host.progress(done, total, "rows", "explaining")
            if time.monotonic() - self._saved_at > CHECKPOINT_S:
                self._save()
        return done

    def _explain_row(self, row: StudiedRow, answer: Answered) -> None:
        try:
            told = self._asking.explanation(row, checks=row.row in self._checked)
        except InvalidInput as error:
            if error.param in _OF_THE_WISH:
                raise
            self._failed += 1
            if len(self._failures) < MOST_NAMED:
                self._failures.append({"row": row.row, "reason": str(error)[:300]})
            return
        self.lines.append(
            {
                "row": row.row,
                "label": row.label,
                "answer": answer.label,
                "score": answer.score,
                "slices": dict(row.slices),
                "method": told["method"],
                "target": told["target"],
                "attribution": told["attribution"],
                "baseline": told["baseline"],
                "faithfulness": told["faithfulness"],
                "sentence": told["sentence"],
                "model_calls": told["cost"]["model_calls"],
            }
        )

    def _resume(self) -> None:
        with contextlib.suppress(NotFound), self._host.open(CHECKPOINT) as path:
            kept = orjson.loads(path.read_bytes())
            if kept["plan"] == self._plan.to_wire():
                self.lines, self._failed = kept["lines"], kept["failed"]
                self._failures = kept["failures"]
                self._host.log(f"Goes on after {len(self.lines)} explained rows.")

    def _save(self) -> None:
        kept = {
            "plan": self._plan.to_wire(),
            "lines": self.lines,
            "failed": self._failed,
            "failures": self._failures,
        }
        about = {"step": len(self.lines) + self._failed}
        _put(self._host, CHECKPOINT, orjson.dumps(kept), about)
        self._saved_at = time.monotonic()


def _background(plan: Plan, reader: RowReader) -> list[Any]:
    """Rows that stand for what is usual, as requests have them."""
    if plan.subject.task != TABULAR or not plan.background_rows:
        return []
    places = chosen(plan.background.rows, plan.background_rows, plan.seed)
    return [one.item["row"] for one in reader.read(plan.background, places)]


def _spread(places: list[int], count: int) -> list[int]:
    """`count` of the places, evenly."""
    if count <= 0:
        return []
    step = max(1, -(-len(places) // count))
    return places[::step]


def _put(host: WorkHost, name: str, content: bytes, about: Json | None = None) -> None:
    file = host.scratch / name
    file.write_bytes(content)
    host.put(name, file, about)
    file.unlink()
