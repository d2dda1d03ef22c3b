"""Server and model metadata, repository index and statistics as v2 words."""

from __future__ import annotations

from typing import Any

from modelry import __version__
from modelry.domain.signature import TensorSpec
from modelry.services.inference.routing import Route, Target

EXTENSIONS = ("binary_tensor_data", "model_repository", "statistics", "explanations")


def server_metadata() -> dict[str, Any]:
    """Name, version and extensions of this server."""
    return {"name": "modelry", "version": __version__, "extensions": list(EXTENSIONS)}


def model_metadata(route: Route, target: Target) -> dict[str, Any]:
    """Name, versions and tensors of a deployment."""
    version = target.version
    return {
        "name": route.deployment.name,
        "versions": [str(one.version.number) for one in route.targets],
        "platform": f"{version.runtime}_{version.manifest.get('format', version.runtime)}",
        "inputs": [_tensor(spec) for spec in version.signature.inputs],
        "outputs": [_tensor(spec) for spec in version.signature.outputs],
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype.value, "shape": list(spec.shape)}


def repository_index(targets: list[Target], *, ready_only: bool) -> list[dict[str, str]]:
    """One entry per deployed version: READY, LOADING or UNAVAILABLE with the reason."""
    entries = [
        {
            "name": target.deployment.name,
            "version": str(target.version.number),
            "state": _state(target),
            "reason": target.group.failure or "",
        }
        for target in targets
    ]
    return [entry for entry in entries if entry["state"] == "READY" or not ready_only]


def _state(target: Target) -> str:
    if target.group.is_ready:
        return "READY"
    return "UNAVAILABLE" if target.group.failure else "LOADING"


def statistics(targets: list[Target]) -> dict[str, Any]:
    """Counts and summed durations since start, in nanoseconds, per version."""
    return {"model_stats": [_statistics(target) for target in targets]}


def _statistics(target: Target) -> dict[str, Any]:
    counted = target.group.statistics
    ok = counted.by_status.get("ok", 0)
    failed = counted.requests - ok
    return {
        "name": target.deployment.name,
        "version": str(target.version.number),
        "inference_count": ok,
        "execution_count": ok,
        "inference_stats": {
            "success": {"count": ok, "ns": int(counted.ok_duration_s * 1e9)},
            "fail": {
                "count": failed,
                "ns": int((counted.duration_s - counted.ok_duration_s) * 1e9),
            },
        },
    }
