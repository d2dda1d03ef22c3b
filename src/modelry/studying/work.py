"""The work `explain-rows`: has rows of a split explained, and makes a report of it."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar

import orjson

from modelry.domain.errors import Cancelled, InvalidInput, ModelryError, NotFound
from modelry.explaining.course import TimeIsUp
from modelry.runtime_api.work import Json, WorkHost
from modelry.studying.allowance import Allowance
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
from modelry.studying.dependence import MOST_ROWS as DEPENDENCE_ROWS
from modelry.studying.dependence import partial_dependence
from modelry.studying.explained import ExplainedRows
from modelry.studying.permutation import permutation_importance, rows_for
from modelry.studying.randomising import MOST_ROWS as RANDOMISED_ROWS
from modelry.studying.randomising import randomisation_check
from modelry.studying.report import report_of
from modelry.studying.rows import RowReader, chosen, in_portions, spread

FIRST_CHECKPOINT_S, CHECKPOINT_S = 0.5, 20.0
_SHARE_LOST = 0.1
"""Of the time since the beginning that may be lost; `CHECKPOINT_S` at most."""
_SHARE_SAVING = 0.05
"""Of the time at most goes into checkpoints, which grow with the rows."""
BATCH_ROWS = 16
MOST_NAMED = 20
"""Rows that could not be explained, with the reason."""
_FEW = 4
_OF_THE_WISH = frozenset({"background", "calls", "method", "picture", "seed", "target"})
"""What is wrong with so few rows that were tried first will be wrong with all."""
_NO_TIME = "there was no time left for it"
_Report = dict[str, Any]


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
        shuffles = plan.permutations and plan.subject.task == TABULAR
        wants_more = bool(shuffles or plan.dependence or plan.randomisations)
        allowed = Allowance(plan.seconds, wants_more=wants_more)
        asking = Asking(host, plan, allowed)
        try:
            asking.background = _background(plan, reader, asking)
        except TimeIsUp:
            raise _too_few_seconds(plan) from None
        study = _Study(host, plan, reader, asking, allowed)
        study.explain()
        report = study.report()
        _put(host, ROWS, study.explained.lines())
        _put(host, REPORT, [orjson.dumps(report, option=orjson.OPT_SERIALIZE_NUMPY)])
        return {name: report[name] for name in ("rows", "method", "sentence", "model_calls")}


class _Study:
    """One study under way."""

    def __init__(
        self, host: WorkHost, plan: Plan, reader: RowReader, asking: Asking, allowed: Allowance
    ) -> None:
        self._host = host
        self._plan = plan
        self._reader = reader
        self._asking = asking
        self._time = allowed
        self._wanted = chosen(plan.data.rows, plan.rows, plan.seed)
        self._checked = frozenset(spread(self._wanted, plan.checked))
        self.explained = ExplainedRows()
        self._failures: list[dict[str, Any]] = []
        self._failed = 0
        self._began = self._saved_at = time.monotonic()
        self._save_every_s = FIRST_CHECKPOINT_S

    def explain(self) -> None:
        """Explain each row, going on from the last checkpoint."""
        self._resume()
        done = self._done
        try:
            self._explain_from(done)
        except TimeIsUp:
            self._host.log(f"The time was over after {len(self.explained)} explained rows.")
        except Cancelled:
            with contextlib.suppress(ModelryError):
                self._save()
            raise
        if not self.explained:
            raise self._none_explained()
        if self._done > done:
            self._save()
        self.explained.sort()

    @property
    def _done(self) -> int:
        return len(self.explained) + self._failed

    def _none_explained(self) -> InvalidInput:
        if not self._failures:
            return _too_few_seconds(self._plan)
        return InvalidInput(
            f"None of the rows could be explained; the first one: {self._failures[0]['reason']}",
            param="dataset",
        )

    def report(self) -> _Report:
        """What was found, with all that is made beside it."""
        plan = self._plan
        report = report_of(self.explained, plan.seed)
        report["rows_of_split"] = plan.data.rows
        if plan.seconds is not None:
            report["time"] = {"seconds": plan.seconds, "rows_asked": len(self._wanted)}
        if self._failed:
            report["unexplained"] = {"rows": self._failed, "examples": self._failures}
        if plan.subject.task == TABULAR and plan.permutations and self._reader.label is not None:
            report["permutation"] = _if_it_can_be(self._permutation)
        if plan.dependence:
            report["dependence"] = self._dependence()
        if plan.randomisations:
            report["randomisation"] = _if_it_can_be(self._randomisation)
        if plan.seconds is not None:
            report["time"]["took"] = round(self._time.took_s, 3)
            report["sentence"] += self._missed(report)
        return report

    def _missed(self, report: _Report) -> str:
        """What the end of the time left out, in sentences."""
        told = ""
        if self._done < len(self._wanted):
            told = (
                f" {self._done} of {len(self._wanted)} rows were explained, as "
                f"{self._plan.seconds:g} s were given."
            )
        parts = {name: report.get(name) for name in ("permutation", "randomisation")}
        curves = {f"dependence of {one['column']}": one for one in report.get("dependence", ())}
        missed = [
            name
            for name, one in {**parts, **curves}.items()
            if one is not None and one.get("left_out") == _NO_TIME
        ]
        return told + (f" There was no time left for: {', '.join(missed)}." if missed else "")

    def _permutation(self) -> _Report:
        plan = self._plan
        count = rows_for(len(self._reader.items.columns), plan.permutations, plan.data.rows)
        rows = self._read(chosen(plan.data.rows, count, plan.seed))
        tell = self._telling("permutation importance")
        return permutation_importance(self._asking, rows, plan.permutations, plan.seed, tell)

    def _dependence(self) -> list[_Report]:
        plan = self._plan
        places = [one["row"] for one in self.explained.facts]
        rows = self._read(spread(places, DEPENDENCE_ROWS))
        tell = self._telling("partial dependence")
        found = []
        for at, column in enumerate(plan.dependence):
            make = partial(partial_dependence, self._asking, rows, column, plan.target)
            found.append({"column": column, **_if_it_can_be(make)})
            tell(at + 1, len(plan.dependence))
        return found

    def _randomisation(self) -> _Report:
        told = map(self.explained.told, spread(range(len(self.explained)), RANDOMISED_ROWS))
        by_place = {one["row"]: one for one in told}
        rows = self._read(list(by_place))
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
        for portion in self._left(done):
            batch: list[StudiedRow] = []
            for row in self._reader.read(self._plan.data, portion):
                batch.append(row)
                if len(batch) == BATCH_ROWS:
                    done = self._explain_batch(batch, done, total)
                    batch = []
            done = self._explain_batch(batch, done, total)

    def _left(self, done: int) -> list[list[int]]:
        """The places of the rows that are still to be explained, each portion ascending."""
        if not self._time.is_bounded:
            return [self._wanted[done:]]
        found = []
        for portion in in_portions(self._wanted, self._plan.seed):
            found.append(portion[done:])
            done = max(0, done - len(portion))
        return found

    def _explain_batch(self, batch: list[StudiedRow], done: int, total: int) -> int:
        answers = self._asking.each_answer([one.item for one in batch])
        for row, answer in zip(batch, answers, strict=True):
            if isinstance(answer, InvalidInput):
                self._fail(row, answer)
            else:
                self._explain_row(row, answer)
            done += 1
            self._host.progress(done, total, "rows", "explaining")
            if time.monotonic() - self._saved_at > self._save_every_s:
                self._save()
        return done

    def _explain_row(self, row: StudiedRow, answer: Answered) -> None:
        self._time.check_row()
        began = time.monotonic()
        try:
            told = self._asking.explanation(row, checks=row.row in self._checked)
        except InvalidInput as error:
            self._fail(row, error)
            return
        self._time.explained(time.monotonic() - began)
        self.explained.add(
            {
                "row": row.row,
                "label": answer.right(row.label),
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

    def _fail(self, row: StudiedRow, error: InvalidInput) -> None:
        self._failed += 1
        if len(self._failures) < MOST_NAMED:
            self._failures.append({"row": row.row, "reason": str(error)[:300]})
        if error.param in _OF_THE_WISH and self._failed == self._done >= _FEW:
            raise error

    def _resume(self) -> None:
        with (
            contextlib.suppress(NotFound),
            self._host.open(CHECKPOINT) as path,
            path.open("rb") as file,
        ):
            kept = orjson.loads(file.readline())
            if kept["plan"] == self._plan.to_wire():
                self.explained.add_lines(file)
                self._failed, self._failures = kept["failed"], kept["failures"]
                self._time.spent_before = float(kept.get("took_s", 0.0))
                self._host.log(f"Goes on after {len(self.explained)} explained rows.")

    def _save(self) -> None:
        """Keep what there is, for another attempt."""
        began = time.monotonic()
        kept = {
            "plan": self._plan.to_wire(),
            "failed": self._failed,
            "failures": self._failures,
            "took_s": self._time.took_s,
        }
        head = orjson.dumps(kept, option=orjson.OPT_APPEND_NEWLINE)
        lines = itertools.chain([head], self.explained.lines())
        _put(self._host, CHECKPOINT, lines, {"step": self._done})
        self._saved_at = time.monotonic()
        took_s, so_far_s = self._saved_at - began, self._saved_at - self._began
        usual_s = min(CHECKPOINT_S, max(FIRST_CHECKPOINT_S, so_far_s * _SHARE_LOST))
        self._save_every_s = max(usual_s, took_s / _SHARE_SAVING)


def _background(plan: Plan, reader: RowReader, asking: Asking) -> list[Any]:
    """Rows that stand for what is usual, as requests have them; those that the version takes."""
    if plan.subject.task != TABULAR or not plan.background_rows:
        return []
    places = chosen(plan.background.rows, plan.background_rows, plan.seed)
    items = [one.item for one in reader.read(plan.background, places)]
    answers = zip(items, asking.each_answer(items), strict=True)
    return [item["row"] for item, answer in answers if isinstance(answer, Answered)]


def _too_few_seconds(plan: Plan) -> InvalidInput:
    return InvalidInput(
        f"seconds is {plan.seconds:g}; not one row could be explained in that time. Ask with more "
        "seconds, fewer calls, or checked=0.",
        param="seconds",
    )


def _if_it_can_be(make: Callable[[], _Report]) -> _Report:
    """What is made of a version that may not take what it is asked for it; the rest is told."""
    try:
        return make()
    except TimeIsUp:
        return {"left_out": _NO_TIME}
    except InvalidInput as error:
        reason = "the version, or its file, does not allow it"
        return {"left_out": reason, "examples": [{"reason": str(error)[:300]}]}


def _put(host: WorkHost, name: str, content: Iterable[bytes], about: Json | None = None) -> None:
    path = host.scratch / name
    with path.open("wb") as file:
        file.writelines(content)
    host.put(name, path, about)
    path.unlink()
