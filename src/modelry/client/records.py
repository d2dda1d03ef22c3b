"""What the management API tells, as typed values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Model:
    """A name with one task; `aliases` maps alias to version number."""

    name: str
    task: str
    created_at: datetime | None = None
    latest_version: int | None = None
    aliases: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VersionFile:
    """One file of a version; `role` is its key under `files` in the manifest."""

    role: str
    name: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Version:
    """An immutable version: the same bytes and manifest have the same `digest`.

    `quarantined_at` is when one of its files was found damaged on the server's disk; uploading the
    same file again mends it.
    """

    model: str
    version: int
    digest: str
    task: str
    runtime: str
    ref: str = ""
    source: str = ""
    created_at: datetime | None = None
    created_by: str = ""
    quarantined_at: datetime | None = None
    graph_digest: str = ""
    signature: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[VersionFile, ...] = ()
    manifest: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Registration:
    """A registered version; `created` is False when the same one was there already.

    `notes` say what was inferred, and from what.
    """

    version: Version
    created: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Alias:
    """A movable name for a version."""

    name: str
    version: int
    moved_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One recorded move; None stands for "there was none" and "removed"."""

    alias: str
    from_version: int | None = None
    to_version: int | None = None
    moved_at: datetime | None = None
    moved_by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Upload:
    """How far an upload is; `complete` once all bytes are there and checked."""

    upload_id: str
    size_bytes: int
    received_bytes: int
    digest: str | None = None
    complete: bool = False


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A starter model that the server can pull by name."""

    name: str
    task: str
    description: str = ""
    license: str = ""
    size_bytes: int | None = None
    files: Any = None
    manifest: Any = None


@dataclass(frozen=True, slots=True)
class PullProgress:
    """How far a pull is; `total_bytes` is None while unknown."""

    source: str = ""
    phase: str = ""
    done_bytes: int = 0
    total_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class TrafficShare:
    """The share of requests that a version answers."""

    version: int
    percent: float = 100.0


@dataclass(frozen=True, slots=True)
class Scale:
    """Replicas per version; with `min_replicas` 0 the first call loads the model."""

    min_replicas: int = 1
    max_replicas: int = 1
    idle_unload_s: float | None = None


@dataclass(frozen=True, slots=True)
class Sandbox:
    """How far a worker is shut in: `none`, `basic`, `isolated` or `strict`, and what that rests on.

    `in_force` has a word on each measure, `lacking` the reason for each that is not there.
    """

    level: str
    in_force: Mapping[str, str] = field(default_factory=dict)
    lacking: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Replica:
    """One worker process; `reason` says why it is not ready."""

    replica_id: str
    version: int
    state: str
    pid: int | None = None
    restarts: int = 0
    reason: str | None = None
    memory_bytes: int | None = None
    in_flight: int = 0
    since: datetime | None = None
    sandbox: Sandbox | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """Which versions of a model answer under which name."""

    name: str
    model: str
    traffic: tuple[TrafficShare, ...]
    scale: Scale
    limits: Mapping[str, Any] = field(default_factory=dict)
    engine_options: Mapping[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None
    updated_at: datetime | None = None
    replicas: tuple[Replica, ...] = ()

    @property
    def is_ready(self) -> bool:
        """Whether a replica of every version with traffic is ready."""
        ready = {replica.version for replica in self.replicas if replica.state == "ready"}
        return all(share.version in ready for share in self.traffic if share.percent > 0)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key, without its secret.

    No `deployments` means all of them, `scopes` None all rights of the role. `last_used_at` lags.
    Until `previous_until` the secret before the rotation is valid too.
    """

    key_id: str
    name: str
    role: str
    created_at: datetime | None = None
    created_by: str = ""
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    deployments: tuple[str, ...] = ()
    scopes: tuple[str, ...] | None = None
    last_used_at: datetime | None = None
    previous_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new key and its token, which is told this once."""

    key: ApiKey
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant; `state` is active, suspended or deleting."""

    tenant_id: str
    name: str
    state: str = "active"
    created_at: datetime | None = None
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class NewTenant:
    """A new tenant and its first owner's key."""

    tenant: Tenant
    owner: NewKey


@dataclass(frozen=True, slots=True)
class TenantDeletion:
    """How far the deletion of a tenant is; once `done`, what was destroyed."""

    tenant_id: str
    deletion_id: str
    stage: str
    requested_by: str = ""
    requested_at: datetime | None = None
    stage_at: datetime | None = None
    destroyed: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Member:
    """A person with a role; without `subject` it was invited and has not signed in yet."""

    member_id: str
    role: str
    email: str | None = None
    name: str = ""
    issuer: str | None = None
    subject: str | None = None
    created_at: datetime | None = None
    created_by: str = ""
    disabled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """A grant as its giver sees it: `tenant_id` may call `deployment` as `shared_name`."""

    grant_id: str
    deployment: str
    tenant_id: str
    shared_name: str
    created_at: datetime | None = None
    created_by: str = ""
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class ReceivedShare:
    """A grant as its receiver sees it."""

    shared_name: str
    owner_id: str
    created_at: datetime | None = None
    expires_at: datetime | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who the API key stands for, and what it may do."""

    tenant_id: str
    key_id: str
    role: str
    permissions: tuple[str, ...] = ()
    deployments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UsageGroup:
    """What was used by one group of requests: `units` such as requests, tokens, images.

    `costs` has a decimal number, as text, for each currency.
    """

    group: Mapping[str, Any]
    units: Mapping[str, Any]
    costs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request as the ledger has it, and what made its answer.

    `graph_digest` is of the processing around the engine; `parameters` are the numbers and
    switches that the request chose. `caller` is the tenant that called, if another one's.
    """

    request_id: str
    deployment: str
    version: int
    task: str
    status: str
    started_at: datetime
    duration_s: float
    key_id: str = ""
    caller: str = ""
    model: str = ""
    units: Mapping[str, int] = field(default_factory=dict)
    replica_id: str = ""
    version_digest: str = ""
    graph_digest: str = ""
    engine_options: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Price:
    """What `per` units cost, for what matches all four patterns."""

    price_id: str
    unit: str
    amount: str
    per: int
    currency: str
    tenant: str = "*"
    deployment: str = "*"
    model: str = "*"
    task: str = "*"
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    created_at: datetime | None = None
    created_by: str = ""


@dataclass(frozen=True, slots=True)
class QuotaLeft:
    """The bound of a unit that leaves least; after `reset_s` seconds it is whole again.

    `currency` is that of costs.
    """

    limit: float
    remaining: float
    reset_s: float
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class KeyEncryptionKey:
    """A key-encryption key by its name, and how many data keys it encrypts."""

    kek_id: str
    data_keys: int


@dataclass(frozen=True, slots=True)
class EncryptionStatus:
    """How the data keys of all tenants are encrypted; see `modelry encryption status`."""

    provider: str
    data_keys: int = 0
    destroyed_keys: int = 0
    key_encryption_keys: tuple[KeyEncryptionKey, ...] = ()
    oldest_wrap: datetime | None = None


@dataclass(frozen=True, slots=True)
class EncryptionRotation:
    """How many data keys were wrapped anew, under `kek_id` (None: there were none)."""

    kek_id: str | None = None
    rewrapped: int = 0
    destroyed_meanwhile: int = 0


@dataclass(frozen=True, slots=True)
class QuotaStanding:
    """Limits by name, and what is left by unit; `key_id` None stands for the whole tenant."""

    limits: Mapping[str, float | str]
    key_id: str | None = None
    left: Mapping[str, QuotaLeft] = field(default_factory=dict)
    open_requests: int = 0


@dataclass(frozen=True, slots=True)
class SetLimits:
    """Limits that were set for a key, or (`key_id` None) for a tenant."""

    limits: Mapping[str, float | str]
    tenant_id: str = ""
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act; `mac` binds it to all entries before it."""

    sequence: int
    at: datetime
    actor: str
    action: str
    resource: str
    outcome: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    previous_mac: str = ""
    mac: str = ""


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries; `next` is None when there are no more."""

    entries: tuple[AuditEntry, ...]
    next: int | None = None


@dataclass(frozen=True, slots=True)
class AuditHead:
    """A signed statement of where a tenant's chain ended at a time."""

    tenant_id: str
    sequence: int
    mac: str
    at: datetime
    signature: str


@dataclass(frozen=True, slots=True)
class AuditHeadAnswer:
    """A head, and the server's public key (Ed25519, hexadecimal) that checks its signature."""

    head: AuditHead
    public_key: str


@dataclass(frozen=True, slots=True)
class AuditBreak:
    """One thing that is wrong with a chain, at the entry `sequence`."""

    kind: str
    sequence: int
    message: str


@dataclass(frozen=True, slots=True)
class AuditVerification:
    """What a check of the whole chain found; `sound` when nothing is wrong."""

    sound: bool
    checked: int
    first_sequence: int = 0
    last_sequence: int = 0
    heads: int = 0
    breaks: tuple[AuditBreak, ...] = ()
    breaks_left_out: int = 0


@dataclass(frozen=True, slots=True)
class LoggingRule:
    """What is kept of a deployment's requests."""

    deployment: str
    sample_rate: float
    retention_days: int
    keep_input: bool
    keep_output: bool
    redact: bool
    max_bytes: int
    attachments: bool
    tensor_values: bool
    changed_at: datetime | None = None
    changed_by: str = ""
    max_requests: int | None = None


@dataclass(frozen=True, slots=True)
class KeptRequest:
    """A kept request; `content` (`input`, `output`) is there when it was asked for alone."""

    log_id: str
    request_id: str
    at: datetime
    expires_at: datetime
    deployment: str
    version: int
    key_id: str
    task: str
    status: str
    duration_s: float
    redacted: Mapping[str, int] = field(default_factory=dict)
    content: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class KeptRequestPage:
    """Kept requests; `dropped` counts those that the server could not keep since its start."""

    requests: tuple[KeptRequest, ...]
    next: str | None = None
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class KeptClass:
    """How many days a class of data is kept; None is until the tenant is deleted."""

    what: str
    days: int | None = None
    is_default: bool = True
    least_days: int = 1
    most_days: int | None = None
