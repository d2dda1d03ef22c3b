"""The v2 gRPC service, on grpc.aio."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import nullcontext
from contextvars import ContextVar
from typing import Any, TypeVar
from urllib.parse import unquote

import grpc
import grpc.aio
from google.protobuf.message import Message

from modelry.domain.access import Permission, Principal
from modelry.domain.errors import ModelryError, NotFound
from modelry.protocols.http.endpoint import unexpected
from modelry.protocols.http.limits import DoorLimits
from modelry.protocols.oip import metadata
from modelry.protocols.oip.generated import open_inference_pb2 as pb
from modelry.protocols.oip.grpc_codec import frame_of_request, response_of_frame
from modelry.protocols.oip.routes import version_of
from modelry.runtime_api.frames import Kind
from modelry.services.deployments.audited import AuditedLoading
from modelry.services.inference.call import RawCall
from modelry.services.inference.metering import OpenRequest
from modelry.services.inference.request_ids import current_request_id, request_id_of
from modelry.services.inference.routing import Target
from modelry.services.inference.service import InferenceService

log = logging.getLogger(__name__)

GrpcServer = grpc.aio.Server

_caller: ContextVar[Principal | None] = ContextVar("grpc_caller", default=None)
"""Whose request it is, None as long as its key was not found to be valid."""

SERVICE = "inference.GRPCInferenceService"
REQUEST_ID = "x-request-id"

MAX_METADATA_BYTES = 16 * 1024
"""Of one call; longer ones are refused with RESOURCE_EXHAUSTED."""
MAX_STREAMS = 1024
"""Calls at once on one connection; further ones wait at the caller."""
IDLE_S = 600
"""After how long a connection without calls is closed."""
ALIVE_EVERY_S, ALIVE_WITHIN_S = 60, 20
"""How often a silent caller is asked whether it is there, and how long it has to say so."""

STATUS_BY_CODE: dict[str, grpc.StatusCode] = {
    "error": grpc.StatusCode.UNKNOWN,
    "invalid_input": grpc.StatusCode.INVALID_ARGUMENT,
    "payload_too_large": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "unauthenticated": grpc.StatusCode.UNAUTHENTICATED,
    "permission_denied": grpc.StatusCode.PERMISSION_DENIED,
    "not_found": grpc.StatusCode.NOT_FOUND,
    "conflict": grpc.StatusCode.ALREADY_EXISTS,
    "quota_exceeded": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "budget_exceeded": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "overloaded": grpc.StatusCode.UNAVAILABLE,
    "audit_unavailable": grpc.StatusCode.UNAVAILABLE,
    "model_not_ready": grpc.StatusCode.UNAVAILABLE,
    "model_failed": grpc.StatusCode.INTERNAL,
    "replica_lost": grpc.StatusCode.UNAVAILABLE,
    "deadline_exceeded": grpc.StatusCode.DEADLINE_EXCEEDED,
    "cancelled": grpc.StatusCode.CANCELLED,
    "key_unavailable": grpc.StatusCode.UNAVAILABLE,
    "data_damaged": grpc.StatusCode.DATA_LOSS,
    "source_unavailable": grpc.StatusCode.UNAVAILABLE,
    "not_supported": grpc.StatusCode.UNIMPLEMENTED,
    "internal_error": grpc.StatusCode.INTERNAL,
}
"""Status of each error code, or of its nearest ancestor's."""

Request = TypeVar("Request", bound=Message)
Context = grpc.aio.ServicerContext[Any, Any]
Certificate = Callable[[], tuple[bytes, bytes]]
"""Gives the key and the certificates to show, as PEM; called by any thread."""
Handler = Callable[[Request, Principal | None], Awaitable[Message]]


METHOD_PERMISSIONS: dict[str, Permission] = {
    "ServerLive": Permission.PUBLIC,
    "ServerReady": Permission.PUBLIC,
    "ServerMetadata": Permission.PUBLIC,
    "ModelReady": Permission.INFERENCE,
    "ModelMetadata": Permission.INFERENCE,
    "ModelInfer": Permission.INFERENCE,
    "ModelStreamInfer": Permission.INFERENCE,
    "ModelStatistics": Permission.METRICS_READ,
    "RepositoryIndex": Permission.DEPLOYMENTS_READ,
    "RepositoryModelLoad": Permission.DEPLOYMENTS_WRITE,
    "RepositoryModelUnload": Permission.DEPLOYMENTS_WRITE,
}
"""The permission that each method demands."""


def permission_of(method: str) -> Permission:
    """The permission that a method demands.

    Raises:
        TypeError: it declares none, so the server must not start.
    """
    declared = METHOD_PERMISSIONS.get(method)
    if declared is None:
        raise TypeError(f"gRPC method {method} declares no permission")
    return declared


def check_methods(answered: Collection[str]) -> None:
    """Refuse to start with a method that is answered without permission, or is not answered.

    Raises:
        TypeError: names the method.
    """
    for method in answered:
        permission_of(method)
    declared = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    missing = {method.name for method in declared} - set(answered)
    if missing:
        raise TypeError(f"gRPC methods are not answered: {', '.join(sorted(missing))}")


def grpc_status_of(error: ModelryError) -> grpc.StatusCode:
    """The gRPC status for `error`."""
    for cls in type(error).__mro__:
        if issubclass(cls, ModelryError) and cls.code in STATUS_BY_CODE:
            return STATUS_BY_CODE[cls.code]
    return grpc.StatusCode.UNKNOWN


class InferenceServicer:
    """Every method of the service with the permission that it demands."""

    def __init__(
        self, inference: InferenceService, loading: AuditedLoading, limits: DoorLimits
    ) -> None:
        self._inference = inference
        self._limits = limits
        self._loading = loading

    def handlers(self) -> grpc.GenericRpcHandler:
        """The service for `Server.add_generic_rpc_handlers`."""
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "ServerLive": self._unary(pb.ServerLiveRequest, self._live),
            "ServerReady": self._unary(pb.ServerReadyRequest, self._ready),
            "ServerMetadata": self._unary(pb.ServerMetadataRequest, self._metadata),
            "ModelReady": self._unary(pb.ModelReadyRequest, self._model_ready),
            "ModelMetadata": self._unary(pb.ModelMetadataRequest, self._model_metadata),
            "ModelInfer": self._unary(pb.ModelInferRequest, self._infer, is_prediction=True),
            "ModelStatistics": self._unary(pb.ModelStatisticsRequest, self._statistics),
            "RepositoryIndex": self._unary(pb.RepositoryIndexRequest, self._index),
            "RepositoryModelLoad": self._unary(pb.RepositoryModelLoadRequest, self._load),
            "RepositoryModelUnload": self._unary(pb.RepositoryModelUnloadRequest, self._unload),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(
                self._stream_infer,
                request_deserializer=pb.ModelInferRequest.FromString,
                response_serializer=pb.ModelStreamInferResponse.SerializeToString,
            ),
        }
        check_methods(methods)
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def _unary(
        self,
        request_type: type[Request],
        handler: Handler[Request],
        *,
        is_prediction: bool = False,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        permission = permission_of(request_type.__name__.removesuffix("Request"))
        limits = self._limits
        check = limits.check_prediction if is_prediction else limits.check_api_request

        async def answer(
            request: Request, context: Context, metered: OpenRequest | None
        ) -> Message:
            principal = None
            if permission is not Permission.PUBLIC:
                principal = self._principal(context)
                if metered is not None:
                    metered.principal = principal
                check(principal)
                principal.require(permission)
            return await handler(request, principal)

        async def handle(request: Request, context: Context) -> Message:
            request_id = _begin(context)
            metered = OpenRequest(self._inference.meter, request_id) if is_prediction else None
            try:
                with metered or nullcontext():
                    result = await answer(request, context, metered)
            except ModelryError as error:
                if metered is not None and not metered.was_admitted:
                    limits.count_refused(error, _caller.get())
                await self._abort(context, error)
            except Exception:
                log.exception("gRPC request %s failed", request_id)
                await self._abort(context, unexpected(request_id))
            else:
                self._tell_limits(context)
                return result
            raise AssertionError("abort always raises")

        return grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=request_type.FromString,
            response_serializer=_wire_bytes,
        )

    def _tell_limits(self, context: Context) -> None:
        """What is left, in the trailing metadata."""
        principal = _caller.get()
        told = {} if principal is None else self._limits.headers(principal)
        if told:
            _tell_trailing(context, told)

    async def _abort(self, context: Context, error: ModelryError) -> None:
        """Tell a failure. gRPC clients that retry obey `grpc-retry-pushback-ms`."""
        await self._limits.hold_back(error, _caller.get(), _peer_of(context))
        self._tell_limits(context)
        if error.retry_after_s is not None:
            told = {"retry-after": str(error.retry_after_s)}
            if error.code == "quota_exceeded":  # a budget is too far off for a number of 32 bits
                told["grpc-retry-pushback-ms"] = str(math.ceil(error.retry_after_s * 1000))
            _tell_trailing(context, told)
        await context.abort(grpc_status_of(error), error.message)

    def _principal(self, context: Context) -> Principal:
        principal = self._inference.authenticator.from_header(_metadatum(context, "authorization"))
        _caller.set(principal)
        return principal

    def _target(self, principal: Principal, name: str, version: str) -> Target:
        return self._inference.target(principal, name, version_of(version))

    async def _live(self, _: pb.ServerLiveRequest, __: Principal | None) -> Message:
        return pb.ServerLiveResponse(live=True)

    async def _ready(self, _: pb.ServerReadyRequest, __: Principal | None) -> Message:
        return pb.ServerReadyResponse(ready=True)

    async def _metadata(self, _: pb.ServerMetadataRequest, __: Principal | None) -> Message:
        return pb.ServerMetadataResponse(**metadata.server_metadata())

    async def _model_ready(
        self, request: pb.ModelReadyRequest, principal: Principal | None
    ) -> Message:
        target = self._target(_known(principal), request.name, request.version)
        return pb.ModelReadyResponse(ready=target.group.is_ready)

    async def _model_metadata(
        self, request: pb.ModelMetadataRequest, principal: Principal | None
    ) -> Message:
        caller = _known(principal)
        route = self._inference.routes.find(caller, request.name)
        target = self._target(caller, request.name, request.version)
        described = metadata.model_metadata(route, target)
        tensor = pb.ModelMetadataResponse.TensorMetadata
        inputs = [tensor(**one) for one in described.pop("inputs")]
        outputs = [tensor(**one) for one in described.pop("outputs")]
        return pb.ModelMetadataResponse(**described, inputs=inputs, outputs=outputs)

    async def _infer(
        self, request: pb.ModelInferRequest, principal: Principal | None
    ) -> pb.ModelInferResponse:
        caller = _known(principal)
        target = self._target(caller, request.model_name, request.model_version)
        frame = frame_of_request(request, target.version.signature)
        call = RawCall(caller, Kind.INFER, frame.header, frame.body)
        call.units = frame.units
        target.group.submit(call)
        answer = await call.answer()
        return response_of_frame(target.deployment.name, target.version.number, request.id, *answer)

    async def _stream_infer(
        self, requests: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """Each request is answered in turn; a failing one does not end the stream.

        All of them have the id of the stream. The key is checked for each: a stream outlives none
        that is revoked.
        """
        request_id = _begin(context)
        await self._checked_caller(context, opens=True)
        async for request in requests:
            principal = await self._checked_caller(context)
            metered = OpenRequest(self._inference.meter, request_id)
            try:
                with metered:
                    metered.principal = principal
                    self._limits.check_prediction(principal)
                    answer = await self._infer(request, principal)
                yield pb.ModelStreamInferResponse(infer_response=answer)
            except ModelryError as error:
                if not metered.was_admitted:
                    self._limits.count_refused(error, principal)
                await self._limits.hold_back(error, principal, _peer_of(context))
                yield pb.ModelStreamInferResponse(
                    error_message=error.message,
                    infer_response=pb.ModelInferResponse(id=request.id),
                )
        self._tell_limits(context)

    async def _checked_caller(self, context: Context, *, opens: bool = False) -> Principal:
        try:
            principal = self._principal(context)
            principal.require(permission_of("ModelStreamInfer"))
            if opens:
                self._limits.check_prediction(principal)
        except ModelryError as error:
            await self._abort(context, error)
            raise AssertionError("abort always raises") from error
        return principal

    async def _statistics(
        self, request: pb.ModelStatisticsRequest, principal: Principal | None
    ) -> Message:
        caller = _known(principal)
        targets = self._inference.looked_at(caller, request.name, version_of(request.version))
        return pb.ModelStatisticsResponse(**metadata.statistics(targets))

    async def _index(
        self, request: pb.RepositoryIndexRequest, principal: Principal | None
    ) -> Message:
        targets = self._inference.looked_at(_known(principal))
        entries = metadata.repository_index(targets, ready_only=request.ready)
        return pb.RepositoryIndexResponse(models=entries)

    async def _load(
        self, request: pb.RepositoryModelLoadRequest, principal: Principal | None
    ) -> Message:
        await self._loading.load(_known(principal), request.model_name)
        return pb.RepositoryModelLoadResponse()

    async def _unload(
        self, request: pb.RepositoryModelUnloadRequest, principal: Principal | None
    ) -> Message:
        await self._loading.unload(_known(principal), request.model_name)
        return pb.RepositoryModelUnloadResponse()


def _wire_bytes(message: Message) -> bytes:
    """`message` by its own class's method: that of `Message` itself does nothing."""
    return message.SerializeToString()


def _known(principal: Principal | None) -> Principal:
    if principal is None:
        raise NotFound("This method needs a key.")
    return principal


def _metadatum(context: Context, name: str) -> bytes | None:
    """The first value that the caller sent as `name` (lower case), or None."""
    for key, value in context.invocation_metadata() or ():
        if key == name:
            return value.encode("utf-8", "replace") if isinstance(value, str) else value
    return None


def _begin(context: Context) -> str:
    """Give the request its id, which its trailing metadata tell."""
    request_id = request_id_of(_metadatum(context, REQUEST_ID))
    current_request_id.set(request_id)
    _caller.set(None)
    context.set_trailing_metadata(((REQUEST_ID, request_id),))
    return request_id


def _peer_of(context: Context) -> str:
    """The network address of `ipv4:127.0.0.1:5` or `ipv6:%5B::1%5D:5`."""
    return unquote(context.peer() or "").partition(":")[2].rpartition(":")[0].strip("[]")


def _tell_trailing(context: Context, told: Mapping[str, str]) -> None:
    context.set_trailing_metadata((*context.trailing_metadata(), *told.items()))


def _credentials(certificate: Certificate) -> grpc.ServerCredentials:
    """Credentials that follow `certificate`, which gRPC asks before each handshake."""

    def configuration() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([certificate()])

    return grpc.dynamic_ssl_server_credentials(configuration(), configuration)


async def start_grpc_server(
    servicer: InferenceServicer,
    address: str,
    max_message_bytes: int,
    certificate: Certificate | None = None,
) -> tuple[grpc.aio.Server, int]:
    """Listen on `address` (`host:port`); gives the server and the port it got.

    Args:
        servicer: answers.
        address: where to listen.
        max_message_bytes: of a request or an answer.
        certificate: asked for the key and certificate of every new connection; None for plain
            connections.

    Raises:
        OSError: the port is taken or the address is not ours.
    """
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.so_reuseport", 0),
            ("grpc.max_metadata_size", MAX_METADATA_BYTES),
            ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
            ("grpc.max_concurrent_streams", MAX_STREAMS),
            ("grpc.max_connection_idle_ms", IDLE_S * 1000),
            ("grpc.keepalive_time_ms", ALIVE_EVERY_S * 1000),
            ("grpc.keepalive_timeout_ms", ALIVE_WITHIN_S * 1000),
        ]
    )
    server.add_generic_rpc_handlers((servicer.handlers(),))
    try:
        if certificate is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, _credentials(certificate))
    except RuntimeError:
        port = 0
    if port == 0:
        raise OSError(
            f"cannot listen on {address} for gRPC; choose another port with --grpc-port or "
            "MODELRY_GRPC_PORT"
        )
    await server.start()
    return server, port
