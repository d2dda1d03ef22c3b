"""The hot path of `POST /v2/models/{model}[/versions/{version}]/infer`."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

import orjson

from modelry.domain.errors import MalformedBody, ModelryError
from modelry.protocols.http.hot import HotExchange
from modelry.protocols.oip.answer import AnswerHead, render_answer, render_binary_json
from modelry.protocols.oip.plan import Plan, make_plan, split_body
from modelry.runtime_api.frames import Kind
from modelry.services.inference.call import Call
from modelry.services.inference.routing import Target
from modelry.services.inference.service import InferenceService

_URL = re.compile(rb"/v2/models/([^/?]+)(?:/versions/([0-9]{1,9}))?/infer")
_CACHED = 1024
"""Entries per cache; a full cache is emptied, which costs one parse per entry again."""
_CACHED_JSON_BYTES = 4096
_KIND_INFER = int(Kind.INFER)
_JSON_HEAD = b"content-type: application/json\r\n"


class ModelPath(NamedTuple):
    """Model name and version of an infer URL."""

    model: str
    version: int | None


class InferCall(Call):
    """An infer request whose answer goes straight to its connection."""

    __slots__ = ("exchange", "plan", "route", "target")

    def on_result(self, header: bytes, body: bytes) -> None:
        """Render and send the answer."""
        try:
            head, payload = self.route.render(self.target, self.plan, header, body)
        except ModelryError as error:
            self.exchange.fail(error)
        else:
            self.exchange.respond(head, payload)

    def on_error(self, error: ModelryError) -> None:
        """Tell the failure."""
        self.exchange.fail(error)

    exchange: HotExchange
    plan: Plan
    route: InferRoute
    target: Target


class InferRoute:
    """A `HotRoute` for infer.

    Args:
        inference: the data plane.
        max_body_bytes: larger bodies are refused.
    """

    def __init__(self, inference: InferenceService, max_body_bytes: int) -> None:
        self.max_body_bytes = max_body_bytes
        self._inference = inference
        self._paths: dict[bytes, ModelPath] = {}
        self._plans: dict[tuple[str, bytes], Plan] = {}
        self._answers: dict[tuple[str, int, bytes], tuple[bytes, bytes]] = {}

    def match(self, url: bytes) -> ModelPath | None:
        """Model and version of an infer URL, else None."""
        found = self._paths.get(url)
        if found is not None:
            return found
        match = _URL.fullmatch(url)
        if match is None:
            return None
        version = int(match[2]) if match[2] else None
        found = ModelPath(unquote(match[1].decode("ascii", "replace")), version)
        if len(self._paths) >= _CACHED:
            self._paths.clear()
        if len(url) <= 256:
            self._paths[url] = found
        return found

    def render_error(self, error: ModelryError) -> bytes:
        """The v2 error shape."""
        return orjson.dumps({"error": error.message})

    def admit_large(self, exchange: HotExchange, match: ModelPath) -> None:
        """Authenticate and route: who may not ask sends no large body."""
        principal = self._inference.authenticator.from_header(exchange.header(b"authorization"))
        self._inference.target(principal, match.model, match.version)

    def start(self, exchange: HotExchange, match: ModelPath) -> None:
        """Authenticate, route, check and submit."""
        authorization = header_length = encoding = None
        for name, value in exchange.headers:
            if name == b"authorization":
                authorization = value
            elif name == b"inference-header-content-length":
                header_length = value
            elif name == b"content-encoding":
                encoding = value
        inference = self._inference
        principal = inference.authenticator.from_header(authorization)
        target = inference.target(principal, match.model, match.version)
        if encoding is not None and encoding != b"identity":
            raise MalformedBody("Compressed bodies are not accepted.", param="content-encoding")
        json_part, binary = split_body(exchange.body, header_length)
        plan = self.plan(target, json_part)
        call = InferCall(principal, _KIND_INFER, plan.frame_header, plan.frame_body(binary))
        call.exchange = exchange
        call.plan = plan
        call.route = self
        call.target = target
        exchange.call = call
        target.group.submit(call)

    def plan(self, target: Target, json_part: bytes) -> Plan:
        """The plan for a JSON part, from the cache if it was seen before."""
        if len(json_part) > _CACHED_JSON_BYTES:
            return make_plan(json_part, target.version.signature)
        key = (target.version.digest, json_part)
        plan = self._plans.get(key)
        if plan is None:
            plan = make_plan(json_part, target.version.signature)
            if plan.body is None and plan.request_id is None:
                if len(self._plans) >= _CACHED:
                    self._plans.clear()
                self._plans[key] = plan
        return plan

    def render(self, target: Target, plan: Plan, header: bytes, body: bytes) -> tuple[bytes, bytes]:
        """Header lines and payload of the answer to `plan`."""
        name, number = target.deployment.name, target.version.number
        if plan.binary_outputs is None and plan.request_id is None:
            key = (name, number, header)
            cached = self._answers.get(key)
            if cached is None:
                outputs = orjson.loads(header)["outputs"]
                json_part = render_binary_json(AnswerHead(name, number, None), outputs)
                cached = (_binary_head(len(json_part)), json_part)
                if len(self._answers) >= _CACHED:
                    self._answers.clear()
                self._answers[key] = cached
            return cached[0], cached[1] + body
        json_part, parts = render_answer(
            AnswerHead(name, number, plan.request_id),
            plan.binary_outputs,
            orjson.loads(header)["outputs"],
            body,
        )
        if not parts:
            return _JSON_HEAD, json_part
        return _binary_head(len(json_part)), b"".join((json_part, *parts))


def _binary_head(json_bytes: int) -> bytes:
    return (
        b"content-type: application/octet-stream\r\ninference-header-content-length: %d\r\n"
        % json_bytes
    )
