"""How a detection model's outputs encode boxes, where its file tells."""

from __future__ import annotations

from dataclasses import dataclass

from modelry.domain.signature import DYNAMIC
from modelry.tasks.contract import ModelFacts
from modelry.tasks.signature_reading import FLOATS, image_input

_STRIDES = (8, 16, 32)
_ANCHORS = 3  # of YOLOv3, v5 and v7, per place


@dataclass(frozen=True, slots=True)
class BoxFormat:
    """A family of `decode_boxes`; `is_final` says that overlapping boxes are sorted out already."""

    family: str
    why: str
    is_final: bool = False


def box_format(facts: ModelFacts) -> BoxFormat | None:
    """The format that metadata or shapes tell; None when they do not, or not surely."""
    outputs = facts.signature.outputs
    if len(outputs) != 1 or len(outputs[0].shape) != 3 or outputs[0].datatype not in FLOATS:
        return None
    output = outputs[0]
    _, second, third = output.shape
    places = _places(facts)
    said = facts.metadata.get("task")
    if said not in (None, "detect"):  # Ultralytics' word for what the model is for
        return None
    if said == "detect" and third == 6 and second != DYNAMIC:
        why = f"output '{output.name}' has {second} finished boxes"
        return BoxFormat("finished", why, is_final=True)
    if places is not None and third == places and second > 4:
        return BoxFormat("yolov8", _why(output.name, places, f"{second} = 4 + classes numbers"))
    if places is not None and second == _ANCHORS * places and third > 5:
        return BoxFormat("yolov5", _why(output.name, second, f"{third} = 4 + 1 + classes numbers"))
    if said == "detect" and DYNAMIC in (second, third) and second > 4:
        return BoxFormat("yolov8", "its metadata say that it is a detector of Ultralytics")
    return None


def _places(facts: ModelFacts) -> int | None:
    """How many cells the grids of the usual strides have together on the model's input."""
    image = image_input(facts.signature)
    if image is None or image.width is None or image.height is None:
        return None
    if image.width % _STRIDES[-1] or image.height % _STRIDES[-1]:
        return None
    return sum((image.width // step) * (image.height // step) for step in _STRIDES)


def _why(name: str, places: int, numbers: str) -> str:
    return f"output '{name}' has {numbers} for each of {places} places, as YOLO models give"
