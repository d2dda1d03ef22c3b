"""Recipes as the server sees them: declared in full, and without any framework."""

import subprocess
import sys

import pytest

from modelry.domain.errors import InvalidInput, NotSupported
from modelry.training import registry
from modelry.training.registry import check_installed, find_recipe, read_parameters, recipes

WITHOUT_FRAMEWORKS = """
import sys
import modelry.bootstrap.server
from modelry.training.registry import recipes
for recipe in recipes().values():
    recipe.parameters.model_json_schema()
heavy = {"torch", "keras", "tensorflow", "onnxruntime", "pyarrow", "gensim", "optuna", "sklearn"}
print(" ".join(sorted(heavy & set(sys.modules))))
"""


def test_the_server_imports_no_framework_for_them():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_FRAMEWORKS], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", list(recipes()))
def test_every_recipe_says_what_it_takes(name):
    recipe = find_recipe(name)
    assert recipe.name == name
    assert recipe.summary.endswith(".")
    assert recipe.tasks
    schema = recipe.parameters.model_json_schema()
    for parameter, declared in schema["properties"].items():
        assert declared.get("description"), f"{name}: {parameter} is not described"
    with pytest.raises(InvalidInput, match="no parameter 'nonsense'"):
        read_parameters(recipe, {"nonsense": 1})


def test_a_server_without_the_libraries_of_training_says_how_to_install_them(monkeypatch):
    recipe = find_recipe("tabular")
    check_installed(recipe)
    monkeypatch.setattr(registry, "find_spec", lambda _name: None)
    with pytest.raises(NotSupported, match="make training"):
        check_installed(recipe)
