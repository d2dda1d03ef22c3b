# ruff: noqa: D102 - the names of the tests say what they check
"""What every `Works` must do. Subclass it and give the fixture `works`, which knows `ContractWork`.

`ContractWork` is the work that the suite has done; for processes it must be installed under its
name in the group `modelry.works`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from modelry.domain.errors import Cancelled, InvalidInput, LeaseLost, NotFound, Overloaded
from modelry.domain.usage import NO_COMPUTE, Compute
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.work import Answer, Json, WorkHost, WorkLimits, WorkOrder, Works


class ContractWork:
    """Does what the request says under `do`, and tells what came of it."""

    name: ClassVar[str] = "contract"

    def __init__(self) -> None:
        self._known: list[str] = []

    def run(self, host: WorkHost) -> Json:
        """See `Work.run`."""
        step = getattr(self, f"_{host.request['do']}")
        outcome: Json = step(host)
        return outcome

    def _echo(self, host: WorkHost) -> Json:
        return {"request": host.request, "scratch": sorted(map(str, host.scratch.iterdir()))}

    def _remember(self, host: WorkHost) -> Json:
        known, self._known = self._known, [*self._known, host.request["word"]]
        scratch = sorted(one.name for one in host.scratch.iterdir())
        (host.scratch / "left").write_bytes(b"behind")
        return {"known": known, "scratch": scratch}

    def _copy(self, host: WorkHost) -> Json:
        target = host.scratch / "copy"
        with host.open(host.request["name"]) as path:
            target.write_bytes(path.read_bytes()[::-1])
        told = host.put("reversed", target, {"from": host.request["name"]})
        target.unlink()
        return {"told": told}

    def _large(self, host: WorkHost) -> Json:
        target = host.scratch / "large"
        with target.open("wb") as file:
            for _ in range(host.request["mib"]):
                file.write(bytes(2**20))
        return host.put("large", target)

    def _ask(self, host: WorkHost) -> Json:
        answer = host.ask("double", {"times": 2}, b"body" * host.request["size"])
        return {"header": answer.header, "size": len(answer.body)}

    def _ask_at_once(self, host: WorkHost) -> Json:
        def ask(number: int) -> bool:
            return host.ask("double", {"times": number}, b"x").body == b"x" * number

        with ThreadPoolExecutor(4) as pool:
            return {"right": sum(pool.map(ask, range(1, 21)))}

    def _tell(self, host: WorkHost) -> Json:
        for done in range(1, 1001):
            host.progress(done, 1000, "rows", "reading")
        host.metrics(1, {"loss": 0.5})
        host.metrics(2, {"loss": float("nan")})
        host.log("a line")
        return {}

    def _burn(self, host: WorkHost) -> Json:
        begun = time.thread_time()
        while time.thread_time() - begun < host.request["cpu_s"]:
            pass
        if "then" in host.request:
            raise InvalidInput(host.request["then"])
        return {}

    def _refuse(self, host: WorkHost) -> Json:
        raise InvalidInput(f"Row {host.request['row']} is wrong.", param="rows")

    def _mend(self, host: WorkHost) -> Json:
        """Errors of the server can be caught, and the work goes on."""
        refused = []
        file = host.scratch / "file"
        file.write_bytes(b"1")
        for attempt in (
            lambda: host.ask("refuse", {}),
            lambda: host.put("refused", file),
            lambda: host.open("missing").__enter__(),
        ):
            try:
                attempt()
            except (NotFound, Overloaded) as error:
                refused.append(error.code)
        return {"refused": refused}

    def _wait(self, host: WorkHost) -> Json:
        host.log("waiting")
        deadline = time.monotonic() + 30
        while not host.stop.is_set() and time.monotonic() < deadline:
            time.sleep(0.01)
        host.log("stopped")
        raise Cancelled("Stopped.")


@dataclass
class RecordingClient:
    """A `WorkClient` that has `inputs` as files, and keeps what it is given."""

    folder: Path
    inputs: Mapping[str, bytes] = field(default_factory=dict)
    outputs: dict[str, bytes] = field(default_factory=dict)
    told: list[tuple[Any, ...]] = field(default_factory=list)
    opened: list[RecordedInput] = field(default_factory=list)
    on_log: Any = None
    compute: Compute = NO_COMPUTE

    def open_input(self, name: str) -> RecordedInput:
        """See `WorkClient.open_input`."""
        if name not in self.inputs:
            raise NotFound(f"There is no input '{name}'.")
        path = self.folder / f"input-{len(self.opened)}"
        path.write_bytes(self.inputs[name])
        self.opened.append(RecordedInput(path))
        return self.opened[-1]

    def take_output(self, name: str, file: Path, about: Json) -> Json:
        """See `WorkClient.take_output`."""
        if name == "refused":
            raise Overloaded("The disk is full.")
        self.outputs[name] = file.read_bytes()
        return {"size_bytes": len(self.outputs[name]), "about": about}

    def answer(self, what: str, header: Json, body: bytes) -> Answer:
        """See `WorkClient.answer`."""
        if what != "double":
            raise NotFound(f"Nobody knows '{what}'.")
        return Answer(header, body * header["times"])

    def progress(self, done: int, total: int | None, unit: str, phase: str) -> None:
        """See `WorkClient.progress`."""
        self.told.append(("progress", done, total, unit, phase))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """See `WorkClient.metrics`."""
        self.told.append(("metrics", step, dict(values)))

    def log(self, line: str) -> None:
        """See `WorkClient.log`."""
        self.told.append(("log", line))
        if self.on_log is not None:
            self.on_log(line)

    def used(self, compute: Compute) -> None:
        """See `WorkClient.used`."""
        self.compute += compute


@dataclass
class RecordedInput:
    """An input on disk; knows whether it was let go."""

    path: Path
    is_closed: bool = False

    def close(self) -> None:
        """See `InputFile.close`."""
        self.is_closed = True


class WorksContract:
    """The suite."""

    @pytest.fixture
    def client(self, tmp_path: Path) -> Iterator[RecordingClient]:
        client = RecordingClient(tmp_path)
        yield client
        assert all(one.is_closed for one in client.opened)

    def do(self, works: Works, client: RecordingClient, do: str, **request: Any) -> Json:
        limits = WorkLimits(scratch_bytes=2**25)
        order = WorkOrder(ContractWork.name, {"do": do, **request}, limits)
        return works.run(order, client, StopSignal())

    def test_it_gets_the_request_and_an_empty_folder(
        self, works: Works, client: RecordingClient
    ) -> None:
        request = {"do": "echo", "text": "ä" * 1000, "list": [1, None, {"deep": True}]}
        outcome = works.run(WorkOrder(ContractWork.name, request), client, StopSignal())
        assert outcome == {"request": request, "scratch": []}

    def test_files_go_in_and_out(self, works: Works, client: RecordingClient) -> None:
        client.inputs = {"a/b.txt": b"content"}
        outcome = self.do(works, client, "copy", name="a/b.txt")
        assert outcome["told"] == {"size_bytes": 7, "about": {"from": "a/b.txt"}}
        assert client.outputs == {"reversed": b"tnetnoc"}

    def test_a_large_file_goes_out(self, works: Works, client: RecordingClient) -> None:
        assert self.do(works, client, "large", mib=5)["size_bytes"] == 5 * 2**20

    def test_questions_are_answered(self, works: Works, client: RecordingClient) -> None:
        outcome = self.do(works, client, "ask", size=10**6)
        assert outcome == {"header": {"times": 2}, "size": 8 * 10**6}

    def test_threads_ask_at_once(self, works: Works, client: RecordingClient) -> None:
        assert self.do(works, client, "ask_at_once") == {"right": 20}

    def test_what_it_tells_arrives_in_order(self, works: Works, client: RecordingClient) -> None:
        self.do(works, client, "tell")
        progress = [one for one in client.told if one[0] == "progress"]
        assert progress[-1] == ("progress", 1000, 1000, "rows", "reading")
        assert [one[1] for one in progress] == sorted(one[1] for one in progress)
        metrics = [one for one in client.told if one[0] == "metrics"]
        assert metrics[0] == ("metrics", 1, {"loss": 0.5})
        assert metrics[1][1] == 2
        assert metrics[1][2]["loss"] != metrics[1][2]["loss"]
        assert client.told[-1] == ("log", "a line")

    @pytest.mark.parametrize("then", [{}, {"then": "It is wrong."}])
    def test_what_it_used_is_told(
        self, works: Works, client: RecordingClient, then: dict[str, str]
    ) -> None:
        begun = time.monotonic()
        with pytest.raises(InvalidInput) if then else contextlib.nullcontext():
            self.do(works, client, "burn", cpu_s=0.15, **then)
        whole_us = (time.monotonic() - begun) * 1e6
        assert client.compute.cpu_us >= 0.12e6  # the kernel counts in hundredths of seconds
        assert 0.15e6 <= client.compute.engine_us <= whole_us

    def test_its_error_is_told(self, works: Works, client: RecordingClient) -> None:
        with pytest.raises(InvalidInput, match=r"Row 3 is wrong\.") as told:
            self.do(works, client, "refuse", row=3)
        assert told.value.param == "rows"

    def test_errors_of_the_server_can_be_caught(
        self, works: Works, client: RecordingClient
    ) -> None:
        outcome = self.do(works, client, "mend")
        assert outcome == {"refused": ["not_found", "overloaded", "not_found"]}

    def test_an_unknown_work_is_told(self, works: Works, client: RecordingClient) -> None:
        with pytest.raises(NotFound, match="no work 'other'"):
            works.run(WorkOrder("other", {}), client, StopSignal())

    def test_it_is_stopped(self, works: Works, client: RecordingClient) -> None:
        stop = StopSignal()
        client.on_log = lambda _: stop.set()
        order = WorkOrder(ContractWork.name, {"do": "wait"})
        with pytest.raises(Cancelled):
            works.run(order, client, stop)
        assert client.told[-1] == ("log", "stopped")

    def test_it_does_not_begin_when_stopped(self, works: Works, client: RecordingClient) -> None:
        stop = StopSignal()
        stop.set()
        with pytest.raises(Cancelled):
            works.run(WorkOrder(ContractWork.name, {"do": "tell"}), client, stop)
        assert client.told == []

    def test_a_lost_lease_ends_it(self, works: Works, client: RecordingClient) -> None:
        def lose(_: str) -> None:
            raise LeaseLost("Another attempt has begun.")

        client.on_log = lose
        with pytest.raises(LeaseLost):
            works.run(WorkOrder(ContractWork.name, {"do": "wait"}), client, StopSignal())

    def test_many_run_at_once(self, works: Works, client: RecordingClient) -> None:
        stop, begun = StopSignal(), threading.Semaphore(0)
        client.on_log = lambda line: begun.release() if line == "waiting" else None

        def wait() -> None:
            with pytest.raises(Cancelled):
                works.run(WorkOrder(ContractWork.name, {"do": "wait"}), client, stop)

        threads = [threading.Thread(target=wait) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert begun.acquire(timeout=20)
        stop.set()
        for thread in threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in threads)
