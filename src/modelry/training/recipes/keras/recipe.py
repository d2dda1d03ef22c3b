"""The recipe `keras`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

from modelry.domain.datasets import DataDescription
from modelry.domain.errors import InvalidInput
from modelry.training.contract import BaseVersion, Run, Trained, TrainingData
from modelry.training.recipes.keras.parameters import KerasParameters, parameters_of
from modelry.training.recipes.keras.slots import check_columns
from modelry.training.selection import choose_splits

BASE = "model"
"""The role of the user's file among the run's base files."""
KEPT = "model.keras"
"""What the trained model is called among the files that stay with the job."""


class KerasModel:
    """Trains a user's own Keras model.

    The model comes as a `.keras` file of Keras 3 (that is also tensorflow.keras from TensorFlow
    2.16 on), the run's base file `model`. Its layers are Keras' own; it is trained as it was
    compiled, or with optimiser, loss and metrics given.
    """

    name: ClassVar[str] = "keras"
    summary: ClassVar[str] = "Trains your own Keras model, given as a .keras file."
    tasks: ClassVar[tuple[str, ...]] = ("tensor", "tabular", "image-classification")
    parameters: ClassVar[type[KerasParameters]] = KerasParameters

    def check(self, data: DataDescription, parameters: Any) -> None:
        """See `Recipe.check`."""
        wanted = parameters_of(parameters)
        check_columns(data)
        choose_splits(data, wanted)

    def check_base(
        self,
        base: BaseVersion | None,
        files: Collection[str],
        parameters: Any,  # noqa: ARG002 - of others it depends on them
    ) -> None:
        """See `ChecksBase.check_base`."""
        if base is not None:
            raise InvalidInput(
                f"The base version {base.ref} holds an exported model, which the recipe 'keras' "
                "cannot train. Train the '.keras' file that stayed with its job further: "
                "'job.keras_model()' gives it, 'client.train(model, data)' trains it.",
                param="base",
            )
        if BASE not in files:
            raise no_model()

    def train(self, data: TrainingData, parameters: Any, run: Run) -> Trained:
        """See `Recipe.train`; the trained model is also kept as `model.keras`."""
        from modelry.training.recipes.keras.training import train

        return train(data, parameters_of(parameters), run)


def no_model() -> InvalidInput:
    """The error for a run without a model."""
    return InvalidInput(
        "The recipe 'keras' trains a model that you give: a '.keras' file as the base file "
        f"'{BASE}'. 'client.train(model, data)' does that.",
        param="base",
    )
