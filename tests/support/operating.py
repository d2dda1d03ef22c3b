"""What an operator does with a running server, over plain HTTP: upload, register, deploy, look."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import psutil
from tests.support.server import Running

READY_TIMEOUT_S = 90.0


class Operator:
    """Drives the management API of one server with its owner's key."""

    def __init__(self, server: Running) -> None:
        self.server = server
        self.http = server.http()

    def close(self) -> None:
        self.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def call(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of an answer that must be a success."""
        answer = self.http.request(method, f"/api/v1{path}", **options)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def upload(self, content: bytes | Path) -> str:
        """The digest of an uploaded content."""
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        begun = self.call("POST", "/uploads", json={"size_bytes": size})
        data = content.read_bytes() if isinstance(content, Path) else content
        done = self.call(
            "PATCH", f"/uploads/{begun['upload_id']}", content=data, headers={"upload-offset": "0"}
        )
        assert done["complete"], done
        return str(done["digest"])

    def register(
        self, name: str, content: bytes, *, file_name: str = "model.onnx", task: str = "tensor"
    ) -> dict[str, Any]:
        """A version of a single file."""
        file = {"name": file_name, "digest": self.upload(content)}
        body = {"file": file, "name": name, "task": task}
        version: dict[str, Any] = self.call("POST", "/versions", json=body)["version"]
        return version

    def register_manifest(self, manifest: str, files: Mapping[str, bytes | Path]) -> dict[str, Any]:
        """A version of a manifest with its files by role."""
        digests = {role: self.upload(content) for role, content in files.items()}
        body = {"manifest": manifest, "files": digests}
        version: dict[str, Any] = self.call("POST", "/versions", json=body)["version"]
        return version

    def deploy(self, name: str, **wanted: Any) -> dict[str, Any]:
        """A deployment, which becomes ready in the background."""
        deployment: dict[str, Any] = self.call("PUT", f"/deployments/{name}", json=wanted)
        return deployment

    def load(self, name: str) -> None:
        """Wait until every version of a deployment has a ready replica."""
        self.call("POST", f"/deployments/{name}/load", json={}, timeout=READY_TIMEOUT_S)

    def serve(self, name: str, content: bytes, **wanted: Any) -> None:
        """Register and deploy a single ONNX file, and wait for it."""
        self.register(name, content)
        self.deploy(name, **wanted)
        self.load(name)

    def replicas(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("GET", f"/deployments/{name}/replicas")["replicas"]
        return found

    def pid_of(self, name: str) -> int:
        """The process of the one replica of a deployment."""
        (replica,) = self.replicas(name)
        assert replica["pid"], replica
        return int(replica["pid"])

    def metric(self, name: str) -> float:
        """A metric summed over its labels."""
        answer = self.http.get("/metrics")
        assert answer.status_code == 200, answer.text
        lines = [line for line in answer.text.splitlines() if line.startswith(name)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if _name_of(line) == name)

    def open_requests(self) -> float:
        """Requests that are being answered or wait, as the server counts them."""
        return self.metric("modelry_requests_open")

    def process(self) -> psutil.Process:
        return psutil.Process(self.server.process.pid)


def _name_of(line: str) -> str:
    return line.split("{", 1)[0].split(" ", 1)[0]


def wait_until(holds: Callable[[], bool], what: str, timeout_s: float = 10.0) -> None:
    """Look now and then until `holds`, and fail with `what` when time is up."""
    give_up = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < give_up, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.05)
