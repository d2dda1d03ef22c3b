"""Arithmetic on pixels, and the order of their axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from modelry.domain.signature import DYNAMIC, Datatype
from modelry.processing.kinds import Building, StepKind
from modelry.processing.parameters import (
    Parameter,
    Unfit,
    choice,
    number,
    one_or_list,
    ratio,
)
from modelry.processing.values import Form, Pixels, Stage
from modelry.runtime_api.tensors import Array

MAX_CHANNELS = 4


def scale(pixels: Pixels, *, factor: float, offset: float) -> Pixels:
    """Multiplies every value by a factor, then adds an offset; pixels are 0 to 255 before."""
    scaled = pixels.array * np.float32(factor)
    if offset:
        scaled += np.float32(offset)
    return replace(pixels, array=scaled)


def normalize(pixels: Pixels, *, mean: Array, std: Array) -> Pixels:
    """Subtracts the mean and divides by the standard deviation, one number or one per channel.

    Channels count in the order of `decode`: blue first after `decode: bgr`.
    """
    if pixels.layout == "nchw":
        mean, std = mean[:, None, None], std[:, None, None]
    centred = pixels.array - mean
    centred /= std
    return replace(pixels, array=centred)


def layout(pixels: Pixels, *, order: str) -> Pixels:
    """Puts the axes in the order that the model takes: n images, c channels, height, width."""
    if order == pixels.layout:
        return pixels
    array = pixels.array
    if pixels.layout == "nhw":
        array = array[:, None] if order == "nchw" else array[..., None]
    elif order == "nhw":
        array = array[:, 0] if pixels.layout == "nchw" else array[..., 0]
    else:
        array = np.moveaxis(array, -1, 1) if order == "nchw" else np.moveaxis(array, 1, -1)
    return replace(pixels, array=array, layout=order)


def _prepare_normalize(parameters: dict[str, Any], building: Building) -> dict[str, Any]:
    channels = building.form.sizes[2] if building.form.sizes else DYNAMIC
    bound: dict[str, Any] = {}
    for name in ("mean", "std"):
        value = parameters[name]
        count = len(value) if isinstance(value, list) else 1
        if count not in (1, channels):
            raise Unfit(f"'{name}' has {count} values; the images have {channels} channels.")
        bound[name] = np.atleast_1d(np.asarray(value, dtype=np.float32))
    return bound


def _trace_floating(form: Form, bound: Mapping[str, Any]) -> Form:
    del bound
    return replace(form, datatype=Datatype.FP32)


def _trace_layout(form: Form, bound: Mapping[str, Any]) -> Form:
    if bound["order"] == "nhw" and form.sizes and form.sizes[2] != 1:
        raise Unfit("'nhw' has no channels, but the images have 3; use 'decode: gray'.")
    return replace(form, layout=bound["order"])


STEPS = (
    StepKind(
        name="scale",
        side="pre",
        run=scale,
        takes=(Stage.PIXELS,),
        parameters=(
            Parameter("factor", ratio(), default=1 / 255),
            Parameter("offset", number(-1e6, 1e6), default=0.0, about="added after multiplying"),
        ),
        shorthand="factor",
        trace=_trace_floating,
    ),
    StepKind(
        name="normalize",
        side="pre",
        run=normalize,
        takes=(Stage.PIXELS,),
        parameters=(
            Parameter("mean", one_or_list(number(-1e6, 1e6), MAX_CHANNELS)),
            Parameter("std", one_or_list(ratio(), MAX_CHANNELS)),
        ),
        prepare=_prepare_normalize,
        trace=_trace_floating,
    ),
    StepKind(
        name="layout",
        side="pre",
        run=layout,
        takes=(Stage.PIXELS,),
        parameters=(
            Parameter(
                "order", choice("nchw", "nhwc", "nhw"), about="n images, c channels, height, width"
            ),
        ),
        shorthand="order",
        trace=_trace_layout,
    ),
)
