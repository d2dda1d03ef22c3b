"""`modelry translate` and `modelry summarize`: texts for texts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from modelry.cli.failures import usage_error
from modelry.cli.output import AsJson, Output
from modelry.cli.session import client_of

if TYPE_CHECKING:
    from modelry.client.operations.typed_tasks import WrittenText

Model = Annotated[str, typer.Argument(help="A deployment.", show_default=False)]
Texts = Annotated[
    list[str] | None,
    typer.Argument(help="Texts; '-' reads one per line from stdin.", show_default=False),
]
Beams = Annotated[
    int | None, typer.Option(min=1, help="Candidates that are followed at once; 1 is fastest.")
]
MaxTokens = Annotated[int | None, typer.Option(min=1, help="Tokens of an answer, at most.")]
LengthPenalty = Annotated[
    float | None, typer.Option(min=0, help="0 favours short answers, larger values longer ones.")
]


def translate(
    context: typer.Context,
    model: Model,
    texts: Texts = None,
    *,
    beams: Beams = None,
    max_tokens: MaxTokens = None,
    length_penalty: LengthPenalty = None,
    as_json: AsJson = False,
) -> None:
    """Translate texts."""
    given = _given(texts)
    with client_of(context) as client:
        written = client.translate_many(
            model, given, beams=beams, max_tokens=max_tokens, length_penalty=length_penalty
        )
    _tell(model, given, written, as_json=as_json)


def summarize(
    context: typer.Context,
    model: Model,
    texts: Texts = None,
    *,
    beams: Beams = None,
    max_tokens: MaxTokens = None,
    length_penalty: LengthPenalty = None,
    as_json: AsJson = False,
) -> None:
    """Summarize texts."""
    given = _given(texts)
    with client_of(context) as client:
        written = client.summarize_many(
            model, given, beams=beams, max_tokens=max_tokens, length_penalty=length_penalty
        )
    _tell(model, given, written, as_json=as_json)


def _given(texts: Sequence[str] | None) -> list[str]:
    if texts not in (None, [], ["-"]):
        return list(texts or ())
    given = [line for line in sys.stdin.read().splitlines() if line.strip()]
    if not given:
        raise usage_error("give at least one text.", "TEXTS")
    return given


def _tell(
    model: str, texts: Sequence[str], written: Sequence[WrittenText], *, as_json: bool
) -> None:
    output = Output(as_json)
    told = [
        {
            "input": text,
            "text": one.text,
            "score": one.score,
            "is_complete": one.is_complete,
        }
        for text, one in zip(texts, written, strict=True)
    ]
    output.result({"model": model, "results": told}, lambda: _show(output, written))


def _show(output: Output, written: Sequence[WrittenText]) -> None:
    for one in written:
        output.say(one.text)
        if not one.is_complete:
            output.note("(cut: the answer had more tokens than it may have)")
