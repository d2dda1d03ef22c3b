"""`modelry jobs`: long work on the server."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelry.cli.groups import command_group
from modelry.cli.output import AsJson, Output, json_text, size_text, table, time_text
from modelry.cli.session import client_of

if TYPE_CHECKING:
    from modelry.client.job_records import JobRecord
    from modelry.client.jobs import Job

app = command_group(
    "Long work on the server, such as imports and training: see it, follow it, end it.",
    no_args_is_help=True,
)

JobId = Annotated[str, typer.Argument(help="As 'jobs list' shows it.", show_default=False)]


@app.command("list")
def list_jobs(
    context: typer.Context,
    *,
    kind: Annotated[list[str] | None, typer.Option(help="Only of this kind.")] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(
            help="Only in this state: queued, running, paused, succeeded, failed, cancelled."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=500)] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with client_of(context) as client:
        found = [
            one.record for one in client.jobs.list(kind=kind or (), state=state or (), limit=limit)
        ]
    Output(as_json).result(found, lambda: _show_all(found))


def _show_all(found: Sequence[JobRecord]) -> None:
    from modelry.client.job_display import progress_text, state_text

    rows = []
    for one in found:
        is_under_way = one.progress is not None and not one.has_ended
        note = progress_text(one.progress) if is_under_way and one.progress else ""
        if one.error is not None:
            note = one.error.message
        rows.append(
            (
                one.job_id,
                one.kind,
                one.name,
                one.state if one.has_ended else state_text(one),
                time_text(one.submitted_at),
                _took(one),
                note[:80],
            )
        )
    table(("ID", "KIND", "NAME", "STATE", "SUBMITTED", "TOOK>", ""), rows, empty="No jobs.")


def _took(one: JobRecord) -> str:
    from modelry.client.job_display import duration_text

    if one.started_at is None or one.ended_at is None:
        return ""
    return duration_text((one.ended_at - one.started_at).total_seconds())


@app.command("show")
def show(context: typer.Context, job_id: JobId, *, as_json: AsJson = False) -> None:
    """Show a job, its attempts and its files."""
    with client_of(context) as client:
        found = client.jobs.get(job_id).record
    output = Output(as_json)
    output.result(found, lambda: _say_all(output, found))


def _say_all(output: Output, one: JobRecord) -> None:
    from modelry.client.job_display import progress_text, state_text

    lines: list[tuple[str, Any]] = [
        ("Job", one.job_id),
        ("Kind", one.kind),
        ("Name", one.name),
        ("State", state_text(one)),
        ("Progress", progress_text(one.progress) if one.progress else ""),
        ("Submitted", f"{time_text(one.submitted_at)} by {one.submitted_by}"),
        ("Begins after", ", ".join(one.after)),
        ("Not before", time_text(one.not_before)),
        ("Started", time_text(one.started_at)),
        ("Ended", time_text(one.ended_at)),
        ("Parameters", json_text(one.parameters) if one.parameters else ""),
        ("Outcome", json_text(one.outcome) if one.outcome else ""),
    ]
    for name, value in lines:
        if value:
            first, *rest = str(value).splitlines()
            output.say(f"{name:<14}{first}")
            for line in rest:
                output.say(f"{'':<14}{line}")
    for attempt in one.history:
        reason = "" if attempt.error is None else f": {attempt.error.message}"
        how = attempt.outcome or "under way"
        used = f", {attempt.cpu_s:.1f} s of processor time" if attempt.cpu_s else ""
        output.say(f"{f'Attempt {attempt.number}':<14}{how}, on {attempt.server_id}{used}{reason}")
    for artefact in one.artefacts:
        output.say(f"{'File':<14}{artefact.name} ({size_text(artefact.size_bytes)})")


@app.command("watch")
def watch(context: typer.Context, job_id: JobId, *, as_json: AsJson = False) -> None:
    """Follow a job until it has ended; exit code 1 unless it has succeeded.

    Ctrl-C stops following; the job goes on.
    """
    with client_of(context) as client:
        watched(client.jobs.get(job_id), Output(as_json))


def watched(job: Job, output: Output) -> None:
    """Follow a job and tell its outcome; ends the command with 1 unless it has succeeded."""
    job.wait(check=False)
    record = job.record

    def tell() -> None:
        if record.outcome:
            typer.echo(json_text(record.outcome))

    output.result(record, tell)
    if record.state != "succeeded":
        raise typer.Exit(1)


@app.command("logs")
def logs(
    context: typer.Context,
    job_id: JobId,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print what a job told."""
    output = Output(as_json)
    with client_of(context) as client:
        job = client.jobs.get(job_id)
        if follow:
            for event in job.events():
                for line in event.lines:
                    output.result({"line": line}, lambda line=line: output.say(line))  # type: ignore[misc] # mypy cannot infer lambdas with defaults
            return
        found = job.log()

    def tell() -> None:
        for one in found:
            output.say(one.line)

    output.result(found, tell)


@app.command("metrics")
def metrics(context: typer.Context, job_id: JobId, *, as_json: AsJson = False) -> None:
    """Print the curves of a job: the values of each step."""
    with client_of(context) as client:
        points = client.jobs.get(job_id).metrics()
    names = list(dict.fromkeys(name for point in points for name in point.values))

    def tell() -> None:
        rows = [
            (point.step, *("" if (value := point.values.get(name)) is None else f"{value:.6g}"
                           for name in names))
            for point in points
        ]  # fmt: skip
        table(("STEP>", *(f"{name}>" for name in names)), rows, empty="It told no metrics.")

    Output(as_json).result(points, tell)


@app.command("download")
def download(
    context: typer.Context,
    job_id: JobId,
    name: Annotated[str, typer.Argument(help="The file, as 'jobs show' names it.")],
    *,
    to: Annotated[
        Path | None, typer.Option("--to", help="Where to; its own name by default, - for stdout.")
    ] = None,
) -> None:
    """Save a file that is kept with a job."""
    with client_of(context) as client:
        job = client.jobs.get(job_id)
        if to == Path("-"):
            sys.stdout.buffer.write(job.read_artefact(name))
            return
        saved = job.download(name, to)
    typer.echo(f"Saved {saved}.", err=True)


@app.command("cancel")
def cancel(context: typer.Context, job_id: JobId, *, as_json: AsJson = False) -> None:
    """End a job for good; what it has done so far is lost."""
    with client_of(context) as client:
        _acted(client.jobs.get(job_id).cancel(), Output(as_json))


@app.command("pause")
def pause(context: typer.Context, job_id: JobId, *, as_json: AsJson = False) -> None:
    """Have a job wait until it is resumed."""
    with client_of(context) as client:
        _acted(client.jobs.get(job_id).pause(), Output(as_json))


@app.command("resume")
def resume(context: typer.Context, job_id: JobId, *, as_json: AsJson = False) -> None:
    """Let a paused or failed job go on from its last checkpoint."""
    with client_of(context) as client:
        _acted(client.jobs.get(job_id).resume(), Output(as_json))


def _acted(job: Job, output: Output) -> None:
    from modelry.client.job_display import state_text

    output.result(job.record, lambda: output.say(f"Job {job.id} is {state_text(job.record)}."))
