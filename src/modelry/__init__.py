"""Modelry: self-hosted AI models as a service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelry.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """The SDK on demand: workers import this package too and shall not pay for it."""
    if name in ("AsyncClient", "Client"):
        import modelry.client

        return getattr(modelry.client, name)
    raise AttributeError(f"module 'modelry' has no attribute {name!r}")
