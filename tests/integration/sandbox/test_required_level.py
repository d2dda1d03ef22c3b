"""A machine that offers less: workers go on with what there is, unless more is demanded."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import poor_kernel
from tests.support.operating import Operator
from tests.support.server import Running, server, start
from tests.support.wire_models import multiplier

from modelry.adapters.processes.sandbox_probe import probe_sandbox
from modelry.client import Client
from modelry.client.errors import SandboxTooWeak
from modelry.domain.sandbox import Measure

POOR = (sys.executable, str(Path(poor_kernel.__file__)))


@pytest.fixture(autouse=True)
def filters_are_there() -> None:
    reason = probe_sandbox().lacking.get(Measure.SYSTEM_CALLS)
    if reason:
        pytest.skip(f"the poor kernel is made with a filter: {reason}")


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Path]:
    """The data folder of a server that had no demands, with a deployed model."""
    data = tmp_path / "data"
    with server(data, wrapper=POOR) as running, Operator(running) as operator:
        operator.serve("doubler", multiplier(2))
        (replica,) = operator.replicas("doubler")
        assert replica["sandbox"]["level"] == "basic"
        assert "Landlock" in replica["sandbox"]["lacking"]["files"]
        assert {"tree", "network", "ipc", "signals"} <= set(replica["sandbox"]["lacking"])
        assert replica["state"] == "ready"
    return data


def refused(running: Running, file: Path) -> str:
    """What an upload and a pull are told, which is the same."""
    file.write_bytes(multiplier(3))
    with Client(running.url, running.key) as client:
        told = set()
        for attempt in (
            lambda: client.register(file),
            lambda: client.pull("minilm"),
        ):
            with pytest.raises(SandboxTooWeak) as refusal:
                attempt()
            assert refusal.value.status == 501
            told.add(refusal.value.message)
        (message,) = told
        return message


def test_below_the_required_level_no_model_is_taken_or_loaded(kept: Path, tmp_path: Path) -> None:
    running = start(kept, wrapper=POOR, require_sandbox="isolated")
    try:
        message = refused(running, tmp_path / "tripler.onnx")
        assert "'isolated'" in message
        assert "'basic'" in message
        assert "Landlock" in message
        with Operator(running) as operator:
            answer = operator.http.post("/api/v1/deployments/doubler/load", json={})
            assert answer.status_code == 500, answer.text
            assert "Landlock" in answer.json()["error"]["message"]
            (replica,) = operator.replicas("doubler")
            assert replica["state"] == "failed"
            assert replica["restarts"] == 0
            ready = operator.http.get("/readyz")
            assert ready.status_code == 200
            sandbox = ready.json()["sandbox"]
            assert (sandbox["level"], sandbox["required"]) == ("basic", "isolated")
            assert operator.http.post("/v2/models/doubler/infer", json={}).status_code >= 400
    finally:
        assert running.stop() == 0


def test_at_the_required_level_models_are_served(tmp_path: Path) -> None:
    with (
        server(tmp_path / "data", wrapper=POOR, require_sandbox="basic") as running,
        Operator(running) as operator,
    ):
        operator.serve("doubler", multiplier(2))
        assert operator.http.get("/readyz").json()["sandbox"]["level"] == "basic"
