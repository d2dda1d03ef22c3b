"""`/uploads`: files that arrive in pieces and go on from where they are."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated

from fastapi import Header, Request, Response
from pydantic import Field

from modelry.domain.access import Permission
from modelry.domain.errors import MalformedBody
from modelry.protocols.http.incoming import IncomingBytes
from modelry.protocols.management.auditing import note
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import All, Caller, Catalog
from modelry.protocols.management.shapes import Answer, Body, Digest
from modelry.services.catalog import uploads as service

MAX_BYTES = 2**53

router = managed_router("uploads")

_RAW_BODY = {
    "required": True,
    "content": {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    },
}


class Upload(Answer):
    """How far an upload is; `digest` is there when it is complete and checked."""

    upload_id: str
    size_bytes: int
    received_bytes: int
    digest: str | None
    complete: bool
    created_at: datetime
    expires_at: datetime

    @classmethod
    def of(cls, upload: service.Upload) -> Upload:
        """The shape of `upload`."""
        return cls(
            upload_id=upload.upload_id,
            size_bytes=upload.size_bytes,
            received_bytes=upload.offset,
            digest=upload.digest,
            complete=upload.digest is not None,
            created_at=upload.created_at,
            expires_at=upload.expires_at,
        )


class UploadBody(Body):
    """A file that shall be sent.

    With `digest` it is checked when all bytes are there; if the tenant has that content already
    the upload is complete at once.
    """

    size_bytes: Annotated[int, Field(strict=True, ge=1, le=MAX_BYTES)]
    digest: Digest | None = None


@router.post(
    "/uploads",
    status_code=201,
    summary="Announce a file",
    openapi_extra=needs(Permission.MODELS_WRITE, recorded=("size_bytes", "digest")),
)
def begin_upload(body: UploadBody, caller: Caller, catalog: Catalog) -> Upload:
    """An upload that does not grow for a day is discarded."""
    begun = catalog.begin_upload(caller, body.size_bytes, body.digest)
    note(upload_id=begun.upload_id)
    return Upload.of(begun)


@router.get(
    "/uploads/{upload_id}",
    summary="How far an upload is",
    openapi_extra=needs(Permission.MODELS_WRITE),
)
def get_upload(upload_id: str, caller: Caller, catalog: Catalog) -> Upload:
    """Ask this after a break, and go on from `received_bytes`."""
    return Upload.of(catalog.upload(caller, upload_id))


@router.patch(
    "/uploads/{upload_id}",
    summary="Send bytes of a file",
    openapi_extra=needs(Permission.MODELS_WRITE, requestBody=_RAW_BODY),
)
async def append_upload(
    *,
    upload_id: str,
    upload_offset: Annotated[int, Header(ge=0, le=MAX_BYTES)],
    request: Request,
    response: Response,
    caller: Caller,
    services: All,
) -> Upload:
    """The body is raw bytes from `Upload-Offset` on; the last ones complete the upload.

    Bytes that came before a break are kept. Any other offset than where the upload ends is
    answered with 409, which says where that is.
    """
    _check_encoding(request)
    incoming = IncomingBytes(request.stream())
    feeding = asyncio.create_task(incoming.feed())
    try:
        upload = await services.upload_threads.run(
            lambda: services.catalog.append_upload(caller, upload_id, upload_offset, incoming)
        )
    finally:
        feeding.cancel()
    response.headers["upload-offset"] = str(upload.offset)
    note(offset=upload.offset, digest=upload.digest)
    return Upload.of(upload)


@router.delete(
    "/uploads/{upload_id}",
    status_code=204,
    summary="Forget an upload",
    openapi_extra=needs(Permission.MODELS_WRITE),
)
def abort_upload(upload_id: str, caller: Caller, catalog: Catalog) -> None:
    """A content that it completed stays until nobody needs it."""
    catalog.abort_upload(caller, upload_id)


def _check_encoding(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise MalformedBody(
            f"Content-Encoding '{encoding[:40]}' is not accepted; send the file's own bytes.",
            param="content-encoding",
        )
