"""Counterfactuals: the nearest plausible change of a row that flips what the model decides.

Few changed columns come first, then a short way (Wachter et al., "Counterfactual Explanations
without Opening the Black Box", 2018; sparsity and plausible values as in Mothilal et al., "DiCE",
FAccT 2020). Values are those of background rows, within what the caller declares as changeable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from modelry.explaining.changes import Changeable, Value, changeable_columns
from modelry.explaining.contract import Wish
from modelry.explaining.course import STABILITY, TimeIsUp
from modelry.explaining.decisions import Decision
from modelry.explaining.tables import NOISE, check_background, named_cells
from modelry.runtime_api.tensors import Array

COUNTERFACTUAL = "counterfactual"
USUAL_CALLS = 5000
USUAL_CHANGES = 3
_BEAM = 8
_TOLD = 3
_HALVINGS = 8
_NOISY_COPIES = 16
_CELLS_AT_ONCE = 2**18
"""Of rows that are made and read at once."""
_TIMED_ROWS = 64
"""Likewise, where time is bounded."""

Ask = Callable[[Sequence[Mapping[str, Any]]], Array]
"""Scores (n, outputs) of rows, cells by column."""
Changes = tuple[tuple[str, Value], ...]
"""New cells by column, in the columns' order."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, as JSON types.

    Args:
        attribution: the changes.
        parameters: what was done.
        baseline: where values come from, in words.
    """

    attribution: dict[str, Any]
    parameters: dict[str, Any]
    baseline: str


@dataclass(frozen=True, slots=True)
class _Tried:
    changes: Changes
    scores: Array
    distance: float


class Search:
    """Looks for changes of one row.

    Args:
        row: the row as it was sent.
        columns: of the version, in its order.
        ask: gives scores of rows.
        decision: what is to be reached.
        wish: bounds the search; has background rows.

    Raises:
        InvalidInput: no background rows, or changeable columns that are none.
        NotSupported: a row is neither an object nor a list of cells.
    """

    def __init__(
        self, row: Any, columns: Sequence[str], ask: Ask, decision: Decision, wish: Wish
    ) -> None:
        check_background(wish.background)
        self._row = named_cells(row, columns)
        background = [named_cells(one, columns) for one in wish.background]
        self._columns = changeable_columns(self._row, background, wish.changeable)
        self._ask = ask
        self._decision = decision
        self._wish = wish
        self._course = wish.course
        self._most = wish.most_changes or USUAL_CHANGES
        self._left = wish.bounded(USUAL_CALLS, 2, len(self._columns))
        self._calls = 0
        self._is_complete = True
        self._origin = f"the cells of {len(background)} background rows"

    def found(self) -> Found:
        """The nearest changes that flip the decision: those of the fewest columns."""
        flips = self._flips()
        kept = [self._nearer(one) for one in self._different(flips)]
        kept.sort(key=lambda one: one.distance)
        attribution = {
            "kind": COUNTERFACTUAL,
            "found": bool(kept),
            "counterfactuals": [self._told(one) for one in kept],
        }
        parameters = {
            "calls": self._calls,
            "most_changes": self._most,
            "is_complete": self._is_complete,
        }
        return Found(attribution, parameters, self._origin)

    def _flips(self) -> list[_Tried]:
        """All changes of the fewest columns that flip the decision."""
        frontier: list[Changes] = [()]
        for _ in range(min(self._most, len(self._columns))):
            tried = self._tried(self._next(frontier))
            flips = [one for one in tried if self._decision.is_flipped(one.scores)]
            if flips or not tried:
                return sorted(flips, key=lambda one: one.distance)
            tried.sort(key=lambda one: -self._decision.progress(one.scores))
            frontier = [one.changes for one in tried[:_BEAM]]
        return []

    def _next(self, frontier: Sequence[Changes]) -> list[Changes]:
        """The frontier with one more column changed, each once; as many as calls are left for."""
        made: dict[Changes, None] = {}
        for changes in frontier:
            taken = {name for name, _ in changes}
            for column in self._columns:
                if column.name not in taken:
                    for value in column.values:
                        made[self._with(changes, column.name, value)] = None
        # what is left is for bringing nearer what will be found, but never more than half
        room = max(1, self._left - _TOLD * _HALVINGS * self._most, self._left // 2)
        if len(made) > room:
            self._is_complete = False
            every = -(-len(made) // room)
            return list(islice(made, 0, None, every))
        return list(made)

    def _with(self, changes: Changes, name: str, value: Value) -> Changes:
        merged = {**dict(changes), name: value}
        return tuple((one.name, merged[one.name]) for one in self._columns if one.name in merged)

    def _tried(self, candidates: Sequence[Changes]) -> list[_Tried]:
        if not candidates or self._left <= 0:
            self._is_complete = self._is_complete and not candidates
            return []
        at_once = max(1, _CELLS_AT_ONCE // max(1, len(self._row)))
        if self._course.is_timed:
            at_once = min(at_once, _TIMED_ROWS)
        tried: list[_Tried] = []
        for start in range(0, len(candidates), at_once):
            some = candidates[start : start + at_once]
            try:
                scores = self._asked([{**self._row, **dict(one)} for one in some])
            except TimeIsUp:
                self._course.is_cut = True
                self._left, self._is_complete = 0, False
                break
            tried += [
                _Tried(changes, row, self._distance(changes))
                for changes, row in zip(some, scores, strict=True)
            ]
        return tried

    def _asked(self, rows: Sequence[Mapping[str, Any]]) -> Array:
        found = self._ask(rows)
        self._calls += len(rows)
        self._left -= len(rows)
        return found

    def _distance(self, changes: Changes) -> float:
        return sum(self._column(name).distance(value) for name, value in changes)

    def _column(self, name: str) -> Changeable:
        return next(one for one in self._columns if one.name == name)

    def _different(self, flips: Sequence[_Tried]) -> list[_Tried]:
        """The nearest of each set of columns, a few of them."""
        nearest: dict[tuple[str, ...], _Tried] = {}
        for one in flips:
            nearest.setdefault(tuple(name for name, _ in one.changes), one)
        return list(nearest.values())[:_TOLD]

    def _nearer(self, flip: _Tried) -> _Tried:
        """The same columns with numbers as near to the row's own as still flips the decision."""
        best = flip
        for name, _ in flip.changes:
            column = self._column(name)
            near: Value = column.value
            for _ in range(_HALVINGS):
                middle = column.between(near, dict(best.changes)[name])
                if middle is None or self._left <= 0:
                    break
                found = self._tried([self._with(best.changes, name, middle)])
                if not found:
                    break
                (tried,) = found
                if self._decision.is_flipped(tried.scores):
                    best = tried
                else:
                    near = middle
        return best

    def _told(self, one: _Tried) -> dict[str, Any]:
        label, score = self._decision.told(one.scores)
        return {
            "changes": [
                {"name": name, "from": self._column(name).value, "to": value}
                for name, value in one.changes
            ],
            "label": label,
            "score": score,
            "distance": round(one.distance, 6),
            "stability": self._stability(one) if self._wish.checks else None,
        }

    def _stability(self, one: _Tried) -> float | None:
        """The share of copies with a little noise on their numbers that are decided likewise; None
        where there was no time for it.
        """
        random = np.random.default_rng(self._wish.seed)
        cells = {**self._row, **dict(one.changes)}
        copies = [
            {
                **cells,
                **{
                    column.name: cells[column.name] + random.normal(0, NOISE * column.spread)
                    for column in self._columns
                    if isinstance(cells[column.name], float)
                },
            }
            for _ in range(_NOISY_COPIES)
        ]
        try:
            scores = self._asked(copies)
        except TimeIsUp:
            if STABILITY not in self._course.left_out:
                self._course.left_out.append(STABILITY)
            return None
        return float(np.mean([self._decision.is_flipped(row) for row in scores]))


def told_in_words(found: Mapping[str, Any], decision: Decision, *, is_cut: bool = False) -> str:
    """A sentence for what was found; `is_cut` says that not all was tried."""
    told: Sequence[Mapping[str, Any]] = found["counterfactuals"]
    if not told and is_cut:
        return f"No change that makes {decision.wanted} was found in time."
    if not told:
        return (
            f"No change of so few columns, within what may change, makes {decision.wanted}: more "
            "columns, wider ranges or other background rows may."
        )
    best = told[0]
    changes = " and ".join(
        f"{one['name']} were {_shown(one['to'])} instead of {_shown(one['from'])}"
        for one in best["changes"]
    )
    what = f"'{best['label']}'" if best["label"] is not None else "the answer"
    return f"It would be {what} ({best['score']:.3g}) if {changes}."


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:40]
