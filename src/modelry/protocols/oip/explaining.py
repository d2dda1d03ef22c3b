"""`POST /v2/models/{model}[/versions/{version}]/explain`: attributions as tensors.

The request is one of infer; wishes stand among its parameters. The answer has a tensor
`attributions.<input>` of each input's own shape, and `target`, `score`, `label` and
`is_better_than_random` by row. It is an extension of the protocol, called `explanations`.
"""

from __future__ import annotations

from typing import Any

import orjson
from starlette.responses import Response

from modelry.domain.errors import InvalidInput
from modelry.explaining.contract import LEAST_SECONDS, MOST_CALLS, MOST_SECONDS, Wish
from modelry.protocols.http.request import ApiRequest
from modelry.protocols.http.values import flag, number, text, whole
from modelry.protocols.oip.answer import AnswerHead, render_answer
from modelry.protocols.oip.plan import plan_of, read_header_length, read_json, split_body
from modelry.services.inference.answers import TensorExplanation
from modelry.services.inference.routing import Target
from modelry.services.inference.service import InferenceService

WISHES = ("method", "target", "calls", "seconds", "seed", "checks", "baseline")
"""Parameters of the request that are read here; the others are those of infer."""
_SEEDS = 2**32
_MOST_BASELINE = 1e30


async def explained(inference: InferenceService, target: Target, request: ApiRequest) -> Response:
    """Explain the tensors of a request.

    Raises:
        MalformedBody, UnsupportedField, TensorMismatch: as for infer.
        InvalidInput: a wish is out of range, or two outputs are named.
        ModelryError: the explanation failed.
    """
    length = request.header("inference-header-content-length")
    json_bytes = read_header_length(None if length is None else length.encode())
    json_part, binary = split_body(await request.body(), json_bytes)
    wishes, rest = _without_wishes(read_json(json_part))
    plan = plan_of(rest, target.version.signature)
    asked = orjson.loads(plan.frame_header)
    if len(asked["outputs"]) > 1:
        raise InvalidInput("Name one output to explain, or none.", param="outputs")
    found = await request.while_connected(
        inference.explain_tensors(
            request.principal,
            target,
            (asked["inputs"], plan.frame_body(binary)),
            _wish(wishes),
            baseline=number(wishes, "baseline", -_MOST_BASELINE, _MOST_BASELINE) or 0.0,
            output="".join(asked["outputs"]),
        )
    )
    is_binary = plan.binary_outputs is None or bool(plan.binary_outputs)
    return _rendered(found, plan.request_id, is_binary=is_binary)


def _without_wishes(asked: Any) -> tuple[dict[str, Any], Any]:
    """The wishes among the parameters of a request, and the request without them."""
    parameters = asked.get("parameters") if isinstance(asked, dict) else None
    if not isinstance(parameters, dict):
        return {}, asked
    wishes = {name: value for name, value in parameters.items() if name in WISHES}
    kept = {name: value for name, value in parameters.items() if name not in WISHES}
    return wishes, {**asked, "parameters": kept}


def _wish(given: dict[str, Any]) -> Wish:
    target = given.get("target")
    if type(target) is int:  # an index may be written as a number
        given = {**given, "target": str(target)}
    return Wish(
        method=text(given, "method", most_chars=80),
        target=text(given, "target", most_chars=1000),
        calls=whole(given, "calls", 2, MOST_CALLS),
        seconds=number(given, "seconds", LEAST_SECONDS, MOST_SECONDS),
        seed=whole(given, "seed", 0, _SEEDS - 1) or 0,
        checks=flag(given, "checks", default=True),
    )


def _rendered(found: TensorExplanation, request_id: str | None, *, is_binary: bool) -> Response:
    first = found.rows[0]
    parameters: dict[str, Any] = {
        "method": first["method"],
        "baseline": first["baseline"],
        "model_calls": found.usage["model_calls"],
    }
    if len(found.rows) == 1:
        parameters["sentence"] = first["sentence"]
    target = found.target
    head = AnswerHead(target.deployment.name, target.version.number, request_id, parameters)
    json_part, parts = render_answer(
        head, None if is_binary else frozenset(), found.entries, found.body
    )
    if not is_binary:
        return Response(json_part, media_type="application/json")
    return Response(
        b"".join((json_part, *parts)),
        headers={"inference-header-content-length": str(len(json_part))},
        media_type="application/octet-stream",
    )
