"""`/v1/files`."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from modelry.domain.access import Permission
from modelry.domain.errors import InvalidInput
from modelry.domain.files import FilePurpose, TenantFile
from modelry.protocols.http.endpoint import Endpoint, json_response
from modelry.protocols.http.incoming import IncomingBytes
from modelry.protocols.http.request import ApiRequest
from modelry.protocols.http.threads import OwnThreads
from modelry.protocols.http.values import shown
from modelry.protocols.openai.fields import body_schema, check_fields
from modelry.protocols.openai.file_form import FileForm
from modelry.protocols.openai.pages import check_queries, chosen_of, limit_of, list_answer
from modelry.services.files.service import MAX_LISTED, FilesService, NewFile, check_new

FORM_BYTES = 2**17
"""What a form may have beside its file."""
MOST_AT_ONCE = 64
SEND_AGAIN = "Nothing of the file was kept; send it again."


class FileHandlers:
    """The endpoints of files.

    Args:
        files: keeps them.
        max_file_bytes: larger ones are refused.
    """

    def __init__(self, files: FilesService, max_file_bytes: int) -> None:
        self._files = files
        self._max_file_bytes = max_file_bytes
        self._threads = OwnThreads("files that are being sent", MOST_AT_ONCE)

    def endpoints(self) -> tuple[Endpoint, ...]:
        """All of them."""
        one = "/v1/files/{file_id}"
        schema = body_schema("POST /v1/files")
        form = {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
        return (
            Endpoint(
                "/v1/files",
                ("POST",),
                Permission.DATASETS_WRITE,
                self.create,
                "Send a file",
                self._max_file_bytes + FORM_BYTES,
                {"requestBody": form},
                action="files.create",
            ),
            Endpoint(
                "/v1/files",
                ("GET",),
                Permission.DATASETS_READ,
                self.all,
                "List files",
                queries=("after", "limit", "order", "purpose"),
            ),
            Endpoint(one, ("GET",), Permission.DATASETS_READ, self.get, "One file"),
            Endpoint(
                f"{one}/content",
                ("GET",),
                Permission.ROWS_READ,
                self.content,
                "A file's bytes",
                operation={
                    "responses": {
                        "200": {
                            "description": "Its bytes.",
                            "content": {
                                "application/octet-stream": {
                                    "schema": {"type": "string", "format": "binary"}
                                }
                            },
                        }
                    }
                },
                action="files.content",
            ),
            Endpoint(
                one,
                ("DELETE",),
                Permission.DATASETS_WRITE,
                self.delete,
                "Delete a file",
                action="files.delete",
            ),
        )

    async def create(self, request: ApiRequest) -> Response:
        """Keep a file; its fields may stand before or behind it."""
        request.check_not_compressed()
        if request.declared_bytes is not None:
            size = max(1, request.declared_bytes - FORM_BYTES)
            await asyncio.to_thread(self._files.check_room, request.principal, size)
        form = FileForm(request.header("content-type") or "", aiter(request.chunks()))
        await form.until_file()
        if form.file_name is None:
            raise InvalidInput("file is missing: send the file in the form's field 'file', with a "
                               "file name.", param="file")  # fmt: skip
        if "purpose" in form.fields:
            _wanted(form)  # nobody should send gigabytes for nothing
        incoming = IncomingBytes(form.file_bytes(), advice=SEND_AGAIN)
        feeding = asyncio.create_task(incoming.feed())
        try:
            kept = await self._threads.run(lambda: self._files.receive(request.principal, incoming))
        finally:
            feeding.cancel()
        await form.rest()
        wanted = _wanted(form)
        file = await asyncio.to_thread(self._files.add, request.principal, kept, wanted)
        request.told.update(file_id=file.file_id, size_bytes=file.size_bytes, digest=file.digest)
        return json_response(file_answer(file))

    async def all(self, request: ApiRequest) -> Response:
        """Files, newest first unless asked otherwise."""
        queries = check_queries(request, ("after", "limit", "order", "purpose"))
        limit = limit_of(queries, MAX_LISTED, MAX_LISTED)
        order = chosen_of(queries, "order", ("asc", "desc"), "desc")
        named = queries.get("purpose")
        known = {one.value: one for one in FilePurpose}
        if named is not None and named not in known:
            return json_response(list_answer([], has_more=False))
        page = await asyncio.to_thread(
            lambda: self._files.list(
                request.principal,
                purpose=None if named is None else known[named],
                after=queries.get("after"),
                newest_first=order == "desc",
                limit=limit,
            )
        )
        entries = [file_answer(one) for one in page.files]
        return json_response(list_answer(entries, has_more=page.has_more))

    async def get(self, request: ApiRequest) -> Response:
        """One file."""
        check_queries(request, ())
        file_id = request.path_params["file_id"]
        found = await asyncio.to_thread(self._files.get, request.principal, file_id)
        return json_response(file_answer(found))

    async def content(self, request: ApiRequest) -> Response:
        """Its bytes, as they were sent."""
        check_queries(request, ())
        file_id = request.path_params["file_id"]
        file, chunks = await asyncio.to_thread(self._files.open_content, request.principal, file_id)
        return StreamingResponse(
            chunks,
            media_type="application/octet-stream",
            headers={
                "content-length": str(file.size_bytes),
                "content-disposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='')}",
            },
        )

    async def delete(self, request: ApiRequest) -> Response:
        """Forget a file."""
        check_queries(request, ())
        file_id = request.path_params["file_id"]
        await asyncio.to_thread(self._files.delete, request.principal, file_id)
        return json_response({"id": file_id, "object": "file", "deleted": True})


def file_answer(file: TenantFile) -> dict[str, Any]:
    """A file in OpenAI's shape."""
    return {
        "id": file.file_id,
        "object": "file",
        "bytes": file.size_bytes,
        "created_at": int(file.created_at.timestamp()),
        "expires_at": None if file.expires_at is None else int(file.expires_at.timestamp()),
        "filename": file.name,
        "purpose": file.purpose.value,
        "status": "processed",
        "status_details": None,
    }


_ANCHOR, _SECONDS = "expires_after[anchor]", "expires_after[seconds]"


def _wanted(form: FileForm) -> NewFile:
    """What the form asks for.

    Raises:
        UnsupportedField: a purpose or a field that this server does not know.
        InvalidInput: a field is missing, or not as expected.
    """
    if "file" in form.fields:
        raise InvalidInput("'file' must be sent as a file, with a file name.", param="file")
    nested = {_ANCHOR: "expires_after", _SECONDS: "expires_after"}
    given = {nested.get(name, name): value for name, value in form.fields.items()}
    check_fields("POST /v1/files", given)
    purpose = form.fields.get("purpose")
    if purpose is None:
        raise InvalidInput("purpose is missing; expected 'fine-tune'.", param="purpose")
    wanted = NewFile(form.file_name or "", FilePurpose.FINE_TUNE, _expiry(form.fields))
    check_new(wanted)
    return wanted


def _expiry(fields: dict[str, str]) -> int | None:
    anchor, text = fields.get(_ANCHOR), fields.get(_SECONDS)
    if anchor is None and text is None:
        return None
    if anchor != "created_at":
        raise InvalidInput(
            f"expires_after.anchor is {shown(anchor)}; expected 'created_at'.",
            param="expires_after.anchor",
        )
    if text is None or not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidInput(
            f"expires_after.seconds is {shown(text)}; expected a whole number.",
            param="expires_after.seconds",
        )
    return int(text)
