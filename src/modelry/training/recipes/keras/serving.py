"""What serves a trained Keras model: its task and the steps before and after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelry.domain.datasets import ColumnType
from modelry.domain.errors import InvalidInput
from modelry.domain.signature import DYNAMIC, Signature, TensorSpec
from modelry.processing.graph import ProcessingGraph
from modelry.runtime_api.tensors import datatype_of
from modelry.training.inputs import graph_of
from modelry.training.recipes.keras.parameters import KerasParameters
from modelry.training.recipes.keras.slots import Binding, LabelKind, Slot, Target

_KINDS = {
    ColumnType.NUMBER: "number",
    ColumnType.INTEGER: "integer",
    ColumnType.BOOLEAN: "boolean",
}


def manifest_of(binding: Binding, parameters: KerasParameters, scale: float) -> dict[str, Any]:
    """The manifest of the version, without its name and its files.

    Args:
        binding: of the dataset's columns.
        parameters: of the recipe.
        scale: of the pixels of image files.

    Raises:
        InvalidInput: the task that is asked for is not one for these columns.
    """
    task = parameters.task or _natural_task(binding)
    made: dict[str, Any] = {"task": task}
    if task == "tabular":
        made |= _tabular(binding)
    elif task == "image-classification":
        made |= _images(binding, scale)
    elif any(one.is_image for one in binding.feeds):
        raise _unsuited(task, "columns of numbers or tensors")
    return made


def graph_for(manifest: Mapping[str, Any], binding: Binding) -> ProcessingGraph | None:
    """The version's own steps, for image files; None where tensors go in as they are."""
    if manifest["task"] != "image-classification":
        return None
    return graph_of(
        manifest["task"],
        manifest["pre"],
        manifest["post"],
        _signature(binding),
        labels=manifest.get("labels"),
    )


def pixel_scale(parameters: KerasParameters, layers: Sequence[Any]) -> float:
    """What pixels are multiplied by before the model's own layers see them."""
    if parameters.pixel_scale is not None:
        return parameters.pixel_scale
    scales = any(type(one).__name__ in ("Rescaling", "Normalization") for one in layers)
    return 1.0 if scales else 1 / 255


def _signature(binding: Binding) -> Signature:
    return Signature(
        tuple(_spec(one.slot) for one in binding.feeds),
        tuple(_spec(one.slot) for one in binding.targets),
        batched=True,
    )


def _spec(slot: Slot) -> TensorSpec:
    shape = (DYNAMIC, *(DYNAMIC if one is None else one for one in slot.shape))
    return TensorSpec(slot.tensor, datatype_of(np.empty(0, slot.dtype)), shape)


def _natural_task(binding: Binding) -> str:
    if len(binding.targets) == 1:
        if binding.feeds[0].is_image:
            return "image-classification"
        if all(one.is_table for one in binding.feeds):
            return "tabular"
    return "tensor"


def _tabular(binding: Binding) -> dict[str, Any]:
    if not all(one.is_table for one in binding.feeds) or len(binding.targets) != 1:
        raise _unsuited("tabular", "columns of numbers and one output")
    columns = [
        {"name": column.name, "type": _KINDS[column.type], "input": feed.slot.tensor}
        for feed in binding.feeds
        for column in feed.columns
    ]
    return {"pre": [{"columns": columns}]} | _ending(binding.targets[0])


def _images(binding: Binding, scale: float) -> dict[str, Any]:
    if not binding.feeds[0].is_image or not _ranks(binding.targets[0]):
        raise _unsuited("image-classification", "a column of images and a label with classes")
    height, width, channels = binding.feeds[0].slot.shape
    steps = [
        {"decode": "rgb" if channels == 3 else "gray"},
        {"resize": [width, height]},
        *([] if scale == 1.0 else [{"scale": "1/255" if scale == 1 / 255 else scale}]),
        {"layout": "nhwc"},
    ]
    return {"pre": steps} | _ending(binding.targets[0])


def _ending(target: Target) -> dict[str, Any]:
    if not _ranks(target):
        return {"post": [{"output": target.slot.tensor}]}
    labels = {"labels": list(target.column.classes)} if target.column.classes else {}
    named = ["label"] if labels else []
    scores = ["softmax"] if target.is_logits else []
    top = min(5, target.slot.shape[-1] or 5)
    return labels | {"post": [{"output": target.slot.tensor}, *scores, {"top_k": top}, *named]}


def _ranks(target: Target) -> bool:
    return target.kind is not LabelKind.NUMBERS and len(target.slot.shape) == 1


def _unsuited(task: str, wanted: str) -> InvalidInput:
    return InvalidInput(
        f"The task '{task}' is for {wanted}, which this dataset and model are not; "
        "leave 'task' out.",
        param="task",
    )
