"""`modelry evaluate`, `evaluations`, `compare`, `card`: how good versions are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelry.cli.failures import usage_error
from modelry.cli.output import AsJson, Output, table, time_text
from modelry.cli.session import client_of

if TYPE_CHECKING:
    from modelry.client.evaluation_records import (
        Comparison,
        Evaluation,
        EvaluationReport,
        Metric,
    )

VersionArgument = Annotated[
    str, typer.Argument(help="NAME, NAME@NUMBER or NAME@ALIAS.", show_default=False)
]
WhoseArgument = Annotated[
    str, typer.Argument(metavar="MODEL[@NUMBER]", help="Whose.", show_default=False)
]
OnDataset = Annotated[str, typer.Option("--on", help="The dataset, NAME or NAME@NUMBER.")]
OfSplit = Annotated[
    str | None, typer.Option(help="[default: test, else validation, else the only one]")
]
Wait = Annotated[bool, typer.Option(help="Wait for the result, and show it.")]


def evaluate(
    context: typer.Context,
    version: VersionArgument,
    dataset: OnDataset,
    *,
    split: OfSplit = None,
    slices: Annotated[
        list[str] | None,
        typer.Option("--slice", help="Tell metrics apart by this column; may be repeated."),
    ] = None,
    groups: Annotated[
        list[str] | None,
        typer.Option(
            "--group",
            help="Compare the groups of this sensitive column: parity, odds, calibration; may be "
            "repeated.",
        ),
    ] = None,
    favourable: Annotated[
        str | None, typer.Option(help="The class that counts in that. [default: the second of two]")
    ] = None,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Measure a version on a split of a dataset, through the engine that serves it."""
    output = Output(as_json)
    with client_of(context) as client:
        job = client.evaluations.start(
            version,
            dataset,
            split=split,
            slices=slices or (),
            groups=groups or (),
            favourable=favourable,
        )
        if not wait:
            output.result(job.record, lambda: output.say(f"{job.id}: modelry jobs watch {job.id}"))
            return
        job.wait()
        found = client.evaluations.get(job.id)
    output.result(found, lambda: _show(found, output))


def evaluations(
    context: typer.Context,
    version: WhoseArgument,
    *,
    as_json: AsJson = False,
) -> None:
    """List what was measured of a model or a version."""
    model, number = model_and_number(version)
    with client_of(context) as client:
        found = client.evaluations.list(model, number)
    Output(as_json).result(found, lambda: _list(found))


def compare(
    context: typer.Context,
    versions: Annotated[
        list[str], typer.Argument(help="Two or more versions.", show_default=False)
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Show versions side by side, on what all of them were measured on."""
    if len(versions) < 2:
        raise usage_error("name two versions or more.", "VERSIONS")
    output = Output(as_json)
    with client_of(context) as client:
        found = client.evaluations.compare(*versions)
    output.result(found, lambda: _compared(found, output))


def card(
    context: typer.Context,
    version: Annotated[
        str, typer.Argument(metavar="MODEL@NUMBER", help="Whose.", show_default=False)
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write it into this file.")
    ] = None,
) -> None:
    """Print the model card of a version."""
    model, number = model_and_number(version)
    if number is None:
        raise usage_error("say the number of the version, as pets@3.", "VERSION")
    with client_of(context) as client:
        text = client.evaluations.card(model, number)
    if out is None:
        typer.echo(text)
    else:
        out.write_text(text, "utf-8")
        typer.echo(f"{out} written.", err=True)


def model_and_number(reference: str) -> tuple[str, int | None]:
    """The model and the number that `MODEL[@NUMBER]` means."""
    model, at, number = reference.partition("@")
    if at and not number.isdigit():
        raise usage_error(f"'{reference}' names no number of a version.", "VERSION")
    return model, int(number) if at else None


def _list(found: list[Evaluation]) -> None:
    rows = [
        (
            one.evaluation_id,
            one.version,
            one.dataset,
            one.split,
            one.rows,
            ", ".join(f"{name} {metric.value:.4f}" for name, metric in [*one.metrics.items()][:2]),
            time_text(one.created_at),
        )
        for one in found
    ]
    columns = ("EVALUATION", "VERSION", "DATASET", "SPLIT", "ROWS>", "METRICS", "MEASURED")
    table(columns, rows, empty="Nothing was measured yet.")


def _show(found: EvaluationReport, output: Output) -> None:
    output.say(f"{found.version} on {found.dataset}, split '{found.split}' ({found.rows} rows)")
    rows = [(name, f"{one.value:.4f}", _interval(one)) for name, one in found.metrics.items()]
    table(("METRIC", "VALUE>", "95 % INTERVAL"), rows, empty="")
    per_class: list[dict[str, Any]] = found.report.get("per_class") or []
    if per_class:
        heads = [*per_class[0]]
        cells = [tuple(_cell(one[head]) for head in heads) for one in per_class[:30]]
        output.say("")
        table(tuple(head.upper() for head in heads), cells, empty="")
        if len(per_class) > len(cells):
            output.say(f"(and {len(per_class) - len(cells)} classes more: --json tells all)")
    for column, slices in (found.report.get("slices") or {}).items():
        heads = [*slices[0]] if slices else []
        output.say("")
        output.say(f"By {column}:")
        table(
            tuple(head.upper() for head in heads),
            [tuple(_cell(one[head]) for head in heads) for one in slices],
            empty="",
        )
    for column, compared in (found.report.get("groups") or {}).items():
        _show_groups(column, compared, output)
    if found.speed:
        output.say("")
        output.say(
            f"{found.speed['rows_per_s']} rows/s; a batch of {found.speed['batch_rows']} rows took "
            f"{found.speed['p50_ms']} ms (median), {found.speed['p99_ms']} ms (p99)"
        )
    output.say(f"Evaluation {found.evaluation_id}")


def _show_groups(column: str, compared: dict[str, Any], output: Output) -> None:
    groups: list[dict[str, Any]] = compared["groups"]
    heads = [*groups[0]] if groups else []
    favourable = compared.get("favourable")
    output.say("")
    output.say(f"Groups by {column}" + (f", for '{favourable}':" if favourable else ":"))
    rows = [tuple(_cell(one.get(head)) for head in heads) for one in groups]
    table(tuple(head.upper() for head in heads), rows, empty="")


def _compared(found: Comparison, output: Output) -> None:
    if not found.splits:
        output.say("They were never measured on the same rows: modelry evaluate does that.")
    for split in found.splits:
        output.say(f"{split.dataset}, split '{split.split}'")
        rows = [
            (
                one.name,
                *(
                    f"{value.value:.4f}" + ("*" if at == one.best else "")
                    for at, value in enumerate(one.values)
                ),
                "clear" if one.is_clear else "may be chance",
            )
            for one in split.metrics
        ]
        table(("METRIC", *found.versions, "DIFFERENCE"), rows, empty="")


def _interval(one: Metric) -> str:
    return "" if one.low is None or one.high is None else f"{one.low:.4f} to {one.high:.4f}"


def _cell(value: Any) -> str:
    if isinstance(value, dict):  # a metric with its interval
        value = value["value"]
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)
