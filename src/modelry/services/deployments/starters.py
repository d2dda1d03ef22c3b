"""Brings up the starter models of a fresh installation, once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from modelry.domain.access import Principal
from modelry.domain.catalog import Version
from modelry.domain.errors import ModelryError
from modelry.services.deployments.service import DeploymentsService

log = logging.getLogger(__name__)


class StarterSource(Protocol):
    """Fetches and registers the entries of the catalogue; blocks."""

    def names(self) -> Sequence[str]:
        """The entries that a fresh installation starts with."""
        ...

    def pull(self, principal: Principal, name: str) -> Version:
        """The entry's version, fetched and registered if it is not there yet.

        Raises:
            SourceUnavailable, DigestMismatch: it cannot be fetched.
        """
        ...


class SetUpRecord(Protocol):
    """Remembers which starters were set up, so that one that was taken away stays away."""

    def is_set_up(self, name: str) -> bool:
        """Whether `name` was set up before."""
        ...

    def note(self, name: str) -> None:
        """`name` is set up."""
        ...


class Starters:
    """Pulls and deploys the starter models that were not set up before.

    Args:
        source: where they come from.
        deployments: serves them.
        record: which were set up.
    """

    def __init__(
        self, source: StarterSource, deployments: DeploymentsService, record: SetUpRecord
    ) -> None:
        self._source = source
        self._deployments = deployments
        self._record = record

    async def set_up(
        self, principal: Principal, on_failure: Callable[[str, ModelryError], None]
    ) -> None:
        """Set up what is missing, one after the other; a failing one does not stop the others.

        Args:
            principal: in whose name.
            on_failure: told the entry's name and why it could not be set up; it is tried again
                at the next start.
        """
        for name in self._source.names():
            if await asyncio.to_thread(self._record.is_set_up, name):
                continue
            try:
                version = await asyncio.to_thread(self._source.pull, principal, name)
                await self._deployments.deploy(
                    principal, model=version.model_name, version=version.number
                )
            except ModelryError as error:
                log.warning("starter model %s could not be set up: %s", name, error.message)
                on_failure(name, error)
                continue
            await asyncio.to_thread(self._record.note, name)
