"""`modelry explain`: why a model answers as it does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelry.cli.commands.tabular import read_rows
from modelry.cli.failures import usage_error
from modelry.cli.output import AsJson, Output
from modelry.cli.session import client_of

if TYPE_CHECKING:
    from modelry.client.operations.explanations import Explanation

_SHOWN = 10
_DOWNLOAD = "its artefact explanation.json will be the explanation"


def explain(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A deployment.", show_default=False)],
    image: Annotated[
        Path | None,
        typer.Argument(exists=True, dir_okay=False, help="An image file.", show_default=False),
    ] = None,
    *,
    text: Annotated[str | None, typer.Option(help="A text instead of an image.")] = None,
    row: Annotated[
        str | None, typer.Option(help="A row instead of an image, as JSON or a .json file.")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="A question to a chat instead of an image.")
    ] = None,
    messages: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="A conversation instead: a .json list of messages."
        ),
    ] = None,
    answer: Annotated[
        str | None,
        typer.Option(help="The written answer to explain. [default: the model's own]"),
    ] = None,
    compared_with: Annotated[
        str | None, typer.Option(help="Of embeddings: the text that --text is compared with.")
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(help="What is left out at a time: messages, lines, sentences or words."),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(help="Rows that stand for what is usual: a .csv or .json file, or JSON."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="The label to explain, its index, or words of a written answer. [default: the "
            "best; all objects; all words]"
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="occlusion or rise for images, d-rise or occlusion for objects in them, "
            "leave-one-out or shapley for others; by gradients integrated-gradients, and grad-cam "
            "for images."
        ),
    ] = None,
    calls: Annotated[
        int | None, typer.Option(min=2, help="How often the model may be asked.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is random.")] = 0,
    checks: Annotated[
        bool, typer.Option(help="Measure how far the explanation can be trusted.")
    ] = True,
    min_score: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of objects that are explained.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Where to write a heat map, as PNG.")
    ] = None,
    job: Annotated[bool, typer.Option("--job", help="Only start a job, and tell its id.")] = False,
    as_json: AsJson = False,
) -> None:
    """Explain an answer: what in its image, text, row or conversation spoke for it, or against."""
    if sum(given is not None for given in (image, text, row, prompt, messages)) != 1:
        raise usage_error("give an image file, --text, --row, --prompt or --messages.", "IMAGE")
    rows = None if row is None else read_rows(row)
    wishes: dict[str, Any] = {
        "image": image,
        "text": text,
        "row": None if rows is None else rows[0],
        "messages": _conversation(prompt, messages),
        "answer": answer,
        "compared_with": compared_with,
        "level": level,
        "background": read_rows(background) if background is not None else (),
        "target": target,
        "method": method,
        "calls": calls,
        "seed": seed,
        "checks": checks,
        "min_score": min_score,
    }
    output = Output(as_json)
    with client_of(context) as client:
        if job:
            started = client.start_explanation(model, **wishes)
            output.result({"job_id": started.id}, lambda: output.say(f"{started.id}: {_DOWNLOAD}"))
            return
        found = client.explain(model, **wishes, picture=out is not None)
    if out is not None:
        out.write_bytes(found.picture)
    told = {name: getattr(found, name) for name in found.__slots__ if name != "picture"}
    output.result(told, lambda: _show(output, found, out))


def _conversation(prompt: str | None, messages: Path | None) -> list[dict[str, Any]] | None:
    if prompt is not None:
        return [{"role": "user", "content": prompt}]
    if messages is None:
        return None
    try:
        found = json.loads(messages.read_bytes())
    except ValueError as error:
        raise usage_error(f"{messages} is no JSON: {error}.", "--messages") from None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise usage_error(f"{messages} has no list of messages.", "--messages")
    return found


def _show(output: Output, found: Explanation, out: Path | None) -> None:
    output.say(found.sentence)
    if "output" in found.attribution:
        output.note(f"answer: {found.attribution['output']['text']}")
    if found.attribution["kind"] == "objects":
        _show_objects(output, found.attribution["objects"])
    else:
        for name, weight in _weights(found.attribution):
            output.say(f"{weight:+10.4f}  {name}")
        if found.faithfulness is not None:
            output.say(_checked(found.faithfulness))
    cost = found.cost
    output.note(f"{found.method}: {cost['model_calls']} model calls, {cost['seconds']:.2f} s")
    if out is not None:
        output.note(f"heat map: {out}")


def _show_objects(output: Output, objects: Any) -> None:
    for one in objects:
        inside = "" if one["inside"] is None else f", {one['inside']:.0%} of it inside the box"
        box = ", ".join(f"{edge:.0f}" for edge in one["box"])
        output.say(f"{one['index']:3}  {one['label']} ({one['score']:.2f}) at {box}{inside}")
        best = one["regions"][0]
        output.say(
            f"{best['weight']:+10.4f}  region " + ", ".join(f"{edge:.0f}" for edge in best["box"])
        )
        if one["faithfulness"] is not None:
            output.say(_checked(one["faithfulness"]))


def _weights(attribution: Any) -> list[tuple[str, float]]:
    match attribution["kind"]:
        case "image":
            found = [
                ("region " + ", ".join(f"{edge:.0f}" for edge in one["box"]), one["weight"])
                for one in attribution["regions"]
            ]
        case "table":
            found = [
                (f"{one['name']} = {one['value']}", one["weight"]) for one in attribution["columns"]
            ]
        case "chat":
            found = _texts(attribution["segments"])
        case "pair":
            found = _texts([*attribution["words"], *attribution["compared_with"]])
        case _:
            found = _texts(attribution["words"])
    return sorted(found, key=lambda one: -abs(one[1]))[:_SHOWN]


def _texts(parts: Sequence[Any]) -> list[tuple[str, float]]:
    return [(" ".join(one["text"].split()), one["weight"]) for one in parts]


def _checked(faithfulness: Any) -> str:
    stability = faithfulness["stability"]
    told = (
        f"faithfulness: deletion {faithfulness['deletion']:.3f} (random "
        f"{faithfulness['random_deletion'][0]:.3f}), insertion {faithfulness['insertion']:.3f} "
        f"(random {faithfulness['random_insertion'][0]:.3f})"
    )
    return told if stability is None else f"{told}, stability {stability:.2f}"
