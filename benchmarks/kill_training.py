"""Kills training at random points, and sees that nothing comes out otherwise.

A server of its own is started; one run is left alone. Then, `--kills` times, the same is trained
again: at a random moment the process that trains, or the server, gets SIGKILL (the server is
started again). Each job must end with the weights of the undisturbed run, and lose at most the work
since its last checkpoint:

    python -m benchmarks.kill_training --kills 50 --output benchmarks/results/kill_training.md
"""

from __future__ import annotations

import argparse
import contextlib
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

from modelry import Client
from modelry.client.errors import ModelryError
from modelry.client.job_records import JobRecord
from modelry.client.jobs import Job

KEY = "kill-training-owner-key-0123456789abcdef"
GOES_ON = re.compile(r"checkpoint of step (\d+)")
START_TIMEOUT_S = 120.0


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
    after_s: float
    state: str = ""
    digest: str = ""
    attempts: int = 0
    took_s: float = 0.0
    lost_steps: list[int] = field(default_factory=list)


def main() -> None:
    """Run it, and write a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--what", choices=["both", "process", "server"], default="both")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--checkpoint-every-s", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        try:
            server.start()
            text = _measure(server, arguments)
        finally:
            server.stop()
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text)


def _measure(server: Server, arguments: argparse.Namespace) -> str:
    draw = random.Random(arguments.seed)
    with server.client() as client:
        _make_dataset(client, arguments.rows)
    begun = time.monotonic()
    undisturbed = _wait(server, _start(server, arguments))
    alone_s = time.monotonic() - begun
    if undisturbed.outcome is None:
        raise SystemExit(f"the undisturbed run ended as {undisturbed.error}")
    wanted = undisturbed.outcome["weights_digest"]
    runs = []
    for number in range(arguments.kills):
        what = arguments.what
        if what == "both":
            what = ("process", "server")[number % 2]
        run = _disturbed(server, arguments, what, draw.uniform(0.3, alone_s))
        runs.append(run)
        print(
            f"{number + 1:3d} {run.what:8s} after {run.after_s:5.1f} s: {run.state}, "
            f"{run.attempts} attempts, same weights: {run.digest == wanted}, "
            f"steps lost {run.lost_steps}",
            file=sys.stderr,
        )
    return _table(runs, wanted, alone_s, arguments)


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


def _disturbed(server: Server, arguments: argparse.Namespace, what: str, after_s: float) -> Run:
    begun = time.monotonic()
    job_id = _start(server, arguments)
    run = Run(what, after_s)
    time.sleep(after_s)
    if what == "server":
        server.kill()
        server.start()
    else:
        for process in server.workers():
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
    ended = _wait(server, job_id)
    run.took_s = time.monotonic() - begun
    run.state, run.attempts = ended.state, ended.attempts
    run.digest = (ended.outcome or {}).get("weights_digest", "")
    with server.client() as client:
        run.lost_steps = list(_lost_steps(client.jobs.get(job_id)))
    return run


def _lost_steps(job: Job) -> Iterator[int]:
    """For each checkpoint that was gone on from: the steps that had to be done again."""
    furthest = 0
    for event in job.events():
        furthest = max([furthest, *(point.step for point in event.points)])
        for found in map(GOES_ON.search, event.lines):
            if found is not None:
                yield max(0, furthest - int(found[1]))


def _table(runs: list[Run], wanted: str, alone_s: float, arguments: argparse.Namespace) -> str:
    setting = (
        f"{len(runs)} runs of `image-classification` ({arguments.rows} rows, {arguments.epochs} "
        f"epochs, a checkpoint every {arguments.checkpoint_every_s:g} s, one thread), each killed "
        f"once at a random moment; a run that is left alone takes {alone_s:.1f} s."
    )
    columns = ["killed", "runs", "succeeded", "same weights", "went on from a checkpoint"]
    columns += ["most steps lost", "slowest"]
    lines = ["# Training that is killed", "", setting, "", f"| {' | '.join(columns)} |"]
    lines.append("|---" * len(columns) + "|")
    for what in ("process", "server"):
        found = [one for one in runs if one.what == what]
        if not found:
            continue
        lost = [steps for one in found for steps in one.lost_steps]
        lines.append(
            f"| {what} | {len(found)} | {sum(one.state == 'succeeded' for one in found)} "
            f"| {sum(one.digest == wanted for one in found)} | {len(lost)} "
            f"| {max(lost, default=0)} | {max(one.took_s for one in found):.1f} s |"
        )
    return "\n".join([*lines, ""])


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
