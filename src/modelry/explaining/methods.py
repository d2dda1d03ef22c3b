"""Which methods explain which kinds of input; the first one is the usual one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from modelry.domain.errors import InvalidInput, NotSupported
from modelry.explaining.contract import BASELINE, TENSORS, Method, Parts, Wish
from modelry.explaining.counterfactuals import COUNTERFACTUAL
from modelry.explaining.given import GIVEN, given
from modelry.explaining.images import ImageParts
from modelry.explaining.leaving_out import leave_one_out
from modelry.explaining.occlusion import occlusion
from modelry.explaining.rise import rise
from modelry.explaining.shapley import shapley
from modelry.explaining.tables import Prepare, RowParts
from modelry.explaining.tensors import TensorParts
from modelry.explaining.texts import TextParts
from modelry.tasks.prediction import Prepared

METHODS: Mapping[str, Mapping[str, Method]] = {
    "image": {"occlusion": occlusion, "rise": rise},
    "objects": {"d-rise": rise, "occlusion": occlusion},
    "text": {"leave-one-out": leave_one_out, "shapley": shapley},
    "table": {"shapley": shapley, "leave-one-out": leave_one_out},
    "conversation": {"leave-one-out": leave_one_out, "shapley": shapley},
    "pair": {"leave-one-out": leave_one_out, "shapley": shapley},
    "tensors": {"leave-one-out": leave_one_out, "shapley": shapley},
}
_KINDS = {
    "image": "an image",
    "objects": "objects in an image",
    "text": "a text",
    "table": "a table",
    "conversation": "a written answer",
    "pair": "a pair of texts",
    "tensors": "tensors",
}


def parts_of(
    item: Mapping[str, Any],
    prepared: Prepared,
    prepare: Prepare,
    columns: Sequence[str],
    wish: Wish,
) -> tuple[str, Parts]:
    """The kind of an input, and its parts.

    Raises:
        NotSupported: nothing is known of how to take such an input apart.
        InvalidInput: it, or the background, cannot be taken apart.
    """
    if wish.background and "row" not in item:
        raise InvalidInput("background is for rows of tables alone.", param="background")
    if wish.picture and prepared.context.geometry is None:
        raise InvalidInput("picture is for images alone.", param="picture")
    if prepared.context.geometry is not None:
        return "image", ImageParts(prepared)
    if TENSORS in item:
        return "tensors", TensorParts(prepared, item[BASELINE])
    if "text" in item:
        return "text", TextParts(item, prepare)
    if "row" in item:
        return "table", RowParts(item, wish.background, prepare, columns)
    raise NotSupported("Inputs of this kind cannot be explained.")


def method_for(
    kind: str, wish: Wish, more: Mapping[str, Method] = MappingProxyType({})
) -> tuple[str, Method]:
    """The method that a wish names, or the usual one.

    Args:
        kind: of the input.
        wish: names a method or none.
        more: methods that this subject has beside the usual ones.

    Raises:
        InvalidInput: it is none for such inputs.
    """
    if wish.given:
        return GIVEN, given
    known = {**METHODS[kind], **more}
    name = next(iter(known)) if wish.method is None else wish.method
    if name not in known:
        names = [*known, COUNTERFACTUAL] if kind == "table" else list(known)
        raise InvalidInput(
            f"method is '{name[:40]}'; {_KINDS[kind]} can be explained by: {', '.join(names)}.",
            param="method",
        )
    return name, known[name]
