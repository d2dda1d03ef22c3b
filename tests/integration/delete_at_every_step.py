"""Run by test_tenant_deletion.py: a tenant is deleted, killed at every step.

Each round makes a tenant with some of everything, asks to delete it, and has a child do that,
which is killed (SIGKILL) at its first step, in the next round at its third, and so on until one
gets through. After each kill another process finishes the work, and what is left is checked.
"""

from __future__ import annotations

import itertools
import os
import sqlite3
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from crash_at_every_step import kill_at

from modelry.adapters.blobs.file_store import FileBlobStore
from modelry.adapters.crypto.key_file import KeyFile
from modelry.adapters.sql.database import Database, open_database
from modelry.adapters.sql.stores.deletions import tenant_tables
from modelry.bootstrap.deleting import TenantBlobs, TenantKeys
from modelry.domain.access import DEFAULT_TENANT_ID
from modelry.domain.sharing import DeploymentGrant
from modelry.domain.tenants import DeletionStage
from modelry.services.audit.chain import ChainKeys
from modelry.services.audit.ports import AuditFilter
from modelry.services.audit.trail import ChainedTrail
from modelry.services.catalog.ports import BlobRecord, UploadRecord
from modelry.services.encryption.service import EncryptionService
from modelry.services.tenancy.deletion import TenantDeletions
from modelry.services.tenancy.service import TenancyService
from modelry.services.tenancy.tenants import TenantsService
from modelry.testing import samples
from modelry.testing.samples import add_tenants, principal

CONTENT = bytes(range(256)) * 20
CANARY = "the words of the tenant"


class NoReplicas:
    """Nothing runs here."""

    def has_replicas(self, tenant_id: str) -> bool:
        return not tenant_id


class Installation:
    """A data folder with what deleting needs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database: Database = open_database(f"sqlite:///{folder}/modelry.db")
        encryption = EncryptionService(self.database.data_keys, KeyFile(folder / "keys"))
        self.blobs = FileBlobStore(folder / "blobs", encryption)
        self.trail = ChainedTrail(self.database.audit, ChainKeys(b"a" * 32))
        keys = TenancyService(self.database.keys, b"p" * 32)
        self.tenants = TenantsService(self.database.keys, self.database.deletions, keys)
        self.deletions = TenantDeletions(
            self.database.deletions,
            TenantBlobs(self.blobs),
            TenantKeys(encryption, self.database.data_keys),
            NoReplicas(),
            self.trail,
            settle=timedelta(),
        )

    def fill(self, tenant_id: str) -> None:
        """Make a tenant with some of everything, and ask to delete it."""
        now = datetime.now(UTC)
        self.tenants.create(principal(), tenant_id, CANARY)
        blob = self.blobs.put(tenant_id, [CONTENT], limit_bytes=2**20)
        self.blobs.append(tenant_id, "u1", 0, [CONTENT[:100]], 200)
        version = samples.version(tenant_id=tenant_id)
        upload = UploadRecord("u1", 200, None, None, now, "owner")
        self.database.catalog.write(
            tenant_id, lambda records: samples.add_version(records, version)
        )
        self.database.catalog.write(
            tenant_id, lambda records: records.blobs.add(BlobRecord(blob.digest, 5120, now))
        )
        self.database.catalog.write(tenant_id, lambda records: records.uploads.put(upload))
        self.database.deployments.put(replace(samples.deployment(), tenant_id=tenant_id))
        grant = DeploymentGrant(tenant_id, "g1", "pets", "other", now, "owner", note=CANARY)
        member = samples.member(tenant_id=tenant_id)
        self.database.keys.write(tenant_id, lambda records: records.members.put(member))
        self.database.keys.write(tenant_id, lambda records: records.grants.put(grant))
        self.trail.append(tenant_id, actor="owner", action="test.fill", resource="/x")
        self.tenants.delete(principal(), tenant_id, CANARY)

    def check(self, tenant_id: str) -> None:
        """Everything of the tenant is gone, and the certificate tells what that was."""
        found = self.database.deletions.find(tenant_id)
        assert found is not None
        assert found.stage is DeletionStage.DONE, found
        rows = found.destroyed["rows"]
        expected = {"api_keys": 1, "members": 1, "versions": 1, "version_files": 2, "blobs": 3}
        expected |= {"deployments": 1, "traffic_shares": 1, "deployment_grants": 1, "uploads": 1}
        expected |= {"data_keys": 1, "tenants": 1, "models": 1}
        assert {name: rows.get(name) for name in expected} == expected, rows
        assert rows["audit_entries"] >= 1, rows
        assert (found.destroyed["files"], found.destroyed["file_bytes"]) == (2, 5220)
        (key,) = found.destroyed["encryption"]["data_keys"]
        assert key["fingerprint"], key
        assert key["destroyed_at"], key
        raw = sqlite3.connect(self.folder / "modelry.db")
        for table in tenant_tables():
            name = table.__tablename__  # type: ignore[attr-defined] # every table has one
            query = f"SELECT count(*) FROM {name} WHERE tenant_id = ?"
            assert raw.execute(query, (tenant_id,)).fetchone() == (0,), name
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
        raw.close()
        left = [one for one in (self.folder / "blobs" / tenant_id).rglob("*") if one.is_file()]
        assert [one.name for one in left if one.stat().st_size] == []
        entries = self.database.audit.entries(
            DEFAULT_TENANT_ID,
            AuditFilter(action="tenants.destroyed", resource=f"/tenants/{tenant_id}"),
            limit=10,
        )
        assert entries, "no certificate"
        for one in entries:
            assert one.detail["destroyed"] == found.destroyed, (one.detail, found.destroyed)
        assert all(CANARY not in str(one.detail) for one in entries)


def main(folder: Path) -> int:
    installation = Installation(folder)
    add_tenants(installation.database)
    installation.database.close()
    for step in itertools.count(1, 2):  # after one is as good as before the next
        tenant_id = f"t{step}x"
        installation = Installation(folder)
        installation.fill(tenant_id)
        installation.database.close()
        child = os.fork()
        if child == 0:
            doomed = Installation(folder)
            kill_at(step)
            doomed.deletions.advance()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        installation = Installation(folder)
        if os.WIFSIGNALED(status):
            installation.deletions.advance()
        installation.check(tenant_id)
        installation.database.close()
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0
            break
    sys.stdout.write(str(step))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
