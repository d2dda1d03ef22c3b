"""`modelry datasets`: rows to train and evaluate on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelry.cli.confirmation import Yes, confirm
from modelry.cli.dataset_output import show_report, show_rows, show_version
from modelry.cli.failures import FAILED, usage_error
from modelry.cli.groups import command_group
from modelry.cli.job_bar import JobBar
from modelry.cli.output import AsJson, Output, size_text, table, time_text
from modelry.cli.session import client_of
from modelry.cli.transfers import TransferBars

if TYPE_CHECKING:
    from modelry.client.dataset_records import DatasetVersion
    from modelry.client.operations.datasets import ImportOptions

app = command_group("Import, list, show, derive and delete datasets.")

Ref = Annotated[
    str, typer.Argument(help="Such as digits@3, or digits for the newest.", show_default=False)
]
Detach = Annotated[bool, typer.Option("--detach", help="Only start the job, and print its id.")]


@app.command("import")
def import_files(
    context: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Files, or a folder of files: CSV, JSON lines, Parquet, NumPy .npz, IDX (MNIST), "
            "a folder of images per class, COCO, YOLO, TSV, TMX. Or a dataset on a hub: "
            "hf://datasets/org/repo@revision/folder.",
            show_default=False,
        ),
    ],
    *,
    name: Annotated[str | None, typer.Option(help="Of the dataset; made of the file's.")] = None,
    format: Annotated[  # noqa: A002 - the option's name
        str | None, typer.Option(help="Of the files, where they do not tell it.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="The column that is to be predicted.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="An option of the format, such as delimiter=';'; may be repeated."),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(help="Share rows out: train=0.8, and again test=0.2."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the sharing out.", min=0)] = 0,
    stratify: Annotated[
        str | None, typer.Option(help="Share each value of this column out alike.")
    ] = None,
    skip_bad_rows: Annotated[
        bool, typer.Option("--skip-bad-rows", help="Leave rows out that cannot be used.")
    ] = False,
    detach: Detach = False,
    as_json: AsJson = False,
) -> None:
    """Import files as a new version of a dataset; what the server has is not sent again."""
    _check_paths(paths)
    options = _options(option or [])
    if label is not None:
        options["label"] = label
    if skip_bad_rows:
        options["on_bad_rows"] = "skip"
    asked: ImportOptions = {"options": options}
    if format is not None:
        asked["format"] = format
    if split:
        asked |= {"split": _fractions(split), "seed": seed}
        if stratify is not None:
            asked["stratify"] = stratify
    elif stratify is not None:
        raise usage_error("it says how rows are shared out; give --split too.", "--stratify")
    with client_of(context) as client:
        with TransferBars() as bars:
            job_id = client.datasets.start_import(paths, name, progress=bars.sent, **asked)
        if detach:
            _tell_job(job_id, as_json=as_json)
            return
        with JobBar() as bar:
            made = client.datasets.await_version(job_id, watch=bar.told)
    _tell_made(made, as_json=as_json)


@app.command("derive")
def derive(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Of what is made.", show_default=False)],
    sources: Annotated[
        list[str],
        typer.Argument(help="Versions such as digits@3; several are appended.", show_default=False),
    ],
    *,
    filter: Annotated[  # noqa: A002 - the option's name
        str | None,
        typer.Option(help="Keep the rows for which it is true: 'label != \"other\" and n >= 3'."),
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Share rows out: train=0.8, and again test=0.2.")
    ] = None,
    of: Annotated[str | None, typer.Option(help="The only split that is shared out.")] = None,
    seed: Annotated[int, typer.Option(help="Of the sharing out.", min=0)] = 0,
    distinct: Annotated[
        bool, typer.Option("--distinct", help="Keep the first of rows that are the same.")
    ] = False,
    step: Annotated[
        list[str] | None,
        typer.Option(help='A step as JSON, such as \'{"drop": ["id"]}\'; may be repeated.'),
    ] = None,
    detach: Detach = False,
    as_json: AsJson = False,
) -> None:
    """Make a version of others: first --filter, then each --step, then --distinct and --split."""
    steps: list[Mapping[str, Any]] = [] if filter is None else [{"filter": filter}]
    steps += [_step(one) for one in step or ()]
    if distinct:
        steps.append({"distinct": True})
    if split:
        plan = {"split": {"fractions": _fractions(split), "seed": seed}}
        steps.append(plan | ({} if of is None else {"of": of}))
    elif of is not None:
        raise usage_error("it says what is shared out; give --split too.", "--of")
    with client_of(context) as client:
        job_id = client.datasets.start_derive(name, sources, steps)
        if detach:
            _tell_job(job_id, as_json=as_json)
            return
        with JobBar() as bar:
            made = client.datasets.await_version(job_id, watch=bar.told)
    _tell_made(made, as_json=as_json)


@app.command("list")
def list_datasets(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="Of one, to list its versions.", show_default=False)
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List datasets, or the versions of one."""
    with client_of(context) as client:
        if name is not None:
            versions = client.datasets.versions(name)
            Output(as_json).result(versions, lambda: _versions_table(versions))
            return
        found = client.datasets.list()
    newest = [one.newest for one in found if one.newest is not None]
    Output(as_json).result(found, lambda: _versions_table(newest))


@app.command("show")
def show(context: typer.Context, ref: Ref, *, as_json: AsJson = False) -> None:
    """Show a version: columns, splits, statistics, where it came from."""
    output = Output(as_json)
    with client_of(context) as client:
        version = client.datasets.get(ref)
    output.result(version, lambda: show_version(output, version))


@app.command("validate")
def validate(context: typer.Context, ref: Ref, *, as_json: AsJson = False) -> None:
    """Show what is wrong with a version's rows; ends with 1 if something is an error."""
    output = Output(as_json)
    with client_of(context) as client:
        version = client.datasets.get(ref)
    output.result(version.report, lambda: show_report(output, version))
    findings = version.report.get("findings", ())
    if any(one.get("severity") == "error" for one in findings):
        raise typer.Exit(FAILED)


@app.command("rows")
def rows(
    context: typer.Context,
    ref: Ref,
    *,
    split: Annotated[str | None, typer.Option(help="Whose; the first by default.")] = None,
    offset: Annotated[int, typer.Option(help="How many to pass over.", min=0)] = 0,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=1000)] = 20,
    column: Annotated[
        list[str] | None, typer.Option(help="Only this column; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look at some rows."""
    most = None if as_json else 4096
    with client_of(context) as client:
        found = client.datasets.rows(
            ref, split, offset=offset, limit=limit, columns=column, max_value_bytes=most
        )
    output = Output(as_json)
    output.result(found, lambda: show_rows(output, found))


@app.command("delete")
def delete(
    context: typer.Context,
    ref: Annotated[
        str, typer.Argument(help="A version (digits@3), or a whole dataset.", show_default=False)
    ],
    *,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete a version, or a dataset with all its versions."""
    what = f"version {ref}" if "@" in ref else f"dataset '{ref}' with all its versions"
    confirm(f"Delete {what}?", yes=yes)
    with client_of(context) as client:
        client.datasets.delete(ref)
    output = Output(as_json)
    output.result({"deleted": ref}, lambda: output.say(f"Deleted {what}."))


def _check_paths(paths: Sequence[str]) -> None:
    from modelry.client.operations.datasets import is_on_a_hub

    for path in paths:
        if len(paths) == 1 and is_on_a_hub(path):
            return
        if not Path(path).exists():
            raise usage_error(f"there is no file or folder '{path}'.", "PATHS")


def _versions_table(versions: Sequence[DatasetVersion]) -> None:
    lines = [
        (
            one.ref,
            one.rows,
            ", ".join(f"{split.name} {split.rows}" for split in one.splits),
            len(one.columns),
            size_text(sum(split.size_bytes for split in one.splits)),
            time_text(one.created_at),
        )
        for one in versions
    ]
    columns = ("DATASET", "ROWS>", "SPLITS", "COLUMNS>", "SIZE>", "CREATED")
    table(columns, lines, empty="No datasets yet; see 'modelry datasets import'.")


def _tell_made(made: DatasetVersion, *, as_json: bool) -> None:
    output = Output(as_json)
    output.result(made, lambda: show_version(output, made))


def _tell_job(job_id: str, *, as_json: bool) -> None:
    output = Output(as_json)
    output.result({"job_id": job_id}, lambda: output.say(job_id))


def _options(given: Sequence[str]) -> dict[str, Any]:
    """`name=value` pairs; a value that is JSON is taken as such, any other as text."""
    options: dict[str, Any] = {}
    for one in given:
        name, is_pair, value = one.partition("=")
        if not is_pair or not name:
            raise usage_error(f"'{one}' is not name=value.", "--option")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


def _fractions(given: Sequence[str]) -> dict[str, float]:
    fractions: dict[str, float] = {}
    for one in given:
        name, _, share = one.partition("=")
        try:
            fractions[name] = float(share)
        except ValueError:
            raise usage_error(f"'{one}' is not such as train=0.8.", "--split") from None
    return fractions


def _step(text: str) -> Mapping[str, Any]:
    try:
        step = json.loads(text)
    except ValueError as error:
        raise usage_error(f"'{text}' is no JSON: {error}.", "--step") from None
    if not isinstance(step, dict):
        raise usage_error(f"'{text}' is no JSON object.", "--step")
    return step
