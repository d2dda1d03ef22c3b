"""JSON bodies: bounded, strict, read once and before FastAPI looks at them."""

from __future__ import annotations

from email.message import Message
from typing import Any

from starlette.requests import Request

from modelry.domain.errors import MalformedBody
from modelry.protocols.http.request import ApiRequest

MAX_JSON_BYTES = 2**20


class JsonRequest(Request):
    """A request whose body was read and parsed already."""

    def __init__(self, request: Request, raw: bytes, value: Any) -> None:
        super().__init__(request.scope, request.receive)
        self._raw = raw
        self._value = value

    async def body(self) -> bytes:
        """The body, as it came."""
        return self._raw

    async def json(self) -> Any:
        """The body, parsed."""
        return self._value


async def read_json(request: Request) -> tuple[bytes, Any]:
    """The body and what it says; an empty one says None.

    Raises:
        PayloadTooLarge: more than `MAX_JSON_BYTES`.
        MalformedBody: not JSON, or declared to be something else.
    """
    declared = request.headers.get("content-type")
    if declared and not _is_json(declared):
        raise MalformedBody(
            f"The body is declared as '{declared[:80]}'; send JSON, with the header "
            "'Content-Type: application/json'.",
            param="content-type",
        )
    reader = ApiRequest(request, None, request.state.request_id, MAX_JSON_BYTES)
    raw = await reader.body()
    if not raw:
        return raw, None
    return raw, await reader.json()


def _is_json(content_type: str) -> bool:
    message = Message()
    message["content-type"] = content_type.replace("\r", "").replace("\n", "")
    subtype = message.get_content_subtype()
    return message.get_content_maintype() == "application" and (
        subtype == "json" or subtype.endswith("+json")
    )
