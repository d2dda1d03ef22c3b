"""Which way a request is written, by its Content-Type."""

from __future__ import annotations

from typing import Any

from modelry.domain.errors import MalformedBody, UnsupportedField
from modelry.protocols.http.request import ApiRequest
from modelry.protocols.tasks.form_question import FormQuestion, parse_form
from modelry.protocols.tasks.json_question import JsonQuestion
from modelry.services.inference.inputs import InputUrls

RAW = "application/octet-stream"


async def with_inputs(
    request: ApiRequest, urls: InputUrls, items: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The items, with bytes in the place of URLs; where there are none, nobody waits.

    Raises:
        ModelryError: as `InputUrls.fetched`.
        Cancelled: the caller went away.
    """
    if not urls.are_in(items):
        return items
    return await request.while_connected(urls.fetched(items))


async def read_question(
    request: ApiRequest, *, instead_of_model: str | None = None
) -> JsonQuestion | FormQuestion:
    """The question of `request`.

    Args:
        request: the request.
        instead_of_model: a field of JSON that makes naming a model needless.

    Raises:
        MalformedBody: of another type than the three that are known, or not what it claims.
        InvalidInput: no model is named.
        UnsupportedField: query parameters where the body says everything.
        PayloadTooLarge: see `ApiRequest.body`.
    """
    header = request.header("content-type") or ""
    kind = header.partition(";")[0].strip().lower()
    query = request.raw.query_params
    if kind.startswith("image/") or kind == RAW:
        fields = {name: query.getlist(name) for name in query}
        return FormQuestion(fields, await request.body())
    for name in query:
        raise UnsupportedField(
            f"The query parameter '{name[:80]}' is not read with a body of type '{kind[:80]}'; "
            "write it in the body.",
            param=name[:80],
        )
    if kind == "multipart/form-data":
        return FormQuestion(await parse_form(header, await request.body()))
    if kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json")):
        return JsonQuestion(await request.json_object(), instead_of_model=instead_of_model)
    raise MalformedBody(
        f"Content-Type is '{header[:80]}'; expected application/json, multipart/form-data, or the "
        f"bytes themselves as image/* or {RAW}.",
        param="content-type",
    )
