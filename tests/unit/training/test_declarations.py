import subprocess
import sys
from importlib.metadata import entry_points

import pytest

RECIPES = sorted(entry_points(group="modelry.recipes"), key=lambda one: one.name)
HEAVY = ("torch", "keras", "pyarrow", "sklearn", "onnx", "onnxruntime", "gensim", "sacrebleu")


def test_no_recipe_s_declaration_imports_a_framework():
    """The server's own process reads them; what it must not load is loaded in works only."""
    program = "\n".join(
        [
            "import sys",
            "from importlib.metadata import entry_points",
            "for one in entry_points(group='modelry.recipes'):",
            "    one.load().parameters.model_json_schema()",
            f"print([one for one in {HEAVY} if one in sys.modules])",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("point", RECIPES, ids=lambda one: one.name)
def test_every_recipe_says_what_it_is_and_what_its_parameters_mean(point):
    recipe = point.load()()
    assert recipe.name == point.name
    assert recipe.summary.endswith(".")
    assert recipe.tasks
    fields = recipe.parameters.model_fields
    assert {name for name, field in fields.items() if not field.description} == set()
    assert {name for name, field in fields.items() if field.is_required()} == set()
