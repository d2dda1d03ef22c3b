"""A completions body as one `CompletionRequest` per prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelry.domain.errors import InvalidInput, UnsupportedField
from modelry.protocols.http.values import Body, flag, model_name, whole
from modelry.protocols.openai.fields import check_fields
from modelry.protocols.openai.inputs import Input, texts_or_tokens
from modelry.protocols.openai.sampling import (
    MAX_TOKENS,
    Streaming,
    check_user,
    choices,
    sampling,
    streaming,
)
from modelry.runtime_api.generation import CompletionRequest, Sampling

ENDPOINT = "POST /v1/completions"
MAX_PROMPTS = 32
DEFAULT_MAX_TOKENS = 16


@dataclass(frozen=True, slots=True)
class CompletionCall:
    """What a completions body asks for: one generation of `n` choices per prompt."""

    model: str
    prompts: tuple[Input, ...]
    sampling: Sampling
    n: int
    top_logprobs: int | None
    echo: bool
    streaming: Streaming

    def requests(self) -> list[CompletionRequest]:
        """One request per prompt."""
        return [
            CompletionRequest(prompt, self.sampling, self.n, self.top_logprobs, self.echo)
            for prompt in self.prompts
        ]


def parse_completion(body: dict[str, Any]) -> CompletionCall:
    """Take a completions body apart.

    Raises:
        InvalidInput: a field is of another type or out of range; `param` names it.
        UnsupportedField: a field or value that is not honoured here.
    """
    check_fields(ENDPOINT, body)
    check_user(body)
    n = choices(body)
    best_of = whole(body, "best_of", 1, 8)
    if best_of is not None and best_of != n:
        raise UnsupportedField(
            f"best_of is {best_of} and n is {n}; choices are not generated to be dropped: send "
            "best_of equal to n, or leave it out.",
            param="best_of",
        )
    echo = flag(body, "echo")
    return CompletionCall(
        model=model_name(body),
        prompts=texts_or_tokens(body.get("prompt"), "prompt", most=MAX_PROMPTS),
        sampling=sampling(body, _max_tokens(body, echo=echo)),
        n=n,
        top_logprobs=whole(body, "logprobs", 0, 5),
        echo=echo,
        streaming=streaming(body),
    )


def _max_tokens(body: Body, *, echo: bool) -> int:
    limit = whole(body, "max_tokens", 0, MAX_TOKENS)
    if limit == 0 and not echo:
        raise InvalidInput(
            "max_tokens is 0, which leaves nothing to answer; only with echo: true it makes sense.",
            param="max_tokens",
        )
    return DEFAULT_MAX_TOKENS if limit is None else limit
