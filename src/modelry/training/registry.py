"""Recipes by name, from the entry point group `modelry.recipes`; imports no framework."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from modelry.domain.errors import InvalidInput, NotSupported
from modelry.training.contract import Parameters, Recipe

GROUP = "modelry.recipes"
_FRAMEWORK = "torch"


@cache
def recipes() -> Mapping[str, Recipe]:
    """All recipes that are installed, by name, sorted."""
    found: dict[str, Recipe] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda one: one.name):
        recipe: Recipe = point.load()()
        found[recipe.name] = recipe
    return MappingProxyType(found)


def find_recipe(name: str) -> Recipe:
    """The recipe called `name`.

    Raises:
        InvalidInput: there is none; says which there are.
    """
    recipe = recipes().get(name)
    if recipe is None:
        raise InvalidInput(
            f"There is no recipe '{name[:80]}'; there are: {', '.join(recipes()) or 'none'}.",
            param="recipe",
        )
    return recipe


def check_installed(recipe: Recipe) -> None:
    """See that this server has what our own recipes are made with.

    Raises:
        NotSupported: it has not; says how to install it.
    """
    if type(recipe).__module__.startswith("modelry.") and find_spec(_FRAMEWORK) is None:
        raise NotSupported(
            f"Recipe '{recipe.name}' needs libraries that this server has not. Install them there: "
            "make training, or pip install 'modelry[train]'.",
            param="recipe",
        )


def read_parameters(recipe: Recipe, given: Mapping[str, Any]) -> Parameters:
    """The parameters of a recipe, with its defaults where nothing is given.

    Raises:
        InvalidInput: one is unknown, or not as expected; says which.
    """
    try:
        return recipe.parameters.model_validate(dict(given))
    except ValidationError as error:
        found = error.errors(include_url=False)
        # a misspelt name also makes another one missing
        first = min(found, key=lambda one: one["type"] != "extra_forbidden")
        where = ".".join(map(str, first["loc"])) or "parameters"
        if first["type"] == "extra_forbidden":
            known = ", ".join(recipe.parameters.model_fields)
            told = f"recipe '{recipe.name}' has no parameter '{where[:80]}'; it has: {known}"
        else:
            told = f"parameter '{where[:80]}' of recipe '{recipe.name}': {first['msg']}"
            if first["type"] != "missing":
                told += f" (given: {str(first['input'])[:80]})"
        raise InvalidInput(f"{told[0].upper()}{told[1:]}.", param=f"parameters.{where}") from None
