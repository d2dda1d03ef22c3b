"""`text-classification`: a network learns to tell classes of texts apart."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from modelry.domain.datasets import Column, ColumnRole, ColumnType, DataDescription
from modelry.domain.errors import InvalidInput
from modelry.training.contract import Parameters, Run, Trained, TrainingData
from modelry.training.options import LoopParameters, ScheduleName
from modelry.training.selection import (
    CLASS_TYPES,
    FromNothing,
    check_classes,
    choose_column,
    choose_splits,
)


class TextClassificationParameters(LoopParameters):
    """Parameters of `text-classification`."""

    epochs: int = Field(6, ge=1, le=100_000, description="how often every row is seen")
    learning_rate: float = Field(
        3e-3,
        gt=0.0,
        le=100.0,
        description="its largest step size; larger transformers want 0.0005 or less",
    )
    schedule: ScheduleName = Field(
        "cosine", description="how the learning rate changes over the steps"
    )
    warm_up: float = Field(
        0.1, ge=0.0, le=0.9, description="the share of all steps over which it rises at first"
    )
    network: Literal["bag", "transformer"] = Field(
        "bag",
        description="`bag`: the mean of the vectors of subwords and of pairs of them, one dense "
        "layer; `transformer`: an encoder with attention, slower, for texts where order matters",
    )
    vocabulary_size: int = Field(
        16_000, ge=300, le=200_000, description="subwords that are learnt from the rows"
    )
    lowercase: bool = Field(default=True, description="capitals are read as small letters")
    max_length: int = Field(
        1024, ge=8, le=16_384, description="tokens of a text that are read; what follows is cut off"
    )
    vector_size: int = Field(
        64, ge=4, le=2048, description="of each token; a multiple of `heads` for a transformer"
    )
    pair_buckets: int = Field(
        65_536,
        ge=0,
        le=2**22,
        description="`bag`: vectors that pairs of neighbouring tokens share by their hash; 0 for "
        "none",
    )
    layers: int = Field(2, ge=1, le=24, description="`transformer`: blocks of attention")
    heads: int = Field(4, ge=1, le=64, description="`transformer`: of each block")
    dropout: float = Field(
        0.1, ge=0.0, lt=1.0, description="the share of features that is left out at random"
    )
    label_smoothing: float = Field(
        0.0, ge=0.0, le=0.5, description="the share of certainty spread over all classes"
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="`balanced`: classes weigh alike, however many rows they have"
    )
    text_column: str | None = Field(None, description="the column with the texts")
    label_column: str | None = Field(None, description="the column with the classes")
    memory_mb: int = Field(
        1024, ge=1, le=2**20, description="how much memory the tokens of all rows may take"
    )


class TextClassification(FromNothing):
    """Implements `Recipe`."""

    name: ClassVar[str] = "text-classification"
    summary: ClassVar[str] = (
        "A bag of word vectors, or a small transformer, learns to tell classes of texts apart."
    )
    tasks: ClassVar[tuple[str, ...]] = ("text-classification",)
    parameters: ClassVar[type[Parameters]] = TextClassificationParameters

    def check(self, data: DataDescription, parameters: Any) -> None:
        """See `Recipe.check`."""
        if parameters.network == "transformer" and parameters.vector_size % parameters.heads:
            raise InvalidInput(
                f"'vector_size' is {parameters.vector_size}, which {parameters.heads} heads cannot "
                "share; expected a multiple of 'heads'.",
                param="vector_size",
            )
        choose_splits(data, parameters)
        chosen_columns(data, parameters)

    def train(self, data: TrainingData, parameters: Any, run: Run) -> Trained:
        """See `Recipe.train`."""
        from modelry.training.recipes.text_classification.training import train

        return train(data, parameters, run)


def chosen_columns(
    data: DataDescription, parameters: TextClassificationParameters
) -> tuple[Column, Column]:
    """The columns of texts and of classes.

    Raises:
        InvalidInput: there are none such.
    """
    text = choose_column(
        data, ColumnRole.FEATURE, (ColumnType.TEXT,), parameters.text_column, "text_column"
    )
    label = choose_column(
        data, ColumnRole.LABEL, CLASS_TYPES, parameters.label_column, "label_column"
    )
    check_classes(label)
    return text, label
