"""`image-classification`: a convolutional network learns to tell classes of images apart.

One of its own, or a registered version with a new last layer.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar, Literal

from pydantic import Field

from modelry.domain.datasets import Column, ColumnRole, DataDescription
from modelry.training.contract import BaseVersion, Parameters, Run, Trained, TrainingData
from modelry.training.options import LoopParameters
from modelry.training.recipes.image_classification.base import BACKBONE, check_base
from modelry.training.selection import (
    CLASS_TYPES,
    IMAGE_TYPES,
    check_classes,
    check_image_column,
    choose_column,
    choose_splits,
)

Augmentation = Literal["flip", "shift", "turn", "brighten", "erase"]


class ImageClassificationParameters(LoopParameters):
    """Parameters of `image-classification`."""

    network: Literal["small", "residual", "backbone"] = Field(
        "small",
        description="`small`: one convolution of 32 filters, pooling, one dense layer; "
        "`residual`: three stages of residual blocks with batch normalisation; `backbone`: the "
        "base version, its last layer replaced by a new one",
    )
    width: int = Field(
        32, ge=4, le=512, description="filters of the first stage of `residual`; then 2 and 4 times"
    )
    blocks: int = Field(1, ge=1, le=16, description="blocks per stage of `residual`")
    unfreeze: int = Field(
        0,
        ge=0,
        le=1000,
        description="how many of the last blocks of `backbone` learn, too; by default the new last "
        "layer alone does, and what it reads of each image is computed once",
    )
    head_epochs: int = Field(
        2,
        ge=0,
        le=100_000,
        description="with `unfreeze`: for how many epochs the new last layer learns alone at first",
    )
    backbone_rate: float = Field(
        0.1,
        gt=0.0,
        le=1.0,
        description="with `unfreeze`: the learning rate of those blocks, as a share of "
        "`learning_rate`",
    )
    features: str | None = Field(
        None,
        min_length=1,
        max_length=512,
        description="the tensor of `backbone` that the new last layer reads; by default what its "
        "own last layer reads. Of a model that gives features: its output",
    )
    dropout: float = Field(
        0.0, ge=0.0, lt=1.0, description="the share of features left out before the last layer"
    )
    image_size: tuple[int, int] | None = Field(
        None,
        description="width and height that images are resized to; by default their own up to 64 "
        "pixels, else 96 x 96",
    )
    colours: Literal["auto", "gray", "rgb"] = Field(
        "auto", description="what the network sees; auto: gray where all images are"
    )
    augment: tuple[Augmentation, ...] = Field(
        (), description="random changes to the rows that are learnt from, drawn anew for each step"
    )
    label_smoothing: float = Field(
        0.0, ge=0.0, le=0.5, description="the share of certainty spread over all classes"
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="`balanced`: classes weigh alike, however many rows they have"
    )
    image_column: str | None = Field(None, description="the column with the images")
    label_column: str | None = Field(None, description="the column with the classes")
    memory_mb: int = Field(
        2048,
        ge=1,
        le=2**20,
        description="how much memory decoded images may take; beyond it they are decoded for "
        "every batch",
    )


class ImageClassification:
    """Implements `Recipe`."""

    name: ClassVar[str] = "image-classification"
    summary: ClassVar[str] = (
        "A convolutional network, small, residual or a registered one, learns to tell classes of "
        "images apart."
    )
    tasks: ClassVar[tuple[str, ...]] = ("image-classification",)
    parameters: ClassVar[type[Parameters]] = ImageClassificationParameters

    def check(self, data: DataDescription, parameters: Any) -> None:
        """See `Recipe.check`."""
        choose_splits(data, parameters)
        chosen_columns(data, parameters)

    def check_base(self, base: BaseVersion | None, files: Collection[str], parameters: Any) -> None:
        """See `ChecksBase.check_base`."""
        check_base(base, files, parameters)

    def train(self, data: TrainingData, parameters: Any, run: Run) -> Trained:
        """See `Recipe.train`."""
        check_base(run.base_version, run.base, parameters)
        if parameters.network == BACKBONE:
            from modelry.training.recipes.image_classification import fine_tuning

            return fine_tuning.train(data, parameters, run)
        from modelry.training.recipes.image_classification import training

        return training.train(data, parameters, run)


def chosen_columns(
    data: DataDescription, parameters: ImageClassificationParameters
) -> tuple[Column, Column]:
    """The columns of images and of classes.

    Raises:
        InvalidInput: there are none such.
    """
    image = choose_column(
        data, ColumnRole.FEATURE, IMAGE_TYPES, parameters.image_column, "image_column"
    )
    check_image_column(image)
    label = choose_column(
        data, ColumnRole.LABEL, CLASS_TYPES, parameters.label_column, "label_column"
    )
    check_classes(label)
    return image, label
