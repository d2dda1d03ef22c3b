"""Holding back refusals, so that whoever is refused all the time costs the others little."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

from modelry.domain.errors import ModelryError, QuotaExceeded, Unauthenticated
from modelry.services.quotas.buckets import TokenBucket

LONGEST_HOLD_S = 1.0
REFUSALS_PER_S = 200.0
"""Of one tenant, answered at once; those beyond wait, `LONGEST_HOLD_S` at most."""
FAILED_KEYS_PER_S = 200.0
"""As `REFUSALS_PER_S`, of one network address, for requests without a valid key."""
MOST_KNOWN = 10_000
_IPV6_PREFIX = 64


class Pacer:
    """Tells how long the refusal of a request is held back.

    A connection whose answer is held is not read from meanwhile: a caller with n connections is
    refused n times per `LONGEST_HOLD_S` at most, beyond the rates above. Who has a valid key and is
    within its limits never waits, whatever others do from the same address.
    """

    def __init__(self) -> None:
        self._buckets: OrderedDict[tuple[str, str], TokenBucket] = OrderedDict()

    def hold_s(self, error: ModelryError, tenant_id: str | None, peer: str, now: float) -> float:
        """Seconds that `error` is to be told later.

        Args:
            error: why the request is refused.
            tenant_id: whose request it is, None if it is nobody's.
            peer: the network address that it came from.
            now: monotonic seconds.
        """
        if isinstance(error, QuotaExceeded) and tenant_id is not None:
            return self._wait_s(("tenant", tenant_id), REFUSALS_PER_S, now)
        if isinstance(error, Unauthenticated):
            return self._wait_s(("peer", network_of(peer)), FAILED_KEYS_PER_S, now)
        return 0.0

    def _wait_s(self, who: tuple[str, str], rate: float, now: float) -> float:
        bucket = self._buckets.get(who)
        if bucket is None:
            if len(self._buckets) >= MOST_KNOWN:
                self._buckets.popitem(last=False)
            bucket = self._buckets[who] = TokenBucket(rate, rate, now)
        else:
            self._buckets.move_to_end(who)
        wait_s = bucket.wait_s(1, now)
        if wait_s < LONGEST_HOLD_S:  # else the debt would grow for as long as the flood goes on
            bucket.take(1, now)
        return min(wait_s, LONGEST_HOLD_S)


def network_of(peer: str) -> str:
    """What one caller is taken to own: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer[:64]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
    return str(address)
