"""`modelry chat`: talk to a model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelry.cli.failures import usage_error
from modelry.cli.output import AsJson, Output, printable
from modelry.cli.session import client_of

if TYPE_CHECKING:
    from modelry.client import Client

END_WORDS = ("/quit", "/exit", "/bye")


def chat(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A deployment.", show_default=False)],
    message: Annotated[
        str | None,
        typer.Argument(help="What to say; '-' reads it from stdin.", show_default=False),
    ] = None,
    *,
    system: Annotated[str | None, typer.Option(help="Who the model shall be.")] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, max=2, help="0 takes the likeliest word each time.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens to answer.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same answer.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask once, or talk on when no MESSAGE is given; Ctrl-C stops an answer."""
    options: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    messages = [{"role": "system", "content": system}] if system else []
    said = sys.stdin.read() if message == "-" else message
    with client_of(context) as client:
        if said is None:
            if as_json:
                raise usage_error("a conversation cannot be JSON; give a MESSAGE.", "--json")
            _converse(client, model, messages, options)
            return
        messages.append({"role": "user", "content": said})
        if as_json:
            answer = client.chat(model, messages, **options)
            Output(as_json).result(answer, lambda: None)
        else:
            _stream(client, model, messages, options)


def _stream(
    client: Client, model: str, messages: list[dict[str, str]], options: dict[str, Any]
) -> str:
    """Print an answer as it comes; the whole text is returned."""
    said: list[str] = []
    reason = None
    try:
        with client.chat(model, messages, stream=True, **options) as deltas:
            for delta in deltas:
                said.append(delta.text)
                sys.stdout.write(printable(delta.text))
                sys.stdout.flush()
                reason = delta.finish_reason or reason
    finally:
        if said:
            sys.stdout.write("\n")
            sys.stdout.flush()
    if reason == "length":
        typer.echo("(cut off: the most tokens were reached)", err=True)
    return "".join(said)


def _converse(
    client: Client, model: str, messages: list[dict[str, str]], options: dict[str, Any]
) -> None:
    """Prompt, answer, and so on; Ctrl-C stops an answer, Ctrl-D ends it."""
    import contextlib

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives the prompt a history and editing

    typer.echo(f"Talking to '{model}'. Ctrl-C stops an answer, Ctrl-D ends.", err=True)
    while True:
        said = _prompt()
        if said is None or said.strip() in END_WORDS:
            return
        if not said.strip():
            continue
        messages.append({"role": "user", "content": said})
        answer = _answer(client, model, messages, options)
        if answer is None:
            messages.pop()
        else:
            messages.append({"role": "assistant", "content": answer})


def _answer(
    client: Client, model: str, messages: list[dict[str, str]], options: dict[str, Any]
) -> str | None:
    """An answer within a conversation; None when it was stopped or failed, which is told."""
    from modelry.client.errors import ConnectionLost, InvalidInput, ServerError, Unavailable

    try:
        return _stream(client, model, messages, options)
    except KeyboardInterrupt:
        typer.echo(" (stopped)", err=True)
    except (ConnectionLost, InvalidInput, ServerError, Unavailable) as error:
        typer.echo(f"Error: {printable(error.message)}", err=True)
    return None


def _prompt() -> str | None:
    """A line of the user's; None when there will be no more."""
    try:
        return input("> " if sys.stdin.isatty() else "")
    except EOFError:
        return None
    except KeyboardInterrupt:
        typer.echo("", err=True)
        return None
