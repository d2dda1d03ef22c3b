"""From rows of conversations to tokens, and which of them are learnt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from modelry.datasets.conversations import Message, NotAConversation, from_text
from modelry.domain.datasets import Column
from modelry.domain.errors import Cancelled, InvalidInput, RowsInvalid
from modelry.training.contract import Run, TrainingData
from modelry.training.recipes.chat.serving_engine import Refused, ServingEngine

Integers = npt.NDArray[np.int64]
CHUNK = 256


@dataclass(frozen=True, slots=True)
class Example:
    """Tokens of a conversation up to an answer's end; `is_learnt` marks those of answers."""

    tokens: Integers
    is_learnt: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some examples, side by side.

    Attributes:
        ids: int64 (n, t), filled up at the ends.
        places: in the flattened `ids`, of the tokens before those that are learnt.
        wanted: the tokens that are learnt, int64 (k,).
    """

    ids: torch.Tensor
    places: torch.Tensor
    wanted: torch.Tensor


@dataclass(slots=True)
class Conversations:
    """Implements `loop.Examples`.

    Attributes:
        device: where batches go.
        examples: all of them.
        left_out: how many had too many tokens.
    """

    device: torch.device
    examples: list[Example] = field(default_factory=list)
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def lengths(self) -> Integers:
        """Tokens of each example."""
        return np.array([len(one.tokens) for one in self.examples], np.int64)

    @property
    def learnt_tokens(self) -> int:
        """Tokens of answers."""
        return sum(int(one.is_learnt.sum()) for one in self.examples)

    def batch(self, places: torch.Tensor) -> Batch:
        """See `loop.Examples.batch`."""
        chosen = [self.examples[at] for at in places.tolist()]
        width = max(len(one.tokens) for one in chosen)
        ids = np.zeros((len(chosen), width), np.int64)
        is_learnt = np.zeros((len(chosen), width), np.bool_)
        for row, one in enumerate(chosen):
            ids[row, : len(one.tokens)] = one.tokens
            is_learnt[row, : len(one.tokens)] = one.is_learnt
        rows, columns = np.nonzero(is_learnt)
        return Batch(
            torch.from_numpy(ids).to(self.device),
            torch.from_numpy(rows * width + columns - 1).to(self.device),
            torch.from_numpy(ids[rows, columns]).to(self.device),
        )


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads splits.

    Attributes:
        data: the rows.
        column: of the conversations.
        engine: knows template and tokens.
        ends: tokens that end an answer.
        system: what the version says first to conversations without a system message.
        max_tokens: of an example.
        run: told how far it is.
    """

    data: TrainingData
    column: Column
    engine: ServingEngine
    ends: Sequence[int]
    system: str
    max_tokens: int
    run: Run

    def read(self, split: str, device: torch.device) -> list[Conversations]:
        """The examples of each row of a split, in order.

        Raises:
            RowsInvalid: a row is no conversation, or none that the model's template takes.
            Cancelled: the run was stopped.
        """
        has_system = self.engine.takes_system_messages
        total = self.data.description.rows[split]
        found: list[Conversations] = []
        for row, text in enumerate(self._texts(split)):
            try:
                turns = self._turns(from_text(text), has_system=has_system)
                found.append(self._examples(turns, device))
            except (NotAConversation, Refused) as error:
                raise RowsInvalid(
                    f"Row {row + 1} of split '{split}' cannot be learnt from: {error}. Import "
                    "conversations with the format 'chat', which says what they look like."
                ) from None
            if row % 16 == 0:
                self.run.progress(row, total, "rows", f"reading {split}")
        return found

    def _texts(self, split: str) -> Iterator[str]:
        for batch in self.data.batches(split, [self.column.name], CHUNK):
            for text in batch.column(0).to_pylist():
                if self.run.stop.is_set():
                    raise Cancelled(f"Training was stopped while '{split}' was read.")
                yield text

    def _turns(self, messages: Sequence[Message], *, has_system: bool) -> list[Message]:
        """The conversation as the served version will see it."""
        turns = list(messages)
        if self.system and turns[0].role != "system":
            turns.insert(0, Message("system", self.system))
        if turns[0].role == "system" and not has_system:
            first, second = turns[:2]
            turns[:2] = [Message("user", f"{first.content}\n\n{second.content}")]
        return turns

    def _examples(self, turns: Sequence[Message], device: torch.device) -> Conversations:
        """One example of all answers, or several where an answer does not see the one before."""
        made = Conversations(device)
        tokens: list[int] = []
        is_learnt: list[bool] = []
        for at, turn in enumerate(turns):
            if turn.role != "assistant" or not turn.is_learnt:
                continue
            before, answer = self._answer(turns[: at + 1])
            if tokens != before[: len(tokens)]:
                self._add(made, tokens, is_learnt)
                tokens, is_learnt = [], []
            is_learnt += [False] * (len(before) - len(tokens)) + [True] * len(answer)
            is_learnt[0] = False  # nothing foretells it
            tokens = before + answer
        self._add(made, tokens, is_learnt)
        return made

    def _add(self, made: Conversations, tokens: list[int], is_learnt: list[bool]) -> None:
        if len(tokens) > self.max_tokens:
            made.left_out += 1
        elif tokens:
            made.examples.append(Example(np.array(tokens), np.array(is_learnt)))

    def _answer(self, turns: Sequence[Message]) -> tuple[list[int], list[int]]:
        """The tokens before an answer as serving gives them, and those of the answer to its end."""
        plain = [{"role": one.role, "content": one.content} for one in turns]
        asked = self.engine.prompt(plain[:-1], asks=True)
        whole = self.engine.prompt(plain, asks=False)
        before = self.engine.tokens(asked, begins=True)
        answer = self._after(before, asked, whole, turns[-1].content)
        end = next((at for at, one in enumerate(answer) if one in self.ends), None)
        return before, [*answer, self.ends[0]] if end is None else answer[: end + 1]

    def _after(self, before: list[int], asked: str, whole: str, content: str) -> list[int]:
        if not whole.startswith(asked):  # a template that writes turns otherwise afterwards
            return self.engine.tokens(content, begins=False)
        together = self.engine.tokens(whole, begins=True)
        if together[: len(before)] == before:
            return together[len(before) :]
        # a token would span the border, which no served answer has
        return self.engine.tokens(whole[len(asked) :], begins=False)


def joined(parts: Sequence[Conversations], device: torch.device) -> Conversations:
    """The examples of several rows."""
    whole = Conversations(device)
    for one in parts:
        whole.examples += one.examples
        whole.left_out += one.left_out
    return whole


def check_some(learnt: Conversations, split: str, max_tokens: int) -> None:
    """See that there is something to learn from.

    Raises:
        InvalidInput: every conversation is too long.
    """
    if not learnt.examples:
        raise InvalidInput(
            f"All {learnt.left_out} conversations of split '{split}' have more than {max_tokens} "
            "tokens; raise 'max_tokens' as far as the model's context goes.",
            param="max_tokens",
        )
