"""One connection to the infer route in this process, with parts of a request's way replaced.

The replica answers in the same moment and the socket takes everything at once, so that nothing is
left but the gateway's own work. The parts are replaced here, in the benchmark's own wiring: the
product has no such switch.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import uvicorn
from uvicorn.server import ServerState

from benchmarks import tiny_cnn
from benchmarks.tensor import binary_request
from modelry.domain.access import ApiKey
from modelry.domain.deployments import Limits
from modelry.domain.quotas import TENANT_WIDE, UNLIMITED, QuotaLimits
from modelry.domain.signature import Datatype, Signature, TensorSpec
from modelry.protocols.http.hot import hot_protocol
from modelry.protocols.http.hot_exchange import HotExchange
from modelry.protocols.http.limits import DoorLimits
from modelry.protocols.oip.hot import InferRoute
from modelry.runtime_api.tensors import pack_tensors
from modelry.services.inference.authentication import Admission, Authenticator
from modelry.services.inference.call import Call
from modelry.services.inference.replica_group import ReplicaGroup
from modelry.services.inference.routing import Route, RouteTable, Target
from modelry.services.inference.service import InferenceService
from modelry.services.quotas.accounts import Account, Accounts
from modelry.services.tenancy.service import TenancyService
from modelry.services.tenancy.tokens import make_token
from modelry.testing import samples
from modelry.testing.memory_database import MemoryDatabase
from modelry.testing.samples import add_tenants

CLASSES = 10
SIGNATURE = Signature(
    (TensorSpec(tiny_cnn.INPUT, Datatype.FP32, (-1, 1, 28, 28)),),
    (TensorSpec(tiny_cnn.OUTPUT, Datatype.FP32, (-1, CLASSES)),),
    batched=True,
)


class Keys:
    """One valid key, for an authenticator."""

    def __init__(self) -> None:
        database = MemoryDatabase()
        add_tenants(database)
        self.tenancy = TenancyService(database.keys, b"p" * 32)
        made = self.tenancy.ensure_owner_key(make_token("live", "benchmark000"))
        assert made is not None
        self.token = made.token
        self.key: ApiKey = made.key


class InstantLink:
    """A replica that answers every call in the same moment with the same scores."""

    replica_id = "instant"
    capacity = 1 << 30
    in_flight = 0
    engine_clock = 0.0

    def __init__(self) -> None:
        outputs, parts = pack_tensors({tiny_cnn.OUTPUT: np.zeros((1, CLASSES), np.float32)})
        self._header, self._body = orjson.dumps({"outputs": outputs}), b"".join(parts)

    def send(self, call: Call) -> None:
        """Answer."""
        call.engine_from = self.engine_clock
        self.engine_clock += 1e-5
        call.finish(self._header, self._body)

    def cancel(self, call: Call) -> None:
        """Nothing is left to cancel."""


class SwallowingTransport(asyncio.Transport):
    """A socket to which everything can be written at once."""

    written = 0
    last = b""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """An address."""
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def is_closing(self) -> bool:
        """It stays open."""
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Count it."""
        self.last = bytes(data)
        self.written += 1

    def resume_reading(self) -> None:
        """It always reads."""


class Trusting(Authenticator):
    """Takes for granted who was admitted once."""

    def still_holds(self, admission: Admission) -> bool:
        """It does."""
        del admission
        return True


class UncheckedRoute(InferRoute):
    """Asks nobody's limits."""

    def _check(self, exchange: HotExchange, account: Account) -> None:
        """Nothing to check."""


class BareGroup(ReplicaGroup):
    """Sends calls on as `ReplicaGroup` does, without accounts and meter.

    The statistics for metrics are still counted; they are no part of what is measured.
    """

    def submit(self, call: Call, account: Account | None = None) -> None:
        """Send `call` on."""
        del account
        now = time.monotonic()
        call.started = self.last_used = now
        call.deadline = now + self.limits.deadline_s
        if not self._meets_tenants and call.principal.tenant_id != self.identity[0]:
            self._meet_tenants()
        link = self._least_loaded()
        if self.closed or self._meets_tenants:
            raise AssertionError("there is one tenant alone")
        if link is None:
            call.account = self.accounts.of(call.principal)  # whose weight the queue asks
            call.wait_until = call.deadline
            self._open_call(call)
            self.waiting.append(call)
            return
        call.group = self
        self._open.add(call)
        if call.request is None and self.recorder is None:
            self._send(call, link)

    def record(self, call: Call, status: str) -> None:
        """Count an ended call."""
        self._open.discard(call)
        if call.link is not None and self._meets_tenants:
            self.waiting.ended(call)
        self.statistics.add(status, time.monotonic() - call.started)


class Connection:
    """A connection to a gateway of this process.

    Args:
        is_bare: without authorisation, limits and metering; otherwise as in the product.
        key: the limits of the key.
        tenant: those of its tenant.
    """

    def __init__(
        self, *, is_bare: bool, key: QuotaLimits = UNLIMITED, tenant: QuotaLimits = UNLIMITED
    ) -> None:
        keys = Keys()
        routes = RouteTable()
        accounts = Accounts()
        limits = {("default", keys.key.key_id): key, ("default", TENANT_WIDE): tenant}
        accounts.apply({subject: one for subject, one in limits.items() if one != UNLIMITED})
        authenticator = (Trusting if is_bare else Authenticator)(keys.tenancy)
        inference = InferenceService(authenticator, routes, accounts)
        self.meter = inference.meter
        group = (BareGroup if is_bare else ReplicaGroup)(
            ("default", "tiny-cnn", 1, "tensor"),
            Limits(),
            accounts,
            lambda: None,
            meter=inference.meter,
        )
        group.attach(InstantLink())
        version = replace(samples.version("tiny-cnn"), task="tensor", signature=SIGNATURE)
        deployment = samples.deployment("tiny-cnn", "tiny-cnn")
        target = Target(deployment, version, group)
        routes.swap({("default", "tiny-cnn"): Route(deployment, (target,), (100.0,))})
        route = (UncheckedRoute if is_bare else InferRoute)(inference, DoorLimits(accounts), 2**20)
        config = uvicorn.Config(
            _nothing, http=hot_protocol((route,)), ws="none", interface="asgi3", log_config=None
        )
        config.load()
        self.transport = SwallowingTransport()
        protocol: Any = config.http_protocol_class
        self._protocol = protocol(config=config, server_state=ServerState(), app_state={})
        self._protocol.connection_made(self.transport)
        body, headers = binary_request(np.zeros((1, 1, 28, 28), np.float32))
        lines = [
            "POST /v2/models/tiny-cnn/infer HTTP/1.1",
            "Host: localhost",
            f"Authorization: Bearer {keys.token}",
            *(f"{name}: {value}" for name, value in headers.items()),
            f"Content-Length: {len(body)}",
        ]
        self._request = "\r\n".join([*lines, "", ""]).encode() + body

    def seconds_per_request(self, count: int) -> float:
        """CPU time of a request, of `count` in a row."""
        receive, request = self._protocol.data_received, self._request
        before = self.transport.written
        started = time.thread_time()
        for _ in range(count):
            receive(request)
        taken = time.thread_time() - started
        if self.transport.written != before + count or not self.transport.last.startswith(
            b"HTTP/1.1 200 "
        ):
            raise SystemExit(f"A request was not answered: {self.transport.last[:500]!r}")
        self.meter.take()
        return taken / count


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("every request here is hot", scope, receive, send)
