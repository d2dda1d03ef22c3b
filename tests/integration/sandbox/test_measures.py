"""Each measure of the sandbox alone, in a process of its own: the others do not stand in for it."""

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelry.adapters.processes.sandbox_probe import probe_sandbox
from modelry.domain.sandbox import Measure, SandboxReport

PRELUDE = """
import ctypes, errno, os, resource, signal, socket, sys
from pathlib import Path
from modelry.sandbox import landlock, namespaces, paths, privileges, seccomp
from modelry.sandbox.kernel import machine
scratch, port, abstract, parent = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], os.getppid()
libc = ctypes.CDLL(None, use_errno=True)

def syscall(*arguments):
    ctypes.set_errno(0)
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")

def tcp():
    socket.create_connection(("127.0.0.1", port), 2)

def abstract_socket():
    socket.socket(socket.AF_UNIX).connect("\\0" + abstract)

def write(path, size):
    with open(path, "wb", 0) as sink:
        for _ in range(size // 2**20):
            sink.write(bytes(2**20))

def write_program():
    (scratch / "p").write_text("#!/bin/sh")
    (scratch / "p").chmod(0o700)

def be_first():
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))

def own_tree():
    namespaces.leave()
    own = [*paths.code(), paths.own_process(), paths.NULL_DEVICE]
    namespaces.enter_tree(machine(), namespaces.Tree(own, [], {}, scratch, 2**22))
"""
LANDLOCK = "landlock.restrict(landlock.abi(), paths.code(), [scratch])"
FILTER = "seccomp.restrict()"
NAMESPACES = "namespaces.leave()"
TREE = "own_tree()"
NO_CAPABILITIES = (
    "privileges.refuse_new_privileges(); privileges.drop_bound(); "
    "privileges.drop_capabilities(machine())"
)
RESOURCES = "privileges.limit_resources(2**20)"
USER = "own_tree(); privileges.switch_user(paths.code(), [scratch])"

CASES = [
    (Measure.FILES, LANDLOCK, "open('/etc/passwd')", {errno.EACCES}),
    (Measure.FILES, LANDLOCK, "open(f'/proc/{parent}/environ')", {errno.EACCES}),
    (Measure.FILES, LANDLOCK, "os.listdir('/')", {errno.EACCES}),
    (Measure.FILES, LANDLOCK, "open(scratch.parent / 'x', 'w')", {errno.EACCES}),
    (Measure.FILES, LANDLOCK, "open(Path(os.__file__), 'r+')", {errno.EACCES}),
    (Measure.FILES, LANDLOCK, "os.execv('/bin/sh', ['sh', '-c', 'exit 0'])", {errno.EACCES}),
    (Measure.FILES, LANDLOCK, "os.mkfifo(scratch / 'fifo')", {errno.EACCES}),
    (Measure.SIGNALS, LANDLOCK, "tcp()", {errno.EACCES}),
    (Measure.SIGNALS, LANDLOCK, "os.kill(parent, 0)", {errno.EPERM}),
    (Measure.SIGNALS, LANDLOCK, "abstract_socket()", {errno.EPERM}),
    (Measure.SYSTEM_CALLS, FILTER, "tcp()", {errno.EPERM}),
    (Measure.SYSTEM_CALLS, FILTER, "socket.socket(type=socket.SOCK_DGRAM)", {errno.EPERM}),
    (Measure.SYSTEM_CALLS, FILTER, "os.kill(parent, 0)", {errno.EPERM}),
    (Measure.SYSTEM_CALLS, FILTER, "os.fork()", {errno.EPERM}),
    (Measure.SYSTEM_CALLS, FILTER, "os.execv('/bin/sh', ['sh'])", {errno.EPERM}),
    (Measure.SYSTEM_CALLS, FILTER, "os.setuid(0)", {errno.EPERM}),
    (Measure.SYSTEM_CALLS, FILTER, "os.chmod(scratch, 0o777)", {errno.EPERM}),
    (Measure.SYSTEM_CALLS, FILTER, "os.memfd_create('x')", {errno.EPERM}),
    (Measure.SYSTEM_CALLS, FILTER, "syscall(425, 8, bytes(120))", {errno.EPERM}),
    (Measure.SYSTEM_CALLS, FILTER, "syscall(9999)", {errno.ENOSYS}),
    (Measure.SYSTEM_CALLS, FILTER, "namespaces.leave()", set()),
    (Measure.NETWORK, NAMESPACES, "tcp()", {errno.ENETUNREACH}),
    (Measure.NETWORK, NAMESPACES, "abstract_socket()", {errno.ECONNREFUSED}),
    (Measure.TREE, TREE, "open('/etc/passwd')", {errno.ENOENT}),
    (Measure.TREE, TREE, "open(f'/proc/{parent}/environ')", {errno.ENOENT}),
    (Measure.TREE, TREE, "open(Path(os.__file__), 'r+')", {errno.EROFS}),
    (Measure.TREE, TREE, "open('/new', 'w')", {errno.EROFS}),
    (Measure.TREE, TREE, "os.listdir(scratch.parent / 'neighbour')", {errno.ENOENT}),
    (Measure.SCRATCH, TREE, "write(scratch / 'big', 2**24)", {errno.ENOSPC}),
    (
        Measure.SCRATCH,
        TREE,
        "write_program(); os.execv(scratch / 'p', ['p'])",
        {errno.EACCES},
    ),
    (Measure.PRIVILEGES, NO_CAPABILITIES, "os.chown(scratch, 1, 1)", {errno.EPERM}),
    (Measure.PRIVILEGES, NO_CAPABILITIES, "os.setuid(1)", {errno.EPERM}),
    (Measure.PRIVILEGES, NO_CAPABILITIES, "be_first()", {errno.EPERM}),
    (Measure.RESOURCES, RESOURCES, "write(scratch / 'big', 2**22)", {errno.EFBIG}),
    (Measure.RESOURCES, RESOURCES, "[os.dup(2) for _ in range(9000)]", {errno.EMFILE}),
    (Measure.USER, USER, "os.setuid(0)", {errno.EPERM}),
    (Measure.USER, USER, "os.chown(scratch, 0, 0)", {errno.EPERM}),
]  # fmt: skip


@pytest.fixture(scope="module")
def report() -> SandboxReport:
    return probe_sandbox()


@pytest.fixture(scope="module")
def targets() -> Iterator[list[str]]:
    """A port and an abstract socket that somebody listens on."""
    name = f"modelry-measures-{os.getpid()}"
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as hidden:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        hidden.bind("\0" + name)
        hidden.listen()
        yield [str(tcp.getsockname()[1]), name]


def run(code: str, scratch: Path, targets: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + code, str(scratch), *targets],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    for name in ("scratch", "neighbour"):
        (tmp_path / name).mkdir()
    return tmp_path / "scratch"


@pytest.mark.parametrize("case", CASES, ids=[f"{case[0]}-{case[2][:40]}" for case in CASES])
def test_a_measure_alone_refuses(case, report, scratch, targets):
    measure, shut_in, attack, expected = case
    if measure not in report.in_force:
        pytest.skip(f"not on this machine: {report.lacking[measure]}")
    attempt = f"""
{shut_in}
try:
    {attack}
except OSError as error:
    os.write(1, str(error.errno).encode())
except Exception as error:
    os.write(1, type(error).__name__.encode())
else:
    os.write(1, b"succeeded")
"""
    done = run(attempt, scratch, targets)
    assert done.returncode == 0, done.stderr
    allowed = {str(one) for one in expected} or {"Refused"}
    assert done.stdout in allowed, (done.stdout, done.stderr)


def test_without_measures_the_attacks_would_succeed(scratch, targets):
    """The attacks are real: what the cases above see refused works in an open process."""
    for attack in ("tcp()", "abstract_socket()", "os.kill(parent, 0)", "open('/etc/passwd')",
                   "os.fork()", "write(scratch / 'big', 2**24)"):  # fmt: skip
        done = run(attack, scratch, targets)
        assert done.returncode == 0, done.stderr


def test_nothing_can_be_read_of_an_undumpable_process(report, scratch, targets):
    if Measure.UNDUMPABLE not in report.in_force:
        pytest.skip(report.lacking[Measure.UNDUMPABLE])
    code = "privileges.forbid_dumps(); print(libc.prctl(3), os.stat('/proc/self/environ').st_uid)"
    assert run(code, scratch, targets).stdout.split() == ["0", "0"]


def test_a_worker_of_root_is_somebody_else(report, scratch, targets):
    if Measure.USER not in report.in_force:
        pytest.skip(report.lacking[Measure.USER])
    done = run(f"{USER}; print(os.getuid(), os.getgid(), os.getgroups())", scratch, targets)
    uid, gid, groups = done.stdout.split()
    assert int(uid) == int(gid) > 2**30, done.stderr
    assert groups == "[]"


def test_threads_of_a_worker_of_its_own_user_are_bounded(report, scratch, targets):
    if Measure.THREADS not in report.in_force:
        pytest.skip(report.lacking[Measure.THREADS])
    code = f"""
{USER}
privileges.drop_capabilities(machine())
privileges.limit_threads()
import threading
done = threading.Event()
try:
    for count in range(6000):
        threading.Thread(target=done.wait).start()
except RuntimeError:
    print("refused", count < 5000)
done.set()
"""
    assert run(code, scratch, targets).stdout.split() == ["refused", "True"]
