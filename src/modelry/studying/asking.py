"""Asks the server for answers and explanations of the version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelry.domain.errors import Cancelled, InvalidInput
from modelry.explaining.course import TimeIsUp
from modelry.runtime_api.items import encode_items
from modelry.runtime_api.work import Answer, Json, WorkHost
from modelry.scoring.contract import all_classes
from modelry.studying.allowance import Allowance, is_whole
from modelry.studying.contract import EXPLAIN, LOAD, PREDICT, Answered, Plan, StudiedRow

BATCH_ROWS = 128
MOST_CLASSES = 1000
"""Of more, the best are told."""


class Asking:
    """What may be asked.

    Args:
        host: passes questions on.
        plan: of the study.
        time: that it may take.

    Attributes:
        background: rows that stand for what is usual, as requests have them; for tables.
    """

    def __init__(self, host: WorkHost, plan: Plan, time: Allowance) -> None:
        self.background: list[Any] = []
        self._host = host
        self._plan = plan
        self._time = time
        self._options = all_classes(MOST_CLASSES) if plan.subject.ranks else {}

    def answers(self, items: Sequence[Mapping[str, Any]]) -> list[Answered]:
        """The answers to some items.

        Raises:
            Cancelled: the study was stopped.
            ModelryError: the version cannot answer.
        """
        found: list[Answered] = []
        for start in range(0, len(items), BATCH_ROWS):
            self.check_stop()
            encoded, body = encode_items(items[start : start + BATCH_ROWS])
            header = {"items": encoded, "options": self._options}
            answer = self._host.ask(PREDICT, header, body)
            found += [Answered.of(one) for one in answer.header["items"]]
        return found

    def each_answer(self, items: Sequence[Mapping[str, Any]]) -> list[Answered | InvalidInput]:
        """The answers to some items, or why the version does not take one.

        Raises:
            As `answers`, but `InvalidInput`.
        """
        try:
            return list(self.answers(items))
        except InvalidInput as error:
            if len(items) == 1:
                return [error]
        half = len(items) // 2
        return [*self.each_answer(items[:half]), *self.each_answer(items[half:])]

    def explanation(
        self,
        row: StudiedRow,
        *,
        checks: bool = False,
        target: int | None = None,
        stage: int = 0,
    ) -> dict[str, Any]:
        """Why a row is answered as it is; JSON types as the typed door tells them.

        Args:
            row: which.
            checks: whether to measure how far that can be trusted.
            target: index of what to explain; by default what the plan says.
            stage: 0 asks the version, n its copy with weights that were drawn anew.

        Raises:
            InvalidInput: it cannot be explained.
            Cancelled: the study was stopped.
            TimeIsUp: there is no time for all of it.
        """
        self.check_stop()
        (encoded,), body = encode_items([row.item])
        plan = self._plan
        wish = {
            "method": plan.method,
            "target": plan.target if target is None else target,
            "calls": plan.calls,
            "seed": plan.seed,
            "checks": checks,
            "background": self.background,
            "seconds": self._time.of_one(),
        }
        header = {"item": encoded, "wish": wish, "stage": stage}
        found: dict[str, Any] = dict(self._in_time(header, body).header["explanation"])
        if self._time.is_bounded and not is_whole(found):
            raise TimeIsUp
        return found

    def _in_time(self, header: Json, body: bytes) -> Answer:
        try:
            return self._host.ask(EXPLAIN, header, body)
        except InvalidInput as error:
            if error.param == "seconds":
                raise TimeIsUp from None
            raise

    def load(self, stage: int) -> None:
        """Have the copy of a stage loaded instead of that of the stage before.

        Raises:
            ModelryError: it cannot be loaded.
        """
        self.check_stop()
        self._host.ask(LOAD, {"stage": stage})

    def check_stop(self) -> None:
        """End here if the study was stopped, or its time is over.

        Raises:
            Cancelled: it was stopped.
            TimeIsUp: its time is over.
        """
        if self._host.stop.is_set():
            raise Cancelled("The study was stopped.")
        self._time.check()
