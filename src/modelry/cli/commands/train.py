"""`modelry train`, `modelry recipes`, `modelry lineage`, `modelry reproduce`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelry.cli.chaining import (
    AliasOption,
    DeploymentOption,
    Following,
    If,
    On,
    SplitOption,
    Then,
    follow,
)
from modelry.cli.commands.jobs import watched
from modelry.cli.failures import usage_error
from modelry.cli.output import AsJson, Output, table, time_text
from modelry.cli.session import client_of

if TYPE_CHECKING:
    from modelry.client.jobs import Job
    from modelry.client.training_records import Lineage, Recipe

Watch = Annotated[bool, typer.Option("--watch", help="Show how it goes, and wait for its end.")]
Reference = Annotated[str, typer.Argument(help="A version, such as fashion@1.", show_default=False)]


def train(
    context: typer.Context,
    recipe: Annotated[
        str, typer.Argument(help="A recipe; `modelry recipes` lists them.", show_default=False)
    ],
    dataset: Annotated[
        str, typer.Argument(help="A dataset, or a version such as faces@2.", show_default=False)
    ],
    *,
    name: Annotated[str, typer.Option(help="The model that gets the version.")],
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter", "-p", help="A parameter of the recipe, as name=value; JSON for lists."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="All randomness follows from it.")] = 0,
    base: Annotated[
        str | None, typer.Option(help="A version to train further, such as fashion@1.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="How many compute.")] = None,
    priority: Annotated[int, typer.Option(help="The highest goes first.", min=-100, max=100)] = 0,
    after: Annotated[
        list[str] | None, typer.Option(help="Id of a job that must succeed before.")
    ] = None,
    then: Then = None,
    conditions: If = None,
    on: On = None,
    split: SplitOption = None,
    alias: AliasOption = None,
    deployment: DeploymentOption = None,
    watch: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Train a model on a dataset, by a recipe; a version comes of it, and what follows is done."""
    from modelry.client.operations.training import training_order

    later = Following(then or (), conditions or (), on, split, alias, deployment).steps()
    given: dict[str, Any] = {
        "parameters": parameters_of(parameter),
        "seed": seed,
        "base": base,
        "threads": threads,
    }
    queueing: dict[str, Any] = {"priority": priority, "after": after or ()}
    with client_of(context) as client:
        if later:
            order = training_order(recipe, dataset, name, **given)
            jobs = client.jobs.chain(("train", order), *later, **queueing)
            follow(jobs, Output(as_json), watch=watch)
        else:
            job = client.training.start(recipe, dataset, name, **given, **queueing)
            follow_one(job, Output(as_json), watch=watch)


def reproduce(
    context: typer.Context,
    version: Reference,
    *,
    watch: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Train a version again as it was trained, and tell whether the same comes of it."""
    model, number = version_of(version)
    with client_of(context) as client:
        job = client.training.reproduce(model, number)
        follow_one(job, Output(as_json), watch=watch)


def recipes(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="Show this one's parameters.", show_default=False)
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List the ways to train, or the parameters of one."""
    output = Output(as_json)
    with client_of(context) as client:
        listed = client.training.recipes()
    if name is not None:
        found = _named(listed, name)
        output.result(found, lambda: _show_recipe(found, output))
        return

    def show() -> None:
        rows = [(one.name, ", ".join(one.tasks), one.summary) for one in listed]
        table(("RECIPE", "TASKS", "SUMMARY"), rows, empty="No recipes.")

    output.result(listed, show)


def lineage(context: typer.Context, version: Reference, *, as_json: AsJson = False) -> None:
    """Show where a version comes from: job, recipe, data, code, libraries and machine."""
    model, number = version_of(version)
    with client_of(context) as client:
        found = client.training.lineage(model, number)
    Output(as_json).result(found, lambda: _show_lineage(found))


def follow_one(job: Job, output: Output, *, watch: bool) -> None:
    """Watch it, or tell its id."""
    if watch:
        watched(job, output)
        return
    output.result(job.record, lambda: output.say(f"{job.id}: modelry jobs watch {job.id}"))


def parameters_of(given: list[str] | None) -> dict[str, Any]:
    """`name=value` options: a value is JSON where it can be read as such, else a text."""
    found: dict[str, Any] = {}
    for one in given or ():
        name, equals, value = one.partition("=")
        if not name or not equals:
            raise usage_error(f"'{one[:80]}' is not of the form name=value.", "--parameter")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def version_of(reference: str) -> tuple[str, int]:
    """Model and number of `name@3`."""
    model, at, number = reference.rpartition("@")
    if not at or not model or not number.isdecimal():
        raise usage_error(f"'{reference[:80]}' is no version; write name@number.", "VERSION")
    return model, int(number)


def _named(recipes: list[Recipe], name: str) -> Recipe:
    for one in recipes:
        if one.name == name:
            return one
    known = ", ".join(one.name for one in recipes) or "none"
    raise usage_error(f"there is no recipe '{name[:80]}'; there are: {known}.", "NAME")


def _show_recipe(recipe: Recipe, output: Output) -> None:
    output.say(f"{recipe.name}: {recipe.summary}")
    properties = recipe.parameters.get("properties", {})
    rows = [
        (name, _type_text(one), _default_text(one), one.get("description", ""))
        for name, one in properties.items()
    ]
    table(("PARAMETER", "TYPE", "DEFAULT", "WHAT"), rows, empty="No parameters.")


def _type_text(declared: dict[str, Any]) -> str:
    if "enum" in declared:
        return " / ".join(map(str, declared["enum"]))
    if "const" in declared:
        return str(declared["const"])
    if "anyOf" in declared:
        kinds = [_type_text(one) for one in declared["anyOf"] if one.get("type") != "null"]
        return " or ".join(kinds)
    return str(declared.get("type", "object"))


def _default_text(declared: dict[str, Any]) -> str:
    if "default" not in declared:
        return "required"
    default = declared["default"]
    return "" if default is None else json.dumps(default).strip('"')


def _show_lineage(found: Lineage) -> None:
    environment = found.environment
    machine = environment.get("machine", {})
    rows = [
        ("version", found.ref),
        ("job", f"{found.job_id}, by {found.created_by}, {time_text(found.created_at)}"),
        ("recipe", found.recipe),
        ("parameters", _pairs(found.parameters)),
        ("seed", found.seed),
        ("dataset", f"{found.dataset} {found.dataset_digest}"),
        ("base", found.base),
        ("weights", found.weights_digest),
        ("metrics", _pairs({name: f"{value:.6g}" for name, value in found.metrics.items()})),
        ("parity", f"{found.parity.get('max_abs', 0):.3g} on {found.parity.get('rows')} rows"),
        ("code", _pairs(environment.get("code", {}))),
        ("libraries", _pairs({"python": environment.get("python"), **_libraries(environment)})),
        ("machine", _pairs(machine)),
    ]
    table(("", ""), [row for row in rows if row[1] not in ("", None)], empty="")


def _libraries(environment: Any) -> dict[str, Any]:
    return dict(environment.get("libraries", {}))


def _pairs(values: Any) -> str:
    return ", ".join(
        f"{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in values.items()
    )
