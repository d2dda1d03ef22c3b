"""`/keys`: API keys."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from modelry.domain.access import ApiKey, Permission, Role
from modelry.protocols.management.auditing import note
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import Caller, Tenancy
from modelry.protocols.management.shapes import Answer, Body, Moment, Name

MAX_DEPLOYMENTS = 1000

router = managed_router("keys")


class Key(Answer):
    """An API key, never its secret; no `deployments` means all of them."""

    key_id: str
    name: str
    role: Role
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    deployments: list[str]

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
        )


class KeyList(Answer):
    """All keys, oldest first, also revoked and expired ones."""

    keys: list[Key]


class MintedKey(Answer):
    """A new key and its token, which is shown this once."""

    key: Key
    token: str


class KeyBody(Body):
    """A key to make; it may do no more than the key that makes it."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    role: Role
    expires_at: Moment | None = None
    deployments: list[Name] = Field(default_factory=list, max_length=MAX_DEPLOYMENTS)


@router.get("/keys", summary="List API keys", openapi_extra=needs(Permission.KEYS_READ))
def list_keys(caller: Caller, tenancy: Tenancy) -> KeyList:
    """All keys of the tenant."""
    return KeyList(keys=[Key.of(one) for one in tenancy.list_keys(caller)])


@router.post(
    "/keys",
    status_code=201,
    summary="Make an API key",
    openapi_extra=needs(
        Permission.KEYS_WRITE, recorded=("name", "role", "expires_at", "deployments")
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
    )
    note(key_id=minted.key.key_id)
    return MintedKey(key=Key.of(minted.key), token=minted.token)


@router.delete(
    "/keys/{key_id}",
    status_code=204,
    summary="Revoke an API key for good",
    openapi_extra=needs(Permission.KEYS_WRITE),
)
def revoke_key(key_id: str, caller: Caller, tenancy: Tenancy) -> None:
    """It stays in the list, with the time when it was revoked."""
    tenancy.revoke(caller, key_id)
