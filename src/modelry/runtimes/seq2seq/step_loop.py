"""The thread that steps all searches of an engine together; texts come and go between steps."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from modelry.domain.errors import Cancelled, ModelFailed, ModelryError
from modelry.processing.sequences.batch import SearchBatch
from modelry.processing.sequences.graphs import SequenceGraphs
from modelry.processing.sequences.search import Found, Search
from modelry.runtime_api.engine import StopSignal
from modelry.runtimes.engine_reasons import tell_reason

ENCODED_TOKENS = 8192
"""Tokens that are encoded in one run, fillings included: it bounds the memory of attention."""


class Call:
    """Texts that somebody waits for.

    Args:
        rows: the texts as token ids, with their end token.
        beams, most_tokens, length_penalty: as in `Search`.
        stop: raised when nobody waits any more.
    """

    def __init__(
        self,
        rows: Sequence[Sequence[int]],
        *,
        beams: int,
        most_tokens: int,
        length_penalty: float,
        stop: StopSignal,
    ) -> None:
        self.rows = rows
        self.beams = beams
        self.most_tokens = most_tokens
        self.length_penalty = length_penalty
        self.stop = stop
        self.found: dict[int, Found] = {}
        self.failure: ModelryError | None = None
        self.ended = threading.Event()
        self._next = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be done for it."""
        return self.ended.is_set()

    def next_text(self) -> _Text | None:
        """The next of its texts that has not begun."""
        if self._next == len(self.rows):
            return None
        self._next += 1
        return _Text(self, self._next - 1)

    def take(self, at: int, found: Found) -> None:
        """Keep the answer of text `at`; with the last one the call is over."""
        self.found[at] = found
        if len(self.found) == len(self.rows):
            self.ended.set()

    def fail(self, failure: ModelryError) -> None:
        """End the call."""
        if not self.is_over:
            self.failure = failure
            self.ended.set()


@dataclass(frozen=True, slots=True)
class _Text:
    call: Call
    at: int

    @property
    def row(self) -> Sequence[int]:
        return self.call.rows[self.at]

    def search(self, graphs: SequenceGraphs) -> Search:
        return Search(
            start=graphs.model.start,
            end=graphs.model.end,
            beams=self.call.beams,
            most_tokens=self.call.most_tokens,
            length_penalty=self.call.length_penalty,
            owner=self,
        )


class StepLoop:
    """Runs calls together. Texts of different calls take turns at entering.

    Args:
        graphs: run the model.
        most_rows: sequences that are followed at once; a text takes as many as it has beams.
    """

    def __init__(self, graphs: SequenceGraphs, most_rows: int) -> None:
        self._graphs = graphs
        self._most_rows = most_rows
        self._batches: dict[int, SearchBatch] = {}
        self._waiting: deque[Call] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._loop, name="seq2seq-steps", daemon=True)
        self._thread.start()

    def run(self, call: Call) -> dict[int, Found]:
        """The answers of `call`, by the places of its texts; waits for them.

        Raises:
            Cancelled: its stop signal was raised.
            ModelFailed: the engine broke on it, or was closed.
        """
        with self._changed:
            if self._is_closed:
                raise ModelFailed("The model has been unloaded; load it again.")
            self._waiting.append(call)
            self._changed.notify()
        call.ended.wait()
        if call.failure is not None:
            raise call.failure
        return call.found

    @property
    def is_busy(self) -> bool:
        """Whether calls run or wait."""
        return bool(self._waiting or self._rows())

    def close(self) -> None:
        """End the thread; what is running fails."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _loop(self) -> None:
        while self._wait_for_work():
            try:
                self._let_go()
                self._admit()
                for batch in tuple(self._batches.values()):
                    if batch.searches:
                        self._step(batch)
            except Exception as error:  # noqa: BLE001 - no call may wait for a thread that is gone
                self._fail_all(told(error))
        self._fail_all(ModelFailed("The model was unloaded while it answered; send it again."))

    def _fail_all(self, failure: ModelryError) -> None:
        with self._changed:
            calls = list(self._waiting)
            self._waiting.clear()
        calls += [
            search.owner.call for batch in self._batches.values() for search in batch.searches
        ]
        self._batches.clear()
        for call in calls:
            call.fail(failure)

    def _wait_for_work(self) -> bool:
        with self._changed:
            while not (self._waiting or self._rows() or self._is_closed):
                self._changed.wait()
            return not self._is_closed

    def _rows(self) -> int:
        return sum(batch.beams * len(batch.searches) for batch in self._batches.values())

    def _let_go(self) -> None:
        """Drop the texts of calls that nobody waits for, or that have failed."""
        for batch in self._batches.values():
            for search in batch.searches:
                _end_if_stopped(search.owner.call)
            batch.drop(lambda search: search.owner.call.is_over)

    def _admit(self) -> None:
        """Let waiting texts in, as many as there is room for."""
        entering: list[_Text] = []
        rows = self._rows()
        while True:
            with self._changed:
                call = self._waiting.popleft() if self._waiting else None
            if call is None:
                break
            _end_if_stopped(call)
            if call.is_over:
                continue
            if rows and rows + call.beams > self._most_rows:
                with self._changed:
                    self._waiting.appendleft(call)
                break
            text = call.next_text()
            if text is not None:
                entering.append(text)
                rows += call.beams
                with self._changed:
                    self._waiting.append(call)
        for group in _groups(entering):
            self._enter(group)

    def _enter(self, texts: Sequence[_Text]) -> None:
        try:
            memory = self._graphs.encode([text.row for text in texts])
            beams = texts[0].call.beams
            batch = self._batches.get(beams)
            if batch is None:
                batch = self._batches[beams] = SearchBatch(self._graphs, beams)
            batch.join([text.search(self._graphs) for text in texts], memory)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base class
            self._after_failure(texts, error)

    def _step(self, batch: SearchBatch) -> None:
        try:
            done = batch.step()
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base class
            texts = [search.owner for search in batch.searches]
            del self._batches[batch.beams]
            self._after_failure(texts, error)
            return
        for search in done:
            search.owner.call.take(search.owner.at, search.best())

    def _after_failure(self, texts: Sequence[_Text], error: Exception) -> None:
        """One bad text must not fail those that ran with it: each is tried by itself."""
        if len(texts) == 1:
            texts[0].call.fail(told(error))
            return
        for text in texts:
            self._alone(text)

    def _alone(self, text: _Text) -> None:
        try:
            batch = SearchBatch(self._graphs, text.call.beams)
            batch.join([text.search(self._graphs)], self._graphs.encode([text.row]))
            while not text.call.is_over:
                done = batch.step()
                if done:
                    text.call.take(text.at, done[0].best())
                    return
                _end_if_stopped(text.call)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base class
            text.call.fail(told(error))


def _end_if_stopped(call: Call) -> None:
    if call.stop.is_set():
        call.fail(Cancelled("The run was stopped because its caller went away."))


def _groups(texts: Sequence[_Text]) -> list[list[_Text]]:
    """Texts that are encoded together: alike in beams and length, and not too many tokens."""
    groups: list[list[_Text]] = []
    beams = width = 0
    # from the longest, whose length is what the others are filled up to
    for text in sorted(texts, key=lambda one: (one.call.beams, -len(one.row))):
        fits = groups and text.call.beams == beams and width * (len(groups[-1]) + 1)
        if not fits or fits > ENCODED_TOKENS:
            beams, width = text.call.beams, len(text.row)
            groups.append([])
        groups[-1].append(text)
    return groups


def told(error: Exception) -> ModelryError:
    """An error of the engine, as its callers are told of it."""
    if isinstance(error, ModelryError):
        return error
    if isinstance(error, MemoryError):
        return ModelFailed("There is not enough memory for this text beside the others.")
    return ModelFailed(f"ONNX Runtime failed on this text: {tell_reason(str(error))}")
