"""What an earlier request asked, as far as its deployment keeps requests: to be asked again."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelry.domain.access import Permission, Principal
from modelry.domain.errors import InvalidInput, NotFound
from modelry.services.privacy.ports import LogFilter, LoggedRequest, RequestLogStore, SealedLog
from modelry.tasks.registry import task_called

_PARAM = "request_id"
_MOST_CALLS = 20
"""Of one request that are looked at, newest first."""


@dataclass(frozen=True, slots=True)
class KeptQuestion:
    """Items and options of a request, and what answered it."""

    deployment: str
    version_number: int
    items: Sequence[Mapping[str, Any]]
    options: Mapping[str, Any]


class KeptQuestions:
    """Finds what earlier requests asked.

    Args:
        store: of kept requests.
        content: unseals what was said in one.
    """

    def __init__(
        self, store: RequestLogStore, content: Callable[[SealedLog], Mapping[str, Any]]
    ) -> None:
        self._store = store
        self._content = content

    def find(self, principal: Principal, request_id: str) -> KeptQuestion:
        """What the request with an id asked.

        A key finds its own requests; those of others only who may read kept requests.

        Raises:
            NotFound: none is kept that this key may see.
            InvalidInput: what was kept of it is not all that was asked.
            DataDamaged, KeyUnavailable: it cannot be read any more.
        """
        wanted = LogFilter(request_id=request_id)
        found = self._store.find(principal.tenant_id, wanted, before=None, limit=_MOST_CALLS)
        for request in found:
            form = task_called(request.task).form
            log = self._store.get(principal.tenant_id, request.log_id)
            if not _may_see(principal, request) or form is None or log is None:
                continue
            said = self._content(log).get("input")
            if said is None:
                raise _not_kept("what it asked", "keep_input")
            if "items" in said:
                _check_whole(request)
                items = [_as_sent(item, form.item["properties"]) for item in said["items"]]
                options = said.get("options") or {}
                return KeptQuestion(request.deployment, request.version_number, items, options)
            if "left_out_bytes" in said:
                raise _not_kept("what it asked, which was too large,", "max_bytes")
        raise NotFound(
            f"No request '{request_id[:80]}' of this key is kept. Requests can be explained later "
            "while their deployment keeps them (its request log), about a second after the answer.",
            param=_PARAM,
        )


def _may_see(principal: Principal, request: LoggedRequest) -> bool:
    is_own = request.key_id == principal.key_id
    may_read = Permission.REQUEST_LOGS_READ in principal.permissions
    return (is_own or may_read) and principal.covers(request.deployment)


def _check_whole(request: LoggedRequest) -> None:
    if request.redacted:
        kinds = ", ".join(sorted(request.redacted))
        raise InvalidInput(
            f"Personal data ({kinds}) was taken out of that request before it was kept, so the "
            "model would be asked something else. Send the input itself.",
            param=_PARAM,
        )


def _as_sent(item: Mapping[str, Any], fields: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    found = dict(item)
    for name, schema in fields.items():
        if schema.get("format") == "binary" and name in found:
            found[name] = _bytes(name, found[name])
    return found


def _bytes(name: str, kept: Any) -> bytes:
    if not isinstance(kept, Mapping) or "base64" not in kept:
        raise _not_kept(f"its {name}", "attachments, and a max_bytes that it fits in")
    return binascii.a2b_base64(kept["base64"])


def _not_kept(what: str, how: str) -> InvalidInput:
    return InvalidInput(
        f"Of that request {what} was not kept; the deployment's request log needs {how} for that. "
        "Send the input itself.",
        param=_PARAM,
    )
