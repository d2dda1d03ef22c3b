"""When a request is sent again, and after how long."""

from __future__ import annotations

import random
from dataclasses import dataclass

from modelry.client.errors import ConnectionLost, ModelryError, NotReachable, ReplicaLost
from modelry.client.exchange import Answer, Attempt, Flow, Request, Sleep

REFUSED_FOR_NOW = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently requests are repeated.

    Only what is safe is repeated: requests that never got a connection, and idempotent ones
    whose connection broke or that the server refused for now (429 or 503 with `Retry-After`).
    """

    retries: int = 2
    first_pause_s: float = 0.2
    longest_pause_s: float = 30.0

    def pause_s(self, attempt: int) -> float:
        """Seconds before repeat number `attempt` (0, 1 …): doubling, with jitter."""
        longest = min(self.longest_pause_s, self.first_pause_s * 2.0**attempt)
        return longest * (0.5 + random.random() / 2)  # noqa: S311 - jitter is no secret


def with_retries(request: Request, policy: RetryPolicy) -> Flow[Answer]:
    """Send `request`, again where that is safe; error statuses are raised."""
    attempt = 0
    while True:
        try:
            answer: Answer = yield Attempt(request)
            if answer.is_good or answer.status in request.expects:
                return answer
            raise answer.error()
        except ModelryError as error:
            pause_s = _pause_s(request, error, policy, attempt)
            if pause_s is None:
                raise
        attempt += 1
        yield Sleep(pause_s)


def _pause_s(
    request: Request, error: ModelryError, policy: RetryPolicy, attempt: int
) -> float | None:
    if attempt >= policy.retries or not request.retries:
        return None
    if isinstance(error, NotReachable):
        return policy.pause_s(attempt)
    if not request.idempotent:
        return None
    if isinstance(error, ConnectionLost | ReplicaLost):
        return policy.pause_s(attempt)
    if error.status in REFUSED_FOR_NOW and error.retry_after_s is not None:
        if error.retry_after_s > policy.longest_pause_s:
            return None
        return max(error.retry_after_s, policy.pause_s(attempt))
    return None
