"""Image classification: an image goes in, the likeliest classes come out."""

from __future__ import annotations

from typing import Any

from modelry.manifest.document import ManifestDocument
from modelry.processing.values import Stage
from modelry.tasks.class_steps import class_steps
from modelry.tasks.contract import DefaultSteps, ItemForm, ModelFacts, Recognition, Task
from modelry.tasks.rendering import (
    IMAGE_ITEM,
    LABELS,
    MIN_SCORE,
    TOP_K,
    count_images,
    render_labels,
)
from modelry.tasks.signature_reading import (
    ImageInput,
    class_scores,
    flat_outputs,
    image_input,
    needed_image,
)

NAME = "image-classification"
USUAL_SIZE = 224
SMALL = 64
"""Images up to this many pixels high and wide show one thing, such as a digit: none is cropped."""
MEAN = [123.675, 116.28, 103.53]
STD = [58.395, 57.12, 57.375]
"""Of ImageNet's training images, per channel (red, green, blue), in 0..255."""


def recognise(facts: ModelFacts) -> Recognition | None:
    """Models with one image input and one row of class scores per image."""
    image = image_input(facts.signature)
    outputs = flat_outputs(facts.signature)
    if image is None or len(facts.signature.outputs) != 1 or len(outputs) != 1:
        return None
    scores = class_scores(facts, outputs[0])
    size = f"{image.width or 'any'}x{image.height or 'any'}"
    notes = (
        f"input '{image.name}' takes images of {image.channels} channel(s), {size}",
        f"output '{scores.name}' has {scores.count or 'open many'} numbers per image",
    )
    return Recognition(NAME, 0.8, notes)


def default_pre(document: ManifestDocument, facts: ModelFacts) -> DefaultSteps:
    """Decode, bring to size, bring to the usual range, lay out.

    Raises:
        ManifestInvalid: the model does not take one image.
    """
    image = needed_image(document, facts)
    values, note = _values(image)
    steps: list[Any] = [{"decode": "rgb" if image.channels == 3 else "gray"}, *_sizing(image)]
    return DefaultSteps([*steps, *values, {"layout": image.layout}], (note,))


def default_post(document: ManifestDocument, facts: ModelFacts) -> DefaultSteps:
    """Scores to probabilities where they are not, then the best five."""
    return class_steps(document, facts, 5)


def _sizing(image: ImageInput) -> list[Any]:
    height, width = image.height or USUAL_SIZE, image.width or USUAL_SIZE
    if max(height, width) <= SMALL:
        return [{"resize": [width, height]}]
    # the usual evaluation: the shorter side to 256/224 of what is cropped from its centre
    return [{"resize": round(max(height, width) * 256 / 224)}, {"center_crop": [width, height]}]


def _values(image: ImageInput) -> tuple[list[Any], str]:
    if not image.floating:
        return [], f"'{NAME}' gives the pixels 0..255 as they are to a model of whole numbers"
    if image.channels == 3 and image.layout == "nchw":
        return [{"normalize": {"mean": MEAN, "std": STD}}], (
            f"'{NAME}' assumes ImageNet's mean and deviation for the pixels; if the model was "
            "trained otherwise, declare 'pre'"
        )
    return [{"scale": "1/255"}], (
        f"'{NAME}' assumes pixels from 0 to 1; if the model was trained otherwise, declare 'pre'"
    )


TASK = Task(
    name=NAME,
    summary="Says which classes an image most likely belongs to.",
    formats=frozenset({"onnx"}),
    recognise=recognise,
    default_pre=default_pre,
    default_post=default_post,
    form=ItemForm(
        item=IMAGE_ITEM,
        options={"top_k": TOP_K, "min_score": MIN_SCORE},
        result=LABELS,
        ends_in=(Stage.RANKING,),
        hint="End it in 'top_k'.",
        render=render_labels,
        count=count_images,
    ),
)
