"""What lies between and after declared steps: stacking pictures, making input tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelry.domain.errors import InvalidInput, ModelryError, TensorMismatch
from modelry.domain.signature import DYNAMIC, Datatype, Signature, TensorSpec
from modelry.processing.casting import FLOATING, can_hold, to_input
from modelry.processing.complaints import of_item
from modelry.processing.parameters import Unfit, show
from modelry.processing.values import Form, Item, Picture, Pixels, Stage, Tensors
from modelry.runtime_api.tensors import NUMPY_TYPES, Array

RAW_FIELD = "inputs"


def stack_pictures(pictures: Sequence[Picture]) -> Pixels:
    """One uint8 array (n, height, width, 3), or (n, height, width) of grey pictures.

    Raises:
        InvalidInput: the pictures differ in size.
    """
    size = pictures[0].image.size
    for index, picture in enumerate(pictures):
        if picture.image.size != size:
            width, height = picture.image.size
            raise InvalidInput(
                f"{of_item(index, len(pictures))}it is {width} x {height} pixels after its steps, "
                f"the first one {size[0]} x {size[1]}. This model takes images of any size; send "
                "those of different sizes in separate requests."
            )
    array = np.stack([np.asarray(picture.image) for picture in pictures])
    if pictures[0].is_bgr:
        array = array[..., ::-1]
    layout = "nhwc" if array.ndim == 4 else "nhw"
    return Pixels(array, layout, [picture.geometry for picture in pictures])


def pixel_form(form: Form) -> Form:
    """What is known of stacked pictures."""
    is_gray = form.sizes is not None and form.sizes[2] == 1
    return Form(Stage.PIXELS, form.sizes, Datatype.UINT8, layout="nhw" if is_gray else "nhwc")


def pixel_input(form: Form, signature: Signature) -> TensorSpec:
    """The input that pixels of this form go to.

    Raises:
        Unfit: the model takes something else.
    """
    if len(signature.inputs) != 1:
        names = ", ".join(f"'{spec.name}'" for spec in signature.inputs)
        raise Unfit(
            f"the steps make one image tensor, but the model has {len(signature.inputs)} inputs: "
            f"{names}. Export the model with the image as its only input."
        )
    (spec,) = signature.inputs
    if spec.datatype not in FLOATING and form.datatype in FLOATING:
        raise Unfit(
            f"the steps make floating-point pixels, but input '{spec.name}' takes {spec.datatype}; "
            "leave out 'scale' and 'normalize'."
        )
    if spec.datatype not in FLOATING and NUMPY_TYPES[spec.datatype] not in (np.uint8, np.int32):
        raise Unfit(f"input '{spec.name}' takes {spec.datatype}, which images cannot be.")
    height, width, channels = form.sizes or (DYNAMIC,) * 3
    sizes = {
        "nhwc": (height, width, channels),
        "nchw": (channels, height, width),
        "nhw": (height, width),
    }[form.layout]
    fits = len(spec.shape) == len(sizes) + 1 and all(
        DYNAMIC in (made, wanted) or made == wanted
        for made, wanted in zip(sizes, spec.shape[1:], strict=True)
    )
    if not fits:
        raise Unfit(
            f"the steps make images of shape {['n', *sizes]}, but input '{spec.name}' takes "
            f"{list(spec.shape)} (-1 stands for any size). Change 'resize' or a crop for height "
            "and width, 'layout' (nchw or nhwc) for the order, 'decode' (gray or rgb) for channels."
        )
    return spec


def finish_pixels(pixels: Pixels, *, spec: TensorSpec) -> Tensors:
    """Pixels as the input tensor that the engine takes.

    Raises:
        TensorMismatch: their size is not one that the model takes.
    """
    array = to_input(pixels.array, spec)
    spec_of_items = TensorSpec(spec.name, spec.datatype, (DYNAMIC, *spec.shape[1:]))
    spec_of_items.check_shape(array.shape)
    return Tensors({spec.name: array})


def check_inputs_made(form: Form, signature: Signature) -> None:
    """Refuse steps that leave inputs of the model empty.

    Raises:
        Unfit: some are missing.
    """
    missing = [spec.name for spec in signature.inputs if spec.name not in form.names]
    if missing:
        raise Unfit(
            f"no step makes the model's input '{missing[0]}'; made are: "
            f"{', '.join(sorted(form.names)) or 'none'}."
        )


def stack_raw_inputs(items: Sequence[Item], *, signature: Signature) -> Tensors:
    """The input tensors of items that carry them as they are, without the batch dimension.

    Raises:
        InvalidInput: an item has other inputs, or values that are not numbers of that shape.
    """
    names = [spec.name for spec in signature.inputs]
    rows: dict[str, list[Array]] = {name: [] for name in names}
    for index, item in enumerate(items):
        where = of_item(index, len(items))
        given = item.get(RAW_FIELD)
        if not isinstance(given, Mapping) or set(given) != set(names):
            raise InvalidInput(
                f"{where}'{RAW_FIELD}' is {show(given)}; expected an object with the tensors: "
                f"{', '.join(names)}.",
                param=RAW_FIELD,
            )
        for spec in signature.inputs:
            try:
                rows[spec.name].append(_raw_input(given[spec.name], spec))
            except ModelryError as error:
                raise type(error)(where + error.message, param=spec.name) from None
    try:
        return Tensors({name: np.stack(arrays) for name, arrays in rows.items()})
    except ValueError:
        raise InvalidInput(
            "The items' tensors differ in shape; send items of different shapes in separate "
            "requests.",
            param=RAW_FIELD,
        ) from None


def _raw_input(value: Any, spec: TensorSpec) -> Array:
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):
        raise _not_a_tensor(value, spec) from None
    if not can_hold(spec.datatype, array):
        raise _not_a_tensor(value, spec)
    TensorSpec(spec.name, spec.datatype, spec.shape[1:]).check_shape(array.shape)
    return to_input(array, spec)


def _not_a_tensor(value: Any, spec: TensorSpec) -> TensorMismatch:
    return TensorMismatch(
        f"Tensor '{spec.name}' is {show(value)}; expected {spec.datatype} values of shape "
        f"{list(spec.shape[1:])} (-1 stands for any size)."
    )
