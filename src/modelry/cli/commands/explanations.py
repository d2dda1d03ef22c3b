"""`modelry explain-dataset` and `explanations`: what versions decide by, over many rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelry.cli.commands.evaluations import (
    OfSplit,
    OnDataset,
    VersionArgument,
    Wait,
    WhoseArgument,
    model_and_number,
)
from modelry.cli.output import AsJson, Output, printable, table, time_text
from modelry.cli.session import client_of

if TYPE_CHECKING:
    from modelry.client.explanation_records import DatasetExplanation, ExplanationReport

_SHOWN, _CONFUSIONS, _FEW = 15, 5, 3


def explain_dataset(
    context: typer.Context,
    version: VersionArgument,
    dataset: OnDataset,
    *,
    split: OfSplit = None,
    rows: Annotated[int | None, typer.Option(min=1, help="How many rows. [default: 200]")] = None,
    checked: Annotated[
        int | None,
        typer.Option(min=0, help="Of how many trust is measured. [default: 20]"),
    ] = None,
    method: Annotated[str | None, typer.Option(help="As of 'modelry explain'.")] = None,
    target: Annotated[
        str | None, typer.Option(help="The class to explain. [default: the answered one]")
    ] = None,
    calls: Annotated[
        int | None, typer.Option(min=2, help="How often the version may be asked about a row.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is random.")] = 0,
    slices: Annotated[
        list[str] | None,
        typer.Option("--slice", help="Tell apart what counts by this column; may be repeated."),
    ] = None,
    background: Annotated[
        int | None,
        typer.Option(min=1, help="Of tables: how many rows stand for what is usual. [default: 50]"),
    ] = None,
    permutations: Annotated[
        int | None,
        typer.Option(min=0, help="Of tables: how often each column is shuffled. [default: 5]"),
    ] = None,
    dependence: Annotated[
        list[str] | None,
        typer.Option(help="A column whose partial dependence is told; may be repeated."),
    ] = None,
    randomisations: Annotated[
        int,
        typer.Option(min=0, help="In how many steps to draw the weights anew, as a check."),
    ] = 0,
    seconds: Annotated[
        float | None,
        typer.Option(min=1, help="How long it may take; what is left out by then is told."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", dir_okay=False, help="Write the rows' explanations: JSONL."),
    ] = None,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Explain a version over a split of a dataset: what it decides by."""
    output = Output(as_json)
    with client_of(context) as client:
        job = client.explanations.start(
            version,
            dataset,
            split=split,
            rows=rows,
            checked=checked,
            method=method,
            target=target,
            calls=calls,
            seed=seed,
            slices=slices or (),
            background=background,
            permutations=permutations,
            dependence=dependence or (),
            randomisations=randomisations or None,
            seconds=seconds,
        )
        if not wait:
            output.result(job.record, lambda: output.say(f"{job.id}: modelry jobs watch {job.id}"))
            return
        job.wait()
        found = client.explanations.get(job.id)
        if out is not None:
            lines = client.explanations.rows(job.id)
            out.write_text("".join(json.dumps(one) + "\n" for one in lines), "utf-8")
            output.note(f"{out} written.")
    output.result(found, lambda: _show(found, output))


def explanations(
    context: typer.Context,
    version: WhoseArgument,
    *,
    as_json: AsJson = False,
) -> None:
    """List on which datasets a model or a version was explained."""
    model, number = model_and_number(version)
    with client_of(context) as client:
        found = client.explanations.list(model, number)
    Output(as_json).result(found, lambda: _list(found))


def _list(found: list[DatasetExplanation]) -> None:
    rows = [
        (
            one.explanation_id,
            one.version,
            one.dataset,
            one.split,
            one.rows,
            one.method,
            time_text(one.created_at),
        )
        for one in found
    ]
    columns = ("EXPLANATIONS", "VERSION", "DATASET", "SPLIT", "ROWS>", "METHOD", "MADE")
    table(columns, rows, empty="Nothing was explained over a dataset yet.")


def _show(found: ExplanationReport, output: Output) -> None:
    report: Any = found.report
    output.say(f"{found.version} on {found.dataset}, split '{found.split}'")
    if "sentence" in report:
        output.say(report["sentence"])
    every = (report.get("importance") or {}).get("parts", ())
    parts = every[:_SHOWN]
    if parts:
        cells = [
            (
                one["name"],
                f"{one['weight']:.4f}",
                f"{one['low']:.4f} to {one['high']:.4f}",
                f"{one['signed']:+.4f}",
            )
            for one in parts
        ]
        table(("PART", "WEIGHT>", "95 % INTERVAL", "WITH ITS SIGN>"), cells, empty="")
        if len(every) > len(parts):
            output.say(f"(and {len(every) - len(parts)} parts more: --json tells them)")
    confusions = report.get("confusions", ())
    if len(confusions) > _CONFUSIONS:
        output.say(f"Of {len(confusions)} pairs of classes that were taken for each other:")
    for one in confusions[:_CONFUSIONS]:
        places = ", ".join(str(example["row"]) for example in one.get("examples", ()))
        output.say(
            f"'{one['label']}' answered as '{one['answer']}': {one['rows']}"
            + (f" (rows {places})" if places else "")
        )
    unexplained = report.get("unexplained")
    if unexplained:
        output.say(f"{unexplained['rows']} rows could not be explained: --json tells some of them.")
    for column, values in (report.get("slices") or {}).items():
        _show_slices(column, values, output)
    _show_permutation(report.get("permutation") or {}, output)
    for one in report.get("dependence") or ():
        _show_dependence(one, output)
    _show_randomisation(report.get("randomisation") or {}, output)
    output.say(f"Explanations {found.explanation_id}")


def _show_slices(column: str, values: Any, output: Output) -> None:
    output.say("")
    output.say(f"By {column}:")
    cells = [
        (
            one["value"],
            one["rows"],
            f"{one['score']:.4f}",
            _number(one.get("agreement")),
            ", ".join(part["name"] for part in one.get("parts", ())[:_FEW]),
        )
        for one in values
    ]
    table(("VALUE", "ROWS>", "SCORE>", "LIKE THE OTHERS>", "COUNTED MOST"), cells, empty="")


def _show_dependence(told: Any, output: Output) -> None:
    output.say("")
    if "left_out" in told:
        output.say(f"The answers by {told['column']} are not known: {told['left_out']}.")
        return
    output.say(f"The answers on average, by {told['column']}:")
    lines = told["lines"]
    cells = [
        (value, *(_number(line["means"][at]["value"]) for line in lines))
        for at, value in enumerate(told["values"])
    ]
    heads = [printable(line["label"] or "answer").upper() + ">" for line in lines]
    table((printable(told["column"]).upper(), *heads), cells, empty="")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _show_permutation(told: Any, output: Output) -> None:
    if "left_out" in told:
        output.say(f"No column was shuffled: {told['left_out']}.")
    columns = told.get("columns", ())[:_SHOWN]
    if not columns:
        return
    metrics = [name for name in columns[0] if name != "name"]
    output.say("")
    output.say("How much worse answers are when a column is shuffled:")
    table(
        ("COLUMN", *(f"{name.upper()}>" for name in metrics)),
        [
            (one["name"], *(f"{one[name]['value']:+.4f}" for name in metrics))
            for one in columns
        ],
        empty="",
    )  # fmt: skip


def _show_randomisation(told: Any, output: Output) -> None:
    if "left_out" in told:
        output.say(f"The weights were not drawn anew: {told['left_out']}.")
    for one in told.get("stages", ()):
        what = f"{one['layers']} of {one['of']} layers drawn anew"
        if "failed" in one:
            output.say(f"{what}: {one['failed']}")
        else:
            output.say(f"{what}: rank correlation {one['correlation']['value']:.2f}")
    if told.get("changes") is False:
        output.say("The explanations hardly depend on the weights: do not rely on them.")
