"""What is kept of requests where an owner chose so, and who may see it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from modelry.domain.access import Permission, Principal
from modelry.domain.catalog import check_name
from modelry.domain.errors import InvalidInput, NotFound
from modelry.services.audit.ports import AuditTrail
from modelry.services.encryption.ports import Sealer
from modelry.services.privacy.keeping import Keeping, RecordedGroup, purpose_of
from modelry.services.privacy.kept_questions import KeptQuestions
from modelry.services.privacy.ports import (
    USUAL_REQUESTS,
    LogFilter,
    LoggedRequest,
    LoggingRule,
    RequestLogStore,
    SealedLog,
)
from modelry.services.privacy.redaction import Redactor

MAX_RETENTION_DAYS = 365
MAX_KEPT_BYTES = 2**20
MAX_KEPT_REQUESTS = 1_000_000
MAX_LISTED = 500


@dataclass(frozen=True, slots=True)
class KeptCall:
    """A kept call with what was said in it."""

    request: LoggedRequest
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class KeptPage:
    """Kept calls; `following` is the `before` of the next page, None when there is none."""

    requests: Sequence[LoggedRequest]
    following: str | None


class RequestLogs:
    """What is kept of requests, and who may see it.

    Args:
        store: keeps rules and sealed calls.
        sealer: seals what was said.
        groups: gives all replica groups of the data plane.
        trail: is told when the requests of others are explained.
        redactor: takes personal data out before anything is kept.
        clock: gives the time.
    """

    def __init__(
        self,
        store: RequestLogStore,
        sealer: Sealer,
        groups: Callable[[], Iterable[RecordedGroup]],
        trail: AuditTrail,
        *,
        redactor: Redactor | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._keeping = Keeping(store, sealer, groups, redactor or Redactor())
        self.queue = self._keeping.queue
        self.questions = KeptQuestions(store, self.content, trail)

    # ---- rules ------------------------------------------------------------------------------

    def rule(self, principal: Principal, deployment: str) -> LoggingRule:
        """The rule of a deployment.

        Raises:
            NotFound: nothing is kept of its requests.
        """
        principal.require(Permission.REQUEST_LOGS_READ)
        _check_covered(principal, deployment)
        found = self._store.rule(principal.tenant_id, deployment)
        if found is None:
            raise NotFound(
                f"Nothing is kept of the requests of deployment '{deployment[:80]}'.", param="name"
            )
        return found

    def put_rule(
        self,
        principal: Principal,
        deployment: str,
        *,
        sample_rate: float = 1.0,
        retention_days: int = 30,
        keep_input: bool = True,
        keep_output: bool = True,
        redact: bool = True,
        max_bytes: int = 64 * 1024,
        attachments: bool = False,
        tensor_values: bool = False,
        max_requests: int = USUAL_REQUESTS,
    ) -> LoggingRule:
        """Begin to keep requests of a deployment, or change what is kept.

        Raises:
            InvalidInput: a value is out of range.
            NotFound: no such deployment.
        """
        principal.require(Permission.REQUEST_LOGS_WRITE)
        check_name(deployment, "deployment")
        _check_covered(principal, deployment)
        _check_range("sample_rate", sample_rate, 0.0, 1.0)
        _check_range("retention_days", retention_days, 1, MAX_RETENTION_DAYS)
        _check_range("max_bytes", max_bytes, 1024, MAX_KEPT_BYTES)
        _check_range("max_requests", max_requests, 1, MAX_KEPT_REQUESTS)
        if not keep_input and not keep_output:
            raise InvalidInput("Keep the input, the output or both.", param="keep_input")
        rule = LoggingRule(
            tenant_id=principal.tenant_id,
            deployment=deployment,
            sample_rate=sample_rate,
            retention_days=retention_days,
            keep_input=keep_input,
            keep_output=keep_output,
            redact=redact,
            max_bytes=max_bytes,
            attachments=attachments,
            tensor_values=tensor_values,
            changed_at=self._clock(),
            changed_by=principal.key_id,
            max_requests=max_requests,
        )
        self._store.put_rule(rule)
        self.read_rules()
        return rule

    def delete_rule(self, principal: Principal, deployment: str) -> None:
        """Keep nothing more; what was kept stays until its time is over or it is deleted.

        Raises:
            NotFound: there is no rule.
        """
        principal.require(Permission.REQUEST_LOGS_WRITE)
        _check_covered(principal, deployment)
        if not self._store.delete_rule(principal.tenant_id, deployment):
            raise NotFound(
                f"Nothing is kept of the requests of deployment '{deployment[:80]}'.", param="name"
            )
        self.read_rules()

    # ---- what was kept ----------------------------------------------------------------------

    def find(
        self, principal: Principal, wanted: LogFilter, *, before: str | None = None, limit: int = 50
    ) -> KeptPage:
        """Kept calls of the caller's tenant, newest first.

        Raises:
            InvalidInput: `limit` is out of range.
        """
        principal.require(Permission.REQUEST_LOGS_READ)
        _check_range("limit", limit, 1, MAX_LISTED)
        found = self._store.find(principal.tenant_id, wanted, before=before, limit=limit)
        shown = tuple(one for one in found if principal.covers(one.deployment))
        return KeptPage(shown, found[-1].log_id if len(found) == limit else None)

    def get(self, principal: Principal, log_id: str) -> KeptCall:
        """One kept call with what was said.

        Raises:
            NotFound: no such call in the tenant.
            DataDamaged, KeyUnavailable: it cannot be read any more.
        """
        principal.require(Permission.REQUEST_LOGS_READ)
        found = self._found(principal, log_id)
        return KeptCall(found.request, self.content(found))

    def content(self, log: SealedLog) -> Mapping[str, Any]:
        """What was said in a kept call."""
        request = log.request
        plain = self._sealer.unseal(request.tenant_id, purpose_of(request.log_id), log.sealed)
        content: Mapping[str, Any] = orjson.loads(plain)
        return content

    def delete(self, principal: Principal, wanted: LogFilter) -> int:
        """Delete kept calls for good; how many.

        Raises:
            InvalidInput: nothing says which.
        """
        principal.require(Permission.REQUEST_LOGS_WRITE)
        if wanted == LogFilter():
            raise InvalidInput(
                "Say which kept requests shall be deleted: by deployment, key, request, time."
            )
        if principal.deployments and wanted.deployment is None:
            raise InvalidInput(
                "This key is for some deployments only: name the deployment.", param="deployment"
            )
        if wanted.deployment is not None:
            _check_covered(principal, wanted.deployment)
        return self._store.delete(principal.tenant_id, wanted)

    def delete_one(self, principal: Principal, log_id: str) -> None:
        """Delete one kept call for good.

        Raises:
            NotFound: no such call in the tenant.
        """
        principal.require(Permission.REQUEST_LOGS_WRITE)
        self._found(principal, log_id)
        self._store.delete(principal.tenant_id, LogFilter(), log_id)

    def _found(self, principal: Principal, log_id: str) -> SealedLog:
        found = self._store.get(principal.tenant_id, log_id)
        if found is None or not principal.covers(found.request.deployment):
            raise NotFound(f"There is no kept request '{log_id[:80]}'.", param="log_id")
        return found

    def read_rules(self) -> None:
        """Read the rules again, as of all servers on the database."""
        self._keeping.read_rules()

    def dropped(self, principal: Principal) -> int:
        """Calls of the caller's tenant that this server could not keep, since its start."""
        return self.queue.dropped[principal.tenant_id]


def _check_covered(principal: Principal, deployment: str) -> None:
    if not principal.covers(deployment):
        raise NotFound(f"There is no deployment '{deployment[:80]}'.", param="name")


def _check_range(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise InvalidInput(f"'{name}' is {value}; expected {least} to {most}.", param=name)
