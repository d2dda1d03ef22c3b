"""The job that evaluates: what it refuses, what it measures, what it keeps."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pyarrow as pa
import pytest

from modelry.datasets.shards import ShardWriter
from modelry.domain.access import Principal, Role
from modelry.domain.catalog import Version
from modelry.domain.datasets import (
    Column,
    ColumnRole,
    ColumnType,
    DatasetVersion,
    Schema,
    Shard,
    Split,
)
from modelry.domain.errors import (
    BudgetExceeded,
    Cancelled,
    DeadlineExceeded,
    InvalidInput,
    ModelryError,
    NotFound,
    NotSupported,
    PayloadTooLarge,
    PermissionDenied,
    QuotaExceeded,
    WorkFailed,
)
from modelry.domain.evaluations import Evaluation
from modelry.domain.signature import Signature
from modelry.runtime_api.work import WorkHost
from modelry.scoring.work import REPORT, Score
from modelry.services.deployments.service import DeploymentsService
from modelry.services.evaluation import engines
from modelry.services.evaluation.engines import EngineLoader
from modelry.services.evaluation.handler import EvaluateHandler
from modelry.services.inference.authentication import Authenticator, KeySnapshot
from modelry.services.inference.call import Call
from modelry.services.inference.routing import RouteTable
from modelry.services.inference.service import InferenceService
from modelry.testing import samples
from modelry.testing.datasets import batch_of
from modelry.testing.jobs import FakeJobRun
from modelry.testing.replica_pool import FakeReplicaPool
from modelry.testing.samples import NOW
from modelry.testing.work import ThreadWorks

SCHEMA = Schema(
    (
        Column("words", ColumnType.TEXT),
        Column("kind", ColumnType.TEXT, ColumnRole.LABEL, classes=("ham", "spam")),
    )
)
SPAM = "buy now"


@dataclass
class File:
    path: Path

    def close(self) -> None:
        pass


class Datasets:
    """One dataset of two splits, whose shards are files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        splits = tuple(
            Split(name, tuple(self._shards(name, count)))
            for name, count in (("train", 1), ("test", 70), ("empty", 0))
        )
        self.version = DatasetVersion(
            "default", "mails", 3, "sha256:" + "d" * 64, SCHEMA, splits, NOW, "k1"
        )

    def _shards(self, name: str, count: int) -> Iterator[Shard]:
        kept: list[tuple[Path, int]] = []

        def keep(file: Path, rows: int) -> None:
            kept.append((file.rename(self._folder / f"{name}-{len(kept)}"), rows))

        with closing(ShardWriter(SCHEMA, self._folder / "filling", keep)) as writer:
            if count:
                words = [SPAM if at % 7 == 0 else "hello" for at in range(count)]
                kinds = ["spam" if at % 10 < 3 else "ham" for at in range(count)]
                batch: pa.RecordBatch = batch_of(SCHEMA, {"words": words, "kind": kinds})
                writer.write(batch)
        for file, rows in kept:
            yield Shard(file.name, rows, file.stat().st_size)

    def find(self, principal: Principal, ref: str) -> DatasetVersion:
        del principal
        if ref not in ("mails", "mails@3"):
            raise NotFound(f"Dataset '{ref}' does not exist.")
        return self.version

    def open_shard(self, tenant_id: str, digest: str) -> File:
        assert tenant_id == "default"
        return File(self._folder / digest)


class Versions:
    """One version."""

    def __init__(self, task: str = "text-classification") -> None:
        self.one = replace(
            samples.version("filter"), task=task, signature=Signature((), (), batched=False)
        )

    def resolve(self, principal: Principal, reference: str) -> Version:
        if reference not in ("filter", self.one.ref):
            raise NotFound(f"Model '{reference}' does not exist.")
        return self.one

    def get_version(self, principal: Principal, name: str, number: int) -> Version:
        return self.resolve(principal, f"{name}@{number}")

    def version(self, tenant_id: str, model_name: str, number: int) -> Version:
        return self.one

    def open_files(self, version: Version) -> dict[str, Any]:
        return {}


class Contents:
    """Reports in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def keep_file(self, tenant_id: str, file: Path) -> Any:
        digest = f"sha256:{len(self.kept):064}"
        self.kept[digest] = file.read_bytes()
        return samples.BlobRecord(digest, len(self.kept[digest]), NOW)


class Store:
    """Evaluations in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Evaluation] = {}

    def add(self, evaluation: Evaluation) -> None:
        self.kept.setdefault(evaluation.evaluation_id, evaluation)


def labels(call: Call) -> tuple[bytes, bytes]:
    """Takes for spam what says so, with a score of 0.8."""
    asked = orjson.loads(call.header)
    assert asked["options"] == {"top_k": 3, "min_score": -1e9}, "all, whatever they score"
    items = []
    for item in asked["items"]:
        order = ["spam", "ham"] if item["text"] == SPAM else ["ham", "spam"]
        ranked = zip(order, (0.8, 0.2), strict=True)
        items.append({"labels": [{"label": one, "index": 0, "score": s} for one, s in ranked]})
    return orjson.dumps({"items": items, "usage": {"items": len(items)}}), b""


class NoKeys:
    def digest(self, token: str) -> bytes:
        return token.encode()

    def snapshot(self) -> KeySnapshot:
        return KeySnapshot({}, {}, {})


class Kit:
    """A handler on a data plane with replicas in this process."""

    def __init__(self, folder: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.versions, self.store, self.contents = Versions(), Store(), Contents()
        self.datasets = Datasets(folder)
        self.pool = FakeReplicaPool()
        self.pool.answer = labels
        inference = InferenceService(Authenticator(NoKeys()), RouteTable())  # type: ignore[arg-type] # no keys are asked for
        self.inference = inference
        self.deployments = DeploymentsService(None, self.versions, self.pool, inference)  # type: ignore[arg-type] # nothing is kept
        self.handler = EvaluateHandler(
            store=self.store,  # type: ignore[arg-type] # as far as it is needed
            versions=self.versions,
            datasets=self.datasets,
            contents=self.contents,  # type: ignore[arg-type] # likewise
            engines=EngineLoader(self.deployments, inference, lambda: loop),
            works=ThreadWorks(Score()),
            clock=lambda: NOW,
        )


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    kit = Kit(tmp_path, loop)
    yield kit
    asyncio.run_coroutine_threadsafe(kit.deployments.stop(0.1), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()


ME = samples.principal()


def test_names_are_pinned_and_the_usual_split_is_chosen(kit: Kit) -> None:
    assert kit.handler.check(ME, {"version": "filter", "dataset": "mails"}) == {
        "version": "filter@1", "dataset": "mails@3", "split": "test", "slices": [],
        "groups": [], "favourable": "", "batch_rows": 32,
    }  # fmt: skip


def test_a_version_is_measured_through_its_engine(kit: Kit) -> None:
    asked = {"slices": ["kind"], "groups": ["kind"], "favourable": "ham"}
    told = kit.handler.check(ME, {"version": "filter", "dataset": "mails", **asked})
    run = FakeJobRun(told)
    outcome = kit.handler.run(run)
    rows = range(70)
    right = sum((at % 7 == 0) == (at % 10 < 3) for at in rows)
    assert outcome["metrics"]["accuracy"]["value"] == pytest.approx(right / 70)
    evaluation = kit.store.kept[outcome["evaluation_id"]]
    assert (evaluation.version_ref, evaluation.dataset, evaluation.rows) == (
        "filter@1", "mails@3", 70,
    )  # fmt: skip
    assert evaluation.metrics["accuracy"].value == pytest.approx(right / 70)
    report = orjson.loads(kit.contents.kept[evaluation.report_digest])
    assert report["rows"] == 70
    assert [one["value"] for one in report["slices"]["kind"]] == ["spam", "ham"]
    assert report["groups"]["kind"]["favourable"] == "ham"
    assert "demographic_parity_difference[kind]" in evaluation.metrics
    assert [done for done, *_ in run.told] == [32, 64, 70]
    (replica,) = kit.pool.started  # loaded once, and not left behind
    assert evaluation.speed["batch_rows"] == 32
    assert not kit.deployments.has_replicas("default") or replica is not None


def test_another_attempt_adds_no_second_evaluation(kit: Kit) -> None:
    run = FakeJobRun(kit.handler.check(ME, {"version": "filter", "dataset": "mails"}))
    assert kit.handler.run(run)["evaluation_id"] == kit.handler.run(run)["evaluation_id"]
    assert len(kit.store.kept) == 1


class Careless:
    """Work that hands over a file of some size as its report, or none."""

    name: ClassVar[str] = "score"

    def __init__(self, size_bytes: int | None) -> None:
        self._size_bytes = size_bytes

    def run(self, host: WorkHost) -> Any:
        if self._size_bytes is not None:
            file = host.scratch / REPORT
            file.touch()
            os.truncate(file, self._size_bytes)
            host.put(REPORT, file)
        return {"rows": 1, "metrics": {}, "speed": {}}


@pytest.mark.parametrize(
    ("size_bytes", "error", "told"),
    [(None, WorkFailed, "without a report"), (2**26 + 1, PayloadTooLarge, "at most 64 MiB")],
)
def test_what_no_report_can_be_is_not_kept(
    kit: Kit, size_bytes: int | None, error: type[ModelryError], told: str
) -> None:
    kit.handler.works = ThreadWorks(Careless(size_bytes))
    with pytest.raises(error, match=told):
        kit.handler.run(
            FakeJobRun(kit.handler.check(ME, {"version": "filter", "dataset": "mails"}))
        )
    assert not kit.store.kept
    assert not kit.contents.kept


def test_a_job_that_is_stopped_ends_and_keeps_nothing(kit: Kit) -> None:
    run = FakeJobRun(kit.handler.check(ME, {"version": "filter", "dataset": "mails"}))
    run.stop.set()
    with pytest.raises(Cancelled):
        kit.handler.run(run)
    assert not kit.store.kept


@pytest.mark.parametrize(
    ("parameters", "error", "told"),
    [
        ({"dataset": "mails"}, InvalidInput, "Give 'version'"),
        ({"version": "filter"}, InvalidInput, "'dataset' must name one"),
        ({"version": "other", "dataset": "mails"}, NotFound, "'other'"),
        ({"version": "filter", "dataset": "rows"}, NotFound, "'rows'"),
        ({"split": "holdout"}, NotFound, "no split 'holdout'; it has train, test, empty"),
        ({"split": "empty"}, InvalidInput, "has no rows"),
        ({"split": 5}, NotFound, "no split '5'"),
        ({"slices": ["place"]}, InvalidInput, "'place' is no column"),
        ({"slices": "kind"}, InvalidInput, "must be a list"),
        ({"groups": ["age"]}, InvalidInput, "'age' is no column"),
        ({"groups": ["kind"], "favourable": "eggs"}, InvalidInput, "the classes are ham, spam"),
        ({"favourable": "spam"}, InvalidInput, "beside 'groups'"),
        ({"batch_rows": 0}, InvalidInput, "from 1 to 1024"),
        ({"batch_rows": True}, InvalidInput, "from 1 to 1024"),
        ({"shuffle": True}, InvalidInput, "'shuffle' is no parameter"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_it_is_queued(
    kit: Kit, parameters: dict[str, Any], error: type[ModelryError], told: str
) -> None:
    given = parameters if {"version", "dataset"} & set(parameters) else {
        "version": "filter", "dataset": "mails", **parameters,
    }  # fmt: skip
    with pytest.raises(error, match=told):
        kit.handler.check(ME, given)


def test_tasks_that_nothing_scores_are_refused(kit: Kit) -> None:
    kit.versions.one = replace(kit.versions.one, task="chat")
    with pytest.raises(NotSupported, match="'chat' cannot be evaluated"):
        kit.handler.check(ME, {"version": "filter", "dataset": "mails"})


def test_who_may_not_write_models_may_not_evaluate(kit: Kit) -> None:
    with pytest.raises(PermissionDenied):
        kit.handler.check(
            samples.principal(Role.OPERATOR), {"version": "filter", "dataset": "mails"}
        )


def test_a_version_that_another_job_makes_is_measured(kit: Kit) -> None:
    told = kit.handler.check(ME, {"version_of": "job-7", "dataset": "mails"})
    assert told["version_of"] == "job-7"
    outcome = kit.handler.run(FakeJobRun(told, inputs={"job-7": {"version": "filter@1"}}))
    assert outcome["version"] == "filter@1"
    with pytest.raises(InvalidInput, match="made no version"):
        kit.handler.run(FakeJobRun(told, inputs={"job-7": {}}))


def test_a_limited_rate_slows_it_down_and_a_used_up_budget_ends_it(kit: Kit, monkeypatch) -> None:
    refusals = [QuotaExceeded("slow down", retry_after_s=0.02) for _ in range(3)]
    answer = kit.inference.predict

    async def predict(*asked: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return await answer(*asked)

    monkeypatch.setattr(kit.inference, "predict", predict)
    run = FakeJobRun(kit.handler.check(ME, {"version": "filter", "dataset": "mails"}))
    assert kit.handler.run(run)["metrics"]["accuracy"]
    assert refusals == []
    refusals.append(BudgetExceeded("until tomorrow", retry_after_s=9000))
    with pytest.raises(BudgetExceeded):
        kit.handler.run(run)
    refusals.append(QuotaExceeded("slow down", retry_after_s=9000))
    threading.Timer(0.1, run.stop.set).start()
    with pytest.raises(Cancelled):
        kit.handler.run(run)


def test_loading_is_waited_for_with_a_bound(kit: Kit, monkeypatch) -> None:
    monkeypatch.setattr(engines, "LOAD_S", 0.3)
    left = threading.Event()

    @asynccontextmanager
    async def forever(version: Version, niceness: int) -> AsyncIterator[None]:
        assert niceness == 0, "it is measured as it would serve"
        try:
            await asyncio.sleep(60)
            yield
        finally:
            left.set()

    monkeypatch.setattr(kit.deployments, "privately", forever)
    run = FakeJobRun(kit.handler.check(ME, {"version": "filter", "dataset": "mails"}))
    with pytest.raises(DeadlineExceeded, match=r"The loading of filter@1 took more than 0\.3 s"):
        kit.handler.run(run)
    assert left.wait(5)
