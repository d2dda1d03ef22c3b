"""`make bench-kill-training`: training that is killed at random points comes to the same end.

A server of its own is started; one run is left alone. Then, `--kills` times, the same is trained
again: at a random moment the process that trains, or the server, gets SIGKILL (the server is
started again). Each job must end with the weights of the undisturbed run, and lose at most the work
since its last checkpoint. Ends with 1 when one does not.

    python -m benchmarks.kill_training --kills 50
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from benchmarks import machine
from modelry import Client
from modelry.client.errors import ModelryError
from modelry.client.job_records import JobRecord
from modelry.client.jobs import Job

KEY = "kill-training-owner-key-0123456789abcdef"
GOES_ON = re.compile(r"checkpoint of step (\d+)")
START_TIMEOUT_S = 120.0
MOST_SHARE, EXPORT_S = 1.1, 10.0
"""Up to a second after the last step, while the model is exported and registered."""


@dataclass
class Server:
    """A server that can be killed and started again on the same data folder."""

    folder: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.port = self.port or _free_port()
        command = [sys.executable, "-m", "modelry", "up", "--port", str(self.port)]
        environment = {
            **os.environ,
            "MODELRY_DATA": str(self.folder / "data"),
            "MODELRY_CACHE": str(self.folder / "cache"),
            "MODELRY_OWNER_KEY": KEY,
            "MODELRY_STARTER": "false",
            "MODELRY_WORK_NICENESS": "0",
            "MODELRY_GRPC_PORT": str(_free_port()),
        }
        log = (self.folder / "server.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(ModelryError), self.client() as client:
                client.status()
                return
            time.sleep(0.1)
        raise SystemExit((self.folder / "server.log").read_text()[-4000:])

    def client(self) -> Client:
        """A client of it that does not repeat requests."""
        return Client(f"http://127.0.0.1:{self.port}", KEY, max_retries=0)

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that is not enough."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()

    def workers(self) -> list[psutil.Process]:
        """The processes that train."""
        if self.process is None or self.process.poll() is not None:
            return []
        with contextlib.suppress(psutil.Error):
            return [
                one
                for one in psutil.Process(self.process.pid).children(recursive=True)
                if "modelry.job_host" in " ".join(one.cmdline())
            ]
        return []


@dataclass
class Run:
    """What came of one disturbed run."""

    what: str
    share: float
    """Of the steps that were done when it was killed; over 1 while it exports."""
    state: str = ""
    digest: str = ""
    attempts: int = 0
    took_s: float = 0.0
    lost_steps: list[int] = field(default_factory=list)


@dataclass
class Alone:
    """The run that is left alone."""

    digest: str
    took_s: float
    interval_steps: int
    """The most steps between two of its checkpoints."""


def main() -> int:
    """Run it, and write a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--what", choices=["both", "process", "server"], default="both")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--checkpoint-every-s", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        try:
            server.start()
            runs, alone = _measure(server, arguments)
        finally:
            server.stop()
    lines = _table(runs, alone, arguments)
    print("\n".join(lines))
    machine.write("kill-training", "Training that is killed", lines)
    is_same = all(one.state == "succeeded" and one.digest == alone.digest for one in runs)
    return 0 if is_same else 1


def _measure(server: Server, arguments: argparse.Namespace) -> tuple[list[Run], Alone]:
    draw = random.Random(arguments.seed)
    with server.client() as client:
        _make_dataset(client, arguments.rows)
    alone = _left_alone(server, arguments)
    runs = []
    for number in range(arguments.kills):
        what = arguments.what
        if what == "both":
            what = ("process", "server")[number % 2]
        run = _disturbed(server, arguments, what, draw.uniform(0, MOST_SHARE))
        runs.append(run)
        print(
            f"{number + 1:3d} {run.what:8s} at {run.share:5.2f} of its steps: {run.state}, "
            f"{run.attempts} attempts, same weights: {run.digest == alone.digest}, "
            f"steps lost {run.lost_steps}",
            file=sys.stderr,
            flush=True,
        )
    return runs, alone


def _left_alone(server: Server, arguments: argparse.Namespace) -> Alone:
    begun = time.monotonic()
    job_id = _start(server, arguments)
    record = _wait(server, job_id)
    took_s = time.monotonic() - begun
    if record.outcome is None:
        raise SystemExit(f"the undisturbed run ended as {record.error}")
    with server.client() as client:
        events = [one for one in client.jobs.get(job_id).events() if one.kind == "checkpoint"]
    steps = [0, *(int(one.data["step"]) for one in events)]
    # the last one holds the result, and is no step
    widths = [later - earlier for earlier, later in itertools.pairwise(steps[:-1])]
    return Alone(record.outcome["weights_digest"], took_s, max(widths, default=0))


def _make_dataset(client: Client, rows: int) -> None:
    """Noisy stripes in ten directions: something to learn, made from a seed."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 10, rows)
    grid = np.stack(np.meshgrid(np.arange(28), np.arange(28)))
    turned = np.cos(labels * np.pi / 10)[:, None, None] * grid[0]
    turned = turned + np.sin(labels * np.pi / 10)[:, None, None] * grid[1]
    images = 127 + 60 * np.sin(turned / 2) + draw.normal(0, 40, (rows, 28, 28))
    client.datasets.from_arrays(
        "stripes", np.clip(images, 0, 255).astype(np.uint8)[..., None], labels
    )


def _start(server: Server, arguments: argparse.Namespace) -> str:
    with server.client() as client:
        return client.training.start(
            "image-classification",
            "stripes",
            "stripes",
            parameters={
                "epochs": arguments.epochs,
                "checkpoint_every_s": arguments.checkpoint_every_s,
            },
            seed=7,
            threads=1,
        ).id


def _wait(server: Server, job_id: str) -> JobRecord:
    with server.client() as client:
        return client.jobs.get(job_id).wait(progress=False, check=False).record


def _disturbed(server: Server, arguments: argparse.Namespace, what: str, share: float) -> Run:
    begun = time.monotonic()
    job_id = _start(server, arguments)
    run = Run(what, share)
    _wait_until(server, job_id, share)
    if what == "server":
        server.kill()
        server.start()
    else:
        _kill_process(server, job_id)
    ended = _wait(server, job_id)
    run.took_s = time.monotonic() - begun
    run.state, run.attempts = ended.state, ended.attempts
    run.digest = (ended.outcome or {}).get("weights_digest", "")
    with server.client() as client:
        run.lost_steps = list(_lost_steps(client.jobs.get(job_id)))
    return run


def _wait_until(server: Server, job_id: str, share: float) -> None:
    """Until so much of its steps is done; how fast that goes depends on what else runs."""
    with server.client() as client:
        while not (job := client.jobs.get(job_id)).has_ended:
            told = job.record.progress
            if (
                told is not None
                and told.unit == "steps"
                and told.total is not None
                and told.done >= min(share, 1) * told.total
            ):
                time.sleep(max(0.0, share - 1) * EXPORT_S)
                return
            time.sleep(0.02)


def _kill_process(server: Server, job_id: str) -> None:
    """SIGKILL to the process that trains, as soon as there is one, unless the job has ended."""
    with server.client() as client:
        while not client.jobs.get(job_id).has_ended:
            workers = server.workers()
            for process in workers:
                with contextlib.suppress(psutil.Error):
                    process.send_signal(signal.SIGKILL)
            if workers:
                return
            time.sleep(0.05)


def _lost_steps(job: Job) -> Iterator[int]:
    """For each checkpoint that was gone on from: the steps that had to be done again."""
    furthest = 0
    for event in job.events():
        furthest = max([furthest, *(point.step for point in event.points)])
        for found in map(GOES_ON.search, event.lines):
            if found is not None:
                yield max(0, furthest - int(found[1]))


def _table(runs: list[Run], alone: Alone, arguments: argparse.Namespace) -> list[str]:
    checkpoints = f"every {arguments.checkpoint_every_s:g} s, {alone.interval_steps} steps at most"
    setting = [
        f"- {len(runs)} runs of `image-classification`, each killed once at a random moment",
        f"- {arguments.rows} rows, {arguments.epochs} epochs, one thread",
        f"- checkpoints: {checkpoints} in a run that is left alone",
        f"- that run takes {alone.took_s:.1f} s",
        "- killed: the process that trains, or the server, which is started again",
    ]
    columns = ["killed", "runs", "interrupted", "succeeded", "same weights"]
    columns += ["went on from a checkpoint"]
    columns += ["most steps lost", "slowest"]
    lines = []
    for what in ("process", "server"):
        found = [one for one in runs if one.what == what]
        if not found:
            continue
        lost = [steps for one in found for steps in one.lost_steps]
        succeeded = sum(one.state == "succeeded" for one in found)
        same = sum(one.digest == alone.digest for one in found)
        slowest = f"{max(one.took_s for one in found):.1f} s"
        hit = sum(one.attempts > 1 for one in found)
        counts = (len(found), hit, succeeded, same, len(lost), max(lost, default=0))
        lines.append([what, *map(str, counts), slowest])
    described = machine.describe(["modelry", "torch", "numpy"])
    return [*described, *setting, "", *machine.table(columns, lines)]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
