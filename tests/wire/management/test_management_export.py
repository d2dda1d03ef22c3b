"""An export holds all that is the tenant's, nothing else, and no secrets."""

import hashlib
import io
import json
import tarfile
from base64 import b64encode
from collections.abc import Mapping

import pytest
from tests.support.management import OTHER, Installation, adder
from tests.support.usage import note
from tests.wire.management.test_management_permissions import keep_a_request, things

from modelry.adapters.sql.stores.deletions import tenant_tables
from modelry.adapters.sql.tables import Base
from modelry.domain.access import DEFAULT_TENANT_ID
from modelry.domain.errors import DataDamaged
from modelry.services.catalog.ports import CatalogRecords
from modelry.services.inference.metering import Meter
from modelry.services.privacy.export import SECRET_COLUMNS

pytestmark = pytest.mark.anyio


async def export(server: Installation, who: str = "owner") -> Mapping[str, bytes]:
    async with server.client(who) as client:
        answer = await client.get("/tenant/export")
    assert answer.status_code == 200, answer.text
    assert answer.content.endswith(bytes(1024))
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        return {one.name: tar.extractfile(one).read() for one in tar.getmembers()}


async def test_all_is_there_with_its_digest(server):
    await things(server)
    found = await export(server)
    manifest = json.loads(found["MANIFEST.json"])
    assert list(found)[-1] == "MANIFEST.json"
    assert {one["name"] for one in manifest["files"]} == set(found) - {"MANIFEST.json"}
    for one in manifest["files"]:
        assert hashlib.sha256(found[one["name"]]).hexdigest() == one["sha256"]
        assert len(found[one["name"]]) == one["size_bytes"]
    assert adder(3) in found.values()
    assert adder(4) in found.values()
    for table in ("models", "versions", "deployments", "api_keys", "audit_entries", "uploads"):
        assert found[f"tables/{table}.jsonl"], table
    entries = found["tables/audit_entries.jsonl"].splitlines()
    assert json.loads(entries[0])["previous_mac"] == "00" * 32
    head = json.loads(found["audit/head.json"])
    assert head["sequence"] == len(entries)
    logs = found["request-logs/000001.jsonl"].splitlines()
    assert json.loads(logs[0]) == {"log_id": "kept", "content": {}}
    assert manifest["missing"] == []


async def test_it_holds_no_secret_and_nothing_of_another_tenant(server):
    await things(server)
    found = await export(server, OTHER)
    whole = b"".join(found.values())
    assert b"adder" not in whole
    assert not [name for name in found if name.startswith("files/")]
    for content in ((await export(server)).values(), found.values()):
        whole = b"".join(content)
        for token in server.tokens.values():
            digest = server.tenancy.digest(token.encode())
            for secret in (token.encode(), digest, digest.hex().encode(), b64encode(digest)):
                assert secret not in whole
    manifest = json.loads(found["MANIFEST.json"])
    assert "api_keys.secret_hmac" in manifest["left_out"]


def test_every_column_of_bytes_is_a_known_secret_or_known_to_be_none():
    told = {
        ("audit_entries", "previous_mac"), ("audit_entries", "mac"), ("audit_heads", "mac"),
        ("audit_heads", "anchor_mac"), ("audit_heads", "anchor_proof"),
        ("usage_segments", "data"), ("usage_segments", "other_ids"),
    }  # fmt: skip
    tables = {one.__tablename__ for one in tenant_tables()}
    binary = {
        (table.name, column.name)
        for table in Base.metadata.tables.values()
        for column in table.columns
        if table.name in tables and column.type.python_type is bytes
    }
    assert binary == told | set(SECRET_COLUMNS)


def _digests(records: CatalogRecords) -> set[str]:
    return records.blobs.digests()


async def test_what_cannot_be_read_is_named(server, monkeypatch):
    await things(server)

    def damaged(*_: object) -> None:
        raise DataDamaged("changed")

    monkeypatch.setattr(server.export._blobs, "open_sealed", damaged)
    monkeypatch.setattr(server.encryption, "unseal", damaged)
    manifest = json.loads((await export(server))["MANIFEST.json"])
    assert (
        len(manifest["missing"])
        == len(server.database.catalog.read(DEFAULT_TENANT_ID, _digests)) + 1
    )
    assert {one["reason"] for one in manifest["missing"]} == {"data_damaged"}


async def test_an_export_is_in_the_audit_log(server, owner):
    await owner.put("/deployments/live", json={"model": "adder", "version": 1})
    await server.register(owner)
    await owner.put("/deployments/live", json={"model": "adder", "version": 1})
    keep_a_request(server)
    await export(server)
    page = await owner.get("/audit/entries", params={"action": "tenants.export_tenant"})
    assert [one["outcome"] for one in page.json()["entries"]] == ["ok", "intent"]


async def test_requests_are_told_in_words(server):
    meter = Meter()
    note(meter, request_id="exported")
    server.usage.ledger.add(meter.take())
    assert server.usage.ledger.settle(10)
    found = await export(server)
    (name,) = (one for one in found if "usage_segments" in one)
    (segment,) = map(json.loads, found[name].splitlines())
    assert "data" not in segment
    (request,) = segment["requests"]
    assert (request["request_id"], request["units"]["images"]) == ("exported", 2)
