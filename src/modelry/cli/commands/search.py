"""`modelry search`: better parameters of a recipe."""

from __future__ import annotations

import json
from typing import Annotated, Any

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
from modelry.cli.commands.train import Watch, follow_one, parameters_of
from modelry.cli.failures import usage_error
from modelry.cli.output import AsJson, Output
from modelry.cli.session import client_of

_HOW = "write name=low..high, name=low..high:log, name=low..high:step, or name=a,b,c"


def search(
    context: typer.Context,
    recipe: Annotated[
        str, typer.Argument(help="A recipe; `modelry recipes` lists them.", show_default=False)
    ],
    dataset: Annotated[
        str, typer.Argument(help="A dataset, or a version such as faces@2.", show_default=False)
    ],
    *,
    name: Annotated[str, typer.Option(help="The model that gets the best version.")],
    metric: Annotated[
        str, typer.Option(help="The curve that tells how good a trial is: validation_accuracy …")
    ],
    tried: Annotated[
        list[str],
        typer.Option(
            "--try",
            "-t",
            help="What to try: learning_rate=0.0001..0.1:log, epochs=5..20, batch_size=16,32; may "
            "be repeated.",
        ),
    ],
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter", "-p", help="A parameter for all trials, as name=value; JSON for lists."
        ),
    ] = None,
    trials: Annotated[int, typer.Option(help="How many at most.", min=1, max=1000)] = 20,
    goal: Annotated[
        str | None, typer.Option(help="maximize or minimize  [default: as the metric suggests]")
    ] = None,
    prune: Annotated[bool, typer.Option(help="End trials early that do worse than others.")] = True,
    register: Annotated[
        bool, typer.Option(help="Train with the best parameters, and register that.")
    ] = True,
    seed: Annotated[int, typer.Option(help="All randomness follows from it.")] = 0,
    base: Annotated[
        str | None, typer.Option(help="A version to train further, such as fashion@1.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="How many compute.")] = None,
    priority: Annotated[int, typer.Option(help="The highest goes first.", min=-100, max=100)] = 0,
    then: Then = None,
    conditions: If = None,
    on: On = None,
    split: SplitOption = None,
    alias: AliasOption = None,
    deployment: DeploymentOption = None,
    watch: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Train with other parameters many times; a version comes of the best."""
    from modelry.client.operations.training import search_order, training_order

    later = Following(then or (), conditions or (), on, split, alias, deployment).steps()
    given: dict[str, Any] = {
        "parameters": parameters_of(parameter),
        "seed": seed,
        "base": base,
        "threads": threads,
    }
    asked: dict[str, Any] = {
        "space": space_of(tried),
        "metric": metric,
        "trials": trials,
        "goal": goal,
        "prune": prune,
        "register": register,
    }
    with client_of(context) as client:
        if later:
            training = training_order(recipe, dataset, name, **given)
            order = search_order(training, **asked)
            jobs = client.jobs.chain(("search", order), *later, priority=priority)
            follow(jobs, Output(as_json), watch=watch)
        else:
            job = client.training.search(recipe, dataset, name, **given, **asked, priority=priority)
            follow_one(job, Output(as_json), watch=watch)


def space_of(given: list[str]) -> dict[str, Any]:
    """`name=low..high:log` and `name=a,b` options, as the server takes them."""
    space: dict[str, Any] = {}
    for one in given:
        name, equals, values = one.partition("=")
        if not name or not equals or not values:
            raise usage_error(f"'{one[:80]}' is not clear; {_HOW}.", "--try")
        if name in space:
            raise usage_error(f"'{name}' is given twice.", "--try")
        space[name] = _span(one, values) if ".." in values else _choices(values)
    return space


def _span(given: str, values: str) -> dict[str, Any]:
    bounds, colon, how = values.partition(":")
    low, _, high = bounds.partition("..")
    span: dict[str, Any] = {"low": _number(given, low), "high": _number(given, high)}
    if how == "log":
        span["log"] = True
    elif colon:
        span["step"] = _number(given, how)
    return span


def _number(given: str, word: str) -> Any:
    try:
        number = json.loads(word)
    except ValueError:
        number = None
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise usage_error(f"'{given[:80]}' is not clear; {_HOW}.", "--try")
    return number


def _choices(values: str) -> list[Any]:
    """JSON, or values with commas in between."""
    try:
        found = json.loads(values)
    except ValueError:
        found = None
    if isinstance(found, list):
        return found
    return [_value(one) for one in values.split(",")]


def _value(word: str) -> Any:
    try:
        return json.loads(word)
    except ValueError:
        return word
