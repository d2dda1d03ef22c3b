"""Deployments as OpenAI's models."""

from __future__ import annotations

from typing import Any

from modelry.services.inference.routing import Route


def model_entry(route: Route) -> dict[str, Any]:
    """One deployment; `modelry` tells what OpenAI's shape has no place for."""
    first = route.targets[0]
    return {
        "id": route.deployment.name,
        "object": "model",
        "created": int(route.deployment.created_at.timestamp()),
        "owned_by": route.owner_id or "modelry",
        "modelry": {
            "model": route.deployment.name if route.owner_id else route.deployment.model_name,
            "task": first.version.task,
            "ready": all(target.group.is_ready for target in route.targets),
            "versions": [
                {"version": share.version_number, "percent": share.percent}
                for share in route.deployment.traffic
            ],
        },
    }
