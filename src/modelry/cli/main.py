"""The `modelry` command: its global options and its list of commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelry.cli.commands import (
    alias,
    audit,
    catalog,
    chat,
    classify,
    datasets,
    deploy,
    detect,
    doctor,
    embed,
    encryption,
    evaluations,
    explain,
    explanations,
    infer,
    jobs,
    keys,
    logs,
    members,
    models,
    prices,
    pull,
    quotas,
    register,
    requests,
    scale,
    search,
    shares,
    sign_in,
    status,
    tabular,
    tenant,
    tenants,
    train,
    undeploy,
    up,
    usage,
    versions,
    write,
)
from modelry.cli.groups import command_group
from modelry.cli.session import Session

app = command_group(
    "Self-hosted AI models as a service: start a server, fill it, ask it.",
    name="modelry",
    no_args_is_help=True,
)


def _print_version(*, wanted: bool) -> None:
    if wanted:
        from modelry import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    *,
    url: Annotated[str | None, typer.Option(envvar="MODELRY_URL", help="The server's URL.")] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="MODELRY_API_KEY",
            help="Your API key; better given by the environment, which others cannot list.",
        ),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            envvar="MODELRY_CA", help="PEM file of the authority that vouches for the server."
        ),
    ] = None,
    version: Annotated[  # noqa: ARG001 - acts by its callback
        bool,
        typer.Option(
            "--version",
            callback=lambda value: _print_version(wanted=value),
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None:
    """Self-hosted AI models as a service: start a server, fill it, ask it."""
    context.obj = Session(url, api_key, ca)


_SERVER = "Server"
_MODELS = "Models"
_TRAIN = "Train"
_ASK = "Ask"

app.command("up", rich_help_panel=_SERVER)(up.up)
app.command("status", rich_help_panel=_SERVER)(status.status)
app.command("doctor", rich_help_panel=_SERVER)(doctor.doctor)
app.command("sign-in", rich_help_panel=_SERVER)(sign_in.sign_in)
app.command("sign-out", rich_help_panel=_SERVER)(sign_in.sign_out)
app.add_typer(audit.app, name="audit", rich_help_panel=_SERVER)
app.command("usage", rich_help_panel=_SERVER)(usage.usage)
app.command("trace", rich_help_panel=_SERVER)(usage.trace)
app.add_typer(prices.app, name="prices", rich_help_panel=_SERVER)
app.add_typer(keys.app, name="keys", rich_help_panel=_SERVER)
app.add_typer(members.app, name="members", rich_help_panel=_SERVER)
app.add_typer(tenant.app, name="tenant", rich_help_panel=_SERVER)
app.add_typer(tenants.app, name="tenants", rich_help_panel=_SERVER)
app.add_typer(shares.app, name="shares", rich_help_panel=_SERVER)
app.add_typer(encryption.app, name="encryption", rich_help_panel=_SERVER)
app.add_typer(quotas.app, name="quotas", rich_help_panel=_SERVER)

app.command("catalog", rich_help_panel=_MODELS)(catalog.catalog)
app.command("pull", rich_help_panel=_MODELS)(pull.pull)
app.command("register", rich_help_panel=_MODELS)(register.register)
app.add_typer(models.app, name="models", rich_help_panel=_MODELS)
app.command("versions", rich_help_panel=_MODELS)(versions.versions)
app.add_typer(alias.app, name="alias", rich_help_panel=_MODELS)
app.command("deploy", rich_help_panel=_MODELS)(deploy.deploy)
app.command("undeploy", rich_help_panel=_MODELS)(undeploy.undeploy)
app.command("scale", rich_help_panel=_MODELS)(scale.scale)
app.command("logs", rich_help_panel=_MODELS)(logs.logs)
app.add_typer(requests.app, name="requests", rich_help_panel=_MODELS)
app.add_typer(jobs.app, name="jobs", rich_help_panel=_MODELS)

app.add_typer(datasets.app, name="datasets", rich_help_panel=_TRAIN)
app.command("recipes", rich_help_panel=_TRAIN)(train.recipes)
app.command("train", rich_help_panel=_TRAIN)(train.train)
app.command("search", rich_help_panel=_TRAIN)(search.search)
app.command("evaluate", rich_help_panel=_TRAIN)(evaluations.evaluate)
app.command("evaluations", rich_help_panel=_TRAIN)(evaluations.evaluations)
app.command("compare", rich_help_panel=_TRAIN)(evaluations.compare)
app.command("card", rich_help_panel=_TRAIN)(evaluations.card)
app.command("explain-dataset", rich_help_panel=_TRAIN)(explanations.explain_dataset)
app.command("explanations", rich_help_panel=_TRAIN)(explanations.explanations)
app.command("lineage", rich_help_panel=_TRAIN)(train.lineage)
app.command("reproduce", rich_help_panel=_TRAIN)(train.reproduce)

app.command("chat", rich_help_panel=_ASK)(chat.chat)
app.command("embed", rich_help_panel=_ASK)(embed.embed)
app.command("classify", rich_help_panel=_ASK)(classify.classify)
app.command("detect", rich_help_panel=_ASK)(detect.detect)
app.command("tabular", rich_help_panel=_ASK)(tabular.tabular)
app.command("translate", rich_help_panel=_ASK)(write.translate)
app.command("summarize", rich_help_panel=_ASK)(write.summarize)
app.command("infer", rich_help_panel=_ASK)(infer.infer)
app.command("explain", rich_help_panel=_ASK)(explain.explain)
