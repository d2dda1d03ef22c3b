"""`modelry embed`: texts to vectors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from modelry.cli.failures import usage_error
from modelry.cli.output import AsJson, Output
from modelry.cli.session import client_of


def embed(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A deployment.", show_default=False)],
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="Texts; '-' reads one per line from stdin.", show_default=False),
    ] = None,
    *,
    dimensions: Annotated[
        int | None, typer.Option(min=1, help="Cut the vectors, where the model allows it.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Write the vectors to this .npy file.", dir_okay=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Embed texts; several are told with the cosines between them."""
    given = _lines() if texts in (None, [], ["-"]) else list(texts or ())
    if not given:
        raise usage_error("give at least one text.", "TEXTS")
    with client_of(context) as client:
        vectors = client.embed(model, given, dimensions=dimensions)
    if save is not None:
        import numpy as np

        with save.open("wb") as file:
            np.save(file, vectors)
    output = Output(as_json)
    output.result(
        {"model": model, "embeddings": vectors.tolist()}, lambda: _show(output, given, vectors)
    )


def _lines() -> list[str]:
    return [line for line in sys.stdin.read().splitlines() if line.strip()]


def _show(output: Output, texts: list[str], vectors: Any) -> None:
    for text, vector in zip(texts, vectors, strict=True):
        first = ", ".join(f"{value:.4f}" for value in vector[:4])
        output.say(f"{text[:60]}: [{first}, …] ({len(vector)} numbers)")
    if len(texts) > 1:
        import numpy as np

        units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        cosines = units @ units.T
        output.say("cosines:")
        for row in cosines:
            output.say("  " + " ".join(f"{value:6.3f}" for value in row))
