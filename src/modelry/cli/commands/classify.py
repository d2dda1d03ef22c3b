"""`modelry classify`: what an image or a text is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelry.cli.failures import usage_error
from modelry.cli.output import AsJson, Output
from modelry.cli.session import client_of

if TYPE_CHECKING:
    from modelry.client.operations.typed_tasks import Classification


def classify(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A deployment.", show_default=False)],
    images: Annotated[
        list[Path] | None,
        typer.Argument(exists=True, dir_okay=False, help="Image files.", show_default=False),
    ] = None,
    *,
    text: Annotated[
        list[str] | None, typer.Option(help="A text instead of images; may be repeated.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="How many labels to tell.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what images or texts are, best label first."""
    if bool(images) == bool(text):
        raise usage_error("give image files, or texts with --text.", "IMAGES")
    named: list[str] = list(text or ()) or [str(image) for image in images or ()]
    with client_of(context) as client:
        if text:
            results = client.classify_many(model, texts=text, top_k=top_k)
        else:
            results = [client.classify(model, image=one, top_k=top_k) for one in images or ()]
    output = Output(as_json)
    told = [
        {"input": name, "labels": result.labels}
        for name, result in zip(named, results, strict=True)
    ]
    output.result({"model": model, "results": told}, lambda: _show(output, named, results))


def _show(output: Output, names: list[str], results: list[Classification]) -> None:
    for name, result in zip(names, results, strict=True):
        if len(names) > 1:
            output.say(f"{name[:80]}:")
        for label in result.labels:
            output.say(f"{label.score:6.1%}  {label.label}")
