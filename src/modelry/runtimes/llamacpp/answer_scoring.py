"""How likely llama.cpp finds a given answer: it is made to generate it, token by token.

llama.cpp tells no log-probabilities of prompts. A grammar of token ids forces the answer's tokens
in one request, and the log-probability that it tells of each is the model's own: it is taken
before samplers and grammars. Prompts that begin alike share their beginning in the engine's cache.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from modelry.domain.errors import ModelFailed
from modelry.runtime_api.answer_scores import AnswerScores, GivenAnswer
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.generation import ChatRequest, Sampling, TokenLogprob
from modelry.runtimes.chat.slots import Slots
from modelry.runtimes.llamacpp.native_server import NativeServer

REST_TIMES = 10
"""While others generate, a rest is so many times as long as the last score took."""
LONGEST_REST_S = 2.0
_LOOK_S = 0.02


@dataclass(slots=True)
class Forced:
    """Takes what the engine tells while it is made to generate an answer (see `ChunkReader`)."""

    found: list[TokenLogprob] = field(default_factory=list)
    prompt_tokens: int = 0
    cached_tokens: int = 0

    def begin(self, prompt_tokens: int) -> None:
        """The prompt's length."""
        self.prompt_tokens = prompt_tokens

    def text(self, index: int, text: str, logprobs: tuple[TokenLogprob, ...] = ()) -> None:
        """Some tokens were generated."""
        del index, text
        self.found.extend(logprobs)

    def count(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int) -> None:
        """What was used."""
        del completion_tokens
        self.prompt_tokens, self.cached_tokens = prompt_tokens, cached_tokens

    def finish(self, index: int, reason: str) -> None:
        """The answer has ended."""

    def tool_call(self, *told: Any) -> None:
        """Forced answers are text."""


Force = Callable[[ChatRequest, GivenAnswer, StopSignal], Forced]
"""Has the engine generate an answer to a request."""


def forcing(request: ChatRequest, answer: GivenAnswer) -> ChatRequest:
    """`request` as it is asked to generate as many tokens as the answer has."""
    sampling = Sampling(max_tokens=len(answer.tokens), temperature=0.0)
    return ChatRequest(request.messages, sampling, top_logprobs=0, cache_salt=request.cache_salt)


class AnswerScorer:
    """Scores answers on a running engine, on all its slots while nobody else wants them.

    Args:
        server: the engine.
        slots: what calls run in.
        slot_count: how many there are.
        force: runs one request.
    """

    def __init__(self, server: NativeServer, slots: Slots, slot_count: int, force: Force) -> None:
        self._server = server
        self._slots = slots
        self._slot_count = slot_count
        self._force = force
        self._own = 0
        self._mutex = threading.Lock()

    def given(self, text: str) -> GivenAnswer:
        """The tokens of an answer, with their places."""
        asked = {"content": text, "add_special": False, "parse_special": False, "with_pieces": True}
        found = self._server.ask("/tokenize", asked)["tokens"]
        pieces = [_raw(one["piece"]) for one in found]
        return GivenAnswer(text, tuple(one["id"] for one in found), spans_of(text, pieces))

    def score(
        self, requests: Sequence[ChatRequest], answer: GivenAnswer, stop: StopSignal
    ) -> AnswerScores:
        """See `SupportsAnswerScores.score_answers`."""
        waiting = deque(enumerate(requests))
        rows = np.full((len(requests), len(answer.tokens)), np.nan)
        used = [0, 0]

        def work(*, is_first: bool) -> None:
            while waiting and (is_first or not self.is_wanted):
                try:
                    at, request = waiting.popleft()
                except IndexError:
                    return
                began = time.monotonic()
                try:
                    forced = self._one(request, answer, stop)
                except BaseException:
                    waiting.clear()
                    raise
                rows[at] = aligned(answer, forced.found)
                with self._mutex:
                    used[0] += forced.prompt_tokens
                    used[1] += forced.cached_tokens
                if waiting and is_first:
                    self._rest(time.monotonic() - began, stop)

        others = min(self._slot_count, len(requests)) - 1
        if others < 1 or self.is_wanted:
            work(is_first=True)
        else:
            with ThreadPoolExecutor(others, thread_name_prefix="score") as pool:
                running = [pool.submit(work, is_first=False) for _ in range(others)]
                work(is_first=True)
                for one in running:
                    one.result()
        return AnswerScores(rows, used[0], used[1])

    @property
    def is_wanted(self) -> bool:
        """Whether somebody else generates, or waits for it."""
        return self._slots.wanted > self._own

    def _one(self, request: ChatRequest, answer: GivenAnswer, stop: StopSignal) -> Forced:
        with self._mutex:
            self._own += 1
        try:
            return self._force(forcing(request, answer), answer, stop)
        finally:
            with self._mutex:
                self._own -= 1

    def _rest(self, taken_s: float, stop: StopSignal) -> None:
        until = time.monotonic() + min(LONGEST_REST_S, REST_TIMES * taken_s)
        while self.is_wanted and not stop.is_set() and time.monotonic() < until:
            time.sleep(_LOOK_S)


def aligned(answer: GivenAnswer, found: Sequence[TokenLogprob]) -> list[float]:
    """Log-probabilities by the answer's tokens; NaN for those that the engine left out.

    It tells nothing of tokens that end within a character; the last one of a character is told.

    Raises:
        ModelFailed: it told of more or fewer tokens.
    """
    told = [one.logprob for one in found]
    spans = answer.spans
    if len(told) == len(spans):
        return told
    is_told = [end <= later for (_, end), (later, _) in pairwise(spans)] + [True]
    if len(told) != sum(is_told):
        raise ModelFailed("The engine did not tell the log-probabilities of the whole answer.")
    left = iter(told)
    return [next(left) if known else math.nan for known in is_told]


def spans_of(text: str, pieces: Sequence[bytes]) -> tuple[tuple[int, int], ...]:
    """Where each piece of a text lies in it, in characters.

    Pieces may together have a space before the text, which some tokenisers add.
    """
    raw = text.encode()
    shift = 1 if b"".join(pieces) == b" " + raw else 0
    ends = np.cumsum([len(piece) for piece in pieces], dtype=int) - shift
    # the character that each byte belongs to
    character = np.repeat(np.arange(len(text)), [len(one.encode()) for one in text]).tolist()
    found = []
    begin = 0
    for end in np.clip(ends, 0, len(raw)).tolist():
        if end > begin:
            found.append((character[begin], character[end - 1] + 1))
        else:
            place = character[begin] if begin < len(character) else len(text)
            found.append((place, place))
        begin = end
    return tuple(found)


def _raw(piece: str | list[int]) -> bytes:
    return piece.encode() if isinstance(piece, str) else bytes(piece)
