"""The management door, `/api/v1`: everything that is not a prediction.

Owns: its routes, and the JSON shapes of models, versions, uploads, deployments and keys.
Does not own: use cases (services), who a caller is (services/inference/authentication).
Extend by: a file per resource with `router = managed_router("<tag>")`, named in `app.ROUTERS`; each
of its routes declares its permission with `openapi_extra=needs(Permission.X)`.
"""

from modelry.protocols.management.app import PREFIX, ManagementApi, build_app

__all__ = ["PREFIX", "ManagementApi", "build_app"]
