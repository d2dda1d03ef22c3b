"""Training on a whole server, killed: the process that trains, and the server itself."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from tests.support.server import Running, start
from tests.support.training_kit import line_rows
from tests.support.works import install_works
from typer.testing import CliRunner

from modelry import Client
from modelry.cli.main import app
from modelry.client.errors import Conflict, JobFailed, NotFound
from modelry.client.jobs import Job

STEPS, EVERY = 40, 5
PARAMETERS = {"steps": STEPS, "step_s": 0.03, "checkpoint_every": EVERY}


class Site:
    """A server that is started again after it was killed, and a client of it."""

    def __init__(self, folder: Path, packages: Path) -> None:
        self._folder = folder
        self._packages = packages
        self.running: Running | None = None
        self.start()

    def start(self) -> None:
        key = None if self.running is None else self.running.key
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(self._packages))
            self.running = start(self._folder / "data", key=key, work_threads="1")

    def client(self) -> Client:
        return Client(self.running.url, self.running.key)

    def works(self) -> list[psutil.Process]:
        found = []
        for one in self.running.workers():
            with contextlib.suppress(psutil.Error):
                if "modelry.job_host" in one.cmdline():
                    found.append(one)
        return found

    def train(self, client: Client, model: str, **options) -> Job:
        order = {"parameters": PARAMETERS, "seed": 3, **options}
        return client.training.start("steady", "line", model, **order)

    def shell(self, *words: str, code: int = 0) -> str:
        environment = {"MODELRY_URL": self.running.url, "MODELRY_API_KEY": self.running.key}
        result = CliRunner().invoke(app, words, None, environment)
        assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
        return result.output


def until_step(job: Job, step: int) -> None:
    for _ in range(1000):
        progress = job.refresh().progress
        if progress is not None and progress.phase == "training" and progress.done >= step:
            return
        time.sleep(0.02)
    raise AssertionError(f"{job} did not come to step {step}")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    packages = folder / "packages"
    install_works(packages)
    for path in (folder, packages):
        path.chmod(0o755)
    file = folder / "line.csv"
    rows = np.stack(list(line_rows().values()), 1).tolist()
    file.write_text("\n".join(["a,b,y", *(",".join(map(repr, one)) for one in rows)]))
    made = Site(folder, packages)
    try:
        with made.client() as client:
            client.datasets.import_(file, "line", options={"label": "y"})
        yield made
    finally:
        made.running.stop()


@pytest.fixture(scope="module")
def undisturbed(site: Site) -> Iterator[Job]:
    with site.client() as client:
        yield site.train(client, "alone").wait(60, progress=False)


def lost(job: Job) -> int:
    """Steps that an attempt had to do again."""
    (line,) = (one.line for one in job.log() if "from the checkpoint of step" in one.line)
    furthest = max(
        point.step for event in job.events() if event.data.get("attempt") == 1
        for point in event.points
    )  # fmt: skip
    return furthest + 1 - int(line.rstrip(".").rpartition(" ")[2])


def test_a_version_comes_of_a_job(site: Site, undisturbed: Job) -> None:
    assert undisturbed.version == "alone@1"
    assert undisturbed.record.attempts == 1
    assert len(undisturbed.metrics()) == STEPS
    with site.client() as client:
        lineage = client.training.lineage("alone", 1)
        assert lineage.job_id == undisturbed.id
        assert lineage.weights_digest == undisturbed.outcome["weights_digest"]
        assert lineage.dataset == "line@1"
        client.deploy("alone")
        client.wait_model_ready("alone")
        answer = client.infer("alone", {"x": np.array([[1.0, 0.0]], np.float32)})
        assert float(answer["y"][0, 0]) == pytest.approx(3, abs=0.5)


def test_a_killed_process_loses_a_checkpoint_interval_at_most(site: Site, undisturbed: Job) -> None:
    with site.client() as client:
        job = site.train(client, "process-killed")
        until_step(job, 17)
        for process in site.works():
            process.kill()
        job.wait(60, progress=False)
        assert job.record.attempts == 2
        assert job.outcome["weights_digest"] == undisturbed.outcome["weights_digest"]
        assert job.version == "process-killed@1"
        assert lost(job) <= EVERY


def test_a_killed_server_goes_on_when_it_is_back(site: Site, undisturbed: Job) -> None:
    with site.client() as client:
        job = site.train(client, "server-killed")
        until_step(job, 13)
    works = site.works()
    site.running.kill()
    _, alive = psutil.wait_procs(works, 10)
    assert not alive
    site.start()
    with site.client() as client:
        job = client.jobs.get(job.id).wait(60, progress=False)
        assert job.outcome["weights_digest"] == undisturbed.outcome["weights_digest"]
        assert lost(job) <= EVERY
        used = [one.cpu_s for one in job.refresh().record.history]
        assert len(used) == 2
        assert all(used)  # also of the attempt under which the server was killed
        [total] = client.usage(group_by=["model"], model=["server-killed"])
        assert total.units["requests"] == 2
        assert total.units["cpu_us"] == pytest.approx(sum(used) * 1e6, abs=2)
        assert len(client.versions.list("server-killed")) == 1
        assert client.training.lineage("server-killed", 1).job_id == job.id


def test_a_paused_job_goes_on_where_it_was(site: Site, undisturbed: Job) -> None:
    with site.client() as client:
        job = site.train(client, "paused")
        until_step(job, 8)
        job.pause()
        for _ in range(500):
            if job.refresh().state == "paused":
                break
            time.sleep(0.02)
        assert job.state == "paused"
        job.resume().wait(60, progress=False)
        assert job.outcome["weights_digest"] == undisturbed.outcome["weights_digest"]
        assert lost(job) <= 1


def test_what_must_not_become_a_version_does_not(site: Site) -> None:
    with site.client() as client:
        job = site.train(client, "skewed", parameters={"parity_error": 1.0})
        with pytest.raises(JobFailed, match="does not answer as the trained one"):
            job.wait(60, progress=False)
        job = site.train(client, "diverged", parameters={"diverge_at": 3})
        with pytest.raises(JobFailed, match="at step 3"):
            job.wait(60, progress=False)
        for model in ("skewed", "diverged"):
            with pytest.raises(NotFound):
                client.models.get(model)
        with pytest.raises(Conflict):
            client.training.start("image-classification", "line", "alone")


def test_the_commands(site: Site, undisturbed: Job) -> None:
    assert "steady" in site.shell("recipes")
    assert "steps between checkpoints" in site.shell("recipes", "steady")
    assert "there is no recipe 'none'" in site.shell("recipes", "none", code=2)
    told = site.shell(
        "train", "steady", "line@1", "--name", "shelled", "-p", "steps=3", "--seed", "1", "--watch"
    )
    assert '"version": "shelled@1"' in told
    told = site.shell("lineage", "shelled@1")
    for word in ("line@1", "steady", "steps=3", "numpy=", "sha256:"):
        assert word in told
    told = site.shell("reproduce", "shelled@1", "--watch")
    assert '"has_same_weights": true' in told
    told = site.shell("train", "steady", "line", "--name", "later", "-p", "steps=2")
    assert "modelry jobs watch job-" in told
    assert "not of the form" in site.shell(
        "train", "steady", "line", "--name", "x", "-p", "steps", code=2
    )
    assert "write name@number" in site.shell("lineage", "shelled", code=2)
    first = site.shell(
        "train", "steady", "line", "--name", "chained", "-p", "steps=30",
        "--then", "register,deploy", "--if", "loss<50", "--if", "loss<100", "--watch",
    )  # fmt: skip
    for word in ("(train):", "(register):", "(deploy):", '"alias": "champion"', "loss < 50.0"):
        assert word in first
    worse = site.shell(
        "train", "steady", "line", "--name", "chained", "-p", "steps=1", "--then", "register",
        "--if", "loss<0", "--alias", "champion", "--watch", code=1,
    )  # fmt: skip
    assert "chained@2 is not as good as it has to be to become chained@champion" in worse
    with site.client() as client:
        assert [one.version for one in client.aliases.list("chained")] == [1]
        assert client.is_model_ready("chained")
    for words, told in (
        (("--then", "fly"), "none of evaluate, register, deploy"),
        (("--then", "deploy", "--then", "deploy"), "each step once"),
        (("--if", "loss<1"), "it needs --then register or --then deploy"),
        (("--then", "register", "--on", "line"), "it needs --then evaluate"),
    ):
        assert told in site.shell("train", "steady", "line", "--name", "x", *words, code=2)
    told = site.shell(
        "search", "steady", "line", "--name", "searched", "--metric", "loss", "--trials", "2",
        "--try", "learning_rate=0.01..0.1:log", "--try", "steps=2,4", "--watch",
    )  # fmt: skip
    assert '"version": "searched@1"' in told
    assert "write name=low..high" in site.shell(
        "search", "steady", "line", "--name", "x", "--metric", "loss", "--try", "steps", code=2
    )
