"""A loaded sequence model: texts to tokens, tokens through the step loop, tokens to texts."""

from __future__ import annotations

from collections.abc import Sequence

from modelry.domain.errors import Cancelled, ContextLengthExceeded, InvalidInput, ModelFailed
from modelry.domain.signature import NO_TENSORS, Signature
from modelry.processing.parameters import Unfit
from modelry.processing.sequences.graphs import SequenceGraphs
from modelry.processing.sequences.search import Found
from modelry.processing.text_encoder import TextEncoder
from modelry.runtime_api.answer_scores import AnswerScores, GivenAnswer
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.text_to_text import TextOptions, WrittenText
from modelry.runtimes.seq2seq.answer_scoring import AnswerScorer
from modelry.runtimes.seq2seq.step_loop import Call, StepLoop

CHARACTERS_PER_TOKEN = 64
"""Longer texts are refused before they are tokenised: no token stands for more on average."""


class Seq2SeqEngine:
    """Writes texts for texts.

    Args:
        graphs: run the model.
        encoder: its tokenizer.
        defaults: for requests that leave options open; none of them is open.
        context: tokens that one text may have.
        most_rows: sequences that are followed at once.
    """

    def __init__(
        self,
        graphs: SequenceGraphs,
        encoder: TextEncoder,
        defaults: TextOptions,
        context: int,
        most_rows: int,
    ) -> None:
        self._model = graphs.model
        self._encoder = encoder
        self._defaults = defaults
        self._context = context
        self._capacity = 2 * most_rows
        self._loop = StepLoop(graphs, most_rows)
        self._scorer = AnswerScorer(graphs, encoder, self._loop)
        self._is_closed = False

    @property
    def signature(self) -> Signature:
        """No tensors: texts go in and come out."""
        return NO_TENSORS

    @property
    def capacity(self) -> int:
        """Calls that may wait in the engine, so that there is always a text to go on with."""
        return self._capacity

    @property
    def context_length(self) -> int:
        """Tokens that one text may have."""
        return self._context

    def close(self) -> None:
        """End the step loop."""
        if not self._is_closed:
            self._is_closed = True
            self._loop.close()

    def write(
        self, texts: Sequence[str], options: TextOptions, stop: StopSignal
    ) -> list[WrittenText]:
        """One answer per text, in order; a text without a letter or sign has an empty one.

        Raises:
            ContextLengthExceeded: a text has too many tokens; names it.
            InvalidInput: a text is no Unicode.
            Cancelled: `stop` was raised.
            ModelFailed: the engine broke; the message carries its reason.
        """
        if stop.is_set():
            raise Cancelled("The run was stopped before it began.")
        rows = self._tokens(texts)
        asked = [at for at, text in enumerate(texts) if text.strip()]
        found: dict[int, Found] = {}
        if asked:
            answers = self._searched([rows[at] for at in asked], options, stop)
            found = {at: answers[place] for place, at in enumerate(asked)}
        nothing = Found((), 0.0, is_complete=True)
        return [self._written(len(row), found.get(at, nothing)) for at, row in enumerate(rows)]

    def own_answer(self, question: str, options: TextOptions, stop: StopSignal) -> GivenAnswer:
        """See `SupportsAnswerScores.own_answer`."""
        answers = self._searched(self._tokens([question]), options, stop)
        return self._scorer.answer_of(answers[0].tokens)

    def given_answer(self, text: str) -> GivenAnswer:
        """See `SupportsAnswerScores.given_answer`.

        Raises:
            ContextLengthExceeded: the model writes no answers as long as this.
        """
        (row,) = self._encoded([text])
        tokens = row[:-1] if row and row[-1] == self._model.end else row
        most = self._model.target_tokens - 1
        if len(tokens) > most:
            raise ContextLengthExceeded(
                f"The answer has {len(tokens)} tokens; this version writes at most {most}.",
                param="answer",
            )
        return self._scorer.answer_of(tokens)

    def score_answers(
        self, questions: Sequence[str], answer: GivenAnswer, stop: StopSignal
    ) -> AnswerScores:
        """See `SupportsAnswerScores.score_answers`."""
        rows = self._tokens(questions)
        found = self._scorer.score(rows, answer, stop)
        return AnswerScores(found, sum(len(row) for row in rows))

    def _searched(
        self, rows: Sequence[Sequence[int]], options: TextOptions, stop: StopSignal
    ) -> dict[int, Found]:
        chosen = options.over(self._defaults)
        assert chosen.beams is not None
        assert chosen.max_tokens is not None
        assert chosen.length_penalty is not None
        call = Call(
            rows,
            beams=chosen.beams,
            most_tokens=min(chosen.max_tokens, self._model.target_tokens - 1),
            length_penalty=chosen.length_penalty,
            stop=stop,
        )
        return self._loop.run(call)

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        for at, text in enumerate(texts):
            if len(text) > self._context * CHARACTERS_PER_TOKEN:
                raise _too_long(at, len(texts), f"{len(text)} characters", self._context)
            if any("\ud800" <= character <= "\udfff" for character in text):
                raise InvalidInput(
                    f"{_place(at, len(texts))} has half of a surrogate pair, which is not Unicode "
                    "text.",
                    param="text",
                )
        rows = self._encoded(texts)
        end = self._model.end
        for at, row in enumerate(rows):
            if not row or row[-1] != end:
                row.append(end)
            if len(row) > self._context:
                raise _too_long(at, len(texts), f"{len(row)} tokens", self._context)
        return rows

    def _encoded(self, texts: Sequence[str]) -> list[list[int]]:
        try:
            return [list(row.ids) for row in self._encoder.encode(texts)]
        except Unfit as reason:  # the file was accepted when the model was loaded
            raise ModelFailed(f"The tokenizer broke: {reason}") from None

    def _written(self, input_tokens: int, found: Found) -> WrittenText:
        text = self._encoder.tokenizer.decode(list(found.tokens), skip_special_tokens=True)
        return WrittenText(
            text=text.strip(),
            score=found.score,
            is_complete=found.is_complete,
            input_tokens=input_tokens,
            output_tokens=len(found.tokens),
        )


def _place(at: int, count: int) -> str:
    return "The text" if count == 1 else f"Text {at + 1} of {count}"


def _too_long(at: int, count: int, size: str, most: int) -> ContextLengthExceeded:
    return ContextLengthExceeded(
        f"{_place(at, count)} has {size}; this version reads at most {most} tokens. Send it in "
        "parts, such as its sentences.",
        param="text",
    )
