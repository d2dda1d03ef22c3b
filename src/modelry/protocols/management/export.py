"""`/tenant/export`: all that belongs to the caller's tenant."""

from __future__ import annotations

from fastapi import Response
from starlette.responses import StreamingResponse

from modelry.domain.access import Permission
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import Caller, Export

router = managed_router("tenants")


@router.get(
    "/tenant/export",
    summary="All that belongs to the tenant, as a tar file",
    response_class=Response,
    responses={
        200: {
            "description": "Rows as lines of JSON, files, kept requests, and a manifest of digests "
            "as its last member.",
            "content": {"application/x-tar": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
    openapi_extra=needs(Permission.TENANT_EXPORT, audited=True),
)
def export_tenant(caller: Caller, export: Export) -> Response:
    """What checks keys and what encrypts is left out, and named in the manifest."""
    return StreamingResponse(
        export.stream(caller),
        media_type="application/x-tar",
        headers={"content-disposition": f'attachment; filename="{caller.tenant_id}.tar"'},
    )
