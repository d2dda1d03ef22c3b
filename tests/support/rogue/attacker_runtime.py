"""A third-party runtime that attacks what is around its worker; installed by `install_rogue`.

The engine option `targets` says what there is to be had, as JSON. The first number of a request
picks one of `ATTACKS`; the answer is the errno that it ended with, 0 if it succeeded.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from modelry.domain.signature import Datatype, Signature, TensorSpec
from modelry.runtime_api.engine import LoadSpec, StopSignal
from modelry.runtime_api.tensors import Array

SIGNATURE = Signature(
    inputs=(TensorSpec("x", Datatype.FP32, (-1, 3)),),
    outputs=(TensorSpec("y", Datatype.FP32, (-1, 3)),),
    batched=True,
)
_libc = ctypes.CDLL(None, use_errno=True)
ATTACKS: dict[str, Callable[[Mapping[str, Any]], object]] = {}


def attack(function: Callable[[Mapping[str, Any]], object]) -> Callable[..., object]:
    """Add to the table; an attack that is refused raises."""
    ATTACKS[function.__name__] = function
    return function


def _syscall(number: int, *arguments: Any) -> int:
    ctypes.set_errno(0)
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result


@attack
def read_database(targets: Mapping[str, Any]) -> object:
    return Path(targets["database"]).read_bytes()


@attack
def read_secrets(targets: Mapping[str, Any]) -> object:
    return Path(targets["secret"]).read_bytes()


@attack
def read_other_blob(targets: Mapping[str, Any]) -> object:
    return Path(targets["other_blob"]).read_bytes()


@attack
def list_data_folder(targets: Mapping[str, Any]) -> object:
    return list(Path(targets["data"]).iterdir())


@attack
def read_shadow(_: Mapping[str, Any]) -> object:
    return Path("/etc/shadow").read_bytes()


@attack
def read_gateway_memory(targets: Mapping[str, Any]) -> object:
    return os.open(f"/proc/{targets['gateway']}/mem", os.O_RDONLY)


@attack
def read_gateway_environment(targets: Mapping[str, Any]) -> object:
    return Path(f"/proc/{targets['gateway']}/environ").read_bytes()


@attack
def read_through_a_link(targets: Mapping[str, Any]) -> object:
    link = Path(os.environ["TMPDIR"], "link")
    link.symlink_to(targets["database"])
    return link.read_bytes()


@attack
def read_through_the_root_of_another(targets: Mapping[str, Any]) -> object:
    return Path(f"/proc/{targets['gateway']}/root{targets['database']}").read_bytes()


@attack
def connect_tcp(targets: Mapping[str, Any]) -> object:
    return socket.create_connection(("127.0.0.1", targets["port"]), 2)


@attack
def listen_tcp(_: Mapping[str, Any]) -> object:
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    return server.listen()


@attack
def send_udp(_: Mapping[str, Any]) -> object:
    return socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b"x", ("::1", 53))


@attack
def open_netlink(_: Mapping[str, Any]) -> object:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)


@attack
def connect_abstract_socket(targets: Mapping[str, Any]) -> object:
    return socket.socket(socket.AF_UNIX).connect("\0" + targets["abstract"])


@attack
def connect_unix_socket(targets: Mapping[str, Any]) -> object:
    return socket.socket(socket.AF_UNIX).connect(targets["unix"])


@attack
def trace_gateway(targets: Mapping[str, Any]) -> object:
    attach = 16
    return _syscall(101 if sys.maxsize and os.uname().machine == "x86_64" else 117, attach,
                    targets["gateway"], None, None)  # fmt: skip


@attack
def kill_gateway(targets: Mapping[str, Any]) -> object:
    return os.kill(targets["gateway"], signal.SIGKILL)


@attack
def kill_everything(_: Mapping[str, Any]) -> object:
    return os.kill(-1, signal.SIGKILL)


@attack
def slow_gateway(targets: Mapping[str, Any]) -> object:
    return os.setpriority(os.PRIO_PROCESS, targets["gateway"], 19)


@attack
def run_shell(_: Mapping[str, Any]) -> object:
    return os.execv("/bin/sh", ["/bin/sh", "-c", "true"])


@attack
def spawn_shell(_: Mapping[str, Any]) -> object:
    return os.posix_spawn("/bin/sh", ["/bin/sh", "-c", "true"], {})


@attack
def write_outside(targets: Mapping[str, Any]) -> object:
    return Path(targets["data"], "owned").write_text("x")


@attack
def write_temporary(_: Mapping[str, Any]) -> object:
    return Path("/tmp/owned-by-a-worker").write_text("x")


@attack
def write_code(_: Mapping[str, Any]) -> object:
    return Path(json.__file__).with_name("owned.py").write_text("x")


@attack
def change_model(targets: Mapping[str, Any]) -> object:
    return os.open(targets["own_blob"], os.O_RDWR)


@attack
def open_up_modes(_: Mapping[str, Any]) -> object:
    return Path(json.__file__).chmod(0o777)


@attack
def fill_disk(_: Mapping[str, Any]) -> object:
    block = bytes(2**20)
    folder = Path(os.environ["TMPDIR"])
    try:
        for number in range(64):
            with (folder / f"fill-{number}").open("wb", 0) as sink:
                for _turn in range(32):
                    sink.write(block)
    finally:
        for path in folder.glob("fill-*"):
            path.unlink()


@attack
def run_from_scratch(_: Mapping[str, Any]) -> object:
    path = Path(os.environ["TMPDIR"], "code")
    path.write_bytes(bytes(4096))
    with path.open("rb") as opened:
        return mmap.mmap(opened.fileno(), 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)


@attack
def fork_bomb(_: Mapping[str, Any]) -> object:
    child = os.fork()
    if child == 0:
        os._exit(0)
    return os.waitpid(child, 0)


@attack
def thread_bomb(_: Mapping[str, Any]) -> object:
    done = threading.Event()
    threads: list[threading.Thread] = []
    try:
        for _turn in range(6000):
            thread = threading.Thread(target=done.wait, daemon=True)
            thread.start()
            threads.append(thread)
    except RuntimeError:
        raise OSError(errno.EAGAIN, "no more threads") from None
    finally:
        done.set()
        for thread in threads:
            thread.join()


@attack
def become_root(_: Mapping[str, Any]) -> object:
    return os.setuid(0)


@attack
def become_another(_: Mapping[str, Any]) -> object:
    return os.setuid(12345)


@attack
def mount_something(targets: Mapping[str, Any]) -> object:
    ctypes.set_errno(0)
    if _libc.mount(b"tmpfs", os.environ["TMPDIR"].encode(), b"tmpfs", 0, None) < 0:
        raise OSError(ctypes.get_errno(), "refused")


@attack
def new_namespaces(_: Mapping[str, Any]) -> object:
    ctypes.set_errno(0)
    if _libc.unshare(0x10000000) < 0:
        raise OSError(ctypes.get_errno(), "refused")


@attack
def io_uring(_: Mapping[str, Any]) -> object:
    return _syscall(425, 8, ctypes.create_string_buffer(120))


@attack
def load_bpf(_: Mapping[str, Any]) -> object:
    return _syscall(321 if os.uname().machine == "x86_64" else 280, 0,
                    ctypes.create_string_buffer(128), 128)  # fmt: skip


@attack
def keys_of_the_kernel(_: Mapping[str, Any]) -> object:
    return _syscall(250 if os.uname().machine == "x86_64" else 219, 0, -3, 0)


@attack
def hidden_memory(_: Mapping[str, Any]) -> object:
    return os.memfd_create("hidden")


@attack
def shared_memory(_: Mapping[str, Any]) -> object:
    return mmap.mmap(-1, 4096)


@attack
def memory_bomb(_: Mapping[str, Any]) -> object:
    return np.ones(8 * 2**30, np.uint8)


@attack
def raise_memory_limit(_: Mapping[str, Any]) -> object:
    return resource.setrlimit(resource.RLIMIT_DATA, (2**40, 2**40))


@attack
def raise_own_dumps(_: Mapping[str, Any]) -> object:
    ctypes.set_errno(0)
    if _libc.prctl(4, 1, 0, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "refused")


@attack
def outlive_gateway(_: Mapping[str, Any]) -> object:
    ctypes.set_errno(0)
    if _libc.prctl(1, 0, 0, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "refused")


@attack
def find_secrets_in_environment(targets: Mapping[str, Any]) -> object:
    if targets["owner_key"] in repr(dict(os.environ)):
        return True
    raise OSError(errno.ENOENT, "not there")


@attack
def many_open_files(_: Mapping[str, Any]) -> object:
    opened: list[int] = []
    try:
        opened.extend(os.dup(2) for _turn in range(10_000))
    finally:
        for descriptor in opened:
            os.close(descriptor)


class AttackerEngine:
    """Runs attacks and tells how they ended."""

    signature = SIGNATURE
    capacity = 1

    def __init__(self, targets: Mapping[str, Any]) -> None:
        self._targets = targets

    def infer(self, inputs: Mapping[str, Array], stop: StopSignal) -> dict[str, Array]:
        """Run the attack that the first number names; 0 names none."""
        x = inputs["x"]
        chosen = int(x[0, 0]) if x.size else 0
        if not 200 <= chosen < 200 + len(ATTACKS):
            return {"y": x}
        function = list(ATTACKS.values())[chosen - 200]
        started = time.monotonic()
        result = 0
        try:
            function(self._targets)
        except OSError as error:
            result = error.errno or -1
        except MemoryError:
            result = errno.ENOMEM
        except ValueError:  # what `resource` makes of EPERM
            result = errno.EPERM
        return {"y": np.array([[result, chosen, time.monotonic() - started]], np.float32)}

    def close(self) -> None:
        """Nothing to let go of."""


class AttackerRuntime:
    """Loads anything."""

    name: ClassVar[str] = "attacker"
    formats: ClassVar[frozenset[str]] = frozenset({"onnx"})

    def load(self, spec: LoadSpec) -> Any:
        """An engine that knows its targets, and its own file."""
        targets = json.loads(str(spec.options.get("targets", "{}")))
        return AttackerEngine({**targets, "own_blob": str(spec.files["model"])})
