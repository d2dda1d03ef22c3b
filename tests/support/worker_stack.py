"""Deployments on real worker processes, without database or doors."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import orjson

from modelry.adapters.blobs.memory_files import MemoryFile, MemoryFiles
from modelry.adapters.processes.pool import LocalReplicaPool
from modelry.domain.access import ROLE_PERMISSIONS, Principal, Role
from modelry.domain.catalog import Version
from modelry.domain.deployments import Deployment, Limits, ReplicaStatus, Scale
from modelry.domain.errors import NotFound
from modelry.domain.signature import NO_TENSORS, Signature
from modelry.runtime_api.frames import Kind
from modelry.runtime_api.tensors import Array, pack_tensors
from modelry.runtimes.onnx.signature import signature_of
from modelry.services.deployments.service import DeploymentsService
from modelry.services.inference.authentication import Authenticator, KeySnapshot
from modelry.services.inference.call import RawCall
from modelry.services.inference.routing import RouteTable, Target
from modelry.services.inference.service import InferenceService

OWNER = Principal("t1", "k1", Role.OWNER, ROLE_PERMISSIONS[Role.OWNER])


class _Store:
    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], Deployment] = {}

    def list_all(self) -> list[Deployment]:
        return list(self._rows.values())

    def list(self, tenant_id: str) -> list[Deployment]:
        return [row for row in self._rows.values() if row.tenant_id == tenant_id]

    def get(self, tenant_id: str, name: str) -> Deployment | None:
        return self._rows.get((tenant_id, name))

    def put(self, deployment: Deployment) -> None:
        self._rows[deployment.tenant_id, deployment.name] = deployment

    def delete(self, tenant_id: str, name: str) -> bool:
        return self._rows.pop((tenant_id, name), None) is not None


class _Models:
    """Version 1 of every model in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._signatures: dict[str, Signature] = {}
        self._memory_files = MemoryFiles()

    def add(self, name: str, model: onnx.ModelProto | bytes) -> None:
        raw = model if isinstance(model, bytes) else model.SerializeToString()
        (self._folder / name).write_bytes(raw)
        self._signatures[name] = NO_TENSORS if isinstance(model, bytes) else _signature_of(raw)

    def version(self, tenant_id: str, model_name: str, number: int) -> Version:
        if number != 1 or not (self._folder / model_name).exists():
            raise NotFound(f"{model_name}@{number} does not exist")
        manifest = {"name": model_name, "files": {"model": {"name": f"{model_name}.onnx"}}}
        return Version(
            tenant_id, model_name, number, f"sha256:{model_name}", "tensor", "onnx", manifest,
            self._signatures[model_name], (), datetime.now(UTC), "k1", "test",
        )  # fmt: skip

    def open_files(self, version: Version) -> dict[str, MemoryFile]:
        path = self._folder / version.model_name
        size = path.stat().st_size

        def fill(descriptor: int) -> None:
            with path.open("rb") as file:
                assert os.sendfile(descriptor, file.fileno(), 0, size) == size

        return {"model": self._memory_files.open(path, size, fill)}


def _signature_of(raw: bytes) -> Signature:
    return signature_of(onnxruntime.InferenceSession(raw, providers=["CPUExecutionProvider"]))


class _Key:
    expires_at = None

    def principal(self) -> Principal:
        return OWNER


class _Keys:
    """The owner's key is `key`."""

    def digest(self, token: bytes) -> bytes:
        return token

    def snapshot(self) -> KeySnapshot:
        keys: dict[bytes, Any] = {b"key": _Key()}
        return KeySnapshot(keys, {}, {})


class WorkerStack:
    """Deploys ONNX models on worker processes and calls them."""

    def __init__(self, folder: Path) -> None:
        self.models = _Models(folder)
        self.inference = InferenceService(Authenticator(_Keys()), RouteTable())
        self.deployments = DeploymentsService(
            _Store(), self.models, LocalReplicaPool(), self.inference
        )

    async def deploy(
        self,
        name: str,
        model: onnx.ModelProto | bytes,
        scale: Scale | None = None,
        *,
        ready: bool = True,
        **limits: Any,
    ) -> None:
        self.models.add(name, model)
        await self.deployments.deploy(
            OWNER, model=name, version=1, scale=scale, limits=Limits(**limits)
        )
        if ready:
            await self.deployments.load(OWNER, name)

    def target(self, name: str) -> Target:
        return self.inference.target(OWNER, name)

    async def infer(self, name: str, **inputs: Array) -> dict[str, Array]:
        return (await self.inference.infer(OWNER, self.target(name), inputs)).outputs

    def start(self, name: str, **inputs: Any) -> RawCall:
        """A call that is under way."""
        entries, parts = pack_tensors({key: np.asarray(one) for key, one in inputs.items()})
        header = orjson.dumps({"inputs": entries, "outputs": []})
        call = RawCall(OWNER, Kind.INFER, header, b"".join(parts))
        self.target(name).group.submit(call)
        return call

    def replica(self, name: str) -> ReplicaStatus:
        (status,) = self.deployments.replicas(OWNER, name)
        return status

    def pid(self, name: str) -> int:
        pid = self.replica(name).pid
        assert pid is not None
        return pid


@contextlib.asynccontextmanager
async def worker_stack(folder: Path) -> AsyncIterator[WorkerStack]:
    """A running stack; every worker has ended afterwards."""
    stack = WorkerStack(folder)
    await stack.deployments.start()
    try:
        yield stack
    finally:
        await stack.deployments.stop(drain_s=2.0)
