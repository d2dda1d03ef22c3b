"""Object detection: an image goes in, boxes around the objects in it come out.

How outputs encode boxes differs between families of models, and most files do not say which they
are of. Only YOLO exports can be told by their shapes; others declare `decode_boxes`.
"""

from __future__ import annotations

from typing import Any

from modelry.manifest.document import ManifestDocument
from modelry.processing.detection.families import FAMILIES
from modelry.processing.values import Stage
from modelry.tasks.box_formats import box_format
from modelry.tasks.contract import DefaultSteps, ItemForm, ModelFacts, Recognition, Task
from modelry.tasks.rendering import IMAGE_ITEM, MIN_SCORE, OBJECTS, count_images, render_objects
from modelry.tasks.signature_reading import flat_outputs, image_input, name_list, needed_image

NAME = "object-detection"
USUAL_SIDE = 640
MAX_OBJECTS = 5000


def recognise(facts: ModelFacts) -> Recognition | None:
    """Models with one image input and boxes in a known format; others are told what they need."""
    image = image_input(facts.signature)
    outputs = facts.signature.outputs
    if image is None or (len(outputs) == 1 and flat_outputs(facts.signature)):
        return None
    taken = f"input '{image.name}' takes images"
    known = box_format(facts)
    if known is not None:
        return Recognition(NAME, 0.85, (taken, known.why))
    needs = "if its outputs are boxes, declare how they are encoded: decode_boxes under 'post'"
    return Recognition(NAME, 0.2, (taken, needs))


def default_pre(document: ManifestDocument, facts: ModelFacts) -> DefaultSteps:
    """Decode, fit the whole image in with bars around it, bring to 0..1, lay out.

    Raises:
        ManifestInvalid: the model does not take one image.
    """
    image = needed_image(document, facts)
    sides = [image.width or USUAL_SIDE, image.height or USUAL_SIDE]
    steps: list[Any] = [{"decode": "rgb" if image.channels == 3 else "gray"}, {"letterbox": sides}]
    steps += ["scale"] if image.floating else []
    note = (
        f"'{NAME}' assumes the whole image with grey bars and pixels from 0 to 1, as YOLO models "
        "are trained; if the model was trained otherwise, declare 'pre'"
    )
    return DefaultSteps([*steps, {"layout": image.layout}], (note,))


def default_post(document: ManifestDocument, facts: ModelFacts) -> DefaultSteps:
    """Boxes by the format that shapes or metadata tell, the best of those that overlap.

    Raises:
        ManifestInvalid: the file does not tell how its outputs encode boxes.
    """
    known = box_format(facts)
    if known is None:
        raise document.invalid(
            f"The model's outputs are {name_list(facts.signature.outputs)}; the file does not "
            "tell how they encode boxes. Declare it, for example 'post: [decode_boxes: yolov8, "
            f"nms: 0.5, unletterbox]'; known formats are: {', '.join(FAMILIES)}.",
            "post",
        )
    suppression = [] if known.is_final else [{"nms": 0.7}]
    return DefaultSteps([{"decode_boxes": known.family}, *suppression, "unletterbox"], (known.why,))


TASK = Task(
    name=NAME,
    summary="Finds objects in an image: a box, a class and a score for each.",
    formats=frozenset({"onnx"}),
    recognise=recognise,
    default_pre=default_pre,
    default_post=default_post,
    form=ItemForm(
        item=IMAGE_ITEM,
        options={
            "min_score": {**MIN_SCORE, "minimum": 0, "maximum": 1},
            "max_objects": {
                "type": "integer",
                "minimum": 1,
                "maximum": MAX_OBJECTS,
                "description": "How many objects to tell at most, best first.",
            },
        },
        result=OBJECTS,
        ends_in=(Stage.OBJECTS,),
        hint="End it in 'unletterbox'.",
        render=render_objects,
        count=count_images,
    ),
)
