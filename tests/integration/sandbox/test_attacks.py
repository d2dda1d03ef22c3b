"""What hostile code in a worker gets: nothing, and the server goes on."""

import errno
import json
import os
import runpy
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import rogue
from tests.support.operating import Operator
from tests.support.rogue import install_rogue
from tests.support.server import server
from tests.support.wire_models import multiplier

from modelry.sandbox import landlock

NAMES = list(runpy.run_path(str(Path(rogue.__file__).with_name("attacker_runtime.py")))["ATTACKS"])
MANIFEST = """\
name: attacker
task: tensor
runtime: attacker
files: {model: model.onnx}
"""
REFUSED = {
    errno.EPERM, errno.EACCES, errno.ENOENT, errno.EROFS, errno.ENOSYS, errno.ENOMEM,
    errno.EAGAIN, errno.ENOSPC, errno.EFBIG, errno.EMFILE, errno.ECONNREFUSED,
}  # fmt: skip


def infer_body(row: list[float]) -> dict:
    tensor = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": row}
    return {"inputs": [tensor]}


NEEDS_OWN_USER = {"thread_bomb"}


class Attacked(Operator):
    """A server with a worker whose engine attacks."""

    def run(self, attack: str) -> int:
        """The errno that `attack` ended with."""
        body = infer_body([200 + NAMES.index(attack), 0, 0])
        answer = self.http.post("/v2/models/attacker/infer", json=body)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["outputs"][0]["data"][0])

    def assert_others_go_on(self) -> None:
        """Another model answers, from the worker that it had before."""
        answer = self.http.post("/v2/models/healthy/infer", json=infer_body([1, 2, 3]))
        assert answer.json()["outputs"][0]["data"] == [2, 4, 6]
        assert self.replica("healthy")["restarts"] == 0

    def replica(self, name: str) -> dict:
        (found,) = self.http.get(f"/api/v1/deployments/{name}/replicas").json()["replicas"]
        return found


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    if landlock.abi() == 0:
        pytest.skip("this kernel has no Landlock")
    folder = tmp_path_factory.mktemp("attacked")
    install_rogue(folder / "packages")
    data = folder / "data"
    unix, abstract = str(folder / "daemon.sock"), f"modelry-test-{os.getpid()}"
    with (
        pytest.MonkeyPatch.context() as patch,
        socket.socket(socket.AF_UNIX) as daemon,
        socket.socket(socket.AF_UNIX) as hidden,
    ):
        for listener, address in ((daemon, unix), (hidden, "\0" + abstract)):
            listener.bind(address)
            listener.listen()
        patch.setenv("PYTHONPATH", str(folder / "packages"))
        with server(data) as running:
            operator = Attacked(running)
            operator.serve("healthy", multiplier(2))
            other_blob = str(next((data / "blobs").rglob("encrypted/*/*")))
            operator.register_manifest(MANIFEST, {"model": multiplier(3)})
            targets = {
                "data": str(data),
                "database": str(data / "modelry.db"),
                "secret": str(data / "secrets" / "pepper"),
                "other_blob": other_blob,
                "gateway": running.process.pid,
                "port": int(running.url.rpartition(":")[2]),
                "unix": unix,
                "abstract": abstract,
                "owner_key": running.key,
            }
            for name in ("database", "secret", "other_blob"):
                assert Path(targets[name]).read_bytes()
            operator.deploy(
                "attacker",
                engine_options={"targets": json.dumps(targets)},
                limits={"memory_bytes": 2 * 2**30},
            )
            operator.load("attacker")
            yield operator
            operator.close()


@pytest.mark.parametrize("attack", NAMES)
def test_an_attack_is_refused_and_others_go_on(attacked: Attacked, attack: str) -> None:
    result = attacked.run(attack)
    sandbox = attacked.replica("attacker")["sandbox"]
    if attack in NEEDS_OWN_USER and "threads" not in sandbox["in_force"]:
        pytest.skip(f"threads are not bounded here: {sandbox['lacking']['threads']}")
    if attack == "connect_unix_socket" and "tree" not in sandbox["in_force"]:
        pytest.skip(f"no tree of its own here: {sandbox['lacking']['tree']}")
    assert result in REFUSED, f"{attack} ended with {errno.errorcode.get(result, result)}"
    attacked.assert_others_go_on()
    assert attacked.replica("attacker")["restarts"] == 0


def test_every_thread_of_the_worker_is_shut_in(attacked: Attacked) -> None:
    worker = Path(f"/proc/{attacked.replica('attacker')['pid']}")
    gateway = Path(f"/proc/{attacked.server.process.pid}")
    in_force = attacked.replica("attacker")["sandbox"]["in_force"]
    tasks = list((worker / "task").iterdir())
    assert len(tasks) > 1
    for task in tasks:
        lines = (line.split(":", 1) for line in (task / "status").read_text().splitlines())
        status = {name: value.strip() for name, value in lines}
        assert status["NoNewPrivs"] == "1"
        assert status["Seccomp"] == "2"
        assert all(int(status[name], 16) == 0 for name in ("CapEff", "CapPrm", "CapAmb"))
        if "user" in in_force:
            assert set(status["Uid"].split()) != {"0"}
        if os.geteuid() != 0:
            continue  # others' namespaces cannot be seen
        for name, measure in (("mnt", "tree"), ("net", "network"), ("ipc", "ipc")):
            if measure in in_force:
                assert (task / "ns" / name).readlink() != (gateway / "ns" / name).readlink()


def test_the_level_is_told_with_the_replica(attacked: Attacked) -> None:
    sandbox = attacked.replica("attacker")["sandbox"]
    assert sandbox["level"] in ("isolated", "strict")
    assert "privileges" in sandbox["in_force"]
    assert "system_calls" in sandbox["in_force"]


def test_nothing_was_left_behind(attacked: Attacked) -> None:
    assert not Path("/tmp/owned-by-a-worker").exists()
    assert not (attacked.server.data / "owned").exists()
    assert not Path(json.__file__).with_name("owned.py").exists()
