"""What follows a training: options of `modelry train` and `modelry search`, and watching it all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelry.cli.failures import usage_error
from modelry.cli.output import Output, json_text

if TYPE_CHECKING:
    from modelry.client.jobs import Job

Step = tuple[str, dict[str, Any]]

KINDS = ("evaluate", "register", "deploy")
DEFAULT_ALIAS = "champion"

Then = Annotated[
    list[str] | None,
    typer.Option(
        "--then",
        help="What follows, in order: evaluate, register (the version gets an alias), deploy; may "
        "be repeated.",
    ),
]
If = Annotated[
    list[str] | None,
    typer.Option(
        "--if",
        help="Go on to register and deploy only if so: 'accuracy>=0.9', 'accuracy>=champion' (an "
        "alias), 'log_loss<pets@3'; may be repeated.",
    ),
]
On = Annotated[
    str | None, typer.Option("--on", help="Evaluate on this dataset.  [default: the training's]")
]
SplitOption = Annotated[
    str | None,
    typer.Option("--split", help="Evaluate on this split.  [default: test, else validation]"),
]
AliasOption = Annotated[
    str | None,
    typer.Option("--alias", help=f"What the version is called then.  [register: {DEFAULT_ALIAS}]"),
]
DeploymentOption = Annotated[
    str | None, typer.Option("--deployment", help="Deploy it so.  [default: the model's name]")
]


@dataclass(frozen=True, slots=True)
class Following:
    """What shall follow a training, as the options tell it."""

    then: Sequence[str]
    conditions: Sequence[str]
    on: str | None = None
    split: str | None = None
    alias: str | None = None
    deployment: str | None = None

    def steps(self) -> list[Step]:
        """The steps of the chain after the training.

        Raises:
            click.UsageError: options do not suit each other.
        """
        kinds = [one.strip() for word in self.then for one in word.split(",")]
        for one in kinds:
            if one not in KINDS:
                raise usage_error(f"'{one[:80]}' is none of {', '.join(KINDS)}.", "--then")
        if len({*kinds}) < len(kinds):
            raise usage_error("name each step once.", "--then")
        self._check_needed(kinds)
        steps: list[Step] = [(one, self._parameters(one, kinds)) for one in kinds]
        gated = next((given for kind, given in steps if kind in ("register", "deploy")), None)
        if gated is not None and self.conditions:
            gated["when"] = list(self.conditions)
        return steps

    def _check_needed(self, kinds: Sequence[str]) -> None:
        needs: Sequence[tuple[str, Any, tuple[str, ...]]] = (
            ("--if", self.conditions, ("register", "deploy")),
            ("--alias", self.alias, ("register", "deploy")),
            ("--deployment", self.deployment, ("deploy",)),
            ("--on", self.on, ("evaluate",)),
            ("--split", self.split, ("evaluate",)),
        )
        for option, value, some in needs:
            if value and not {*some} & {*kinds}:
                raise usage_error(f"it needs --then {' or --then '.join(some)}.", option)

    def _parameters(self, kind: str, kinds: Sequence[str]) -> dict[str, Any]:
        if kind == "evaluate":
            given = {"dataset": self.on, "split": self.split}
        elif kind == "register":
            given = {"alias": self.alias or DEFAULT_ALIAS}
        else:
            alias = None if "register" in kinds else self.alias
            given = {"deployment": self.deployment, "alias": alias}
        return {name: value for name, value in given.items() if value is not None}


def follow(jobs: Sequence[Job], output: Output, *, watch: bool) -> None:
    """Watch the jobs of a chain one after the other, or tell their ids; ends the command with 1
    unless all have succeeded.
    """
    if watch:
        for job in jobs:
            job.wait(check=False)
    records = [job.record for job in jobs]

    def tell() -> None:
        for one in records:
            if not watch:
                output.say(f"{one.job_id} ({one.kind}): modelry jobs watch {one.job_id}")
            elif one.outcome:
                output.say(f"{one.job_id} ({one.kind}):")
                typer.echo(json_text(one.outcome))

    output.result(records, tell)
    if watch and any(one.state != "succeeded" for one in records):
        raise typer.Exit(1)
