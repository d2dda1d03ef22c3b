"""A tenant that is being deleted is gone in the end, wherever kill -9 comes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.operating import Operator, wait_until
from tests.support.server import server, start
from tests.support.wire_models import multiplier

SCRIPT = Path(__file__).with_name("delete_at_every_step.py")


def test_killed_at_every_step(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30, "the steps are no longer seen"


def test_a_killed_server_goes_on_when_it_is_started_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    running = start(data)
    operator = Operator(running)
    made = operator.call("POST", "/tenants", json={"tenant_id": "acme", "name": "Acme Inc"})
    running_key, running.key = running.key, made["owner"]["token"]
    tenant = Operator(running)
    running.key = running_key
    tenant.serve("doomed", multiplier(2))
    workers = running.workers()
    assert workers
    operator.call("DELETE", "/tenants/acme", params={"confirm": "Acme Inc"})
    assert tenant.http.get("/api/v1/whoami").status_code == 403
    running.kill()
    tenant.close()
    operator.close()
    with server(data, key=running_key) as again:
        operator = Operator(again)
        wait_until(
            lambda: operator.call("GET", "/tenants/acme/deletion")["stage"] == "done",
            "it goes on",
            45.0,
        )
        destroyed = operator.call("GET", "/tenants/acme/deletion")["destroyed"]
        assert destroyed["files"] == destroyed["rows"]["blobs"] == 1
        assert len(destroyed["encryption"]["data_keys"]) == 1
        assert operator.http.get("/api/v1/tenants/acme").status_code == 404
        assert not [
            one for one in (data / "blobs" / "acme").rglob("*") if one.stat().st_size > 4096
        ]
        log = operator.http.get("/api/v1/audit/entries", params={"action": "tenants.destroyed"})
        assert "acme" in log.text
        assert "Acme Inc" not in log.text
        operator.close()
