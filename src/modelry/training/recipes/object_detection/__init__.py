"""`object-detection`: an anchor-free detector of one stage, small enough to be trained on a CPU.

Owns: the network, which cell learns which object, losses, augmentation, the form that is served.
Does not own: reading outputs when serving (processing/detection), what quality is
(metrics/detection.py).
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, field_validator

from modelry.domain.datasets import Column, ColumnRole, ColumnType, DataDescription
from modelry.domain.errors import InvalidInput
from modelry.training.contract import Parameters, Run, Trained, TrainingData
from modelry.training.options import LoopParameters, Optimiser, ScheduleName
from modelry.training.selection import choose_column, choose_splits

MULTIPLE = 32
"""Sides of inputs are multiples of it: the coarsest grid's cells are so wide."""


class DetectionParameters(LoopParameters):
    """Parameters of `object-detection`."""

    epochs: int = Field(40, ge=1, le=100_000, description="how often every image is seen")
    batch_size: int = Field(16, ge=1, le=4096, description="images per step")
    optimiser: Optimiser = Field("adamw", description="how gradients change weights")
    learning_rate: float = Field(2e-3, gt=0.0, le=100.0, description="its largest step size")
    weight_decay: float = Field(
        0.01, ge=0.0, le=10.0, description="how strongly weights are drawn to 0"
    )
    schedule: ScheduleName = Field(
        "one-cycle", description="how the learning rate changes over the steps"
    )
    clip_gradient: float | None = Field(
        10.0, gt=0.0, le=1e6, description="the largest norm of a step's gradient"
    )
    size: int = Field(
        128,
        ge=64,
        le=1280,
        description="width and height of the input in pixels, a multiple of 32; images are fitted "
        "into it whole",
    )
    width: int = Field(
        16,
        ge=4,
        le=128,
        description="channels after the first layer; later ones have 2 to 8 times as many",
    )
    blocks: int = Field(1, ge=1, le=8, description="residual blocks at each size of the backbone")
    augment: bool = Field(
        default=True,
        description="whether training images are scaled, moved and recoloured at random",
    )
    mirror: bool = Field(
        default=True,
        description="whether left and right may be swapped too; not for classes that this changes, "
        "such as letters",
    )
    paste: float = Field(
        0.0,
        ge=0.0,
        le=1.0,
        description="the share of training images that get pieces of others where they show "
        "nothing, if `augment` is on",
    )
    image_column: str | None = Field(None, description="the column with the images")
    boxes_column: str | None = Field(None, description="the column with the boxes")
    memory_mb: int = Field(
        4096,
        ge=1,
        le=2**20,
        description="how much memory the decoded images may take: 3 bytes a pixel of the input",
    )

    @field_validator("size")
    @classmethod
    def _is_multiple(cls, size: int) -> int:
        if size % MULTIPLE:
            near = round(size / MULTIPLE) * MULTIPLE
            raise ValueError(f"it is {size}; expected a multiple of {MULTIPLE}, such as {near}")
        return size


class ObjectDetection:
    """Implements `Recipe`."""

    name: ClassVar[str] = "object-detection"
    summary: ClassVar[str] = (
        "An anchor-free convolutional detector of one stage learns to find objects in images."
    )
    tasks: ClassVar[tuple[str, ...]] = ("object-detection",)
    parameters: ClassVar[type[Parameters]] = DetectionParameters

    def check(self, data: DataDescription, parameters: Any) -> None:
        """See `Recipe.check`."""
        splits = choose_splits(data, parameters)
        chosen_columns(data, parameters)
        counts = [data.rows[one] for one in (splits.train, splits.validation) if one is not None]
        needed = sum(counts) * 3 * parameters.size**2
        if needed > parameters.memory_mb * 2**20:
            raise InvalidInput(
                f"{sum(counts)} images of {parameters.size} x {parameters.size} pixels take "
                f"{needed // 2**20} MiB of memory; 'memory_mb' allows {parameters.memory_mb}. Make "
                "'size' smaller or 'memory_mb' larger, or derive a dataset with fewer rows.",
                param="memory_mb",
            )

    def train(self, data: TrainingData, parameters: Any, run: Run) -> Trained:
        """See `Recipe.train`."""
        from modelry.training.recipes.object_detection.training import train

        return train(data, parameters, run)


def chosen_columns(data: DataDescription, parameters: DetectionParameters) -> tuple[Column, Column]:
    """The columns of images and of boxes.

    Raises:
        InvalidInput: there are none such, or the boxes have no names for their classes.
    """
    image = choose_column(
        data, ColumnRole.FEATURE, (ColumnType.IMAGE,), parameters.image_column, "image_column"
    )
    boxes = choose_column(
        data, ColumnRole.LABEL, (ColumnType.BOXES,), parameters.boxes_column, "boxes_column"
    )
    if not boxes.classes:
        raise InvalidInput(
            f"Column '{boxes.name}' names no classes; import it with the names of the classes that "
            "its boxes have.",
            param="boxes_column",
        )
    return image, boxes
