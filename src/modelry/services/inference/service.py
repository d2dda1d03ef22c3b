"""The data plane: one set of operations that every door calls."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from modelry.domain.access import Principal, TenantState
from modelry.domain.errors import InvalidInput, ModelryError, NotFound, NotSupported
from modelry.explaining.contract import Wish
from modelry.runtime_api.frames import Kind, encode_header
from modelry.runtime_api.generation import (
    ChatRequest,
    CompletionRequest,
    GenerationEvent,
    event_from_wire,
    request_to_wire,
)
from modelry.runtime_api.items import encode_items
from modelry.runtime_api.tensors import Array, pack_tensors, unpack_tensors
from modelry.services.inference.answers import (
    Explanation,
    Prediction,
    TensorAnswer,
    TensorExplanation,
)
from modelry.services.inference.authentication import Authenticator, tenant_refusal
from modelry.services.inference.call import ItemsCall, RawCall, StreamedCall
from modelry.services.inference.explanations import (
    OnProgress,
    explanation_in,
    explanations_in,
    item_call,
    tensor_call,
)
from modelry.services.inference.metering import Meter, open_request
from modelry.services.inference.noted import chosen_in, parameters_of, units_of_tensors
from modelry.services.inference.replica_group import ReplicaGroup
from modelry.services.inference.routing import Route, RouteTable, Target
from modelry.services.quotas.accounts import Accounts
from modelry.services.quotas.costs import CostBudgets
from modelry.services.quotas.demands import items_demand, text_demand

LATELY_S = 1.0
"""Versions that were asked so lately will be asked again."""


class InferenceService:
    """Authorises, routes, admits and runs requests, and meters them on the way out.

    Args:
        authenticator: tokens to principals.
        routes: the data plane's table.
        accounts: the limits of those who call.
        costs: the limits of what they spend.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        routes: RouteTable,
        accounts: Accounts | None = None,
        costs: CostBudgets | None = None,
    ) -> None:
        self.authenticator = authenticator
        self.routes = routes
        self.accounts = accounts or Accounts()
        self.meter = Meter(costs)
        self._salt_key = secrets.token_bytes(32)

    def cut_off(self, error: ModelryError) -> None:
        """Fail every open request with `error`, and stop the engines' work on them."""
        for group in self.groups():
            group.cut_off(error)

    def cut_off_strangers(self, tenants: Mapping[str, TenantState]) -> None:
        """Fail the open requests of tenants that are not active, and of those that call what is
        no longer shared with them.
        """
        for route in self.routes.all():
            owner_id, name = route.deployment.tenant_id, route.deployment.name
            for target in route.targets:
                for tenant_id in target.group.callers():
                    state = tenants.get(tenant_id, TenantState.DELETING)
                    if state is not TenantState.ACTIVE:
                        target.group.cut_off(tenant_refusal(state), tenant_id)
                    elif tenant_id != owner_id and not self.routes.is_shared_with(
                        tenant_id, owner_id, name
                    ):
                        target.group.cut_off(_no_longer_shared(), tenant_id)

    def groups(self) -> list[ReplicaGroup]:
        """The replica groups of all tenants."""
        return [target.group for route in self.routes.all() for target in route.targets]

    def open_requests(self) -> int:
        """How many requests of all tenants are being answered or wait."""
        return self.accounts.open_requests()

    def target(self, principal: Principal, name: str, version_number: int | None = None) -> Target:
        """The version that shall answer a request for deployment `name`.

        Raises:
            PermissionDenied, NotFound: as `RouteTable.find` and `Route.version`.
        """
        route = self.routes.find(principal, name)
        target = route.pick() if version_number is None else route.version(version_number)
        request = open_request.get()
        if request is not None:
            request.origin = target.group.origin
        return target

    def models(self, principal: Principal) -> list[Route]:
        """The deployments that `principal` may call."""
        return self.routes.visible_to(principal)

    def looked_at(
        self, principal: Principal, name: str = "", version_number: int | None = None
    ) -> list[Target]:
        """The versions that `principal` may look at, if not call: all, or those of one name.

        Raises:
            NotFound: no such deployment or version, or not one that this key covers.
        """
        if not name:
            return [one for route in self.routes.covered_by(principal) for one in route.targets]
        route = self.routes.look_up(principal, name)
        return list(route.targets) if version_number is None else [route.version(version_number)]

    async def infer(
        self,
        principal: Principal,
        target: Target,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] = (),
    ) -> TensorAnswer:
        """Run tensors through the engine of `target`.

        Raises:
            TensorMismatch: the tensors do not fit the signature.
            ModelryError: admission or the engine failed.
        """
        entries, parts = pack_tensors(inputs)
        header = encode_header({"inputs": entries, "outputs": list(outputs)})
        call = RawCall(principal, Kind.INFER, header, b"".join(parts))
        call.units = units_of_tensors(entries, target.version.signature)
        target.group.submit(call)
        answer, body = await call.answer()
        return TensorAnswer(target, unpack_tensors(orjson.loads(answer)["outputs"], body))

    async def predict(
        self,
        principal: Principal,
        target: Target,
        items: Sequence[Mapping[str, Any]],
        options: Mapping[str, Any] | None = None,
    ) -> Prediction:
        """Run items of the version's task through its processing graph and engine.

        Raises:
            InvalidInput: an item is not what the task takes.
            ModelryError: admission or the engine failed.
        """
        if not items:
            raise InvalidInput("The request holds no items; send at least one.", param="input")
        encoded, body = encode_items(items)
        header = encode_header({"items": encoded, "options": dict(options or {})})
        call = ItemsCall(principal, Kind.PREDICT, header, body)
        call.demand = items_demand(target.version.task, len(items), header)
        call.parameters = parameters_of(options or {})
        return await self._run_items(call, target)

    async def explain(
        self,
        principal: Principal,
        target: Target,
        item: Mapping[str, Any],
        options: Mapping[str, Any],
        wish: Wish,
        *,
        on_progress: OnProgress | None = None,
    ) -> Explanation:
        """Say why the version answers one item as it does.

        Args:
            principal: who asks.
            target: the version.
            item: as its task takes them.
            options: of the prediction.
            wish: how to explain.
            on_progress: is told how far it is.

        Raises:
            InvalidInput: the item, or what is wished, is not what the task takes.
            NotSupported: answers of this version cannot be explained, or not so.
            ModelryError: admission or the engine failed.
        """
        salt = self._cache_salt(principal, target) if target.version.task == "chat" else None
        call = item_call(
            principal,
            target,
            item,
            options,
            wish,
            others_are_asked=self._are_others_asked(target),
            cache_salt=salt,
            on_progress=on_progress,
        )
        target.group.submit(call)
        _, picture = await call.answer()
        return explanation_in(call, target, picture)

    async def explain_tensors(
        self,
        principal: Principal,
        target: Target,
        tensors: tuple[Sequence[Mapping[str, Any]], bytes | memoryview],
        wish: Wish,
        *,
        baseline: float = 0.0,
        output: str = "",
    ) -> TensorExplanation:
        """Say why the engine answers each row of some tensors as it does.

        Args:
            principal: who asks.
            target: the version.
            tensors: what its engine takes: entries as in frames, and their bytes.
            wish: how to explain.
            baseline: the number that stands where a part of a tensor is taken away.
            output: the output to explain, for a version whose steps do not tell what it ranks by.

        Raises:
            InvalidInput: too many rows, or what is wished does not suit tensors.
            NotSupported: such tensors, or such outputs, cannot be explained.
            ModelryError: admission or the engine failed.
        """
        call = tensor_call(
            principal,
            target,
            tensors,
            wish,
            baseline=baseline,
            output=output,
            others_are_asked=self._are_others_asked(target),
        )
        target.group.submit(call)
        _, weights = await call.answer()
        return explanations_in(call, target, weights)

    def _are_others_asked(self, target: Target) -> bool:
        """Whether other versions on this machine have been asked lately."""
        since = time.monotonic() - LATELY_S
        return any(group is not target.group and group.last_used > since for group in self.groups())

    async def embed(
        self, principal: Principal, target: Target, inputs: Sequence[str | list[int]]
    ) -> Prediction:
        """Embed texts or token lists; the array is called `embedding`.

        Raises:
            NotSupported: the deployment's task is not text-embedding.
            ModelryError: admission or the engine failed.
        """
        require_task(target, "text-embedding", "chat")
        call = ItemsCall(principal, Kind.EMBED, encode_header({"inputs": list(inputs)}))
        call.demand = text_demand(call.header)
        return await self._run_items(call, target)

    async def _run_items(self, call: ItemsCall, target: Target) -> Prediction:
        target.group.submit(call)
        _, body = await call.answer()
        answer = call.answer_header
        usage: dict[str, int] = answer.get("usage", {})
        arrays = unpack_tensors(answer.get("arrays", []), body)
        return Prediction(target, answer.get("items", []), arrays, usage)

    def generate(
        self, principal: Principal, target: Target, request: ChatRequest | CompletionRequest
    ) -> AsyncIterator[GenerationEvent]:
        """Admit a generation at once and return its events; leaving them early cancels it.

        Raises:
            NotSupported: the deployment's task is not chat.
            Overloaded, QuotaExceeded, ModelFailed, ModelNotReady: it was not admitted.
        """
        require_task(target, "chat")
        request = replace(request, cache_salt=self._cache_salt(principal, target))
        call = StreamedCall(principal, encode_header(request_to_wire(request)))
        call.demand = text_demand(call.header, request.n, request.sampling.max_tokens)
        call.parameters = parameters_of(chosen_in(request))
        target.group.submit(call)
        return _typed_events(call)

    def _cache_salt(self, principal: Principal, target: Target) -> str:
        """Whose prompt it is, in a word from which a worker learns no tenant's id."""
        tenant_id = principal.tenant_id
        if tenant_id == target.group.identity[0]:
            return ""
        return hmac.digest(self._salt_key, tenant_id.encode(), "sha256").hex()


def _no_longer_shared() -> NotFound:
    return NotFound("This model is no longer shared with your tenant.", param="model")


async def _typed_events(call: StreamedCall) -> AsyncIterator[GenerationEvent]:
    try:
        async for event in call.events():
            yield event_from_wire(event)
    finally:
        call.cancel()


def require_task(target: Target, *tasks: str) -> None:
    """Refuse when the deployment's model has another task.

    Raises:
        NotSupported: it has.
    """
    task = target.version.task
    if task not in tasks:
        raise NotSupported(
            f"Model '{target.deployment.name}' has the task '{task}'; this endpoint serves "
            f"{' and '.join(tasks)}.",
            param="model",
        )
