"""`modelry explain`: why a model answers as it does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelry.cli.commands.tabular import read_rows
from modelry.cli.explanation_bar import ExplanationBar
from modelry.cli.failures import usage_error
from modelry.cli.output import AsJson, Output
from modelry.cli.session import client_of

if TYPE_CHECKING:
    from modelry.client.explained import Explanation

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
    within: Annotated[
        list[int] | None,
        typer.Option(
            min=0,
            help="Of chats: the place of a message that is taken apart; may be repeated. "
            "[default: all]",
        ),
    ] = None,
    request_id: Annotated[
        str | None,
        typer.Option(help="An earlier request instead, where its deployment keeps requests."),
    ] = None,
    item: Annotated[
        int | None, typer.Option(min=0, help="Which item of that request, where it had several.")
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            help="Rows that stand for what is usual: a .csv or .json file, or JSON. "
            "[default: those kept with the version]"
        ),
    ] = None,
    changeable: Annotated[
        str | None,
        typer.Option(
            help="For counterfactuals: columns that may change, with commas, or JSON: "
            '{"age": false, "income": {"min": 0, "step": 100}}.'
        ),
    ] = None,
    goal: Annotated[
        str | None,
        typer.Option(help='For counterfactuals of numbers, as JSON: {"above": 3}.'),
    ] = None,
    most_changes: Annotated[
        int | None, typer.Option(min=1, help="For counterfactuals: columns that may change.")
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
            "leave-one-out or shapley for others, counterfactual for rows; by gradients "
            "integrated-gradients, and grad-cam for images."
        ),
    ] = None,
    calls: Annotated[
        int | None, typer.Option(min=2, help="How often the model may be asked.")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(min=0.1, help="How long it may take; what is known by then is told."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is random.")] = 0,
    checks: Annotated[
        bool, typer.Option(help="Measure how far the explanation can be trusted.")
    ] = True,
    min_score: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of objects that are explained.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="Where to write it: .png is a heat map, .html a page, .json all of it.",
        ),
    ] = None,
    job: Annotated[bool, typer.Option("--job", help="Only start a job, and tell its id.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
    as_json: AsJson = False,
) -> None:
    """Explain an answer: what in its image, text, row or conversation spoke for it, or against."""
    given = (image, text, row, prompt, messages, request_id)
    if sum(one is not None for one in given) != 1:
        raise usage_error(
            "give an image file, --text, --row, --prompt, --messages or --request-id.", "IMAGE"
        )
    rows = None if row is None else read_rows(row)
    if rows is not None and len(rows) != 1:
        raise usage_error(f"it has {len(rows)} rows; explain one at a time.", "--row")
    wishes: dict[str, Any] = {
        "image": image,
        "text": text,
        "row": None if rows is None else rows[0],
        "messages": _conversation(prompt, messages),
        "answer": answer,
        "compared_with": compared_with,
        "level": level,
        "within": within,
        "request_id": request_id,
        "item": item,
        "changeable": _changeable(changeable),
        "goal": None if goal is None else _object(goal, "--goal"),
        "most_changes": most_changes,
        "background": read_rows(background) if background is not None else (),
        "target": target,
        "method": method,
        "calls": calls,
        "seconds": seconds,
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
        is_drawn = out is not None and (image is not None or out.suffix.lower() == ".png")
        with ExplanationBar(is_quiet=quiet) as bar:
            found = client.explain(model, **wishes, picture=is_drawn, on_progress=bar.told)
    if out is not None:
        found.save(out)
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
    match found.attribution["kind"]:
        case "objects":
            _show_objects(output, found.attribution["objects"])
        case "counterfactual":
            for line in _changes(found.attribution["counterfactuals"]):
                output.say(line)
        case _:
            for name, weight in _weights(found.attribution):
                output.say(f"{weight:+10.4f}  {name}")
            if found.faithfulness is not None:
                output.say(_checked(found.faithfulness))
    cost = found.cost
    output.note(f"{found.method}: {cost['model_calls']} model calls, {cost['seconds']:.2f} s")
    if out is not None:
        output.note(f"written: {out}")


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


def _changeable(text: str | None) -> dict[str, Any] | list[str]:
    if text is None:
        return []
    if text.lstrip().startswith("{"):
        return _object(text, "--changeable")
    return [name.strip() for name in text.split(",")]


def _object(text: str, option: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise usage_error(f"'{text[:60]}' is no JSON ({error}).", option) from None
    if not isinstance(value, dict):
        raise usage_error("expected a JSON object.", option)
    return value


def _changes(found: Any) -> list[str]:
    return [
        f"{one['score']:10.4f}  "
        + ", ".join(
            f"{change['name']}: {change['from']} -> {change['to']}" for change in one["changes"]
        )
        for one in found
    ]


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
        f"(random {faithfulness['random_insertion'][0]:.3f}), p {faithfulness['p_value']:.2f}"
    )
    return told if stability is None else f"{told}, stability {stability:.2f}"
