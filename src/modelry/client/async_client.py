"""The async client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, Unpack, overload

import httpx2

from modelry.client.async_evaluations import AsyncEvaluations
from modelry.client.async_explanations import AsyncExplanations
from modelry.client.async_jobs import AsyncJob, AsyncJobs, giving_job
from modelry.client.async_resources import (
    AsyncAliases,
    AsyncAudit,
    AsyncDatasets,
    AsyncDeployments,
    AsyncEncryption,
    AsyncKeys,
    AsyncMembers,
    AsyncModels,
    AsyncPrices,
    AsyncQuotas,
    AsyncRequestLogs,
    AsyncRetention,
    AsyncShares,
    AsyncTenants,
    AsyncVersions,
)
from modelry.client.async_training import AsyncTraining
from modelry.client.async_transport import AsyncTransport
from modelry.client.connection import BrowserSession, connection_to
from modelry.client.errors import ConnectionLost
from modelry.client.generation import ChatOptions, CompletionOptions, Delta, Generated, Message
from modelry.client.methods import AsyncResource, awaitable
from modelry.client.operations import deployments as deploying
from modelry.client.operations import (
    embeddings,
    explanations,
    generation,
    inference,
    own_models,
    registration,
    sessions,
    tables,
    typed_tasks,
)
from modelry.client.operations import status as serving
from modelry.client.operations import usage as using
from modelry.client.operations.privacy import TarParser, export_request
from modelry.client.operations.pulls import PullEvent, PullParser, pull_request
from modelry.client.records import PullProgress, Registration
from modelry.client.retries import RetryPolicy
from modelry.client.streams import AsyncStream


class AsyncClient(AsyncResource):
    """A Modelry server, for code on an event loop; belongs to one loop.

        async with AsyncClient() as client:
            async for delta in await client.chat("assistant", "Hello!", stream=True):
                print(delta.text, end="")

    Args:
        url: of the server; by default `MODELRY_URL`, else http://127.0.0.1:8080.
        api_key: by default `MODELRY_API_KEY`.
        timeout_s: how long to wait for each next byte of an answer.
        max_retries: how often a request is repeated where that is safe.
        ca: PEM file of the authority that vouches for the server; by default `MODELRY_CA`, else
            the usual ones.
        session: of a person, from `modelry.client.signing_in`; counts where there is no key.
        transport: another way to reach the server, for tests.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 300.0,
        max_retries: int = 2,
        ca: str | Path | None = None,
        session: BrowserSession | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        retry = RetryPolicy(retries=max_retries)
        super().__init__(
            AsyncTransport(
                connection_to(url, api_key, timeout_s, retry, ca=ca, session=session), transport
            )
        )
        self.models = AsyncModels(self._transport)
        self.versions = AsyncVersions(self._transport)
        self.aliases = AsyncAliases(self._transport)
        self.datasets = AsyncDatasets(self._transport)
        self.deployments = AsyncDeployments(self._transport)
        self.keys = AsyncKeys(self._transport)
        self.tenants = AsyncTenants(self._transport)
        self.members = AsyncMembers(self._transport)
        self.shares = AsyncShares(self._transport)
        self.audit = AsyncAudit(self._transport)
        self.request_logs = AsyncRequestLogs(self._transport)
        self.retention = AsyncRetention(self._transport)
        self.encryption = AsyncEncryption(self._transport)
        self.quotas = AsyncQuotas(self._transport)
        self.prices = AsyncPrices(self._transport)
        self.jobs = AsyncJobs(self._transport)
        self.training = AsyncTraining(self._transport)
        self.evaluations = AsyncEvaluations(self._transport)
        self.explanations = AsyncExplanations(self._transport)

    @property
    def url(self) -> str:
        """The server's URL."""
        return self._transport.connection.url

    def __repr__(self) -> str:
        return f"AsyncClient({self.url!r})"

    # ---- the server -------------------------------------------------------------------------

    status = awaitable(serving.status)
    my_sessions = awaitable(sessions.my_sessions)
    end_session = awaitable(sessions.end_session)
    end_all_sessions = awaitable(sessions.end_all_sessions)
    sign_out = awaitable(sessions.sign_out)
    usage = awaitable(using.usage)
    usage_csv = awaitable(using.usage_csv)
    requests_csv = awaitable(using.requests_csv)
    trace = awaitable(using.trace)
    catalog = awaitable(serving.catalog)
    server_metadata = awaitable(serving.server_metadata)
    model_metadata = awaitable(serving.model_metadata)
    is_ready = awaitable(serving.is_ready)
    is_model_ready = awaitable(serving.is_model_ready)
    wait_ready = awaitable(serving.wait_ready)
    wait_model_ready = awaitable(serving.wait_model_ready)

    # ---- models and deployments -------------------------------------------------------------

    register = awaitable(registration.register)
    register_all = awaitable(registration.register_all)
    register_found = awaitable(registration.register_found)
    deploy = awaitable(deploying.deploy)
    undeploy = awaitable(deploying.undeploy)

    async def train(self, model: Any, data: Any, **options: Any) -> AsyncJob:
        """Train a model of your own, or by a recipe, on the server; a version comes of it.

            job = await client.train(model, (x_train, y_train), epochs=10)
            await job.wait()
            deployment = await client.deploy(job.version)
            await client.predict(deployment, x_test)

        Args:
            model: a Keras model (compiled, or `loss=…` is given), the path of a `.keras` file, or
                the name of a recipe such as `image-classification`.
            data: the name of a dataset (its newest version, or `name@3`), or arrays `(x, y)`,
                which become a dataset.
            options: parameters of the recipe, such as `epochs` and `batch_size`; and `name`,
                `validation_data`, `dataset`, `seed`, `threads`, `priority`, `progress`: see
                `TrainOptions`.

        Raises:
            InvalidInput: model, data and parameters do not suit each other.
            RowsInvalid: arrays that cannot be rows; names the first.
        """
        flow = own_models.train(model, data, **options)
        return AsyncJob(self._transport, await self._transport.run(flow))

    async def pull(
        self,
        source: str | None = None,
        *,
        manifest: str | None = None,
        name: str | None = None,
        task: str | None = None,
        progress: Callable[[PullProgress], None] | None = None,
    ) -> Registration:
        """Let the server fetch a model and register it.

        Args:
            source: a catalogue name, `hf://…`, `pypi://…` or `https://…`; or
            manifest: the text of a `model.yaml` whose files are such sources.
            name: the model's name, by default made of the file's.
            task: the model's task, by default inferred.
            progress: called as bytes arrive at the server.
        """
        async with await self.pull_events(
            source, manifest=manifest, name=name, task=task
        ) as events:
            async for event in events:
                if isinstance(event, Registration):
                    return event
                if progress is not None:
                    progress(event)
        raise ConnectionLost("The pull ended without its registration.")

    async def pull_events(
        self,
        source: str | None = None,
        *,
        manifest: str | None = None,
        name: str | None = None,
        task: str | None = None,
    ) -> AsyncStream[PullEvent]:
        """As `pull`, telling each step; leaving it early stops the fetch."""
        request = pull_request(source, manifest=manifest, name=name, task=task)
        return await self._transport.stream(request, PullParser)

    async def export_tenant(self) -> AsyncStream[bytes]:
        """All that belongs to the tenant, as the pieces of a tar file."""
        return await self._transport.stream(export_request(), TarParser)

    # ---- predictions ------------------------------------------------------------------------

    @overload
    async def chat(
        self,
        model: str,
        messages: str | Sequence[Message],
        *,
        stream: Literal[False] = False,
        **options: Unpack[ChatOptions],
    ) -> Generated: ...

    @overload
    async def chat(
        self,
        model: str,
        messages: str | Sequence[Message],
        *,
        stream: Literal[True],
        **options: Unpack[ChatOptions],
    ) -> AsyncStream[Delta]: ...

    async def chat(
        self,
        model: str,
        messages: str | Sequence[Message],
        *,
        stream: bool = False,
        **options: Unpack[ChatOptions],
    ) -> Generated | AsyncStream[Delta]:
        """Answer a chat.

        Args:
            model: a deployment of the task chat.
            messages: what was said so far; a text is one message of the user.
            stream: give the answer bit by bit.
            options: as OpenAI's API has them (`temperature`, `max_tokens`, `tools` …).
        """
        given: dict[str, Any] = {**options}
        if stream:
            request = generation.chat_request(model, messages, given, streams=True)
            return await self._transport.stream(request, generation.DeltaParser)
        return await self._transport.run(generation.chat(model, messages, given))

    @overload
    async def complete(
        self,
        model: str,
        prompt: str | Sequence[str] | Sequence[int],
        *,
        stream: Literal[False] = False,
        **options: Unpack[CompletionOptions],
    ) -> Generated: ...

    @overload
    async def complete(
        self,
        model: str,
        prompt: str | Sequence[str] | Sequence[int],
        *,
        stream: Literal[True],
        **options: Unpack[CompletionOptions],
    ) -> AsyncStream[Delta]: ...

    async def complete(
        self,
        model: str,
        prompt: str | Sequence[str] | Sequence[int],
        *,
        stream: bool = False,
        **options: Unpack[CompletionOptions],
    ) -> Generated | AsyncStream[Delta]:
        """Go on from a text, without a chat's template.

        Args:
            model: a deployment of the task chat.
            prompt: a text, several, or token ids.
            stream: give the answer bit by bit.
            options: as OpenAI's API has them.
        """
        given: dict[str, Any] = {**options}
        if stream:
            request = generation.completion_request(model, prompt, given, streams=True)
            return await self._transport.stream(request, generation.DeltaParser)
        return await self._transport.run(generation.complete(model, prompt, given))

    embed = awaitable(embeddings.embed)
    rerank = awaitable(embeddings.rerank)
    classify = awaitable(typed_tasks.classify)
    classify_many = awaitable(typed_tasks.classify_many)
    detect = awaitable(typed_tasks.detect)
    detect_many = awaitable(typed_tasks.detect_many)
    translate = awaitable(typed_tasks.translate)
    translate_many = awaitable(typed_tasks.translate_many)
    summarize = awaitable(typed_tasks.summarize)
    summarize_many = awaitable(typed_tasks.summarize_many)
    tabular = awaitable(tables.tabular)
    infer = awaitable(inference.infer)
    explain = awaitable(explanations.explain)
    start_explanation = giving_job(explanations.start_explanation)
    explanation_of = awaitable(explanations.explanation_of)
    predict = awaitable(own_models.predict)

    # ---- its life ---------------------------------------------------------------------------

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
