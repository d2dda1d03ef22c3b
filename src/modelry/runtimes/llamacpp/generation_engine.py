"""The engine for chat and text completion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import orjson

from modelry.domain.errors import Cancelled, InvalidInput, ModelFailed
from modelry.domain.signature import NO_TENSORS, Signature
from modelry.runtime_api.answer_scores import AnswerScores, GivenAnswer
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.generation import ChatRequest, CompletionRequest, Sampling, TextDelta
from modelry.runtimes.chat.answer import Answer, Emit
from modelry.runtimes.chat.context import context_exceeded
from modelry.runtimes.chat.defaults import ChatDefaults
from modelry.runtimes.chat.plan import TemplateAbilities, plan_chat
from modelry.runtimes.chat.readers import PlainReader
from modelry.runtimes.chat.request_checks import check_chat, check_completion
from modelry.runtimes.chat.slots import Slots
from modelry.runtimes.llamacpp.answer_scoring import AnswerScorer, Forced
from modelry.runtimes.llamacpp.bodies import chat_body, completion_body, forced_body
from modelry.runtimes.llamacpp.chunks import ChunkReader, Writes
from modelry.runtimes.llamacpp.load_errors import call_exception
from modelry.runtimes.llamacpp.native_server import NativeServer, OnChunk
from modelry.runtimes.llamacpp.prompt_slots import Place, PromptSlots
from modelry.runtimes.llamacpp.settings import LlamaSettings

CLOSE_TIMEOUT_S = 10.0


class GenerationEngine:
    """A loaded chat model with continuous batching over its slots."""

    def __init__(
        self, server: NativeServer, defaults: ChatDefaults, settings: LlamaSettings
    ) -> None:
        self._server = server
        self._defaults = defaults
        self._settings = settings
        self._slots = Slots(settings.slots)
        self._prompts = PromptSlots(settings.slots)
        self._context = settings.context
        abilities = server.ask("/props").get("chat_template_caps") or {}
        self._template = TemplateAbilities(
            tools=bool(abilities.get("supports_tools") and abilities.get("supports_tool_calls")),
            system_role=bool(abilities.get("supports_system_role", True)),
        )
        self._scorer = AnswerScorer(server, self._slots, settings.slots, self._force)

    @property
    def signature(self) -> Signature:
        """No tensors."""
        return NO_TENSORS

    @property
    def capacity(self) -> int:
        """The slots."""
        return self._settings.slots

    @property
    def context_length(self) -> int:
        """Tokens of prompt and answer together that one request may have."""
        return self._context

    def chat(self, request: ChatRequest, emit: Emit, stop: StopSignal) -> None:
        """See `SupportsChat.chat`. `stop` ends it at the next token or prompt batch."""
        asked = request.sampling.max_tokens
        request = self._defaults.fill_chat(request)
        check_chat(request, self._settings.slots, self._settings.vocabulary)
        plan = plan_chat(request, self._template)
        answer = Answer(request.n, plan.new_reader, emit)
        chunks = self._chunks(answer, request, asked, "messages")

        def call(place: Place, on_chunk: OnChunk) -> None:
            self._server.chat(chat_body(request, plan, self._settings, place), on_chunk)

        self._run(call, chunks, request, orjson.dumps(plan.messages), stop)
        answer.close()

    def complete(self, request: CompletionRequest, emit: Emit, stop: StopSignal) -> None:
        """See `SupportsCompletion.complete`.

        With `echo` the prompt comes first, without log-probabilities: the engine has none.
        """
        asked = request.sampling.max_tokens
        request = self._defaults.fill_completion(request)
        check_completion(request, self._settings.slots, self._settings.vocabulary)
        answer = Answer(request.n, PlainReader, emit)
        if request.echo:
            text = request.prompt if isinstance(request.prompt, str) else self._text(request.prompt)
            for index in range(request.n):
                emit(TextDelta(index, text))
        if request.sampling.max_tokens == 0:
            self._echo_only(request, answer)
        else:
            chunks = self._chunks(answer, request, asked, "prompt")

            def call(place: Place, on_chunk: OnChunk) -> None:
                self._server.complete(completion_body(request, self._settings, place), on_chunk)

            self._run(call, chunks, request, orjson.dumps(request.prompt), stop)
        answer.close()

    def count_tokens(self, text: str) -> int:
        """How many tokens `text` takes, special ones included."""
        answer = self._server.ask("/tokenize", {"content": text, "add_special": True})
        return len(answer["tokens"])

    def own_answer(self, question: ChatRequest, options: Sampling, stop: StopSignal) -> GivenAnswer:
        """See `SupportsAnswerScores.own_answer`: the likeliest token each time."""
        pieces: list[str] = []

        def collect(event: object) -> None:
            if isinstance(event, TextDelta):
                pieces.append(event.text)

        self.chat(replace(question, sampling=replace(options, temperature=0.0)), collect, stop)
        return self._scorer.given("".join(pieces))

    def given_answer(self, text: str) -> GivenAnswer:
        """See `SupportsAnswerScores.given_answer`."""
        return self._scorer.given(text)

    def score_answers(
        self, questions: Sequence[ChatRequest], answer: GivenAnswer, stop: StopSignal
    ) -> AnswerScores:
        """See `SupportsAnswerScores.score_answers`."""
        return self._scorer.score(questions, answer, stop)

    def close(self) -> None:
        """End what runs and free the model."""
        if self._slots.close(CLOSE_TIMEOUT_S):
            self._server.close()

    def _force(self, request: ChatRequest, answer: GivenAnswer, stop: StopSignal) -> Forced:
        asked = request.sampling.max_tokens
        request = replace(self._defaults.fill_chat(request), sampling=request.sampling)
        check_chat(request, self._settings.slots, self._settings.vocabulary)
        plan = plan_chat(request, self._template)
        forced = Forced()
        chunks = self._chunks(forced, request, asked, "messages")

        def call(place: Place, on_chunk: OnChunk) -> None:
            body = forced_body(request, plan, self._settings, place, answer.tokens)
            self._server.chat(body, on_chunk)

        self._run(call, chunks, request, orjson.dumps(plan.messages), stop)
        return forced

    def _chunks(
        self,
        answer: Writes,
        request: ChatRequest | CompletionRequest,
        asked_tokens: int | None,
        param: str,
    ) -> ChunkReader:
        return ChunkReader(
            answer,
            context=self._context,
            asked_tokens=asked_tokens,
            top_logprobs=request.top_logprobs,
            param=param,
        )

    def _run(
        self,
        call: Callable[[Place, OnChunk], None],
        chunks: ChunkReader,
        request: ChatRequest | CompletionRequest,
        prompt: bytes,
        stop: StopSignal,
    ) -> None:
        failures: list[BaseException] = []

        def on_chunk(raw: str) -> bool:
            if stop.is_set() or self._slots.is_closed:
                return True
            try:
                chunks.take(raw)
            except BaseException as error:  # noqa: BLE001 - the library would swallow it
                failures.append(error)
            return bool(failures)

        with (
            self._slots.taken(request.n, stop),
            self._prompts.placed(request.cache_salt, prompt, request.n, stop) as place,
        ):
            try:
                call(place, on_chunk)
            except (ValueError, RuntimeError) as error:
                failures.append(call_exception(error))
        if failures:
            raise failures[0]
        if stop.is_set():
            raise Cancelled("The generation was stopped because its caller went away.")
        if self._slots.is_closed:
            raise ModelFailed("The model was unloaded in mid-answer; try again.")

    def _echo_only(self, request: CompletionRequest, answer: Answer) -> None:
        prompt = request.prompt
        tokens = self.count_tokens(prompt) if isinstance(prompt, str) else len(prompt)
        if tokens > self._context:
            raise context_exceeded(tokens, None, self._context, "prompt")
        answer.count(tokens, 0, 0)
        for index in range(request.n):
            answer.finish(index, "length")

    def _text(self, tokens: list[int]) -> str:
        try:
            return str(self._server.ask("/detokenize", {"tokens": tokens})["content"])
        except ModelFailed:
            raise InvalidInput(
                "The prompt has token ids that this model's vocabulary does not have.",
                param="prompt",
            ) from None
