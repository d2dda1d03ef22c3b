"""Chains: what each step takes from those before, and that all or none are put into the queue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.unit.pipelines.conftest import DIGITS, ME, Kit, running_loop

from modelry.domain.access import DEFAULT_TENANT_ID, Principal
from modelry.domain.datasets import Column, ColumnType, DatasetVersion, Schema, Shard, Split
from modelry.domain.errors import Conflict, InvalidInput, NotFound
from modelry.domain.jobs import Job, JobError, JobState
from modelry.services.jobs.attempts import Attempts, Told
from modelry.services.jobs.handlers import JobRun, Json
from modelry.services.jobs.queue import JobQueue
from modelry.services.jobs.service import JobsService
from modelry.services.pipelines.chains import ChainsService, Step
from modelry.services.training.service import Queueing
from modelry.testing.samples import NOW

ROWS = Schema((Column("n", ColumnType.INTEGER),))


class Plain:
    """A kind of job whose parameters go through."""

    kind: ClassVar[str]

    def check(self, principal: Principal, parameters: Json) -> Json:
        del principal
        if "bad" in parameters:
            raise InvalidInput("bad is not possible")
        return dict(parameters)

    def run(self, run: JobRun) -> Json:
        raise AssertionError("nothing runs jobs here")


class Train(Plain):
    kind: ClassVar[str] = "train"


class Search(Plain):
    kind: ClassVar[str] = "search"


class Evaluate(Plain):
    kind: ClassVar[str] = "evaluate"


class Datasets:
    """One dataset with a test split."""

    def find(self, principal: Principal, ref: str) -> DatasetVersion:
        del principal
        if ref not in ("digits", "digits@1"):
            raise NotFound(f"Dataset '{ref}' does not exist.")
        splits = tuple(Split(name, (Shard(DIGITS, 5, 5),)) for name in ("train", "test"))
        return DatasetVersion(DEFAULT_TENANT_ID, "digits", 1, DIGITS, ROWS, splits, NOW, "k1")

    def open_shard(self, tenant_id: str, digest: str) -> Any:
        raise AssertionError("nothing reads rows here")


class Site(Kit):
    """The kit with a queue, and chains on it."""

    def __init__(self, folder: Path, loop: Any) -> None:
        super().__init__(folder, loop)
        handlers: list[Any] = [Train(), Search(), Evaluate(), self.register, self.deploy]
        self.jobs = JobsService(self.database.jobs, None, handlers=handlers)  # type: ignore[arg-type] # no artefacts are read
        self.chains = ChainsService(self.jobs, self.catalog, Datasets(), self.evaluations)

    def start(self, *steps: tuple[str, Mapping[str, Any]], **queueing: Any) -> list[Job]:
        asked = [Step(kind, parameters) for kind, parameters in steps]
        return self.chains.start(ME, asked, Queueing(**queueing))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with running_loop() as loop:
        site = Site(tmp_path, loop)
        yield site
        site.do(site.deployments.stop(0.1))


TRAIN = ("train", {"recipe": "cnn", "dataset": "digits", "model": "pets"})


def test_each_step_takes_what_it_leaves_out_from_those_before(site: Site) -> None:
    first = site.jobs.submit(ME, "train", {})
    train, evaluate, register, deploy = site.start(
        TRAIN,
        ("evaluate", {}),
        ("register", {"alias": "champion", "when": ["accuracy >= 0.9"]}),
        ("deploy", {"deployment": "app"}),
        name="pets", priority=5, retries=0, after=[first.job_id],
    )  # fmt: skip
    assert evaluate.parameters == {"version_of": train.job_id, "dataset": "digits"}
    assert register.parameters["version_of"] == train.job_id
    assert deploy.parameters["version_of"] == register.job_id
    assert train.dependencies == (first.job_id,)
    assert evaluate.dependencies == (train.job_id,)
    assert register.dependencies == (train.job_id, evaluate.job_id)
    assert deploy.dependencies == (train.job_id, evaluate.job_id, register.job_id)
    made = (train, evaluate, register, deploy)
    assert {(one.name, one.priority, one.retries) for one in made} == {("pets", 5, 0)}
    listed = [one.job_id for one in site.jobs.list(ME, name="pets").jobs]
    assert listed == [one.job_id for one in reversed(made)]


def test_what_a_condition_compares_with_is_measured_where_it_was_not(site: Site) -> None:
    best = site.version()
    site.alias("champion", best)
    steps = (TRAIN, ("evaluate", {}), ("deploy", {"when": "accuracy >= champion"}))
    train, evaluate, other, deploy = site.start(*steps)
    assert (other.kind, other.dependencies) == ("evaluate", ())
    assert other.parameters == {"version": "pets@1", "dataset": "digits"}
    assert deploy.dependencies == (train.job_id, evaluate.job_id, other.job_id)
    site.measured(best, accuracy=0.9)
    assert [one.kind for one in site.start(*steps)] == ["train", "evaluate", "deploy"]
    hard = (TRAIN, ("evaluate", {"split": "train"}), steps[2])
    assert [one.kind for one in site.start(*hard)] == ["train", "evaluate", "evaluate", "deploy"]
    first = (("train", {**TRAIN[1], "model": "new"}), *steps[1:])
    assert [one.kind for one in site.start(*first)] == ["train", "evaluate", "deploy"]


def test_a_search_can_be_followed(site: Site) -> None:
    search = ("search", {"training": TRAIN[1]})
    jobs = site.start(search, ("evaluate", {}), ("register", {"alias": "a"}))
    assert jobs[1].parameters == {"version_of": jobs[0].job_id, "dataset": "digits"}
    with pytest.raises(InvalidInput, match="have it register one"):
        site.start(("search", {**search[1], "register": False}), ("evaluate", {}))


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([], "1 to 16"),
        ([TRAIN] * 17, "1 to 16"),
        ([("evaluate", {})], "Step 1, 'evaluate', names no version"),
        ([("register", {"alias": "a"}), TRAIN], "Step 1, 'register'"),
        ([("register", {"version": "pets", "alias": "a"}), ("evaluate", {})], "names no dataset"),
        ([TRAIN, ("fly", {})], "no kind of job 'fly'"),
        ([TRAIN, ("evaluate", {"bad": True})], "bad is not possible"),
        ([TRAIN, ("register", {"alias": "a", "when": ["x"]})], "not clear"),
    ],
)
def test_all_or_none_are_put_into_the_queue(
    site: Site, steps: list[tuple[str, Mapping[str, Any]]], told: str
) -> None:
    site.version()
    with pytest.raises(InvalidInput, match=told):
        site.start(*steps)
    assert list(site.jobs.list(ME).jobs) == []


def test_a_chain_goes_on_when_what_failed_is_tried_again(site: Site) -> None:
    train, evaluate, register = site.start(TRAIN, ("evaluate", {}), ("register", {"alias": "a"}))
    cancelled = site.start(TRAIN, ("evaluate", {}))[1]
    site.jobs.cancel(ME, cancelled.job_id)
    queue, attempts = JobQueue(site.database.jobs, "server"), Attempts(site.database.jobs)

    def fail(job: Job) -> None:
        claimed = queue.claim(["train"], None)
        assert claimed is not None
        assert claimed[0].job_id == job.job_id
        attempts.fail(claimed[1], JobError("training_diverged", "nan"), Told())

    fail(train)
    for one in (evaluate, register):
        assert site.jobs.get(ME, one.job_id).state is JobState.CANCELLED
    with pytest.raises(Conflict):
        site.jobs.resume(ME, evaluate.job_id)
    site.jobs.resume(ME, train.job_id)
    for one in (evaluate, register):
        again = site.jobs.get(ME, one.job_id)
        assert (again.state, again.error, again.ended_at) == (JobState.QUEUED, None, None)
    assert site.jobs.get(ME, cancelled.job_id).state is JobState.CANCELLED
