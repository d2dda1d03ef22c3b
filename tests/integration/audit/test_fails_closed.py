"""Without its audit log a server changes nothing, and goes on predicting."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tests.support.operating import Operator
from tests.support.server import server
from tests.support.wire_models import WORD_VECTORS_MANIFEST, word_vectors


def test_administration_stops_and_predictions_go_on(tmp_path: Path) -> None:
    with server(tmp_path / "data") as running:
        operator = Operator(running)
        model, tokenizer = word_vectors()
        manifest = WORD_VECTORS_MANIFEST.format(name="words")
        operator.register_manifest(manifest, {"model": model, "tokenizer": tokenizer})
        operator.deploy("words")
        operator.load("words")

        def alter(statement: str) -> None:
            with sqlite3.connect(running.data / "modelry.db", timeout=30) as database:
                database.execute(statement)

        with running.http() as http:
            alter("ALTER TABLE audit_entries RENAME TO gone")
            for method, path, body in (
                ("POST", "/api/v1/keys", {"name": "x", "role": "viewer"}),
                ("DELETE", "/api/v1/deployments/words", None),
                ("POST", "/api/v1/deployments/words/scale", {"max_replicas": 3}),
            ):
                refused = http.request(method, path, json=body)
                assert refused.status_code == 503, path
                assert refused.json()["error"]["code"] == "audit_unavailable"
                assert "audit_entries" not in refused.text
            asked = http.post("/v1/embeddings", json={"model": "words", "input": "still there"})
            assert asked.status_code == 200
            alter("ALTER TABLE gone RENAME TO audit_entries")
            keys = http.get("/api/v1/keys").json()["keys"]
            assert "x" not in [one["name"] for one in keys]
            done = http.post("/api/v1/keys", json={"name": "x", "role": "viewer"})
            assert done.status_code == 201
            assert http.post("/api/v1/audit/verify", json={}).json()["sound"]
        operator.close()
