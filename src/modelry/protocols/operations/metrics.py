"""Counters of the data plane in Prometheus' exposition format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector

from modelry.services.inference.metering import Meter
from modelry.services.inference.replica_group import LATENCY_BUCKETS_S, Statistics
from modelry.services.inference.routing import Route, Target

_LABELS = ("deployment", "version")


class _RouteCollector:
    """Collects from the replica groups of some routes, at scrape time."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._targets = [target for route in routes for target in route.targets]

    def collect(self) -> Iterable[Metric]:
        requests = CounterMetricFamily(
            "modelry_requests", "Ended requests.", labels=(*_LABELS, "status")
        )
        durations = HistogramMetricFamily(
            "modelry_request_duration_seconds", "From admission to the end.", labels=_LABELS
        )
        in_flight = GaugeMetricFamily("modelry_requests_open", "Open requests.", labels=_LABELS)
        waiting = GaugeMetricFamily("modelry_requests_waiting", "Queued.", labels=_LABELS)
        replicas = GaugeMetricFamily("modelry_replicas_ready", "Ready replicas.", labels=_LABELS)
        for target in self._targets:
            labels = _labels(target)
            group = target.group
            for status, count in group.statistics.by_status.items():
                requests.add_metric((*labels, status), count)
            durations.add_metric(labels, _buckets(group.statistics), group.statistics.duration_s)
            in_flight.add_metric(labels, group.in_flight)
            waiting.add_metric(labels, len(group.waiting))
            replicas.add_metric(labels, len(group.links))
        return (requests, durations, in_flight, waiting, replicas)


def _labels(target: Target) -> tuple[str, str]:
    return (target.deployment.name, str(target.version.number))


def _buckets(statistics: Statistics) -> list[tuple[str, float]]:
    """Cumulative counts by upper bound, as Prometheus wants them."""
    total = 0
    buckets: list[tuple[str, float]] = []
    bounds = [*(str(bound) for bound in LATENCY_BUCKETS_S), "+Inf"]
    for bound, count in zip(bounds, statistics.buckets, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets


class _TenantCollector:
    """Collects sums by tenant over all routes: names of deployments are the tenants' own."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._groups = [
            (route.deployment.tenant_id, target.group)
            for route in routes
            for target in route.targets
        ]

    def collect(self) -> Iterable[Metric]:
        ended: Counter[tuple[str, str]] = Counter()
        opened: Counter[str] = Counter()
        waiting: Counter[str] = Counter()
        ready: Counter[str] = Counter()
        for tenant_id, group in self._groups:
            for status, count in group.statistics.by_status.items():
                ended[tenant_id, status] += count
            opened[tenant_id] += group.in_flight
            waiting[tenant_id] += len(group.waiting)
            ready[tenant_id] += len(group.links)
        requests = CounterMetricFamily(
            "modelry_tenant_requests",
            "Ended requests to a tenant's deployments.",
            labels=("tenant", "status"),
        )
        for labels, count in sorted(ended.items()):
            requests.add_metric(labels, count)
        return (
            requests,
            _by_tenant("modelry_tenant_requests_open", "Open requests.", opened),
            _by_tenant("modelry_tenant_requests_waiting", "Queued.", waiting),
            _by_tenant("modelry_tenant_replicas_ready", "Ready replicas.", ready),
        )


def _by_tenant(name: str, words: str, values: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, words, labels=("tenant",))
    for tenant_id, value in sorted(values.items()):
        family.add_metric((tenant_id,), value)
    return family


class _MeterCollector:
    """Collects what is metered for no tenant."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def collect(self) -> Iterable[Metric]:
        meter = self._meter
        return (
            CounterMetricFamily(
                "modelry_unauthenticated_requests",
                "Predictions asked for without a valid key.",
                meter.unauthenticated,
            ),
            GaugeMetricFamily(
                "modelry_usage_full",
                "1 while requests are refused because what they use cannot be recorded.",
                int(meter.is_full),
            ),
            CounterMetricFamily(
                "modelry_usage_unrecorded_refusals",
                "Requests that were refused for that reason.",
                meter.dropped,
            ),
        )


def exposition(
    routes: Sequence[Route],
    everybodys: Sequence[Route] | None = None,
    meter: Meter | None = None,
) -> bytes:
    """The metrics of `routes`, a tenant's own.

    Args:
        routes: what the caller may look at.
        everybodys: all routes, for a caller who runs the platform: sums by tenant, and of this
            process, whose load tells of everybody's requests.
        meter: what is metered for no tenant, for such a caller.
    """
    registry = CollectorRegistry()
    registry.register(_RouteCollector(routes))
    if everybodys is not None:
        registry.register(_TenantCollector(everybodys))
        if meter is not None:
            registry.register(_MeterCollector(meter))
        ProcessCollector(namespace="modelry_gateway", registry=registry)
    return generate_latest(registry)
