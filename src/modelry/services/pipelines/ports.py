"""What pipelines need from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from modelry.domain.access import Principal
from modelry.domain.catalog import Alias, Model, Version
from modelry.domain.deployments import Deployment
from modelry.domain.evaluations import Evaluation


class KnownModel(Protocol):
    """A model, as the catalogue tells of it."""

    @property
    def model(self) -> Model:
        """Its name and task."""
        ...


class Registered(Protocol):
    """What came of registering."""

    @property
    def version(self) -> Version:
        """The version: a new one, or the one that had these files already."""
        ...


class Catalogue(Protocol):
    """Models, their versions and aliases."""

    def resolve(self, principal: Principal, reference: str) -> Version:
        """The version that `name` (its newest), `name@3` or `name@alias` means, or NotFound."""
        ...

    def get_model(self, principal: Principal, name: str) -> KnownModel:
        """One model, or NotFound."""
        ...

    def register_copy(self, principal: Principal, version: Version, name: str) -> Registered:
        """The version of another model that is the same; again, it is the one that is there."""
        ...

    def set_alias(
        self, principal: Principal, model: str, name: str, version: int, *, reason: str = ""
    ) -> Alias:
        """Point an alias at a version."""
        ...

    def list_aliases(self, principal: Principal, model: str) -> list[Alias]:
        """All aliases of a model, by name, or NotFound."""
        ...


class Evaluations(Protocol):
    """What was measured."""

    def find(self, tenant_id: str, evaluation_id: str) -> Evaluation | None:
        """One evaluation."""
        ...

    def of_version(self, tenant_id: str, model: str, number: int) -> Sequence[Evaluation]:
        """Those of a version, newest first."""
        ...


class Deployments(Protocol):
    """The deployments; they live on the event loop."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop."""
        ...

    def get(self, principal: Principal, name: str) -> Deployment:
        """One deployment, or NotFound."""
        ...

    def privately(self, version: Version) -> AbstractAsyncContextManager[Any]:
        """A loaded replica of `version` that nobody calls."""
        ...

    async def deploy(
        self, principal: Principal, *, model: str, version: int | None, name: str | None
    ) -> Deployment:
        """Create a deployment or change it: all traffic goes to the version."""
        ...

    async def load(self, principal: Principal, name: str) -> None:
        """Wait until it can answer."""
        ...
