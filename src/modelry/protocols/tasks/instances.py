"""Instances of KServe's first protocol: as questions of tasks, and as tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelry.domain.errors import InvalidInput, NotSupported, UnsupportedField
from modelry.domain.signature import Datatype, Signature, TensorSpec
from modelry.protocols.http.values import shown
from modelry.protocols.tasks.json_question import JsonQuestion
from modelry.protocols.tasks.question import MAX_ITEMS, is_binary, is_text
from modelry.runtime_api.tensors import NUMPY_TYPES, Array
from modelry.tasks.contract import ItemForm

INSTANCES, PARAMETERS = "instances", "parameters"
_B64 = "b64"


def read_instances(
    body: Mapping[str, Any], most: int = MAX_ITEMS
) -> tuple[list[Any], dict[str, Any]]:
    """Instances and parameters of a body.

    Raises:
        UnsupportedField: something else is in it.
        InvalidInput: they are none.
    """
    refuse_others(body, (INSTANCES, PARAMETERS))
    instances, parameters = body.get(INSTANCES), body.get(PARAMETERS)
    if instances is None:
        raise InvalidInput(f"{INSTANCES} is missing; send a list of 1 to {most}.", param=INSTANCES)
    if not isinstance(instances, list) or not 1 <= len(instances) <= most:
        raise InvalidInput(
            f"{INSTANCES} is {shown(instances)}; expected a list of 1 to {most}.", param=INSTANCES
        )
    if parameters is not None and not isinstance(parameters, dict):
        raise InvalidInput(
            f"{PARAMETERS} is {shown(parameters)}; expected an object.", param=PARAMETERS
        )
    return instances, parameters or {}


def refuse_others(given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse what is not known.

    Raises:
        UnsupportedField: names it.
    """
    for name, value in given.items():
        if name not in known and value is not None:
            raise UnsupportedField(
                f"{name[:80]} is not known here; known are: {', '.join(known) or 'none'}.",
                param=name[:80],
            )


def question_of(
    model: str, form: ItemForm, instances: Sequence[Any], parameters: Mapping[str, Any]
) -> JsonQuestion:
    """The same question as the typed endpoints have it: a column of values for each field.

    Raises:
        InvalidInput: instances differ in their fields, or one is no item.
        UnsupportedField: a parameter has the name of a field.
    """
    items = [_fields(at, one, form) for at, one in enumerate(instances)]
    names = dict.fromkeys(name for item in items for name in item)
    for name in names:
        for at, item in enumerate(items):
            if name not in item:
                raise InvalidInput(
                    f"{INSTANCES}[{at}] has no '{name[:80]}', which others have.", param=INSTANCES
                )
    taken = names.keys() & parameters.keys()
    if taken:
        refuse_others(parameters, [name for name in parameters if name not in taken])
    columns = {name: [item[name] for item in items] for name in names}
    return JsonQuestion({**parameters, **columns, "model": model})


def _fields(at: int, instance: Any, form: ItemForm) -> dict[str, Any]:
    """One instance by the fields of the task's items."""
    fields: Mapping[str, Mapping[str, Any]] = form.item["properties"]
    found = instance
    if not _is_item(instance, form):
        found = {_usual_field(at, instance, form): instance}
    return {
        name: _value(value, fields[name]) if name in fields else value
        for name, value in found.items()
    }


def _is_item(instance: Any, form: ItemForm) -> bool:
    """Whether an instance is an object of fields, and no row whose columns it names."""
    fields: Mapping[str, Mapping[str, Any]] = form.item["properties"]
    if not isinstance(instance, dict) or not set(instance) <= set(fields) or not instance:
        return False
    return all(
        is_binary(fields[name]) or is_text(fields[name]) or isinstance(value, dict | list)
        for name, value in instance.items()
    )


def _usual_field(at: int, instance: Any, form: ItemForm) -> str:
    """The field that an instance is, which names none."""
    for name, schema in form.item["properties"].items():
        is_encoded = isinstance(instance, dict) and set(instance) == {_B64}
        if is_binary(schema):
            fits = isinstance(instance, str) or is_encoded
        elif is_text(schema):
            fits = isinstance(instance, str)
        else:
            fits = isinstance(instance, dict | list)
        if fits:
            return str(name)
    raise InvalidInput(
        f"{INSTANCES}[{at}] is {shown(instance)}; expected an object of: "
        f"{', '.join(form.item['properties'])}.",
        param=INSTANCES,
    )


def _value(value: Any, schema: Mapping[str, Any]) -> Any:
    is_encoded = isinstance(value, dict) and set(value) == {_B64}
    return value[_B64] if is_binary(schema) and is_encoded else value


def tensors_of(instances: Sequence[Any], signature: Signature) -> dict[str, Array]:
    """Instances as the inputs of a model that has no processing.

    Raises:
        NotSupported: the model takes no batches.
        InvalidInput: an instance lacks an input, or has one that is none.
        TensorMismatch: lists of another shape than the model takes.
    """
    if not signature.batched:
        raise NotSupported(
            "The model has no open batch dimension; use POST /v2/models/…/infer.", param="model"
        )
    names = [spec.name for spec in signature.inputs]
    rows: list[Mapping[str, Any]] = []
    for at, instance in enumerate(instances):
        row = instance if isinstance(instance, dict) else {names[0]: instance}
        if set(row) != set(names):
            raise InvalidInput(
                f"{INSTANCES}[{at}] has {', '.join(map(str, row))[:200]}; expected the inputs: "
                f"{', '.join(names)}.",
                param=INSTANCES,
            )
        rows.append(row)
    return {spec.name: _tensor([row[spec.name] for row in rows], spec) for spec in signature.inputs}


def _tensor(values: list[Any], spec: TensorSpec) -> Array:
    wrong = InvalidInput(
        f"Not all values of input '{spec.name}' are {spec.datatype} in lists of one shape.",
        param=spec.name,
    )
    try:
        if spec.datatype is Datatype.BYTES:
            return _texts(values, spec)
        found = np.array(values)
    except (ValueError, OverflowError, AttributeError):
        raise wrong from None
    dtype = NUMPY_TYPES[spec.datatype]
    if spec.datatype is Datatype.BF16 or found.dtype.kind not in "biuf":
        raise wrong
    spec.check_shape(found.shape)
    with np.errstate(all="ignore"):
        made: Array = found.astype(dtype)
    is_exact = dtype.kind == "f" or bool((made == found).all())
    if not is_exact or (dtype.kind == "f" and not np.isfinite(made).all()):
        raise wrong
    return made


def _texts(values: list[Any], spec: TensorSpec) -> Array:
    texts = np.array(values, object)
    spec.check_shape(texts.shape)
    made: Array = np.empty(texts.size, object)
    made[:] = [text.encode() for text in texts.ravel()]
    return made.reshape(texts.shape)


def plain_rows(array: Array) -> list[Any]:
    """Rows as JSON has them; texts that are none are written with replacement characters."""
    if array.dtype != object:
        return list(array.astype(np.float32) if array.dtype == np.float16 else array)
    texts = np.empty(array.size, object)
    texts[:] = [bytes(one).decode("utf-8", "replace") for one in array.ravel()]
    rows: list[Any] = texts.reshape(array.shape).tolist()
    return rows
