"""Requests and answers with JSON data that differ in nothing but the numbers.

Clients send the same JSON again and again, with other numbers in its one `data` list. What
surrounds the list is checked once; after that only the list is parsed. The same goes for answers.
"""

from __future__ import annotations

import re
import struct
from typing import Any, NamedTuple

import numpy as np
import orjson

from modelry.domain.signature import Datatype, Signature
from modelry.protocols.oip.answer import AnswerHead, envelope_of
from modelry.protocols.oip.json_data import JSON_ERRORS, packer_of
from modelry.protocols.oip.plan import Plan, make_plan
from modelry.runtime_api.tensors import NUMPY_TYPES, Array

_DATA = re.compile(rb'"data"\s*:\s*(?=\[)')
_CACHED = 1024
_CACHED_BYTES = 4096
_PLAIN_NUMBERS = frozenset(Datatype) - {Datatype.BYTES, Datatype.BF16, Datatype.FP16}
"""Types whose arrays orjson writes as the answers' JSON wants them."""


class _Known(NamedTuple):
    """The plan of all requests with the same surroundings, and how their numbers are packed."""

    plan: Plan
    packer: struct.Struct
    size: int


class RepeatedJson:
    """Plans for requests whose data is one flat JSON list of numbers."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bytes, bytes], _Known] = {}

    def plan(
        self, digest: str, json_part: bytes, signature: Signature
    ) -> tuple[Plan, bytes | None]:
        """The plan of a request and the body of its frame (None: ask the plan for it).

        Args:
            digest: of the version that `signature` belongs to.
            json_part: the request.
            signature: the version's.

        Raises:
            InvalidInput: as `make_plan`.
        """
        match = _DATA.search(json_part)
        if match is None:
            return make_plan(json_part, signature), None
        start = match.end()
        end = json_part.find(b"]", start) + 1
        key = (digest, json_part[:start], json_part[end:])
        known = self._known.get(key)
        if known is not None:
            body = _pack(known.packer, known.size, json_part[start:end])
            if body is not None:
                return known.plan, body
        plan = make_plan(json_part, signature)
        if known is None and len(key[1]) + len(key[2]) <= _CACHED_BYTES:
            self._learn(key, json_part, json_part[start:end], plan)
        return plan, None

    def _learn(
        self, key: tuple[str, bytes, bytes], request: bytes, data: bytes, plan: Plan
    ) -> None:
        if plan.body is None or plan.request_id is not None or request.count(b'"data"') != 1:
            return
        (entry,) = orjson.loads(plan.frame_header)["inputs"]
        datatype = Datatype(entry["datatype"])
        if datatype in (Datatype.BYTES, Datatype.BOOL):
            return
        count = entry["size"] // NUMPY_TYPES[datatype].itemsize
        packer = packer_of(datatype, count)
        if _pack(packer, count, data) != plan.body:
            return  # nested, or not the list that the plan was made from
        if len(self._known) >= _CACHED:
            self._known.clear()
        self._known[key] = _Known(plan, packer, count)


def _pack(packer: struct.Struct, count: int, data: bytes) -> bytes | None:
    """The tensor's bytes; None when `data` is not the flat list of numbers that was expected."""
    try:
        values: Any = orjson.loads(data)
        return packer.pack(*values) if len(values) == count else None
    except JSON_ERRORS:
        return None


class JsonTemplate:
    """An answer with one output as JSON, where only the numbers are open."""

    def __init__(self, head: AnswerHead, output: dict[str, Any]) -> None:
        entry = {key: output[key] for key in ("name", "datatype", "shape")} | {"data": []}
        before, _, after = orjson.dumps(envelope_of(head, [entry])).rpartition(b'"data":[]')
        self._before = before + b'"data":'
        self._after = after
        self._dtype = NUMPY_TYPES[Datatype(output["datatype"])]

    def fill(self, body: bytes) -> bytes:
        """The answer that holds the numbers of `body`."""
        numbers: Array = np.frombuffer(body, self._dtype)
        data = orjson.dumps(numbers, option=orjson.OPT_SERIALIZE_NUMPY)
        return self._before + data + self._after


def fits_template(outputs: list[dict[str, Any]]) -> bool:
    """Whether an answer with `outputs` can come from a `JsonTemplate`."""
    return len(outputs) == 1 and Datatype(outputs[0]["datatype"]) in _PLAIN_NUMBERS
