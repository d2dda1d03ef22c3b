"""What an earlier request asked, as far as its deployment keeps requests: to be asked again."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from modelry.domain.access import Permission, Principal
from modelry.domain.errors import InvalidInput, NotFound
from modelry.services.audit.ports import AuditTrail
from modelry.services.privacy.ports import LogFilter, LoggedRequest, RequestLogStore, SealedLog
from modelry.services.privacy.readable import LEFT_OUT
from modelry.tasks.registry import task_called

ACTION = "request_logs.explain_request_log"
"""In the audit log, where somebody has the request of another key explained."""
_PARAM = "request_id"
_MOST_CALLS = 20
"""Of one request that are looked at, newest first."""


@dataclass(frozen=True, slots=True)
class KeptQuestion:
    """What a request asked, and what answered it.

    Of a chat there is an item for each of its answers, which has the answer, too.
    """

    deployment: str
    version_number: int
    at: datetime
    items: Sequence[Mapping[str, Any]]
    options: Mapping[str, Any]


class KeptQuestions:
    """Finds what earlier requests asked.

    Args:
        store: of kept requests.
        content: unseals what was said in one.
        trail: is told when the requests of others are read.
    """

    def __init__(
        self,
        store: RequestLogStore,
        content: Callable[[SealedLog], Mapping[str, Any]],
        trail: AuditTrail,
    ) -> None:
        self._store = store
        self._content = content
        self._trail = trail

    def find(self, principal: Principal, request_id: str) -> KeptQuestion:
        """What the request with an id asked.

        A key finds its own requests; those of others only who may read kept requests, and that
        is entered into the audit log.

        Raises:
            NotFound: none is kept that this key may see.
            InvalidInput: what was kept of it is not all that was asked, or is not explained so.
            DataDamaged, KeyUnavailable: it cannot be read any more.
            AuditUnavailable: that it was read cannot be entered.
        """
        kinds = set[str]()
        for request, content in self._kept(principal, request_id):
            said = content.get("input")
            if said is None:
                raise _not_kept("what it asked", "keep_input")
            if LEFT_OUT in said:
                raise _not_kept("what it asked, which was too large,", "max_bytes")
            if "items" in said:
                return _of_items(request, said)
            if "chat" in said:
                return _of_chat(request, said["chat"], content.get("output"))
            kinds.add(_kind(request, said))
        if kinds:
            raise InvalidInput(
                f"That request asked for {min(kinds)}, which are not explained by its id; send the "
                "input itself.",
                param=_PARAM,
            )
        raise NotFound(
            f"No request '{request_id[:80]}' of this key is kept. Requests can be explained later "
            "while their deployment keeps them (its request log), about a second after the answer.",
            param=_PARAM,
        )

    def _kept(
        self, principal: Principal, request_id: str
    ) -> Iterator[tuple[LoggedRequest, Mapping[str, Any]]]:
        """The calls of a request that the principal may see, newest first, and what was said."""
        may_read = Permission.REQUEST_LOGS_READ in principal.permissions
        # callers choose ids themselves: others may have used the same one
        wanted = LogFilter(request_id=request_id, key_id=None if may_read else principal.key_id)
        found = self._store.find(principal.tenant_id, wanted, before=None, limit=_MOST_CALLS)
        for request in sorted(found, key=lambda one: one.key_id != principal.key_id):
            log = self._store.get(principal.tenant_id, request.log_id)
            if log is None or not principal.covers(request.deployment):
                continue
            if request.key_id != principal.key_id:
                self._trail.append(
                    principal.tenant_id,
                    actor=principal.key_id,
                    action=ACTION,
                    resource=f"/request-logs/{request.log_id}",
                )
            yield request, self._content(log)


def _kind(request: LoggedRequest, said: Mapping[str, Any]) -> str:
    if "completion" in said:
        return "completions"
    return "embeddings" if request.task == "text-embedding" else "tensors"


def _of_items(request: LoggedRequest, said: Mapping[str, Any]) -> KeptQuestion:
    _check_whole(request)
    form = task_called(request.task).form
    fields = {} if form is None else form.item["properties"]
    if _lacks_a_part([item.get("messages") for item in said["items"]]):
        raise _not_kept("an image in its messages", "attachments")
    items = [_as_sent(item, fields) for item in said["items"]]
    return _question(request, items, said.get("options") or {})


def _of_chat(request: LoggedRequest, asked: Mapping[str, Any], output: Any) -> KeptQuestion:
    """A conversation, and each answer to it; options of sampling do not matter to given answers."""
    _check_whole(request)
    if asked.get("tools"):
        raise InvalidInput(
            "That request gave the model tools, without which its answer cannot be explained.",
            param=_PARAM,
        )
    if _lacks_a_part(asked["messages"]):
        raise _not_kept("an image in its messages", "attachments")
    choices = (output or {}).get("choices")
    if choices is None:
        raise _not_kept("its answer", "keep_output, and a max_bytes that it fits in,")
    answers = [choice["text"] for choice in choices if choice.get("text")]
    if not answers:
        raise InvalidInput("That request got no text as its answer.", param=_PARAM)
    return _question(request, [{"messages": asked["messages"], "answer": one} for one in answers])


def _question(
    request: LoggedRequest,
    items: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any] | None = None,
) -> KeptQuestion:
    return KeptQuestion(
        request.deployment, request.version_number, request.at, items, options or {}
    )


def _lacks_a_part(value: Any) -> bool:
    if isinstance(value, list):
        return any(_lacks_a_part(one) for one in value)
    return isinstance(value, Mapping) and (
        LEFT_OUT in value or any(_lacks_a_part(one) for one in value.values())
    )


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
