"""`/keys`: API keys."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from pydantic import Field

from modelry.domain.access import ApiKey, Permission, Role
from modelry.protocols.management.auditing import note
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import Caller, Tenancy
from modelry.protocols.management.shapes import Answer, Body, CallableName, Moment
from modelry.services.tenancy.service import LONGEST_OVERLAP
from modelry.services.tenancy.service import MintedKey as Minted

MAX_DEPLOYMENTS = 1000

router = managed_router("keys")

KeyName = Annotated[str, Field(min_length=1, max_length=100)]


class Key(Answer):
    """An API key, never its secret.

    No `deployments` means all of them, no `scopes` all rights of the role. `last_used_at` lags
    by up to half a minute. Until `previous_until` the secret before the rotation is valid too.
    """

    key_id: str
    name: str
    role: Role
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    deployments: list[str]
    scopes: list[Permission] | None
    last_used_at: datetime | None
    previous_until: datetime | None

    @classmethod
    def of(cls, key: ApiKey) -> Key:
        """The shape of `key`."""
        return cls(
            key_id=key.key_id,
            name=key.name,
            role=key.role,
            created_at=key.created_at,
            created_by=key.created_by,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
            deployments=sorted(key.deployments),
            scopes=None if key.scopes is None else sorted(key.scopes),
            last_used_at=key.last_used_at,
            previous_until=key.previous_until,
        )


class KeyList(Answer):
    """All keys, oldest first, also revoked and expired ones."""

    keys: list[Key]


class MintedKey(Answer):
    """A new key and its token, which is shown this once."""

    key: Key
    token: str

    @classmethod
    def of(cls, minted: Minted) -> MintedKey:
        """The shape of `minted`."""
        return cls(key=Key.of(minted.key), token=minted.token)


class KeyBody(Body):
    """A key to make; it may do no more than the key that makes it."""

    name: KeyName
    role: Role
    expires_at: Moment | None = None
    deployments: list[CallableName] = Field(default_factory=list, max_length=MAX_DEPLOYMENTS)
    scopes: list[Permission] | None = Field(
        None,
        min_length=1,
        max_length=len(Permission),
        description="The only rights of the role that the key has; by default all.",
    )


class KeyChange(Body):
    """What can be changed of a key."""

    name: KeyName


class RotationBody(Body):
    """How a key gets a new secret."""

    overlap_s: Annotated[
        float,
        Field(
            ge=0,
            le=LONGEST_OVERLAP.total_seconds(),
            description="Seconds for which the secret before stays valid.",
        ),
    ] = 0


@router.get("/keys", summary="List API keys", openapi_extra=needs(Permission.KEYS_READ))
def list_keys(caller: Caller, tenancy: Tenancy) -> KeyList:
    """All keys of the tenant."""
    return KeyList(keys=[Key.of(one) for one in tenancy.list_keys(caller)])


@router.post(
    "/keys",
    status_code=201,
    summary="Make an API key",
    openapi_extra=needs(
        Permission.KEYS_WRITE, recorded=("name", "role", "expires_at", "deployments", "scopes")
    ),
)
def create_key(body: KeyBody, caller: Caller, tenancy: Tenancy) -> MintedKey:
    """The token is told this once and kept nowhere."""
    minted = tenancy.create(
        caller,
        name=body.name,
        role=body.role,
        expires_at=body.expires_at,
        deployments=body.deployments,
        scopes=body.scopes,
    )
    note(key_id=minted.key.key_id)
    return MintedKey.of(minted)


@router.get("/keys/{key_id}", summary="One API key", openapi_extra=needs(Permission.KEYS_READ))
def get_key(key_id: str, caller: Caller, tenancy: Tenancy) -> Key:
    """Also one that is revoked or has expired."""
    return Key.of(tenancy.get(caller, key_id))


@router.patch(
    "/keys/{key_id}",
    summary="Rename an API key",
    openapi_extra=needs(Permission.KEYS_WRITE, recorded=("name",)),
)
def change_key(key_id: str, body: KeyChange, caller: Caller, tenancy: Tenancy) -> Key:
    """What it may do stays: make another key for that."""
    return Key.of(tenancy.rename(caller, key_id, body.name))


@router.post(
    "/keys/{key_id}/rotate",
    summary="Give an API key a new secret",
    openapi_extra=needs(Permission.KEYS_WRITE, recorded=("overlap_s",)),
)
def rotate_key(key_id: str, body: RotationBody, caller: Caller, tenancy: Tenancy) -> MintedKey:
    """The new one is valid at once and told this once; the one before until the overlap ends."""
    overlap = timedelta(seconds=body.overlap_s)
    return MintedKey.of(tenancy.rotate(caller, key_id, overlap))


@router.delete(
    "/keys/{key_id}",
    status_code=204,
    summary="Revoke an API key for good",
    openapi_extra=needs(Permission.KEYS_WRITE),
)
def revoke_key(key_id: str, caller: Caller, tenancy: Tenancy) -> None:
    """It stays in the list, with the time when it was revoked."""
    tenancy.revoke(caller, key_id)
