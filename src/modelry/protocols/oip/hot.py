"""The hot path of `POST /v2/models/{model}[/versions/{version}]/infer`."""

from __future__ import annotations

import contextlib
import re
import time
from typing import NamedTuple, TypeVar
from urllib.parse import unquote

import orjson

from modelry.domain.errors import MalformedBody, ModelryError, Unauthenticated
from modelry.protocols.http.hot_exchange import HotExchange
from modelry.protocols.http.limits import DoorLimits
from modelry.protocols.oip.answer import AnswerHead, render_answer, render_binary_json
from modelry.protocols.oip.plan import Plan, read_header_length, split_body
from modelry.protocols.oip.repeated_json import JsonTemplate, RepeatedJson, fits_template
from modelry.runtime_api.frames import Kind
from modelry.services.inference.authentication import Admission
from modelry.services.inference.call import Call
from modelry.services.inference.metering import OpenRequest
from modelry.services.inference.routing import Route, Target
from modelry.services.inference.service import InferenceService
from modelry.services.quotas.accounts import Account
from modelry.services.quotas.gates import NOTHING

_URL = re.compile(rb"/v2/models/([^/?]+)(?:/versions/([0-9]{1,9}))?/infer")
_CACHED = 1024
"""Entries per cache; a full cache is emptied, which costs one parse per entry again."""
_CACHED_JSON_BYTES = 4096
_KIND_INFER = int(Kind.INFER)
_JSON_HEAD = b"content-type: application/json\r\n"
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class ModelPath(NamedTuple):
    """Model name and version of an infer URL."""

    model: str
    version: int | None


class InferCall(Call):
    """An infer request whose answer goes straight to its connection."""

    __slots__ = ("exchange", "plan", "route", "target")

    @property
    def request_id(self) -> bytes:
        """See `Call.request_id`."""
        return self.exchange.request_id()

    def on_result(self, header: bytes, body: bytes) -> str | None:
        """Render and send the answer."""
        try:
            head, payload = self.route.render(self.target, self.plan, header, body)
        except ModelryError as error:
            self.exchange.fail(error)
            return error.code
        self.exchange.respond(head, payload)
        return None

    def on_error(self, error: ModelryError) -> None:
        """Tell the failure."""
        self.exchange.fail(error)

    exchange: HotExchange
    plan: Plan
    route: InferRoute
    target: Target


class _Known:
    """What follows from a request's head, for as long as keys and routes stay the same."""

    __slots__ = ("account", "admission", "digest", "generation", "header_length", "json_part",
                 "plan", "route")  # fmt: skip

    def __init__(
        self,
        admission: Admission,
        account: Account,
        generation: int,
        route: Route,
        header_length: int | None,
    ) -> None:
        self.admission = admission
        self.account = account
        self.generation = generation
        self.route = route
        self.header_length = header_length
        self.digest = ""
        self.json_part = b""

    plan: Plan
    """The plan of `json_part` for the version `digest`."""


class InferRoute:
    """A `HotRoute` for infer.

    Args:
        inference: the data plane.
        limits: what callers may use.
        max_body_bytes: larger bodies are refused.
    """

    def __init__(
        self, inference: InferenceService, limits: DoorLimits, max_body_bytes: int
    ) -> None:
        self.max_body_bytes = max_body_bytes
        self._inference = inference
        self._limits = limits
        self._paths: dict[bytes, ModelPath] = {}
        self._plans: dict[tuple[str, bytes], Plan] = {}
        self._repeated_json = RepeatedJson()
        self._answers: dict[tuple[str, int, bytes], tuple[bytes, bytes]] = {}
        self._templates: dict[tuple[str, int, bytes], JsonTemplate] = {}

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
        if len(url) <= 256:
            _keep(self._paths, url, found)
        return found

    def render_error(self, error: ModelryError) -> bytes:
        """The v2 error shape."""
        return orjson.dumps({"error": error.message})

    def admit_large(self, exchange: HotExchange, match: ModelPath) -> None:
        """Authenticate and route: who may not ask sends no large body."""
        exchange.head.memo = self._read_head(exchange, match)

    def _check(self, exchange: HotExchange, account: Account) -> None:
        """Refuse at once what the caller's limits do not allow."""
        if account.gates:
            exchange.account = account
            if account.was_refused:
                account.check(NOTHING, time.monotonic())

    def hold_s(self, exchange: HotExchange, error: ModelryError) -> float:
        """Hold refusals back, as the other doors do."""
        known: _Known | None = exchange.head.memo
        tenant_id = None
        if exchange.account is not None:
            tenant_id = exchange.account.tenant.tenant_id
        elif known is not None and not isinstance(error, Unauthenticated):
            tenant_id = known.admission.principal.tenant_id
        return self._limits.hold_s(error, tenant_id, exchange.peer)

    def start(self, exchange: HotExchange, match: ModelPath) -> None:
        """Authenticate, route, check and submit."""
        inference = self._inference
        known: _Known | None = exchange.head.memo
        if (
            known is None
            or known.generation != inference.routes.generation
            or not inference.authenticator.still_holds(known.admission)
        ):
            known = exchange.head.memo = self._read_head(exchange, match)
        else:
            if known.account.is_forgotten:
                known.account = inference.accounts.of(known.admission.principal)
            self._check(exchange, known.account)
        version = match.version
        target = known.route.pick() if version is None else known.route.version(version)
        plan, frame_body = self._plan_of(known, target, exchange.body)
        principal = known.admission.principal
        call = InferCall(principal, _KIND_INFER, plan.frame_header, frame_body)
        call.exchange = exchange
        call.plan = plan
        call.route = self
        call.target = target
        call.units = plan.units
        exchange.call = call
        target.group.submit(call, known.account)

    def note_refused(self, exchange: HotExchange, match: ModelPath, error: ModelryError) -> None:
        """Note and count a request that never became a call, for the key that sent it."""
        inference = self._inference
        with OpenRequest(inference.meter, exchange.request_id().decode()) as request:
            request.failed(error.code)
            with contextlib.suppress(ModelryError):
                authorization = exchange.head.header(b"authorization")
                request.principal = inference.authenticator.from_header(authorization)
                self._limits.count_refused(error, request.principal)
                inference.target(request.principal, match.model, match.version)

    def _read_head(self, exchange: HotExchange, match: ModelPath) -> _Known:
        head = exchange.head
        routes = self._inference.routes
        generation = routes.generation
        admission = self._inference.authenticator.admit(head.header(b"authorization"))
        account = self._inference.accounts.of(admission.principal)
        self._check(exchange, account)
        route = routes.find(admission.principal, match.model)
        encoding = head.header(b"content-encoding")
        if encoding is not None and encoding != b"identity":
            raise MalformedBody("Compressed bodies are not accepted.", param="content-encoding")
        length = read_header_length(head.header(b"inference-header-content-length"))
        return _Known(admission, account, generation, route, length)

    def _plan_of(
        self, known: _Known, target: Target, body: bytes
    ) -> tuple[Plan, bytes | memoryview]:
        length = known.header_length
        if (
            known.json_part
            and length == len(known.json_part)
            and body.startswith(known.json_part)
            and known.digest == target.version.digest
        ):
            return known.plan, known.plan.frame_body(memoryview(body)[length:])
        json_part, binary = split_body(body, length)
        plan, frame_body = self.plan(target, json_part, binary)
        if plan.is_binary and len(json_part) <= _CACHED_JSON_BYTES:
            known.plan, known.json_part, known.digest = plan, json_part, target.version.digest
        return plan, frame_body

    def plan(
        self, target: Target, json_part: bytes, binary: memoryview
    ) -> tuple[Plan, bytes | memoryview]:
        """The plan for a request and the body of its frame.

        Raises:
            InvalidInput: the request is not of the protocol, or does not fit the signature.
        """
        version = target.version
        if len(json_part) <= _CACHED_JSON_BYTES:
            known = self._plans.get((version.digest, json_part))
            if known is not None:
                return known, known.frame_body(binary)
        plan, body = self._repeated_json.plan(version.digest, json_part, version.signature)
        if body is not None and not binary:
            return plan, body
        if plan.body is None and plan.request_id is None and len(json_part) <= _CACHED_JSON_BYTES:
            _keep(self._plans, (version.digest, json_part), plan)
        return plan, plan.frame_body(binary)

    def render(self, target: Target, plan: Plan, header: bytes, body: bytes) -> tuple[bytes, bytes]:
        """Header lines and payload of the answer to `plan`."""
        key = (target.deployment.name, target.version.number, header)
        if plan.request_id is None:
            if plan.binary_outputs is None:
                head, json_part = self._answers.get(key) or self._binary_answer(key)
                return head, json_part + body
            template = self._templates.get(key)
            if template is not None and not plan.binary_outputs:
                return _JSON_HEAD, template.fill(body)
        outputs = orjson.loads(header)["outputs"]
        answer_head = AnswerHead(key[0], key[1], plan.request_id)
        json_part, parts = render_answer(answer_head, plan.binary_outputs, outputs, body)
        if parts:
            return _binary_head(len(json_part)), b"".join((json_part, *parts))
        if plan.request_id is None and fits_template(outputs):
            _keep(self._templates, key, JsonTemplate(answer_head, outputs[0]))
        return _JSON_HEAD, json_part

    def _binary_answer(self, key: tuple[str, int, bytes]) -> tuple[bytes, bytes]:
        outputs = orjson.loads(key[2])["outputs"]
        json_part = render_binary_json(AnswerHead(key[0], key[1], None), outputs)
        answer = (_binary_head(len(json_part)), json_part)
        _keep(self._answers, key, answer)
        return answer


def _keep(cache: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    if len(cache) >= _CACHED:
        cache.clear()
    cache[key] = value


def _binary_head(json_bytes: int) -> bytes:
    return (
        b"content-type: application/octet-stream\r\ninference-header-content-length: %d\r\n"
        % json_bytes
    )
