"""Training a model that is at hand on data that is at hand, and asking what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

from modelry.client.errors import InvalidInput, TensorMismatch
from modelry.client.exchange import Flow, work
from modelry.client.job_records import JobRecord
from modelry.client.keras_models import SUFFIX, as_file, clean_name, is_keras_model, name_of
from modelry.client.operations.datasets import ImportOptions, from_arrays
from modelry.client.operations.inference import infer
from modelry.client.operations.status import is_model_ready, model_metadata, wait_model_ready
from modelry.client.operations.training import start_training
from modelry.client.operations.uploads import Progress, upload_file
from modelry.client.records import Deployment

if TYPE_CHECKING:
    from modelry.client.tensors import Array

RECIPE = "keras"
BASE = "model"
PIECE_BYTES = 4 * 2**20
"""How much is sent at a time."""
MAX_ROWS = 4096


class TrainOptions(TypedDict, total=False):
    """What may be said of a training beside its parameters.

    `name` of the model that gets the version, by default what Keras or the file calls it.
    `validation_data`: arrays `(x, y)` that are measured on after each epoch. `dataset`: what the
    dataset is called that arrays become. `seed`: all randomness follows from it. `threads`: how
    many compute. `priority` of the job: -100 to 100. `progress`: called as files are sent.
    """

    name: str
    validation_data: tuple[Any, Any]
    dataset: str
    seed: int
    threads: int
    priority: int
    progress: Progress


def train(model: Any, data: Any, **options: Any) -> Flow[JobRecord]:
    """Queue a job that trains a model; see `Client.train`."""
    own = {name: options.pop(name) for name in TrainOptions.__annotations__ if name in options}
    return (yield from _train(model, data, options, cast("TrainOptions", own)))


def _train(
    model: Any, data: Any, parameters: Mapping[str, Any], options: TrainOptions
) -> Flow[JobRecord]:
    recipe = _recipe_of(model)
    name = options.get("name") or (
        name_of(model) if recipe == RECIPE else clean_name(_data_name(data, recipe))
    )
    base_files = None
    if recipe == RECIPE:
        digest = yield from _send_model(model, options.get("progress"))
        base_files = {BASE: {"digest": digest, "name": f"{name}{SUFFIX}"}}
    dataset = yield from _dataset(data, name, recipe, options)
    return (
        yield from start_training(
            recipe,
            dataset,
            name,
            parameters=parameters,
            seed=options.get("seed", 0),
            threads=options.get("threads"),
            priority=options.get("priority", 0),
            base_files=base_files,
        )
    )


def _recipe_of(model: Any) -> str:
    """The recipe that trains a model: it is one itself unless it is a model of Keras."""
    if is_keras_model(model) or isinstance(model, Path):
        return RECIPE
    if isinstance(model, str):
        return RECIPE if model.endswith(SUFFIX) else model
    raise InvalidInput(
        f"A {type(model).__name__} cannot be trained; expected a Keras model, the path of a "
        f"'{SUFFIX}' file, or the name of a recipe.",
        param="model",
    )


def _data_name(data: Any, recipe: str) -> str:
    return data.partition("@")[0] if isinstance(data, str) else recipe


def _send_model(model: Any, progress: Progress | None) -> Flow[str]:
    with ExitStack() as opened:
        file = yield from work(lambda: opened.enter_context(as_file(model)))
        return (yield from upload_file(file, progress=progress))


def _dataset(data: Any, name: str, recipe: str, options: TrainOptions) -> Flow[str]:
    validation = options.get("validation_data")
    if isinstance(data, str):
        if validation is not None:
            raise InvalidInput(
                "'validation_data' goes with arrays; a dataset has a split 'validation'.",
                param="validation_data",
            )
        return data
    x, y = _pair(data, "data")
    held = (None, None) if validation is None else _pair(validation, "validation_data")
    asked: ImportOptions = {}
    if recipe == RECIPE:
        # whole numbers are what the model's loss expects, not names of classes
        asked["options"] = {"labels": "numbers"}
    made = yield from from_arrays(
        options.get("dataset") or f"{name[:59]}-data",
        x,
        y,
        x_validation=held[0],
        y_validation=held[1],
        progress=options.get("progress"),
        **asked,
    )
    return made.ref


def _pair(data: Any, param: str) -> tuple[Any, Any]:
    if isinstance(data, tuple | list) and len(data) == 2:
        return data[0], data[1]
    raise InvalidInput(
        f"'{param}' is a {type(data).__name__}; expected "
        + ("the name of a dataset, or " if param == "data" else "")
        + "arrays (x, y).",
        param=param,
    )


def predict(
    deployment: str | Deployment,
    x: Any,
    *,
    version: int | None = None,
    timeout_s: float = 300.0,
) -> Flow[Any]:
    """What a model answers for rows, as its own `predict` would; see `Client.predict`."""
    name = deployment.name if isinstance(deployment, Deployment) else deployment
    if not (yield from is_model_ready(name, version=version)):
        yield from wait_model_ready(name, timeout_s)
    told = yield from model_metadata(name, version=version)
    inputs = _arrays(told["inputs"], x)
    count, size = _rows(inputs)
    parts: list[Mapping[str, Array]] = []
    for start in range(0, count, size):
        part = {key: one[start : start + size] for key, one in inputs.items()}
        answer = yield from infer(name, part, version=version)
        parts.append(answer.outputs)
    return _joined(parts)


def _arrays(specs: Sequence[Mapping[str, Any]], x: Any) -> dict[str, Array]:
    """An array per input, in the input's own type and shape."""
    import numpy as np

    names = [str(one["name"]) for one in specs]
    if isinstance(x, Mapping):
        given = dict(x)
    elif len(names) > 1 and isinstance(x, tuple | list):
        given = dict(zip(names, x, strict=False))
    else:
        given = {names[0]: x}
    if set(given) != set(names) or (isinstance(x, tuple | list) and 1 < len(names) != len(x)):
        raise TensorMismatch(
            f"The model takes {', '.join(names)}; give an array for each, by name.", param="x"
        )
    return {str(one["name"]): _fitted(one, np.asarray(given[one["name"]])) for one in specs}


def _fitted(spec: Mapping[str, Any], array: Array) -> Array:
    from modelry.client.tensors import NUMPY_TYPES

    wanted = NUMPY_TYPES.get(str(spec["datatype"]))
    if wanted is not None and array.dtype.kind in "biuf":
        array = array.astype(wanted, copy=False)
    if array.ndim + 1 == len(spec["shape"]) and spec["shape"][-1] == 1:
        return array[..., None]  # as Keras does with images of one channel
    return array


def _rows(inputs: Mapping[str, Array]) -> tuple[int, int]:
    """How many rows there are, and how many are sent at a time."""
    counts = {len(one) if one.ndim else 0 for one in inputs.values()}
    if len(counts) != 1 or not max(counts):
        raise TensorMismatch(
            f"The inputs have {', '.join(map(str, sorted(counts)))} rows; expected as many in all, "
            "and one at least.",
            param="x",
        )
    count = counts.pop()
    row_bytes = sum(max(1, one.nbytes // count) for one in inputs.values())
    return count, max(1, min(MAX_ROWS, PIECE_BYTES // row_bytes))


def _joined(parts: Sequence[Mapping[str, Array]]) -> Any:
    """One array where the model has one output, else arrays by name."""
    import numpy as np

    whole = {name: np.concatenate([one[name] for one in parts]) for name in parts[0]}
    return next(iter(whole.values())) if len(whole) == 1 else whole
