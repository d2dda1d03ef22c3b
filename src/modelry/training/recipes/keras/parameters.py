"""What can be said about the training of a Keras model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from modelry.domain.errors import InvalidInput
from modelry.training.options import Keep, SplitParameters
from modelry.training.recipes.keras import allowed

Name = Annotated[str, Field(max_length=64)]


class KerasParameters(SplitParameters):
    """Parameters of the recipe `keras`; what is not given is as the file was compiled."""

    epochs: int = Field(1, ge=1, le=100_000, description="how often every row is seen")
    batch_size: int = Field(32, ge=1, le=65_536, description="rows per step")
    validation_share: float = Field(
        0.0,
        ge=0.0,
        le=0.5,
        description="the share of the rows held out by the seed, where there is no validation "
        "split; 0 for none",
    )
    optimizer: Name | None = Field(
        None, description="name of an optimiser of Keras (adam, sgd, …), instead of the model's own"
    )
    learning_rate: float | None = Field(
        None, gt=0.0, le=1e6, description="of the optimiser, instead of its own"
    )
    loss: Name | None = Field(
        None, description="name of a loss of Keras (mse, …), instead of the model's own"
    )
    metrics: tuple[Name, ...] | None = Field(
        None, max_length=32, description="names of metrics of Keras, instead of the model's own"
    )
    shuffle: bool = Field(
        default=True, description="go through the rows in another order in each epoch"
    )
    class_weights: Literal["balanced"] | dict[int, float] | None = Field(
        None,
        description="how much rows of a class count, by its number; 'balanced' has all classes "
        "count the same",
    )
    early_stopping: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="end after so many epochs in which 'monitor' did not get better",
    )
    monitor: Name = Field(
        "", description="the curve that tells a good epoch; by default val_loss, else loss"
    )
    keep: Keep = Field(
        "last", description="which epoch's weights are kept: those of the best one, or of the last"
    )
    task: Literal["tensor", "image-classification", "tabular"] | None = Field(
        None, description="of the version; by default as the columns of the dataset suggest"
    )
    pixel_scale: float | None = Field(
        None,
        gt=0.0,
        le=1.0,
        description="what pixels (0 to 255) of image files are multiplied by; by default 1 where "
        "the model has a Rescaling or Normalization layer, else 1/255",
    )
    deterministic: bool = Field(
        default=True,
        description="same seed, same data, same machine: same weights to the bit; on a GPU slower",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where it computes; auto takes a GPU when there is one"
    )
    checkpoint_every_s: float = Field(
        60.0,
        ge=0.0,
        le=86_400.0,
        description="seconds between checkpoints; what is lost when the job is killed",
    )

    @model_validator(mode="after")
    def _known_names(self) -> KerasParameters:
        # an InvalidInput would pass pydantic by; ValueError is what it tells with the field
        optimizers = {one.lower() for one in allowed.OPTIMIZERS}
        if self.optimizer is not None and self.optimizer.lower() not in optimizers:
            raise ValueError(
                f"optimizer '{self.optimizer}' is not known; known are "
                f"{', '.join(sorted(optimizers))}"
            )
        _check_known("loss", self.loss, allowed.LOSSES)
        for one in self.metrics or ():
            _check_known("metrics", one, allowed.METRICS)
        return self


def parameters_of(given: Any) -> KerasParameters:
    """`given` as the recipe's own parameters.

    Raises:
        InvalidInput: they are another recipe's.
    """
    if not isinstance(given, KerasParameters):
        raise InvalidInput(f"Expected parameters of 'keras', not {type(given).__name__}.")
    return given


def _check_known(field: str, name: str | None, classes: frozenset[str]) -> None:
    if name is None or name in classes or name in allowed.FUNCTIONS - allowed.ACTIVATIONS:
        return
    raise ValueError(
        f"{field} '{name}' is not known; known are names such as 'mse', 'MeanSquaredError' or "
        "'sparse_categorical_crossentropy'"
    )
