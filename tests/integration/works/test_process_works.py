"""Work in processes: the contract, and what happens when the work misbehaves."""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support import poor_kernel
from tests.support.works import install_works

from modelry.adapters.processes.works import ProcessWorks
from modelry.domain.errors import (
    Cancelled,
    InvalidInput,
    MemoryExhausted,
    ScratchExhausted,
    WorkFailed,
)
from modelry.domain.jobs import is_retryable
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.work import WorkLimits, WorkOrder
from modelry.sandbox import landlock
from modelry.testing.work import ThreadWorks
from modelry.testing.works_suite import ContractWork, RecordingClient, WorksContract


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("packages")
    folder.chmod(0o755)
    install_works(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


class TestThreads(WorksContract):
    @pytest.fixture
    def works(self):
        return ThreadWorks(ContractWork())


class TestProcesses(WorksContract):
    @pytest.fixture
    def works(self):
        return ProcessWorks()


@pytest.fixture
def client(tmp_path: Path) -> RecordingClient:
    return RecordingClient(tmp_path)


def run(client: RecordingClient, do: str, limits: WorkLimits | None = None, **request):
    order = WorkOrder("rogue", {"do": do, **request}, limits or WorkLimits())
    return ProcessWorks(stop_grace_s=0.5).run(order, client, StopSignal())


@pytest.mark.parametrize(
    ("do", "said"),
    [
        ("crash", "SIGSEGV"),
        ("leave", "exit code 3; its last words: file.py says goodbye"),
        ("fail", r"failed \(KeyError\)"),
        ("garbage", "was ended: "),
        ("huge_frame", "beyond the limit"),
    ],
)
def test_an_end_without_an_outcome_is_told(client, do, said):
    with pytest.raises(WorkFailed, match=said) as told:
        run(client, do)
    assert "secret" not in told.value.message


@pytest.mark.parametrize(
    ("kind", "header"),
    [(66, {}), (70, {"what": 1}), (71, {"done": "x"}), (72, {"step": []}), (5, {}), (67, [1])],
)
def test_frames_that_make_no_sense_end_it(client, kind, header):
    with pytest.raises(WorkFailed, match="was ended"):
        run(client, "wrong_frame", kind=kind, header=header)


def test_memory_beyond_the_limit_ends_it_and_says_how_to_mend_that(client):
    limits = WorkLimits(memory_bytes=300 * 2**20, is_by_settings=True)
    with pytest.raises(MemoryExhausted, match=r"\(300 MiB\): it used 3\d\d MiB\. ") as slow:
        run(client, "allocate", limits)
    with pytest.raises(MemoryExhausted, match=r"more memory than it may use \(300 MiB\)") as once:
        run(client, "allocate_at_once", limits)
    for told in (slow, once):
        assert "a smaller batch_size" in told.value.message
        assert "MODELRY_WORK_MEMORY_BYTES" in told.value.message
        assert not is_retryable(told.value)
    with pytest.raises(MemoryExhausted, match="than this machine has"):
        run(client, "allocate_at_once")


def test_its_folder_has_a_bound(client):
    told = run(client, "fill_scratch", WorkLimits(scratch_bytes=2**23))
    assert told["mib"] <= 8
    assert told["errno"] in {errno.ENOSPC, errno.EFBIG}


@pytest.mark.parametrize("how", ["raise", "lose_the_reason", "wrap"])
def test_a_full_folder_is_told_with_the_remedy(client, how):
    limits = WorkLimits(scratch_bytes=2**23, is_by_settings=how == "raise")
    with pytest.raises(ScratchExhausted, match=r"its scratch folder holds \(8 MiB") as told:
        run(client, "overfill", limits, how=how)
    assert ("MODELRY_WORK_SCRATCH_BYTES" in told.value.message) is limits.is_by_settings
    assert not is_retryable(told.value)


def test_silence_ends_it(client):
    for do in ("hold_the_lock", "suspend"):
        begun = time.monotonic()
        with pytest.raises(WorkFailed, match="no sign of life for 1 s"):
            run(client, do, WorkLimits(silent_s=1.0))
        assert time.monotonic() - begun < 8


def test_work_that_does_not_stop_is_killed(client):
    stop = StopSignal()
    client.on_log = lambda _: stop.set()
    order = WorkOrder("rogue", {"do": "ignore_stop"})
    with pytest.raises(Cancelled):
        ProcessWorks(stop_grace_s=0.2).run(order, client, stop)
    assert not _processes_of_work()


def test_what_is_handed_over_cannot_be_changed_afterwards(client):
    assert run(client, "change_after") == {"errno": errno.EPERM}
    assert client.outputs == {"changing": b"first"}


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_files_that_nobody_asked_for_are_let_go(client):
    before = _open_files()
    assert run(client, "send_files") == {}
    assert _open_files() <= before


def test_it_stands_back_and_knows_nothing_of_the_server(client, monkeypatch):
    monkeypatch.setenv("MODELRY_SECRET", "x")
    told = run(client, "limits", WorkLimits(niceness=7, threads=2, threads_sleep=True))
    assert told["nice"] == min(19, os.nice(0) + 7)
    assert told["policy"] in {os.SCHED_BATCH, os.SCHED_IDLE}
    assert told["session"] in ([str(told["nice"])], [])  # nothing where groups are others'
    assert told["oom"] == 900
    assert (told["threads"], told["waiting"]) == ("2", "passive")
    assert not [name for name in told["environment"] if name.startswith("MODELRY")]


def test_it_is_shut_in(client, tmp_path):
    if landlock.abi() == 0:
        pytest.skip("this kernel has no Landlock")
    (tmp_path / "secret").write_text("secret")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        told = run(
            client,
            "attack",
            port=listener.getsockname()[1],
            secret=str(tmp_path / "secret"),
            parent=os.getpid(),
        )
    assert "done" not in told.values()


POOR_SERVER = """
import sys
from pathlib import Path
from modelry.adapters.processes.works import ProcessWorks
from modelry.domain.errors import SandboxTooWeak
from modelry.domain.sandbox import SandboxLevel, SandboxPolicy
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.work import WorkOrder
from modelry.testing.works_suite import RecordingClient
client = RecordingClient(Path(sys.argv[1]), {"a": b"abc"})
order = WorkOrder("contract", {"do": "copy", "name": "a"})
for level in (SandboxLevel.STRICT, SandboxLevel.BASIC):
    try:
        print(ProcessWorks(SandboxPolicy(level)).run(order, client, StopSignal()))
    except SandboxTooWeak as error:
        print(error.code)
print(client.outputs)
"""


def test_too_weak_a_sandbox_is_refused_and_one_that_will_do_is_used(tmp_path):
    done = subprocess.run(
        [sys.executable, poor_kernel.__file__, sys.executable, "-c", POOR_SERVER, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    refused, told, kept = done.stdout.splitlines()
    assert refused == "sandbox_too_weak"
    assert "'size_bytes': 3" in told
    assert kept == "{'reversed': b'cba'}"


def test_training_and_parquet_work_inside_the_walls(client, tmp_path):
    rows = tmp_path / "given.parquet"
    pq.write_table(pa.table({"x": [1, 2, 3]}), rows)
    client.inputs = {"rows": rows.read_bytes()}
    told = run(client, "train", WorkLimits(memory_bytes=4 * 2**30, threads=1))
    assert told["losses"][-1] < told["losses"][0]
    assert (told["rows"], told["total"], told["threads"]) == (100, 6, 1)


SERVER = """
import sys
from pathlib import Path
from modelry.adapters.processes.works import ProcessWorks
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.work import WorkOrder
from modelry.testing.works_suite import RecordingClient
client = RecordingClient(Path(sys.argv[1]))
client.on_log = lambda line: print(line, flush=True)
ProcessWorks().run(WorkOrder("rogue", {"do": "wait"}), client, StopSignal())
"""


def test_it_ends_with_the_server(tmp_path):
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    with server.stdout as told:
        assert told.readline() == "waiting\n"
        children = psutil.Process(server.pid).children()
        assert len(children) == 1
        server.send_signal(signal.SIGKILL)
        server.wait()
    _, alive = psutil.wait_procs(children, 5)
    assert not alive


def _processes_of_work() -> list[psutil.Process]:
    """Those that this process started, with what they started; servers of tests have their own."""
    started = [
        one
        for one in psutil.Process().children()
        if one.status() != psutil.STATUS_ZOMBIE and "modelry.job_host" in one.cmdline()
    ]
    return [*started, *(more for one in started for more in one.children(recursive=True))]


def _standing(count: int = 1) -> list[psutil.Process]:
    """So many processes of work, as soon as there are."""
    deadline = time.monotonic() + 10
    while len(found := _processes_of_work()) != count:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


class Staying:
    """Orders of work that stays."""

    def __init__(self, client: RecordingClient, **options: float) -> None:
        self.works = ProcessWorks(stop_grace_s=0.5, **options)  # type: ignore[arg-type]
        self.stop = StopSignal()
        self._client = client

    def __call__(self, do: str, stays_for: str = "a", work: str = "contract", **request):
        order = WorkOrder(work, {"do": do, **request}, WorkLimits(), stays_for)
        return self.works.run(order, self._client, self.stop)


def test_a_process_that_has_done_an_order_waits_for_the_next_of_its_name_alone(client):
    ask = Staying(client)
    assert ask("remember", word="first") == {"known": [], "scratch": []}
    (waiting,) = _standing()
    assert ask("remember", word="second") == {"known": ["first"], "scratch": []}
    assert ask("remember", "b", word="other") == {"known": [], "scratch": []}
    assert waiting in _standing(2)
    assert ask("remember", word="third") == {"known": ["first", "second"], "scratch": []}
    assert ask("remember", "c", word="one more") == {"known": [], "scratch": []}  # "b" goes
    assert waiting in _standing(2)
    assert ask("remember", "b", word="anew") == {"known": [], "scratch": []}  # now "a" goes
    ask.works.close()
    assert not _processes_of_work()
    assert ask("remember", word="after the end") == {"known": [], "scratch": []}
    assert not _processes_of_work()


def test_a_process_that_was_killed_while_it_waited_is_replaced_and_nobody_learns_of_it(client):
    ask = Staying(client)
    ask("remember", word="first")
    _standing()[0].kill()
    assert ask("remember", word="second") == {"known": [], "scratch": []}
    ask.works.close()


def test_what_is_wrong_with_a_question_leaves_its_process_and_all_else_ends_it(client):
    ask = Staying(client)
    ask("remember", work="contract", word="first")
    (waiting,) = _standing()
    with pytest.raises(InvalidInput, match="Row 3 is wrong"):
        ask("refuse", row=3)
    assert _standing() == [waiting]
    for do, said in (("fail", "failed"), ("crash", "SIGSEGV"), ("garbage", "was ended")):
        with pytest.raises(WorkFailed, match=said):
            ask(do, "rogue", work="rogue")
        assert _standing() == [waiting]
    client.on_log = lambda _: ask.stop.set()
    with pytest.raises(Cancelled):
        ask("wait")
    _standing(0)


def test_each_order_pays_what_it_used_and_nobody_what_was_used_between(client):
    ask = Staying(client)
    ask("echo")
    before = client.compute
    time.sleep(0.2)
    begun = time.monotonic()
    ask("burn", cpu_s=0.1)
    whole_us = (time.monotonic() - begun) * 1e6
    used = client.compute - before
    assert 0.1e6 <= used.engine_us <= whole_us
    assert used.cpu_us >= 0.07e6  # the kernel counts in hundredths of seconds
    ask.works.close()


def test_what_it_kept_open_is_let_go_with_each_order(client):
    client.inputs = {"a": b"abc"}
    ask = Staying(client)
    ask("keep_open", work="rogue", name="a")
    before = _open_files()
    for _ in range(3):
        ask("keep_open", work="rogue", name="a")
    assert _open_files() == before
    ask.works.close()


def test_a_process_that_nobody_wants_ends(client):
    ask = Staying(client, wait_s=0.1)
    ask("echo")
    _standing(0)


def test_killing_it_is_told_at_once(client):
    def kill(_: str) -> None:
        threading.Timer(0.05, _processes_of_work()[0].kill).start()

    client.on_log = kill
    begun = time.monotonic()
    with pytest.raises(WorkFailed, match="SIGKILL"):
        run(client, "wait")
    assert time.monotonic() - begun < 10
