"""What `image-classification` says of a base version before anything is queued."""

from __future__ import annotations

import pytest

from modelry.domain.errors import InvalidInput
from modelry.training.contract import BaseVersion, ChecksBase
from modelry.training.recipes.image_classification import ImageClassification
from modelry.training.recipes.image_classification.base import scored_output

RECIPE = ImageClassification()
STEPS = [{"step": "decode", "colours": "rgb"}, {"step": "layout", "order": "nchw"}]


def base(**changes):
    manifest = {"task": "image-classification", "format": "onnx", "pre": STEPS, "post": []}
    return BaseVersion("known@2", {**manifest, **changes})


def check(version, files=("model",), **options):
    RECIPE.check_base(version, files, RECIPE.parameters(**options))


def test_a_recipe_may_say_what_it_begins_from():
    assert isinstance(RECIPE, ChecksBase)
    check(None, ())
    check(base(), network="backbone")
    check(base(), network="backbone", unfreeze=3, epochs=5, head_epochs=4)


@pytest.mark.parametrize(
    ("version", "files", "options", "said"),
    [
        (base(), ["model"], {}, "set it to 'backbone'"),
        (None, ["model"], {"network": "residual"}, "'network' is 'residual', which begins from"),
        (None, [], {"network": "backbone"}, "there is no base version"),
        (None, ["model"], {"network": "backbone"}, "a file alone will not do"),
        (base(task="tensor"), ["model"], {"network": "backbone"}, "has the task 'tensor'"),
        (base(format="gguf"), ["model"], {"network": "backbone"}, "of the format 'gguf'"),
        (base(pre=[]), ["model"], {"network": "backbone"}, "has no 'pre' steps"),
        (base(), ["model"], {"network": "backbone", "image_size": (32, 32)}, "'image_size' is set"),
        (base(), ["model"], {"network": "backbone", "colours": "gray"}, "'colours' is set"),
        (
            base(),
            ["model"],
            {"network": "backbone", "unfreeze": 2, "epochs": 3, "head_epochs": 3},
            "2 blocks to 'unfreeze' would never learn",
        ),
    ],
)
def test_what_does_not_fit_is_refused(version, files, options, said):
    with pytest.raises(InvalidInput, match=said):
        check(version, files, **options)


def test_the_output_that_scores_classes_is_the_one_that_its_steps_name():
    assert scored_output(base()) is None
    assert scored_output(base(post=[{"step": "output", "name": "second"}])) == "second"
