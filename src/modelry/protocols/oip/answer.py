"""From a worker's RESULT frame to a v2 infer answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from modelry.domain.errors import UnsupportedField
from modelry.domain.signature import Datatype
from modelry.protocols.oip.json_data import json_of_array
from modelry.runtime_api.tensors import decode_tensor


class AnswerHead(NamedTuple):
    """Who answers: deployment, version, the caller's own id for the request, and what else is told
    of the answer.
    """

    model: str
    version: int
    request_id: str | None
    parameters: Mapping[str, Any] | None = None


def render_binary_json(head: AnswerHead, outputs: list[dict[str, Any]]) -> bytes:
    """The JSON part of an answer whose outputs are all binary; the frame's body follows it."""
    entries = [
        {
            "name": output["name"],
            "datatype": output["datatype"],
            "shape": output["shape"],
            "parameters": {"binary_data_size": output["size"]},
        }
        for output in outputs
    ]
    return orjson.dumps(envelope_of(head, entries))


def render_answer(
    head: AnswerHead,
    binary_outputs: frozenset[str] | None,
    outputs: list[dict[str, Any]],
    body: bytes,
) -> tuple[bytes, list[memoryview]]:
    """The JSON part of an answer and the binary parts that follow it.

    Raises:
        UnsupportedField: an output that has no JSON form was not asked for as binary.
    """
    view = memoryview(body)
    entries: list[dict[str, Any]] = []
    parts: list[memoryview] = []
    position = 0
    for output in outputs:
        data = view[position : position + output["size"]]
        position += output["size"]
        entry = {key: output[key] for key in ("name", "datatype", "shape")}
        if binary_outputs is None or output["name"] in binary_outputs:
            entry["parameters"] = {"binary_data_size": output["size"]}
            parts.append(data)
        else:
            entry["data"] = _json_data(output, data)
        entries.append(entry)
    envelope = envelope_of(head, entries)
    return orjson.dumps(envelope, option=orjson.OPT_SERIALIZE_NUMPY), parts


def _json_data(output: dict[str, Any], data: memoryview) -> Any:
    datatype = Datatype(output["datatype"])
    if datatype is Datatype.BF16:
        raise UnsupportedField(
            f"Output '{output['name']}' is BF16, which has no JSON form; ask for it as binary.",
            param=output["name"],
        )
    return json_of_array(decode_tensor(output["name"], datatype, output["shape"], data))


def envelope_of(head: AnswerHead, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The JSON object of an answer with the output `entries`."""
    envelope: dict[str, Any] = {"model_name": head.model, "model_version": str(head.version)}
    if head.request_id is not None:
        envelope["id"] = head.request_id
    if head.parameters is not None:
        envelope["parameters"] = dict(head.parameters)
    envelope["outputs"] = entries
    return envelope
