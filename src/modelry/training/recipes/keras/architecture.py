"""The architecture that a `.keras` file tells, checked part by part and written anew.

What Keras gets to build is made here out of what is allowed: each class by a name of ours, not by
the module that the file tells, and nothing that was not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelry.domain.errors import FileRefused
from modelry.manifest.nodes import shorten
from modelry.training.recipes.keras import allowed
from modelry.training.recipes.keras.archive import refused

Json = dict[str, Any]

STEERING: Json = {"run_eagerly": False, "steps_per_execution": 1, "jit_compile": False}
"""How steps run, which is for us to say."""
MAX_DEPTH = 100
MAX_VALUES = 500_000
MAX_TEXT = 1024
_KEYS = frozenset(
    {"module", "class_name", "config", "registered_name", "build_config", "compile_config"}
    | {"shared_object_id", "name", "inbound_nodes"}
)
_VALUES = frozenset({"__keras_tensor__", "__numpy__", "__tensor__", "__slice__", "__ellipsis__"})
_OPERATIONS = "keras.src.ops."
_PLACES = {
    "keras.layers": allowed.LAYERS,
    "keras.initializers": allowed.INITIALIZERS,
    "keras.regularizers": allowed.REGULARIZERS,
    "keras.constraints": allowed.CONSTRAINTS,
    "keras.optimizers": allowed.OPTIMIZERS,
    "keras.optimizers.schedules": allowed.SCHEDULES,
    "keras.losses": allowed.LOSSES,
    "keras.metrics": allowed.METRICS,
}


@dataclass(frozen=True, slots=True)
class Architecture:
    """What may be built.

    Attributes:
        model: as `keras.saving.deserialize_keras_object` takes it, without how it is compiled.
        compiled: as `Model.compile_from_config` takes it; None where the file tells none.
        name: of the model.
    """

    model: Json
    compiled: Json | None
    name: str


def check_architecture(config: Mapping[str, Any]) -> Architecture:
    """Check what a file's config.json tells.

    Raises:
        FileRefused: a class, function or value that is not allowed; says where it stands.
    """
    kind = config.get("class_name")
    if not isinstance(kind, str) or kind not in allowed.MODELS:
        raise refused(
            f"its model is of the class {shorten(str(kind))}; Sequential and "
            "functional models are taken. A class of your own cannot be read without its code: "
            "build the same layers with 'keras.Model(inputs, outputs)'."
        )
    reader = _Reader()
    model = reader.read({key: config[key] for key in config if key != "compile_config"}, "model", 0)
    told = config.get("compile_config")
    compiled = None if not told else _compiled(reader.read(told, "compile_config", 0))
    inner = model["config"]
    name = inner.get("name") if isinstance(inner, dict) else None
    return Architecture(model, compiled, name if isinstance(name, str) else "model")


def check_optimizer(config: Any, where: str) -> Any:
    """Check an optimiser, loss or metric that is told in the same way.

    Raises:
        FileRefused: it is not allowed.
    """
    return _Reader().read(config, where, 0)


def _compiled(config: Any) -> Json:
    if not isinstance(config, dict):
        raise refused("its compile_config is no object; compile the model and save it again.")
    wanted = ("optimizer", "loss", "loss_weights", "metrics", "weighted_metrics")
    return {key: config.get(key) for key in wanted} | STEERING


class _Reader:
    """Copies values, and counts them."""

    def __init__(self) -> None:
        self._count = 0

    def read(self, value: Any, where: str, depth: int) -> Any:
        """A copy of `value` with nothing in it that is not allowed."""
        self._count += 1
        if depth > MAX_DEPTH or self._count > MAX_VALUES:
            raise refused(
                f"its config.json has more than {MAX_VALUES} values, or more than {MAX_DEPTH} "
                "levels of them."
            )
        if isinstance(value, dict):
            if "class_name" in value:
                return self._thing(value, where, depth)
            return {self._key(key, where): self.read(inner, f"{where}.{key}", depth + 1)
                    for key, inner in self._plain(value, where)}  # fmt: skip
        if isinstance(value, list):
            return [self.read(one, f"{where}[{at}]", depth + 1) for at, one in enumerate(value)]
        if isinstance(value, str) and len(value) > MAX_TEXT:
            raise refused(f"{where} is a text of {len(value)} characters.")
        if isinstance(value, float) and not math.isfinite(value):
            raise refused(f"{where} is no finite number.")
        return value

    def _plain(self, value: Json, where: str) -> list[tuple[str, Any]]:
        for key in ("dtype", "quantization_config", "lora_rank", "lora_alpha"):
            inner = value.get(key)
            if key == "dtype" and isinstance(inner, str):
                _check_dtype(inner, where)
            elif key != "dtype" and inner is not None:
                raise refused(
                    f"{where} is quantised or adapted ({key}), which is not trained here. Save the "
                    "model before that."
                )
        if value.get("sparse") is True or value.get("ragged") is True:
            raise refused(f"{where} takes sparse or ragged tensors; dense ones are trained here.")
        return list(value.items())

    def _key(self, key: str, where: str) -> str:
        if len(key) > MAX_TEXT or key in ("module", "registered_name"):
            raise refused(f"{where} has the key {shorten(key)}, which stands for a class only.")
        return key

    def _thing(self, value: Json, where: str, depth: int) -> Any:
        name = value["class_name"]
        if not isinstance(name, str):
            raise refused(f"{where} has a class_name that is no text.")
        if name in _VALUES:
            return self._special(name, value, where, depth)
        told = _at(where, value)
        unknown = set(value) - _KEYS
        if unknown:
            raise refused(f"{told} has the key {shorten(min(unknown))}, which Keras never writes.")
        if name == "function":
            return self._function(value, told)
        place = self._place(name, value.get("module"), told)
        config = value.get("config")
        if not isinstance(config, dict):
            raise refused(f"{told} ({name}) has no config; save the model again.")
        if name == "DTypePolicy":
            _check_policy(config.get("name"), where)
        made: Json = {
            "module": place,
            "class_name": name,
            "registered_name": name if place.startswith("keras.src.") else None,
            "config": self.read(config, f"{where}.config", depth + 1),
        }
        for key in ("build_config", "inbound_nodes", "name", "shared_object_id"):
            if key in value:
                made[key] = self.read(value[key], f"{where}.{key}", depth + 1)
        return made

    def _place(self, name: str, module: Any, where: str) -> str:
        """The module in which Keras has the class; what the file tells is only a hint."""
        told = module if isinstance(module, str) else ""
        if told == "keras" and name == "DTypePolicy":
            return "keras"
        if name in allowed.MODELS and told in ("keras", "keras.models", _functional(name)):
            return "keras" if name == "Sequential" else "keras.src.models.functional"
        if told.startswith(_OPERATIONS):
            kind = told.removeprefix(_OPERATIONS)
            if name in allowed.OPERATIONS.get(kind, ()):
                return told
        elif name in allowed.OPTIMIZERS and told.startswith("keras.src.backend."):
            return "keras.optimizers"  # Keras on torch tells its own subclass
        elif name in _PLACES.get(told, ()):
            return told
        raise _not_allowed(name, told, where)

    def _function(self, value: Json, where: str) -> Json:
        name, module = value.get("config"), value.get("module")
        known = module in ("builtins", "keras.activations", "keras.losses", "keras.metrics")
        if not known or not isinstance(name, str) or name not in allowed.FUNCTIONS:
            raise _not_allowed(str(name), str(module), where)
        return {
            "module": "builtins",
            "class_name": "function",
            "config": name,
            "registered_name": "function",
        }

    def _special(self, name: str, value: Json, where: str, depth: int) -> Json:
        if set(value) - {"class_name", "config"}:
            raise refused(f"{where} ({name}) has keys that Keras never writes.")
        config = self.read(value.get("config"), where, depth + 1)
        if name != "__ellipsis__" and not isinstance(config, dict):
            raise refused(f"{where} ({name}) has no config; save the model again.")
        return {"class_name": name, "config": config}


def _at(where: str, value: Json) -> str:
    """Where something stands, with what it is called, so that people find it."""
    config = value.get("config")
    name = config.get("name") if isinstance(config, dict) else None
    return f"{where} {shorten(name)}" if isinstance(name, str) else where


def _functional(name: str) -> str:
    return f"keras.src.models.{name.lower()}"


def _check_dtype(name: str, where: str) -> None:
    if name not in allowed.DTYPES:
        raise refused(
            f"{where} has the type {shorten(name)}; models are trained in float32 here. Build the "
            "model with that type and save it again."
        )


def _check_policy(name: Any, where: str) -> None:
    if name not in allowed.DTYPES:
        raise refused(
            f"{where} has the policy {shorten(str(name))}; models are trained in float32 here. "
            "Build the model with 'keras.config.set_dtype_policy(\"float32\")' and save it again."
        )


def _not_allowed(name: str, module: str, where: str) -> FileRefused:
    reason = allowed.UNSUITED.get(name)
    if reason is not None:
        return refused(f"{where} is {reason}, and save again.")
    what = shorten(f"{module}.{name}" if module else name, 120)
    return refused(
        f"{where} is {what}, which is no class of Keras that is taken. Classes and functions of "
        "your own cannot be read without their code: use those of Keras, or export the model to "
        "ONNX and register it."
    )
