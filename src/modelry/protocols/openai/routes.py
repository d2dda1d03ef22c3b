"""The OpenAI endpoints."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from modelry.domain.access import Permission
from modelry.protocols.http.acts import DoorAudit
from modelry.protocols.http.endpoint import (
    DEFAULT_BODY_BYTES,
    Door,
    Endpoint,
    Handler,
    event_stream,
    json_response,
)
from modelry.protocols.http.request import ApiRequest
from modelry.protocols.openai.chat_request import parse_chat
from modelry.protocols.openai.chunks import ChatChunks, ChunkWriter, CompletionChunks, written
from modelry.protocols.openai.collected import whole_chat, whole_completion
from modelry.protocols.openai.completion_request import parse_completion
from modelry.protocols.openai.embeddings import check_dimensions, embedding_answer, parse_embedding
from modelry.protocols.openai.errors import render_error, render_stream_failure
from modelry.protocols.openai.fields import body_schema
from modelry.protocols.openai.files import FileHandlers
from modelry.protocols.openai.fine_tuning import FineTuningHandlers
from modelry.protocols.openai.head import answer_head, version_header
from modelry.protocols.openai.merging import Generation, PlacedEvent, merged
from modelry.protocols.openai.models import model_entry
from modelry.protocols.openai.rerank import (
    RerankCall,
    cosine_scores,
    pair_scores,
    parse_rerank,
    rerank_answer,
)
from modelry.runtime_api.generation import ChatRequest, CompletionRequest
from modelry.services.files.service import FilesService
from modelry.services.finetuning.service import FineTuningService
from modelry.services.inference.routing import Target
from modelry.services.inference.service import InferenceService, require_task


@dataclass(frozen=True, slots=True)
class FineTuning:
    """What the endpoints of files and fine-tuning jobs stand on.

    Attributes:
        files: keeps files.
        jobs: runs jobs.
        audit: takes what they do.
        max_file_bytes: larger files are refused.
    """

    files: FilesService
    jobs: FineTuningService
    audit: DoorAudit
    max_file_bytes: int


def build_door(
    inference: InferenceService,
    *,
    max_body_bytes: int = DEFAULT_BODY_BYTES,
    fine_tuning: FineTuning | None = None,
) -> Door:
    """The OpenAI door.

    Args:
        inference: answers the calls.
        max_body_bytes: larger bodies are refused.
        fine_tuning: files and fine-tuning jobs; None for a door without.
    """
    handlers = _Handlers(inference)

    def post(path: str, handler: Handler, summary: str) -> Endpoint:
        schema = body_schema(f"POST {path}")
        content = {"application/json": {"schema": schema}}
        return Endpoint(
            path,
            ("POST",),
            Permission.INFERENCE,
            handler,
            summary,
            max_body_bytes,
            {"requestBody": {"required": True, "content": content}},
        )

    endpoints: tuple[Endpoint, ...] = (
        Endpoint("/v1/models", ("GET",), Permission.INFERENCE, handlers.models, "List models"),
        Endpoint("/v1/models/{model}", ("GET",), Permission.INFERENCE, handlers.model, "One model"),
        post("/v1/chat/completions", handlers.chat, "Complete a chat"),
        post("/v1/completions", handlers.completion, "Go on from a text"),
        post("/v1/embeddings", handlers.embeddings, "Embed texts"),
        post("/v1/rerank", handlers.rerank, "Order documents by relevance to a query"),
    )
    if fine_tuning is None:
        return Door("openai", endpoints, render_error, inference.meter)
    endpoints += FileHandlers(fine_tuning.files, fine_tuning.max_file_bytes).endpoints()
    endpoints += FineTuningHandlers(fine_tuning.jobs).endpoints()
    return Door("openai", endpoints, render_error, inference.meter, fine_tuning.audit)


class _Handlers:
    def __init__(self, inference: InferenceService) -> None:
        self._inference = inference

    async def models(self, request: ApiRequest) -> Response:
        routes = self._inference.models(request.principal)
        return json_response({"object": "list", "data": [model_entry(route) for route in routes]})

    async def model(self, request: ApiRequest) -> Response:
        name = request.path_params["model"]
        return json_response(model_entry(self._inference.routes.find(request.principal, name)))

    async def chat(self, request: ApiRequest) -> Response:
        call = parse_chat(await request.json_object())
        target = self._inference.target(request.principal, call.model)
        head = answer_head(target, "chatcmpl")
        events = merged([self._generation(request, target, call.request)])
        with_logprobs = call.request.top_logprobs is not None
        if call.streaming.wanted:
            writer = ChatChunks(
                head, include_usage=call.streaming.include_usage, with_logprobs=with_logprobs
            )
            return await _streamed(request, target, writer, events)
        answer = whole_chat(head, events, call.request.n, with_logprobs=with_logprobs)
        return json_response(await request.while_connected(answer), headers=version_header(target))

    async def completion(self, request: ApiRequest) -> Response:
        call = parse_completion(await request.json_object())
        target = self._inference.target(request.principal, call.model)
        head = answer_head(target, "cmpl")
        requests = call.requests()
        events = merged([self._generation(request, target, one) for one in requests])
        if call.streaming.wanted:
            writer = CompletionChunks(
                head, call.n, call.top_logprobs, include_usage=call.streaming.include_usage
            )
            return await _streamed(request, target, writer, events)
        answer = whole_completion(head, events, len(requests), call.n, call.top_logprobs)
        return json_response(await request.while_connected(answer), headers=version_header(target))

    def _generation(
        self, request: ApiRequest, target: Target, wanted: ChatRequest | CompletionRequest
    ) -> Generation:
        return lambda: self._inference.generate(request.principal, target, wanted)

    async def embeddings(self, request: ApiRequest) -> Response:
        call = parse_embedding(await request.json_object())
        target = self._inference.target(request.principal, call.model)
        check_dimensions(target, call.dimensions)
        prediction = await request.while_connected(
            self._inference.embed(request.principal, target, call.inputs)
        )
        return json_response(embedding_answer(call, prediction), headers=version_header(target))

    async def rerank(self, request: ApiRequest) -> Response:
        call = parse_rerank(await request.json_object())
        target = self._inference.target(request.principal, call.model)
        require_task(target, "text-embedding", "text-classification")
        answer = await request.while_connected(self._scored(request, target, call))
        return json_response(answer, headers=version_header(target))

    async def _scored(
        self, request: ApiRequest, target: Target, call: RerankCall
    ) -> dict[str, Any]:
        if target.version.task == "text-embedding":
            inputs = [call.query, *call.documents]
            prediction = await self._inference.embed(request.principal, target, inputs)
            return rerank_answer(call, prediction, cosine_scores(prediction))
        prediction = await self._inference.predict(request.principal, target, call.pairs())
        return rerank_answer(call, prediction, pair_scores(prediction))


async def _streamed(
    request: ApiRequest,
    target: Target,
    writer: ChunkWriter,
    events: AsyncGenerator[PlacedEvent, None],
) -> Response:
    """A stream, begun once its first block is there: what fails before has its own status."""
    blocks = written(writer, events)
    first = await request.while_connected(anext(blocks))

    async def all_blocks() -> AsyncGenerator[bytes, None]:
        async with aclosing(blocks):
            yield first
            async for block in blocks:
                yield block

    response = event_stream(all_blocks(), render_stream_failure)
    response.headers.update(version_header(target))
    return response
