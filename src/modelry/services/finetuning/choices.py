"""Which recipe trains a base further, how its files are read, and what hyperparameters mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelry.domain.catalog import Version
from modelry.domain.errors import InvalidInput, NotSupported, UnsupportedField
from modelry.domain.lineage import Lineage
from modelry.services.finetuning.order import Wanted
from modelry.training.contract import BaseVersion, ChecksBase, Recipe
from modelry.training.registry import check_installed, read_parameters, recipes

TRAINING_FILE, VALIDATION_FILE = "training_file", "validation_file"
_HYPERPARAMETERS = {
    "n_epochs": "epochs",
    "batch_size": "batch_size",
    "learning_rate_multiplier": "learning_rate",
}
_PER_RUN = ("epochs", "early_stopping", "_split", "_column")
"""How parameters of the base's own training end that say nothing of another one."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How bases of a task are trained further.

    Attributes:
        recipe: its name.
        format: of files, as imports call it.
        options: of the format.
        parameters: of the recipe, that follow from the task.
        without_effect: hyperparameters that the recipe does not look at, and what to give instead.
    """

    recipe: str
    format: str
    options: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    without_effect: Mapping[str, str] = field(default_factory=dict)


def _texts(task: str) -> Choice:
    return Choice(
        recipe="seq2seq",
        format="jsonl",
        options={"source": "prompt", "target": "completion"},
        parameters={"task": task},
        without_effect={"batch_size": "parameters.tokens_per_batch"},
    )


CHOICES: Mapping[str, Choice] = {
    "chat": Choice(recipe="chat", format="chat"),
    "summarization": _texts("summarization"),
    "translation": _texts("translation"),
}
"""By the base's task. Other recipes begin anew: what they make is no fine-tuned base."""


def choice_for(task: str, ref: str) -> tuple[Choice, Recipe]:
    """How a base of `task` is trained further.

    Args:
        task: of the base.
        ref: what the base is called in messages.

    Raises:
        InvalidInput: it cannot be.
        NotSupported: this server has no recipe for it.
    """
    choice = CHOICES.get(task)
    if choice is None:
        raise InvalidInput(
            f"Model '{ref}' has the task '{task}'; models of the tasks {', '.join(CHOICES)} can be "
            "fine-tuned. Train a model of this task with `modelry train`.",
            param="model",
        )
    recipe = recipes().get(choice.recipe)
    if recipe is None:
        raise NotSupported(
            f"Models of the task '{task}' are fine-tuned by the recipe '{choice.recipe}', which "
            "this server does not have.",
            param="model",
        )
    check_installed(recipe)
    return choice, recipe


def chosen_parameters(
    recipe: Recipe, choice: Choice, wanted: Wanted, lineage: Lineage | None
) -> dict[str, Any]:
    """All parameters of the recipe.

    Those that the base itself was trained with are kept where nothing else is asked for: it has the
    sizes that they say.

    Raises:
        InvalidInput: one is unknown, or not as expected; names it as the caller knows it.
        UnsupportedField: a hyperparameter that the recipe does not look at.
    """
    given: dict[str, Any] = {}
    if lineage is not None and lineage.recipe == choice.recipe:
        known = [one for one in recipe.parameters.model_fields if not one.endswith(_PER_RUN)]
        given |= {name: value for name, value in lineage.parameters.items() if name in known}
    given |= choice.parameters
    for name, parameter in _HYPERPARAMETERS.items():
        value = getattr(wanted, name)
        if value is None:
            continue
        if name in choice.without_effect:
            raise UnsupportedField(
                f"{_where(name)} has no effect on recipe '{recipe.name}'; give "
                f"'{choice.without_effect[name]}' instead.",
                param=_where(name),
            )
        if parameter in wanted.parameters:
            raise InvalidInput(
                f"{_where(name)} and parameters.{parameter} say the same; give one of them.",
                param=_where(name),
            )
        if name == "learning_rate_multiplier":
            usual = given.get(parameter, _default(recipe, parameter))
            value = value * usual
        given[parameter] = value
    try:
        return read_parameters(recipe, {**given, **wanted.parameters}).model_dump(mode="json")
    except InvalidInput as error:
        raise InvalidInput(error.message, param=_blamed(error.param, wanted)) from None


def check_base(recipe: Recipe, version: Version, training: Mapping[str, Any]) -> None:
    """See that a recipe can begin from a version, where it says so before it trains.

    Raises:
        InvalidInput: it cannot; says what it takes.
    """
    if not isinstance(recipe, ChecksBase):
        return
    base = BaseVersion(version.ref, version.manifest)
    try:
        recipe.check_base(
            base, [one.role for one in version.files], recipe.parameters.model_validate(training)
        )
    except InvalidInput as error:
        raise InvalidInput(error.message, param="model") from None


def told_hyperparameters(wanted: Wanted, training: Mapping[str, Any]) -> dict[str, Any]:
    """What OpenAI's door tells of them: the values that are used."""
    return {
        "n_epochs": training.get("epochs", "auto"),
        "batch_size": training.get("batch_size", "auto"),
        "learning_rate_multiplier": wanted.learning_rate_multiplier or 1.0,
    }


def import_options(choice: Choice, *, has_validation: bool) -> dict[str, Any]:
    """Options of the import of the files: which of them is which split."""
    splits = {"train": [TRAINING_FILE]}
    if has_validation:
        splits["validation"] = [VALIDATION_FILE]
    return {**choice.options, "splits": splits}


def _default(recipe: Recipe, parameter: str) -> float:
    return float(recipe.parameters.model_fields[parameter].default)


def _where(name: str) -> str:
    return f"method.supervised.hyperparameters.{name}"


def _blamed(param: str | None, wanted: Wanted) -> str | None:
    """The field of the caller's request that gave a parameter."""
    parameter = (param or "").removeprefix("parameters.")
    for name, own in _HYPERPARAMETERS.items():
        if own == parameter and getattr(wanted, name) is not None:
            return _where(name)
    return param
