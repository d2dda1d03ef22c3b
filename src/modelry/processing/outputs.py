"""The model's outputs as steps see them."""

from __future__ import annotations

from collections.abc import Mapping

from modelry.domain.errors import ModelFailed
from modelry.domain.signature import TensorSpec
from modelry.processing.casting import from_output
from modelry.processing.kinds import Building
from modelry.processing.parameters import Unfit
from modelry.processing.values import Context, Form, Stage
from modelry.runtime_api.tensors import Array


def pick_output(outputs: Mapping[str, Array], *, spec: TensorSpec, context: Context) -> Array:
    """One of the outputs, in a type that steps compute in.

    Raises:
        ModelFailed: it is not there, or does not have one row per item.
    """
    array = outputs.get(spec.name)
    if array is None:
        raise ModelFailed(f"The model gave no output '{spec.name}' although its file declares it.")
    if array.ndim == 0 or array.shape[0] != context.count:
        raise ModelFailed(
            f"The model's output '{spec.name}' has shape {list(array.shape)}; expected "
            f"{context.count} rows, one per item."
        )
    return from_output(array, spec)


def only_output(building: Building) -> TensorSpec:
    """The output that is meant when none is named.

    Raises:
        Unfit: the model has several, or none.
    """
    if len(building.signature.outputs) != 1:
        raise Unfit(
            f"the model has {len(building.signature.outputs)} outputs; put the step "
            f"'output: NAME' before it. They are: {building.output_names()}."
        )
    return building.signature.outputs[0]


def output_form(spec: TensorSpec) -> Form:
    """What is known of an output."""
    return Form(Stage.TENSOR, spec.shape, spec.datatype)
