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

IMAGE, OBJECTS, TEXT, TABLE = "image", "objects", "text", "table"
CONVERSATION, PAIR = "conversation", "pair"
"""Kinds of input, beside `TENSORS`."""
METHODS: Mapping[str, Mapping[str, Method]] = {
    IMAGE: {"occlusion": occlusion, "rise": rise},
    OBJECTS: {"d-rise": rise, "occlusion": occlusion},
    TEXT: {"leave-one-out": leave_one_out, "shapley": shapley},
    TABLE: {"shapley": shapley, "leave-one-out": leave_one_out},
    CONVERSATION: {"leave-one-out": leave_one_out, "shapley": shapley},
    PAIR: {"leave-one-out": leave_one_out, "shapley": shapley},
    TENSORS: {"leave-one-out": leave_one_out, "shapley": shapley},
}
_KINDS = {
    IMAGE: "an image",
    OBJECTS: "objects in an image",
    TEXT: "a text",
    TABLE: "a table",
    CONVERSATION: "a written answer",
    PAIR: "a pair of texts",
    TENSORS: "tensors",
}
_OF_COUNTERFACTUALS = ("changeable", "goal", "most_changes")


def check_wishes(wish: Wish, kind: str) -> None:
    """Refuse what an input of a kind has no use for, rather than pass it over.

    Raises:
        InvalidInput: it was wished.
    """
    if wish.background and kind != TABLE:
        raise InvalidInput("background is for rows of tables alone.", param="background")
    if wish.picture and kind not in (IMAGE, OBJECTS):
        raise InvalidInput("picture is for images alone.", param="picture")
    for name in _OF_COUNTERFACTUALS if wish.method != COUNTERFACTUAL else ():
        if getattr(wish, name):
            raise InvalidInput(
                f"{name} is for the method '{COUNTERFACTUAL}' of tables alone.", param=name
            )


def parts_of(
    item: Mapping[str, Any],
    prepared: Prepared,
    prepare: Prepare,
    columns: Sequence[str],
    wish: Wish,
    *,
    places: Mapping[str, Sequence[int]] | None = None,
) -> tuple[str, Parts]:
    """The kind of an input, and its parts; `places` as `Predictor.column_places`.

    Raises:
        NotSupported: nothing is known of how to take such an input apart.
        InvalidInput: it, or the background, cannot be taken apart, or another wish is for others.
    """
    kind = _kind_of(item, prepared)
    check_wishes(wish, kind)
    if kind == IMAGE:
        return kind, ImageParts(prepared)
    if kind == TENSORS:
        return kind, TensorParts(prepared, item[BASELINE])
    if kind == TEXT:
        return kind, TextParts(item, prepare)
    return kind, RowParts(item, wish.background, prepare, columns, places)


def _kind_of(item: Mapping[str, Any], prepared: Prepared) -> str:
    if prepared.context.geometry is not None:
        return IMAGE
    for field, kind in ((TENSORS, TENSORS), ("text", TEXT), ("row", TABLE)):
        if field in item:
            return kind
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
