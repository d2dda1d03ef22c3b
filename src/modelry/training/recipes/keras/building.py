"""From the parts of a `.keras` file to a compiled model on torch."""

from __future__ import annotations

import copy
import json
import os
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelry.domain.errors import FileRefused, InvalidInput, ModelryError
from modelry.training.recipes.keras.architecture import (
    STEERING,
    Architecture,
    Json,
    check_architecture,
    check_optimizer,
)
from modelry.training.recipes.keras.archive import CONFIG, METADATA, WEIGHTS, KerasFile, refused
from modelry.training.recipes.keras.parameters import KerasParameters
from modelry.training.recipes.keras.weight_file import check_weights

BACKEND = "torch"
_SLACK_BYTES = 64 * 1024
"""What states of random layers may take that a file of an older Keras does not hold."""
_REASON_LENGTH = 400


def load_keras() -> Any:
    """Keras, on torch.

    Raises:
        InvalidInput: this process has Keras on another backend already.
    """
    os.environ.setdefault("KERAS_BACKEND", BACKEND)
    import keras

    if keras.backend.backend() != BACKEND:
        raise InvalidInput(
            f"Keras runs on {keras.backend.backend()} in this process; training needs "
            "KERAS_BACKEND=torch before it is imported."
        )
    return keras


def build(
    file: KerasFile, parameters: KerasParameters, device: str = "cpu"
) -> tuple[Any, Architecture]:
    """The model, with the file's weights and compiled.

    Args:
        file: of the user.
        parameters: of the recipe.
        device: where the weights shall be. Keras forgets a device that was chosen before: what goes
            on with the model chooses it again.

    Raises:
        FileRefused: the file has something in it that is not allowed, or that does not fit.
        InvalidInput: it is not compiled, and no loss or optimiser is given.
    """
    keras = load_keras()
    architecture = check_architecture(file.config)
    facts = check_weights(file.weights)
    # without memory first: a few bytes can declare more weights than any machine holds
    with keras.device("meta"), _telling("its layers do not fit together"):
        needed = _weight_bytes(_revived(keras, architecture))
    if needed > facts.size_bytes + _SLACK_BYTES:
        raise refused(
            f"its layers have {needed} bytes of weights, and the file holds {facts.size_bytes}. "
            "Save the model again after it was built."
        )
    keras.utils.clear_session(free_memory=False)
    with keras.device(device):
        return _loaded(keras, file, architecture, parameters)


def _loaded(
    keras: Any, file: KerasFile, architecture: Architecture, parameters: KerasParameters
) -> tuple[Any, Architecture]:
    with _telling("its layers do not fit together"):
        model = _revived(keras, architecture)
    _check_built(model)
    config = _compiling(keras, architecture, parameters)
    # the state of an optimiser goes on where it was, unless it is another one
    if parameters.optimizer is None:
        _compile(model, config)
    with _telling("its weights do not fit its layers"):
        model.load_weights(file.weights)
    if parameters.optimizer is not None:
        _compile(model, config)
    elif parameters.learning_rate is not None:
        model.optimizer.learning_rate = parameters.learning_rate
    return model, replace(architecture, compiled=config)


def _revived(keras: Any, architecture: Architecture) -> Any:
    # Keras changes what it is given
    config = copy.deepcopy(architecture.model)
    return keras.saving.deserialize_keras_object(config, custom_objects={}, safe_mode=True)


def _weight_bytes(model: Any) -> int:
    return sum(one.value.numel() * one.value.element_size() for one in model.weights)


def _check_built(model: Any) -> None:
    if not model.built or not getattr(model, "inputs", None):
        raise refused(
            "its model does not tell the shape of its input. Begin it with "
            "'keras.Input(shape)', or call it once, and save it again."
        )
    for one in (*model.inputs, *model.outputs):
        if not one.shape or one.shape[0] is not None:
            raise refused(
                f"its tensor {one.name!r} is made for {one.shape[0] if one.shape else 'no'} rows "
                "at a time; leave the batch size open ('keras.Input(shape)')."
            )
    if not model.trainable_weights:
        raise refused("none of its weights is trainable, so there is nothing to train.")


def _compiling(keras: Any, architecture: Architecture, parameters: KerasParameters) -> Json:
    """How the model is compiled: as the file says where the parameters say nothing."""
    config = dict(architecture.compiled or STEERING)
    if parameters.loss is not None:
        config |= {"loss": parameters.loss, "loss_weights": None}
    if parameters.metrics is not None:
        config |= {"metrics": list(parameters.metrics), "weighted_metrics": None}
    if not config.get("loss"):
        raise InvalidInput(
            "The model was saved without a loss. Compile it before it is saved, or give 'loss'.",
            param="loss",
        )
    told = config.get("optimizer")
    if parameters.optimizer is not None or not isinstance(told, dict):
        # older files tell the name alone of one that was given by its name
        name = parameters.optimizer or (told if isinstance(told, str) else "adam")
        with _telling("it cannot be compiled as it says", InvalidInput):
            made = keras.optimizers.serialize(keras.optimizers.get(name))
        config["optimizer"] = check_optimizer(made, "optimizer")
    if parameters.learning_rate is not None:
        settings = dict(config["optimizer"]["config"])
        config["optimizer"] = config["optimizer"] | {
            "config": settings | {"learning_rate": parameters.learning_rate}
        }
    return config


def _compile(model: Any, config: Json) -> None:
    with _telling("it cannot be compiled as it says", InvalidInput):
        model.compile_from_config(copy.deepcopy(config))
        model.optimizer.build(model.trainable_variables)


@contextmanager
def _telling(what: str, error: type[ModelryError] = FileRefused) -> Iterator[None]:
    """Tell whatever Keras raises about a user's model as the user's error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ModelryError:
        raise
    except (MemoryError, RecursionError):
        raise refused(f"{what}: it is too large.") from None
    except Exception as cause:  # noqa: BLE001 - layers raise errors of every kind
        reason = " ".join(str(cause).split())[:_REASON_LENGTH]
        raise error(f"File 'model.keras': {what}: {reason}", param="model.keras") from None


def save_trained(model: Any, architecture: Architecture, version: str, target: Path) -> None:
    """Write the trained model as a `.keras` file that the Keras that wrote the first one reads.

    Architecture and version are the first file's: a newer Keras would write settings that an older
    one does not know.
    """
    config = architecture.model | {"compile_config": architecture.compiled}
    weights = target.with_name("trained.weights.h5")
    model.save_weights(weights)
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(METADATA, json.dumps({"keras_version": version}))
        archive.writestr(CONFIG, json.dumps(config))
        archive.write(weights, WEIGHTS)
    weights.unlink()
