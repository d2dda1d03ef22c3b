"""The engine for chat and text completion."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import openvino_genai

from modelry.domain.errors import NotSupported
from modelry.domain.signature import NO_TENSORS, Signature
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.generation import ChatRequest, CompletionRequest, TextDelta
from modelry.runtimes.chat.answer import Answer, Emit
from modelry.runtimes.chat.context import context_exceeded
from modelry.runtimes.chat.defaults import ChatDefaults
from modelry.runtimes.chat.plan import TemplateAbilities, plan_chat
from modelry.runtimes.chat.readers import PlainReader
from modelry.runtimes.chat.request_checks import check_chat, check_completion
from modelry.runtimes.chat.slots import Slots
from modelry.runtimes.openvino.chat_settings import ChatSettings
from modelry.runtimes.openvino.generation import Generation
from modelry.runtimes.openvino.sampling import generation_configs, refuse_unsupported
from modelry.runtimes.openvino.step_loop import StepLoop
from modelry.runtimes.openvino.token_text import TokenText
from modelry.runtimes.openvino.tokens import TokenBook

CLOSE_TIMEOUT_S = 10.0


class OpenVinoChatEngine:
    """A loaded chat model with continuous batching over its slots."""

    def __init__(
        self,
        pipeline: openvino_genai.ContinuousBatchingPipeline,
        book: TokenBook,
        defaults: ChatDefaults,
        settings: ChatSettings,
    ) -> None:
        self._book = book
        self._defaults = defaults
        self._settings = settings
        self._slots = Slots(settings.slots)
        self._context = settings.context
        self._model_config = pipeline.get_config()
        self._template = TemplateAbilities(tools=False, system_role=book.has_system_role())
        self._loop = StepLoop(pipeline)

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
        self._check_is_own(request.cache_salt)
        refuse_unsupported(request)
        plan = plan_chat(request, self._template)
        prompt = self._book.encode(self._book.render(plan.messages), whole_prompt=False)
        self._check_fits(prompt, asked, "messages")
        answer = Answer(request.n, plan.new_reader, emit)
        asked_of_engine = replace(request, sampling=plan.sampling, json_schema=plan.schema)
        self._run(asked_of_engine, prompt, answer, stop)

    def complete(self, request: CompletionRequest, emit: Emit, stop: StopSignal) -> None:
        """See `SupportsCompletion.complete`."""
        asked = request.sampling.max_tokens
        request = self._defaults.fill_completion(request)
        check_completion(request, self._settings.slots, self._settings.vocabulary)
        self._check_is_own(request.cache_salt)
        refuse_unsupported(request)
        prompt = request.prompt
        tokens = self._book.encode(prompt, whole_prompt=True) if isinstance(prompt, str) else prompt
        self._check_fits(tokens, asked, "prompt")
        answer = Answer(request.n, PlainReader, emit)
        if request.echo:
            text = prompt if isinstance(prompt, str) else self._text(tokens)
            for index in range(request.n):
                emit(TextDelta(index, text))
        if request.sampling.max_tokens == 0:
            answer.count(len(tokens), 0, 0)
            for index in range(request.n):
                answer.finish(index, "length")
            answer.close()
        else:
            self._run(request, tokens, answer, stop)

    def count_tokens(self, text: str) -> int:
        """How many tokens `text` takes, special ones included."""
        return len(self._book.encode(text, whole_prompt=True))

    def close(self) -> None:
        """End what runs and free the model."""
        if self._slots.close(CLOSE_TIMEOUT_S):
            self._loop.close()

    def _run(
        self,
        request: ChatRequest | CompletionRequest,
        prompt: list[int],
        answer: Answer,
        stop: StopSignal,
    ) -> None:
        sampling = request.sampling
        room = self._context - len(prompt)
        most = room if sampling.max_tokens is None else min(sampling.max_tokens, room)
        configs = list(generation_configs(request, self._model_config, most))
        generation = Generation(
            answer,
            partial(TokenText, self._book.told, sampling.stop),
            self._book,
            stop,
            lambda: self._slots.is_closed,
            prompt_tokens=len(prompt),
            with_logprobs=request.top_logprobs is not None,
        )
        answer.begin(len(prompt))
        with self._slots.taken(request.n, stop):
            self._loop.run(generation, prompt, configs)
        answer.close()

    def _check_is_own(self, salt: str) -> None:
        """OpenVINO knows one cache for all: how long an answer takes would tell one tenant what
        another asked.
        """
        if salt and self._settings.prefix_cache:
            raise NotSupported(
                "This deployment keeps prompts in a cache that tenants cannot share. Its owner can "
                "deploy it with the engine option prefix_cache=off.",
                param="model",
            )

    def _check_fits(self, prompt: list[int], asked: int | None, param: str) -> None:
        if len(prompt) + (asked or 1) > self._context:
            raise context_exceeded(len(prompt), asked, self._context, param)

    def _text(self, tokens: list[int]) -> str:
        return b"".join(map(self._book.raw, tokens)).decode("utf-8", "replace")
