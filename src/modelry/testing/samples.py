"""Plain valid values of the domain, for suites and tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

from modelry.domain.access import (
    DEFAULT_TENANT_ID,
    ApiKey,
    Member,
    Principal,
    Role,
    Tenant,
    effective_permissions,
)
from modelry.domain.catalog import Model, ModelFile, Version
from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema, Shard, Split
from modelry.domain.deployments import Deployment, Limits, Scale, TrafficShare
from modelry.domain.signature import Datatype, Signature, TensorSpec
from modelry.manifest.digests import digest_of_bytes
from modelry.services.catalog.ports import BlobRecord, CatalogRecords, CatalogStore
from modelry.services.datasets.ports import DatasetStore, NewVersion
from modelry.services.deployments.ports import DeploymentStore
from modelry.services.files.ports import FileStore
from modelry.services.jobs.ports import JobStore
from modelry.services.quotas.ports import QuotaStore
from modelry.services.tenancy.ports import DeletionStore, KeyStore
from modelry.services.training.ports import LineageStore
from modelry.services.usage.ports import PriceStore, UsageStore

NOW = datetime(2030, 1, 31, 12, 30, 15, 250_000, tzinfo=UTC)
OTHER_TENANT_ID = "other"


class Stores(Protocol):
    """A database as the suites see it."""

    @property
    def keys(self) -> KeyStore:
        """Tenants and keys."""
        ...

    @property
    def deletions(self) -> DeletionStore:
        """How far tenants are deleted."""
        ...

    @property
    def catalog(self) -> CatalogStore:
        """Models, versions, aliases, blobs and uploads."""
        ...

    @property
    def datasets(self) -> DatasetStore:
        """Datasets."""
        ...

    @property
    def deployments(self) -> DeploymentStore:
        """Deployments."""
        ...

    @property
    def files(self) -> FileStore:
        """Files under ids."""
        ...

    @property
    def quotas(self) -> QuotaStore:
        """Limits, and what was used of them."""
        ...

    @property
    def usage(self) -> UsageStore:
        """Usage."""
        ...

    @property
    def jobs(self) -> JobStore:
        """Jobs and their queue."""
        ...

    @property
    def prices(self) -> PriceStore:
        """What it costs."""
        ...

    @property
    def lineages(self) -> LineageStore:
        """Where versions come from."""
        ...


def add_tenants(stores: Stores) -> None:
    """Make the default tenant and another one."""
    for tenant_id in (DEFAULT_TENANT_ID, OTHER_TENANT_ID):
        tenant = Tenant(tenant_id, tenant_id.capitalize(), NOW)
        stores.keys.write(tenant_id, lambda records, tenant=tenant: records.add_tenant(tenant))  # type: ignore[misc] # mypy cannot infer lambdas with defaults


def principal(role: Role = Role.OWNER, tenant_id: str = DEFAULT_TENANT_ID) -> Principal:
    """A caller with a role."""
    return Principal(tenant_id, f"key-of-{role}", role, effective_permissions(tenant_id, role))


def api_key(key_id: str = "k1", tenant_id: str = DEFAULT_TENANT_ID) -> ApiKey:
    """A key; its hash is made from its id."""
    return ApiKey(
        tenant_id=tenant_id,
        key_id=key_id,
        name=f"Key {key_id}",
        role=Role.DEVELOPER,
        secret_hmac=f"{tenant_id}/{key_id}".encode().ljust(32, b"."),
        created_at=NOW,
        created_by="owner",
        deployments=frozenset({"b", "a"}),
    )


def member(member_id: str = "m1", tenant_id: str = DEFAULT_TENANT_ID) -> Member:
    """A member who has signed in; subject and e-mail are made from its id."""
    return Member(
        tenant_id=tenant_id,
        member_id=member_id,
        role=Role.DEVELOPER,
        created_at=NOW,
        created_by="owner",
        email=f"{member_id}@example.com",
        name=f"Member {member_id}",
        issuer="https://issuer.example",
        subject=f"subject-{member_id}",
    )


def version(name: str = "pets", number: int = 1, tenant_id: str = DEFAULT_TENANT_ID) -> Version:
    """A version with two files; its digests are made from its name and number."""
    spec = TensorSpec("images", Datatype.FP32, (-1, 3, 224, 224))
    return Version(
        tenant_id=tenant_id,
        model_name=name,
        number=number,
        digest=digest_of_bytes(f"{name}@{number}".encode()),
        task="image-classification",
        runtime="onnx",
        manifest={"name": name, "pre": [{"step": "resize", "size": 256}], "labels": None},
        signature=Signature((spec,), (), batched=True),
        files=(
            ModelFile("labels", "labels.txt", digest_of_bytes(b"labels"), 6),
            ModelFile("model", "pets.onnx", digest_of_bytes(f"{name}{number}".encode()), 2**40),
        ),
        created_at=NOW,
        created_by="owner",
        source="upload",
    )


def add_version(records: CatalogRecords, wanted: Version) -> Version:
    """Keep a version and all that it refers to."""
    if records.models.find(wanted.model_name) is None:
        records.models.add(Model(wanted.tenant_id, wanted.model_name, wanted.task, NOW))
    for file in wanted.files:
        records.blobs.add(BlobRecord(file.digest, file.size_bytes, NOW))
    records.models.add_version(wanted)
    return wanted


def dataset_version(name: str = "digits", rows: str = "a") -> NewVersion:
    """A version with an empty split and one of two shards, whose digests are made from `rows`."""
    schema = Schema(
        (
            Column("image", ColumnType.TENSOR, shape=(28, 28), dtype="uint8"),
            Column("digit", ColumnType.TEXT, ColumnRole.LABEL, classes=("0", "1")),
            Column("note", ColumnType.TEXT, is_nullable=True),
        )
    )
    shards = tuple(
        Shard(digest_of_bytes(f"{rows}/{at}".encode()), 100_000 - at, 2**40) for at in range(2)
    )
    return NewVersion(
        tenant_id=DEFAULT_TENANT_ID,
        dataset_name=name,
        digest=digest_of_bytes(f"rows {rows}".encode()),
        schema=schema,
        splits=(Split("train", shards), Split("test", ())),
        created_at=NOW,
        created_by="owner",
        statistics={"train": {"digit": {"count": 199_999}}},
        report={"findings": []},
        origin={"import": {"format": "idx"}},
    )


def deployment(
    name: str = "pets", model: str = "pets", numbers: tuple[int, ...] = (1,)
) -> Deployment:
    """A deployment whose traffic is split evenly."""
    return Deployment(
        tenant_id=DEFAULT_TENANT_ID,
        name=name,
        model_name=model,
        traffic=tuple(TrafficShare(number, 100 / len(numbers)) for number in numbers),
        scale=Scale(0, 2, idle_unload_s=600.0),
        limits=Limits(queue=7, memory_bytes=2**34),
        created_at=NOW,
        updated_at=NOW,
        engine_options={"threads": 2, "flash": True, "kind": "q4", "share": 0.5},
    )
