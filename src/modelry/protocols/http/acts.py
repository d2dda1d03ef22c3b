"""What endpoints outside of the management API enter into the audit log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from modelry.domain.access import Principal
from modelry.domain.errors import PermissionDenied
from modelry.services.audit.acts import entered
from modelry.services.audit.denials import Denials
from modelry.services.audit.trail import ChainedTrail

MAX_NAME_CHARS = 100


@dataclass(frozen=True, slots=True)
class DoorAudit:
    """Takes what the endpoints of a door do.

    Attributes:
        trail: takes acts: the intent before, the outcome after.
        denials: takes what was refused.
        is_secret: whether a text is a key, which somebody put into a path by mistake.
    """

    trail: ChainedTrail
    denials: Denials
    is_secret: Callable[[str], bool]

    def entered(
        self, principal: Principal, action: str, resource: str, request_id: str
    ) -> AbstractAsyncContextManager[dict[str, Any]]:
        """Enter that `principal` does `action` around what is inside; see `audit.acts.entered`."""
        return entered(self.trail, principal, action, resource, {"request_id": request_id})

    async def note_denial(
        self, principal: Principal, action: str, resource: str, error: PermissionDenied
    ) -> None:
        """Enter that a known caller was refused."""
        enter = self.denials.note(
            principal.tenant_id,
            actor=principal.key_id,
            action=action,
            resource=resource,
            outcome=error.code,
        )
        if enter is not None:
            await asyncio.to_thread(enter)

    def resource(self, path: str, names: dict[str, str]) -> str:
        """The path as it was asked for, without its prefix; keys in it are not told."""
        told = {
            name: "(a key)" if self.is_secret(value) else quote(value[:MAX_NAME_CHARS], safe=":@")
            for name, value in names.items()
        }
        return path.removeprefix("/v1").format(**told)
