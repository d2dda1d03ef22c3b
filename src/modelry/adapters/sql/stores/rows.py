"""Domain values from rows and rows from domain values, both ways in one place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime

from modelry.adapters.sql.tables import (
    AliasMoveRow,
    AliasRow,
    ApiKeyRow,
    BlobRow,
    DeploymentRow,
    MemberRow,
    ModelRow,
    TenantRow,
    TrafficShareRow,
    UploadRow,
    VersionFileRow,
    VersionRow,
)
from modelry.domain.access import ApiKey, Member, Permission, Role, Tenant, TenantState
from modelry.domain.catalog import Alias, AliasMove, Model, ModelFile, Version
from modelry.domain.deployments import Deployment, Limits, Scale, TrafficShare
from modelry.domain.signature import Signature
from modelry.services.catalog.ports import BlobRecord, UploadRecord

_PERMISSIONS = frozenset(one.value for one in Permission)


def tenant(row: TenantRow) -> Tenant:
    """A tenant."""
    return Tenant(row.tenant_id, row.name, row.created_at, TenantState(row.state), row.changed_at)


def tenant_row(value: Tenant) -> TenantRow:
    """The row of a tenant."""
    return TenantRow(
        tenant_id=value.tenant_id,
        name=value.name,
        created_at=value.created_at,
        state=value.state.value,
        changed_at=value.changed_at,
    )


def member(row: MemberRow) -> Member:
    """A member."""
    return Member(
        tenant_id=row.tenant_id,
        member_id=row.member_id,
        role=Role(row.role),
        created_at=row.created_at,
        created_by=row.created_by,
        email=row.email,
        name=row.name,
        issuer=row.issuer,
        subject=row.subject,
        disabled_at=row.disabled_at,
    )


def member_row(value: Member) -> MemberRow:
    """The row of a member."""
    return MemberRow(**{**asdict(value), "role": value.role.value})


def api_key(row: ApiKeyRow) -> ApiKey:
    """An API key."""
    return ApiKey(
        tenant_id=row.tenant_id,
        key_id=row.key_id,
        name=row.name,
        role=Role(row.role),
        secret_hmac=row.secret_hmac,
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        deployments=frozenset(row.deployments),
        scopes=None if row.scopes is None else known_scopes(row.scopes),
        last_used_at=row.last_used_at,
        previous_hmac=row.previous_hmac,
        previous_until=row.previous_until,
    )


def known_scopes(words: Iterable[str]) -> frozenset[Permission]:
    """The permissions of these words; one that is no more gives no right."""
    return frozenset(Permission(word) for word in words if word in _PERMISSIONS)


def api_key_row(key: ApiKey) -> ApiKeyRow:
    """The row of an API key."""
    return ApiKeyRow(
        tenant_id=key.tenant_id,
        key_id=key.key_id,
        name=key.name,
        role=key.role.value,
        secret_hmac=key.secret_hmac,
        created_at=key.created_at,
        created_by=key.created_by,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        deployments=sorted(key.deployments),
        scopes=None if key.scopes is None else sorted(key.scopes),
        last_used_at=key.last_used_at,
        previous_hmac=key.previous_hmac,
        previous_until=key.previous_until,
    )


def model(row: ModelRow) -> Model:
    """A model."""
    return Model(row.tenant_id, row.name, row.task, row.created_at)


def version(
    row: VersionRow, files: Iterable[VersionFileRow], damaged_at: datetime | None = None
) -> Version:
    """A version with its files, by role; `damaged_at` is when one was first found damaged."""
    return Version(
        tenant_id=row.tenant_id,
        model_name=row.model_name,
        number=row.number,
        digest=row.digest,
        task=row.task,
        runtime=row.runtime,
        manifest=row.manifest,
        signature=Signature.from_wire(row.signature),
        files=tuple(
            ModelFile(file.role, file.name, file.digest, file.size_bytes)
            for file in sorted(files, key=lambda file: file.role)
        ),
        created_at=row.created_at,
        created_by=row.created_by,
        source=row.source,
        quarantined_at=damaged_at,
    )


def version_row(value: Version) -> VersionRow:
    """The row of a version."""
    return VersionRow(
        tenant_id=value.tenant_id,
        model_name=value.model_name,
        number=value.number,
        digest=value.digest,
        task=value.task,
        runtime=value.runtime,
        manifest=dict(value.manifest),
        signature=value.signature.to_wire(),
        created_at=value.created_at,
        created_by=value.created_by,
        source=value.source,
    )


def version_file_rows(value: Version) -> list[VersionFileRow]:
    """The rows of a version's files."""
    return [
        VersionFileRow(
            tenant_id=value.tenant_id,
            model_name=value.model_name,
            number=value.number,
            role=file.role,
            name=file.name,
            digest=file.digest,
            size_bytes=file.size_bytes,
        )
        for file in value.files
    ]


def alias(row: AliasRow) -> Alias:
    """An alias."""
    return Alias(row.tenant_id, row.model_name, row.name, row.version_number, row.moved_at)


def alias_row(value: Alias) -> AliasRow:
    """The row of an alias."""
    return AliasRow(
        tenant_id=value.tenant_id,
        model_name=value.model_name,
        name=value.name,
        version_number=value.version_number,
        moved_at=value.moved_at,
    )


def alias_move(row: AliasMoveRow) -> AliasMove:
    """A move of an alias."""
    return AliasMove(
        tenant_id=row.tenant_id,
        model_name=row.model_name,
        name=row.name,
        previous_number=row.previous_number,
        version_number=row.version_number,
        moved_at=row.moved_at,
        moved_by=row.moved_by,
        reason=row.reason,
    )


def alias_move_row(value: AliasMove, sequence: int) -> AliasMoveRow:
    """The row of a move; `sequence` is its place in the model's history."""
    return AliasMoveRow(sequence=sequence, **asdict(value))


def blob(row: BlobRow) -> BlobRecord:
    """A content that the tenant has."""
    return BlobRecord(row.digest, row.size_bytes, row.created_at, row.damaged_at)


def upload(row: UploadRow) -> UploadRecord:
    """An upload."""
    return UploadRecord(
        upload_id=row.upload_id,
        size_bytes=row.size_bytes,
        promised_digest=row.promised_digest,
        digest=row.digest,
        created_at=row.created_at,
        created_by=row.created_by,
    )


def upload_row(tenant_id: str, value: UploadRecord) -> UploadRow:
    """The row of an upload."""
    return UploadRow(tenant_id=tenant_id, **asdict(value))


def deployment(row: DeploymentRow, shares: Iterable[TrafficShareRow]) -> Deployment:
    """A deployment with its traffic, in the order it was given."""
    return Deployment(
        tenant_id=row.tenant_id,
        name=row.name,
        model_name=row.model_name,
        traffic=tuple(
            TrafficShare(share.version_number, share.percent)
            for share in sorted(shares, key=lambda share: share.position)
        ),
        scale=Scale(**row.scale),
        limits=Limits(**row.limits),
        created_at=row.created_at,
        updated_at=row.updated_at,
        engine_options=dict(row.engine_options),
    )


def deployment_row(value: Deployment) -> DeploymentRow:
    """The row of a deployment, without its traffic."""
    return DeploymentRow(
        tenant_id=value.tenant_id,
        name=value.name,
        model_name=value.model_name,
        scale=asdict(value.scale),
        limits=asdict(value.limits),
        engine_options=dict(value.engine_options),
        created_at=value.created_at,
        updated_at=value.updated_at,
    )


def traffic_share_rows(value: Deployment) -> list[TrafficShareRow]:
    """The rows of a deployment's traffic."""
    return [
        TrafficShareRow(
            tenant_id=value.tenant_id,
            deployment_name=value.name,
            position=position,
            model_name=value.model_name,
            version_number=share.version_number,
            percent=share.percent,
        )
        for position, share in enumerate(value.traffic)
    ]
