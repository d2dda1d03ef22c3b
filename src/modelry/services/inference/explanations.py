"""Questions why an answer came out, as calls of the version that gave it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from modelry.domain.access import Principal
from modelry.domain.errors import InvalidInput, NotSupported
from modelry.domain.signature import Datatype, Signature
from modelry.explaining.contract import BASELINE, OTHERS_ARE_ASKED, OUTPUT, Wish
from modelry.explaining.course import Progress
from modelry.gradients.contract import NAMES as BY_GRADIENTS
from modelry.runtime_api.frames import Kind, encode_header
from modelry.runtime_api.items import encode_items
from modelry.services.inference.answers import Explanation, TensorExplanation
from modelry.services.inference.call import ItemsCall
from modelry.services.inference.noted import parameters_of
from modelry.services.inference.routing import Target
from modelry.services.quotas.demands import items_demand, tensor_demand

MOST_EXPLAINED = 16
"""Rows of tensors, or items, that one request may have explained."""


OnProgress = Callable[[Progress], None]
"""Told how far an explanation is; runs on the event loop, must not block or raise."""


class ExplainCall(ItemsCall):
    """A call that tells how far it is.

    Args:
        principal: who asks.
        header: of its frame.
        body: likewise.
        on_progress: is told.
    """

    __slots__ = ("_on_progress",)

    def __init__(
        self, principal: Principal, header: bytes, body: bytes, on_progress: OnProgress | None
    ) -> None:
        super().__init__(principal, Kind.EXPLAIN, header, body)
        self._on_progress = on_progress

    def on_event(self, header: bytes, body: bytes) -> None:
        """It told how far it is."""
        del body
        if self._on_progress is not None:
            self._on_progress(Progress(**orjson.loads(header)))


def check_method(wish: Wish) -> None:
    """See that a worker can explain so.

    Raises:
        NotSupported: it follows gradients, which takes a process of its own.
    """
    if wish.method in BY_GRADIENTS:
        raise NotSupported(
            f"'{wish.method}' follows gradients, in a process of its own: ask for it at "
            "POST /v1/explanations.",
            param="method",
        )


def item_call(
    principal: Principal,
    target: Target,
    item: Mapping[str, Any],
    options: Mapping[str, Any],
    wish: Wish,
    *,
    others_are_asked: bool,
    cache_salt: str | None = None,
    on_progress: OnProgress | None = None,
) -> ExplainCall:
    """Asks why the version answers one item as it does.

    Where other versions are asked at the same time, it stands back for them.

    Raises:
        InvalidInput: the item is nested too deeply.
        NotSupported: as `check_method`.
    """
    check_method(wish)
    (encoded,), body = encode_items([item])
    asked = {
        "items": [encoded],
        "options": dict(options),
        "wish": wish.to_wire(),
        "is_own": principal.tenant_id == target.group.identity[0],
        OTHERS_ARE_ASKED: others_are_asked,
    }
    if on_progress is not None:
        asked["tells"] = True
    if cache_salt is not None:
        asked["cache_salt"] = cache_salt
    call = ExplainCall(principal, encode_header(asked), body, on_progress)
    demand = items_demand(target.version.task, 1, call.header)
    call.demand = demand._replace(explanations=1)
    call.parameters = parameters_of({**options, **wish.to_wire()})
    return call


def explanation_in(call: ItemsCall, target: Target, picture: bytes) -> Explanation:
    """What an `item_call` was answered."""
    answer = call.answer_header
    return Explanation(target, answer["explanation"], picture, answer["usage"])


def tensor_call(
    principal: Principal,
    target: Target,
    tensors: tuple[Sequence[Mapping[str, Any]], bytes | memoryview],
    wish: Wish,
    *,
    baseline: float,
    output: str,
    others_are_asked: bool,
) -> ItemsCall:
    """Asks why the engine answers each row of some tensors as it does.

    Raises:
        InvalidInput, NotSupported: as `check_explainable` and `check_method`.
    """
    check_method(wish)
    entries, body = tensors
    count = check_explainable(target.version.signature, entries)
    header = {
        "inputs": list(entries),
        BASELINE: baseline,
        OUTPUT: output,
        "wish": wish.to_wire(),
        OTHERS_ARE_ASKED: others_are_asked,
    }
    call = ItemsCall(principal, Kind.EXPLAIN, encode_header(header), body)
    demand = tensor_demand(target.version.task, call.header)
    call.demand = demand._replace(explanations=count)
    call.parameters = parameters_of({**wish.to_wire(), BASELINE: baseline})
    return call


def explanations_in(call: ItemsCall, target: Target, weights: bytes) -> TensorExplanation:
    """What a `tensor_call` was answered."""
    answer = call.answer_header
    return TensorExplanation(
        target, answer["explanations"], answer["outputs"], weights, answer["usage"]
    )


def check_explainable(signature: Signature, entries: Sequence[Mapping[str, Any]]) -> int:
    """How many rows of tensors are to be explained.

    Raises:
        InvalidInput: none, or too many.
        NotSupported: the model takes no rows, or numbers that cannot be changed here.
    """
    if not entries or not signature.batched:
        raise NotSupported(
            "The model takes no tensors with an open batch dimension, so that changed inputs "
            "cannot be asked for together; its tensors cannot be explained.",
            param="model",
        )
    for spec in signature.inputs:
        if spec.datatype in (Datatype.BF16, Datatype.BYTES):
            raise NotSupported(
                f"Input '{spec.name}' holds {spec.datatype}, which cannot be explained as a "
                "tensor; use POST /v1/explanations.",
                param=spec.name,
            )
    count = int(entries[0]["shape"][0])
    if not 1 <= count <= MOST_EXPLAINED:
        raise InvalidInput(
            f"The tensors have {count} rows; explain 1 to {MOST_EXPLAINED} in one request.",
            param="inputs",
        )
    return count
