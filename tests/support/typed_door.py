"""The typed door over models that answer in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx2
from starlette.applications import Starlette

from modelry.domain.access import Role
from modelry.domain.deployments import Deployment
from modelry.protocols.http.endpoint import starlette_routes
from modelry.protocols.http.limits import DoorLimits
from modelry.protocols.tasks import build_door
from modelry.services.inference.authentication import Authenticator, KeySnapshot
from modelry.services.inference.replica_group import ReplicaGroup
from modelry.services.inference.routing import Route, RouteTable, Target
from modelry.services.inference.service import InferenceService
from modelry.testing import samples
from modelry.testing.replica_link import InProcessLink, InProcessModel, Items

TOKENS = {"caller": Role.INFERENCE, "viewer": Role.VIEWER}
MAX_BODY_BYTES = 200_000


class _Keys:
    def digest(self, token: bytes) -> bytes:
        return token

    def snapshot(self) -> KeySnapshot:
        keys = {
            token.encode(): replace(samples.api_key(token), role=role, deployments=frozenset())
            for token, role in TOKENS.items()
        }
        return KeySnapshot(keys, {}, {})


class Recorder(InProcessModel):
    """Answers with how long what it got was; keeps the last call."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.options: dict[str, Any] = {}

    def predict(self, items: Sequence[dict[str, Any]], options: Mapping[str, Any]) -> Items:
        self.items, self.options = list(items), dict(options)
        sizes = [
            len(item.get("image") or item.get("text") or item.get("row", "")) for item in items
        ]
        return [{"labels": [{"label": "x", "index": size}]} for size in sizes], {"items": 1}


class TypedServer:
    """Deployments `pets` (images), `mood` (texts), `things` (detection), `table`, `talk` (chat),
    `polyglot` (translation), `brief` (summaries).
    """

    def __init__(self) -> None:
        self.models: dict[str, Recorder] = {}
        self.groups: dict[str, ReplicaGroup] = {}
        self.routes = RouteTable()
        self.inference = InferenceService(Authenticator(_Keys()), self.routes)
        tasks = {
            "pets": "image-classification",
            "mood": "text-classification",
            "things": "object-detection",
            "table": "tabular",
            "talk": "chat",
            "polyglot": "translation",
            "brief": "summarization",
        }
        self.routes.swap(
            {
                (samples.DEFAULT_TENANT_ID, name): self._route(name, task)
                for name, task in tasks.items()
            }
        )
        door = build_door(self.inference, max_body_bytes=MAX_BODY_BYTES)
        self.door = door
        limits = DoorLimits(self.inference.accounts)
        self.asgi = Starlette(routes=starlette_routes(door, self.inference.authenticator, limits))

    def _route(self, name: str, task: str) -> Route:
        deployment: Deployment = replace(samples.deployment(name, name), limits=samples.Limits())
        version = replace(samples.version(name), task=task)
        group = ReplicaGroup(
            (samples.DEFAULT_TENANT_ID, name, 1, task),
            deployment.limits,
            self.inference.accounts,
            lambda: None,
        )
        self.models[name] = Recorder()
        self.groups[name] = group
        group.attach(InProcessLink(f"replica-of-{name}", group, self.models[name]))
        return Route(deployment, (Target(deployment, version, group),), (100.0,))

    def client(self, token: str = "caller") -> httpx2.AsyncClient:
        """A client with a key; `""` has none."""
        return httpx2.AsyncClient(
            transport=httpx2.ASGITransport(self.asgi, raise_app_exceptions=False),
            base_url="http://modelry.test",
            headers={"authorization": f"Bearer {token}"} if token else {},
        )
