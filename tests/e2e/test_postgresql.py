"""A whole server on PostgreSQL, from the first start to the one after a crash."""

from __future__ import annotations

import secrets
from pathlib import Path

from tests.support.operating import Operator, wait_until
from tests.support.postgres import PostgresDatabases, postgres_server
from tests.support.server import server
from tests.support.wire_models import multiplier

TENSOR = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}


def infer(operator: Operator, key: str | None = None) -> int:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    answer = operator.http.post(
        "/v2/models/double/infer", json={"inputs": [TENSOR]}, headers=headers
    )
    if answer.is_success:
        assert answer.json()["outputs"][0]["data"] == [2, 4, 6]
    return answer.status_code


def counted(operator: Operator) -> int:
    return sum(one["units"]["requests"] for one in operator.call("GET", "/usage")["usage"])


def test_everything_is_kept_on_postgresql(postgres: PostgresDatabases, tmp_path: Path) -> None:
    data, key = tmp_path / "data", secrets.token_urlsafe(32)
    with postgres.empty() as urls:
        with server(data, key=key, **urls.settings) as running, Operator(running) as operator:
            operator.serve("double", multiplier(2))
            minted = operator.call("POST", "/keys", json={"name": "app", "role": "inference"})
            assert infer(operator, minted["token"]) == 200
            assert infer(operator) == 200
            wait_until(lambda: counted(operator) == 2, "both requests are in the ledger")

        with server(data, key=key, **urls.settings) as running, Operator(running) as operator:
            operator.load("double")
            assert infer(operator, minted["token"]) == 200
            wait_until(lambda: counted(operator) == 3, "the ledger goes on")
            operator.call("DELETE", f"/keys/{minted['key']['key_id']}")
            assert infer(operator, minted["token"]) == 401
            running.kill()

        with server(data, key=key, **urls.settings) as running, Operator(running) as operator:
            operator.load("double")
            assert infer(operator, minted["token"]) == 401
            assert infer(operator) == 200
            assert counted(operator) >= 3
    assert not (data / "modelry.db").exists()


def test_a_database_that_goes_away_comes_back(tmp_path: Path) -> None:
    """Predictions go on, changes are refused with the reason, and all is well afterwards."""
    with (
        postgres_server() as own,
        PostgresDatabases(own).empty() as urls,
        server(tmp_path / "data", **urls.settings) as running,
        Operator(running) as operator,
    ):
        operator.serve("double", multiplier(2))
        own.stop()
        wait_until(lambda: operator.http.get("/readyz").status_code == 503, "it is not ready", 30)
        assert infer(operator) == 200
        refused = operator.http.post("/api/v1/keys", json={"name": "x", "role": "viewer"})
        assert refused.status_code == 503, refused.text
        assert str(own.folder) not in refused.text
        own.restart()
        wait_until(lambda: operator.http.get("/readyz").status_code == 200, "it is ready", 30)
        assert infer(operator) == 200
        operator.call("POST", "/keys", json={"name": "x", "role": "viewer"})
        wait_until(lambda: counted(operator) == 2, "no request is lost in the ledger", 30)


def test_a_backup_is_restored_with_its_walls(postgres: PostgresDatabases, tmp_path: Path) -> None:
    data, key = tmp_path / "data", secrets.token_urlsafe(32)
    dump = postgres.server.folder / f"{secrets.token_hex(4)}.dump"
    with postgres.empty() as urls, postgres.empty() as restored:
        with server(data, key=key, **urls.settings) as running, Operator(running) as operator:
            operator.serve("double", multiplier(2))
        postgres.server.run("pg_dump", "--format=custom", f"--file={dump}", urls.name)
        postgres.server.run("pg_restore", f"--dbname={restored.name}", dump)
        with server(data, key=key, **restored.settings) as running, Operator(running) as operator:
            operator.load("double")
            assert infer(operator) == 200
    dump.unlink()
