"""Keeps the calls that rules choose: read, redacted, sealed, no more of them than a rule says."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol

import orjson

from modelry.domain.errors import ModelryError
from modelry.services.encryption.ports import Sealer
from modelry.services.inference.recording import CallRecorder
from modelry.services.privacy.capture import CapturedCall, CaptureQueue, DeploymentRecorder
from modelry.services.privacy.ports import LoggedRequest, LoggingRule, RequestLogStore, SealedLog
from modelry.services.privacy.readable import Reader, check_depth, left_out, whole_generation
from modelry.services.privacy.redaction import Redactor

_TRIMS = 20
"""By the how-manieth part of its bound a deployment's log may grow before it is cut again."""


class RecordedGroup(Protocol):
    """A replica group, as far as recording goes."""

    @property
    def identity(self) -> tuple[str, str, int, str]:
        """(tenant id, deployment name, version number, task)."""
        ...

    recorder: CallRecorder | None


class Keeping:
    """Has replica groups record what rules choose, and keeps it.

    Args:
        store: keeps rules and sealed calls.
        sealer: seals what was said.
        groups: gives all replica groups of the data plane.
        redactor: takes personal data out before anything is kept.
    """

    def __init__(
        self,
        store: RequestLogStore,
        sealer: Sealer,
        groups: Callable[[], Iterable[RecordedGroup]],
        redactor: Redactor,
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._groups = groups
        self._redactor = redactor
        self._rules: dict[tuple[str, str], LoggingRule] = {}
        self._added: dict[tuple[str, str], int] = {}  # since it was cut; by the queue's thread
        self._reading = threading.Lock()
        self.queue = CaptureQueue(self._keep)

    def read_rules(self) -> None:
        """Read the rules again, as of all servers on the database."""
        with self._reading:  # else an older answer could replace a newer one
            self._rules = {(one.tenant_id, one.deployment): one for one in self._store.rules()}
            self._place_recorders()

    def _place_recorders(self) -> None:
        """Have every replica group record what its deployment's rule says."""
        for group in self._groups():
            rule = self._rules.get((group.identity[0], group.identity[1]))
            now = group.recorder
            if rule is None:
                if now is not None:
                    group.recorder = None
            elif not isinstance(now, DeploymentRecorder) or now.rule != rule:
                group.recorder = DeploymentRecorder(rule, self.queue)

    def _keep(self, tenant_id: str, calls: Sequence[CapturedCall]) -> None:
        # whoever ended it since then wants nothing more kept
        wanted = [call for call in calls if (tenant_id, call.rule.deployment) in self._rules]
        sealed: list[SealedLog] = []
        for call in wanted:
            try:
                sealed.append(self._sealed(call))
            except Exception as error:  # noqa: BLE001 - the others that came with it are kept
                self.queue.lost(tenant_id, 1, error)
        if sealed:
            self._store.add(tenant_id, sealed)
            with contextlib.suppress(ModelryError):  # such as a busy database: it is cut later
                self._trim(tenant_id, Counter(one.request.deployment for one in sealed))

    def _trim(self, tenant_id: str, added: Mapping[str, int]) -> None:
        """Delete what is more than the rules keep, now and then: it looks through all of it."""
        for deployment, count in added.items():
            rule = self._rules.get((tenant_id, deployment))
            if rule is None:
                continue
            before = self._added.get((tenant_id, deployment))
            grown = rule.max_requests if before is None else before + count
            if grown * _TRIMS >= rule.max_requests:
                self._store.delete_beyond(tenant_id, deployment, rule.max_requests)
                grown = 0
            self._added[tenant_id, deployment] = grown

    def _sealed(self, call: CapturedCall) -> SealedLog:
        rule = call.rule
        counts: Counter[str] = Counter()
        content = _content(call)
        if rule.redact:
            content = self._redactor.value(content, counts)
        request = LoggedRequest(
            tenant_id=rule.tenant_id,
            log_id=call.log_id,
            request_id=call.request_id,
            at=call.at,
            expires_at=call.at + timedelta(days=rule.retention_days),
            deployment=rule.deployment,
            version_number=call.version_number,
            key_id=call.key_id,
            task=call.task,
            status=call.status,
            duration_s=call.duration_s,
            redacted=dict(counts),
        )
        check_depth(content)
        plain = orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS)
        sealed = self._sealer.seal(rule.tenant_id, purpose_of(call.log_id), plain)
        return SealedLog(request, sealed)


def _content(call: CapturedCall) -> dict[str, Any]:
    """Input and output as JSON, as far as the rule keeps them."""
    rule = call.rule
    reader = Reader(attachments=rule.attachments, tensor_values=rule.tensor_values)
    content: dict[str, Any] = {}
    if rule.keep_input:
        is_kept = call.header is not None
        content["input"] = (
            reader.input(call.kind, call.header or b"", call.body)
            if is_kept
            else left_out(sum(call.sizes))
        )
    if rule.keep_output and call.out_bytes:
        if call.events:
            content["output"] = whole_generation(call.events)
        elif call.out_header is not None:
            content["output"] = reader.output(call.out_header, call.out_body)
        else:
            content["output"] = left_out(call.out_bytes)
    return content


def purpose_of(log_id: str) -> str:
    """What a kept call is sealed for."""
    return f"request_log/{log_id}"
