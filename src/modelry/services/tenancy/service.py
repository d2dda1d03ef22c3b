"""Use cases on tenants and API keys."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from modelry.domain.access import (
    DEFAULT_TENANT_ID,
    ApiKey,
    Permission,
    Principal,
    Role,
    Tenant,
    TenantState,
    effective_permissions,
)
from modelry.domain.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    Unauthenticated,
)
from modelry.domain.sharing import check_callable_name
from modelry.services.inference.authentication import KeySnapshot, tenant_refusal
from modelry.services.tenancy.clock import utc_now
from modelry.services.tenancy.members import check_owner_left
from modelry.services.tenancy.ports import KeyRecords, KeyStore
from modelry.services.tenancy.rights import (
    check_deployments_within,
    check_has_no_limits,
    check_key_within,
    check_role_within,
)
from modelry.services.tenancy.tokens import is_mistyped, make_key_id, make_token

OWNER_KEY_ID = "owner"
MAX_KEYS = 10_000
LONGEST_OVERLAP = timedelta(days=90)
"""How long a secret may stay valid after its key was rotated."""

_GIVEN_OWNER_TOKEN = re.compile(r"[A-Za-z0-9._~-]{32,256}")
_PEPPER_SETTING = "pepper_fingerprint"
_STAMP_SETTING = "access_stamp"


@dataclass(frozen=True, slots=True)
class MintedKey:
    """A new key and its token, which is told this once and kept nowhere."""

    key: ApiKey
    token: str


class TenancyService:
    """Makes, lists, revokes and checks API keys.

    Args:
        store: keeps tenants and keys.
        pepper: the server's own secret, without which a stolen database checks no key.
        clock: gives the time.
        environment: a word that stands in new keys, to tell installations apart.
    """

    def __init__(
        self,
        store: KeyStore,
        pepper: bytes,
        *,
        clock: Callable[[], datetime] = utc_now,
        environment: str = "live",
    ) -> None:
        self._store = store
        self._pepper = pepper
        self._clock = clock
        self._environment = environment
        self._listeners: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._generation = 0
        self._is_owner_key_given = False

    @property
    def generation(self) -> int:
        """Grows with every change of keys that was made through this object."""
        return self._generation

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each change of keys, in the thread that made it."""
        self._listeners.append(listener)

    # ---- the server's start -----------------------------------------------------------------

    def ensure_default_tenant(self) -> Tenant:
        """The tenant that a fresh installation starts with; made if it is not there."""
        now = self._clock()

        def work(records: KeyRecords) -> Tenant:
            found = records.tenant()
            if found is None:
                found = Tenant(DEFAULT_TENANT_ID, "Default", now)
                records.add_tenant(found)
            return found

        return self._store.write(DEFAULT_TENANT_ID, work)

    def ensure_owner_key(
        self, given: str | None = None, *, may_lose_keys: bool = True
    ) -> MintedKey | None:
        """Make sure that the default tenant has an owner's key.

        Args:
            given: the token that the operator chose; it replaces the owner's key before it.
            may_lose_keys: whether to go on where every key was made under another pepper.

        Returns:
            The key if it was made or changed now, None if it is the one that was there.

        Raises:
            InvalidInput: `given` is too short or not URL-safe.
            Conflict: it is another key, or every key was made under another pepper.
        """
        if given is not None and not _GIVEN_OWNER_TOKEN.fullmatch(given):
            raise InvalidInput(
                "The owner key must have 32 to 256 URL-safe characters (letters, digits, . _ ~ "
                f"-); the given one has {len(given)} characters.",
                param="owner_key",
            )
        self._is_owner_key_given = given is not None
        self.ensure_default_tenant()
        is_pepper_known = self._is_pepper_known()
        if not is_pepper_known and not may_lose_keys:
            raise Conflict(
                "The API keys in this database were made under another server's secret. Give this "
                "server a copy of that one's secrets folder (--secrets, MODELRY_SECRETS); if it is "
                "lost, start once with MODELRY_ACCEPT_LOST_PEPPER=1, which makes every key "
                "invalid.",
                param="secrets",
            )
        token = given or make_token(self._environment, make_key_id())
        wanted = self._owner_key(token)
        other = self._store.find_hmac(wanted.secret_hmac)
        if other is not None and other.key_id != OWNER_KEY_ID:
            raise Conflict(
                "The given owner key is already the key "
                f"'{other.key_id}' of role '{other.role}'; choose another one.",
                param="owner_key",
            )

        def work(records: KeyRecords) -> ApiKey | None:
            found = records.find(OWNER_KEY_ID)
            is_usable = found is not None and found.is_valid_at(self._clock()) and is_pepper_known
            is_same = found is not None and found.secret_hmac == wanted.secret_hmac
            if found is not None and is_usable and (given is None or is_same):
                return None
            records.put(wanted)
            return wanted

        made = self._store.write(DEFAULT_TENANT_ID, work)
        if made is None:
            return None
        self._store.put_setting(_PEPPER_SETTING, self._pepper_fingerprint())
        self.changed()
        return MintedKey(made, token)

    def first_owner_key(self, tenant_id: str) -> MintedKey:
        """The first key of a tenant that is being made; whoever makes the tenant keeps it."""
        key_id = make_key_id()
        token = make_token(self._environment, key_id)
        return MintedKey(self._owner_key(token, tenant_id, key_id), token)

    def is_pepper_lost(self) -> bool:
        """Whether the keys that are kept were made under another pepper, so none is valid."""
        return not self._is_pepper_known()

    # ---- callers ----------------------------------------------------------------------------

    def create(
        self,
        principal: Principal,
        *,
        name: str,
        role: Role,
        expires_at: datetime | None = None,
        deployments: Collection[str] = (),
        scopes: Collection[Permission] | None = None,
    ) -> MintedKey:
        """Make a key that may do no more than the caller's.

        Args:
            principal: who asks.
            name: what people call it.
            role: what it may do.
            expires_at: when it ends (with timezone); None for never.
            deployments: the only deployments that it may call; empty for all.
            scopes: the only rights of the role that it has; None for all.

        Raises:
            PermissionDenied: the caller may not make keys, or not one with these rights; or has
                limits of its own.
            InvalidInput: name, time, deployments or scopes are not allowed.
        """
        principal.require(Permission.KEYS_WRITE)
        now = self._clock()
        _check_label(name)
        _check_expiry(expires_at, now)
        for deployment in deployments:
            check_callable_name(deployment)
        key_id = make_key_id()
        token = make_token(self._environment, key_id)
        key = ApiKey(
            tenant_id=principal.tenant_id,
            key_id=key_id,
            name=name,
            role=role,
            secret_hmac=self.digest(token.encode()),
            created_at=now,
            created_by=principal.key_id,
            expires_at=expires_at,
            deployments=frozenset(deployments),
            scopes=None if scopes is None else frozenset(scopes),
        )
        _check_scopes(key)

        def work(records: KeyRecords) -> None:
            check_key_within(principal, records.find(principal.key_id), key, "create a key of")
            check_has_no_limits(records, principal, "another key")
            if len(records.all()) >= MAX_KEYS:
                raise Conflict(f"The tenant has {MAX_KEYS} keys, which is the most it can have.")
            records.put(key)

        self._store.write(principal.tenant_id, work)
        self.changed()
        return MintedKey(key, token)

    def list_keys(self, principal: Principal) -> list[ApiKey]:
        """All keys of the caller's tenant, oldest first, also revoked and expired ones."""
        principal.require(Permission.KEYS_READ)
        return self._store.read(principal.tenant_id, lambda records: records.all())

    def revoke(self, principal: Principal, key_id: str) -> ApiKey:
        """End a key for good; revoking it again changes nothing.

        Raises:
            NotFound: no such key in the tenant.
            PermissionDenied: it has rights that the caller's key lacks.
            Conflict: no owner would be left.
        """
        principal.require(Permission.KEYS_WRITE)
        now = self._clock()

        def work(records: KeyRecords) -> ApiKey:
            key = _found(records, key_id)
            if key.revoked_at is not None:
                return key
            check_role_within(principal, key.role, "revoke a key of", key.scopes)
            check_deployments_within(principal, key.deployments)
            check_owner_left(records, now, key=key)
            revoked = replace(key, revoked_at=now)
            records.put(revoked)
            return revoked

        key = self._store.write(principal.tenant_id, work)
        self.changed()
        return key

    def get(self, principal: Principal, key_id: str) -> ApiKey:
        """One key of the caller's tenant.

        Raises:
            NotFound: no such key in the tenant.
        """
        principal.require(Permission.KEYS_READ)
        return self._store.read(principal.tenant_id, lambda records: _found(records, key_id))

    def rename(self, principal: Principal, key_id: str, name: str) -> ApiKey:
        """Call a key something else.

        Raises:
            NotFound: no such key in the tenant.
            PermissionDenied: it has rights that the caller's key lacks.
            InvalidInput: the name is not allowed.
        """
        principal.require(Permission.KEYS_WRITE)
        _check_label(name)

        def work(records: KeyRecords) -> ApiKey:
            key = _found(records, key_id)
            check_role_within(principal, key.role, "rename a key of", key.scopes)
            check_deployments_within(principal, key.deployments)
            renamed = replace(key, name=name)
            records.put(renamed)
            return renamed

        return self._store.write(principal.tenant_id, work)

    def rotate(
        self, principal: Principal, key_id: str, overlap: timedelta = timedelta()
    ) -> MintedKey:
        """Give a key a new secret at once; the one before stays valid while they overlap.

        A secret that was still valid from an earlier rotation ends now.

        Args:
            principal: who asks, and is told the new secret: so it needs all that the key may do.
            key_id: which key; it stays the same key in all else.
            overlap: how long the secret before stays valid.

        Raises:
            NotFound: no such key in the tenant.
            PermissionDenied: it may do more, call more or live longer than the caller's key, or is
                another one while the caller's has limits of its own.
            Conflict: it is revoked or has expired, or its secret is set by the operator.
            InvalidInput: the overlap is negative or longer than `LONGEST_OVERLAP`.
        """
        principal.require(Permission.KEYS_WRITE)
        if not timedelta() <= overlap <= LONGEST_OVERLAP:
            raise InvalidInput(
                f"The overlap is {overlap.total_seconds():g} s; expected 0 to "
                f"{LONGEST_OVERLAP.total_seconds():g} s.",
                param="overlap_s",
            )
        now = self._clock()
        token_id = make_key_id() if key_id == OWNER_KEY_ID else key_id
        token = make_token(self._environment, token_id)

        def work(records: KeyRecords) -> ApiKey:
            key = _found(records, key_id)
            own = records.find(principal.key_id)
            check_key_within(principal, own, key, "rotate a key of")
            if key_id != principal.key_id:
                check_has_no_limits(records, principal, "another key")
            if not key.is_valid_at(now):
                raise Conflict(f"API key '{key_id}' is revoked or has expired; create a new one.")
            if key_id == OWNER_KEY_ID and self._is_owner_key_given:
                raise Conflict(
                    "This key's secret is set where the server is started (MODELRY_OWNER_KEY): "
                    "change it there, or it would be back at the next start."
                )
            rotated = replace(
                key,
                secret_hmac=self.digest(token.encode()),
                previous_hmac=key.secret_hmac if overlap else None,
                previous_until=now + overlap if overlap else None,
            )
            records.put(rotated)
            return rotated

        rotated = self._store.write(principal.tenant_id, work)
        self.changed()
        return MintedKey(rotated, token)

    def note_used(self, used: Collection[tuple[str, str]]) -> None:
        """Keep that these keys (tenant and id) were used by now; tells no listener."""
        now = self._clock()
        by_tenant: dict[str, set[str]] = {}
        for tenant_id, key_id in used:
            by_tenant.setdefault(tenant_id, set()).add(key_id)
        for tenant_id, key_ids in by_tenant.items():
            self._store.write(
                tenant_id,
                lambda records, key_ids=key_ids: records.note_used(key_ids, now),  # type: ignore[misc] # mypy cannot infer lambdas with defaults
            )

    # ---- the check of callers ---------------------------------------------------------------

    def digest(self, token: bytes) -> bytes:
        """HMAC-SHA256 of a token under the server's pepper."""
        return hmac.digest(self._pepper, token, hashlib.sha256)

    def snapshot(self) -> KeySnapshot:
        """All keys, apart by whether they are valid and their tenant is active.

        A key that was rotated is there under both secrets while they overlap.
        """
        now = self._clock()
        keys = self._store.all_keys()
        tenants = {one.tenant_id: one.state for one in self._store.all_tenants()}
        admitted: dict[bytes, ApiKey] = {}
        refused: dict[bytes, ApiKey] = {}
        for key in keys:
            is_active = tenants.get(key.tenant_id) is TenantState.ACTIVE
            for one in (key, key.before_rotation(now)):
                if one is not None:
                    is_admitted = is_active and one.is_valid_at(now)
                    (admitted if is_admitted else refused)[one.secret_hmac] = one
        return KeySnapshot(admitted, refused, tenants)

    def verify(self, token: str) -> Principal:
        """Who calls with `token`, asked of the database.

        The row is found by the keyed hash, which a caller can neither choose nor predict, and
        compared in constant time.

        Raises:
            Unauthenticated: mistyped, unknown, expired or revoked.
            TenantSuspended: its tenant is suspended or being deleted.
        """
        digest = self.digest(token.encode("utf-8", "surrogatepass"))
        now = self._clock()
        key = self._store.find_hmac(digest)
        if key is None and is_mistyped(token):
            raise Unauthenticated(
                "The API key is mistyped or cut off: its checksum does not fit. Copy it again, "
                "whole."
            )
        if key is not None and not hmac.compare_digest(key.secret_hmac, digest):
            key = key.before_rotation(now)
        if (
            key is None
            or not hmac.compare_digest(key.secret_hmac, digest)
            or not key.is_valid_at(now)
        ):
            raise Unauthenticated("The API key is not valid (unknown, expired or revoked).")
        tenant = self._store.read(key.tenant_id, lambda records: records.tenant())
        if tenant is not None and tenant.state is not TenantState.ACTIVE:
            raise tenant_refusal(tenant.state)
        return key.principal()

    # ---- inside -----------------------------------------------------------------------------

    def _owner_key(
        self, token: str, tenant_id: str = DEFAULT_TENANT_ID, key_id: str = OWNER_KEY_ID
    ) -> ApiKey:
        return ApiKey(
            tenant_id=tenant_id,
            key_id=key_id,
            name="Owner",
            role=Role.OWNER,
            secret_hmac=self.digest(token.encode()),
            created_at=self._clock(),
            created_by=key_id,
        )

    def _pepper_fingerprint(self) -> str:
        return self.digest(b"modelry pepper fingerprint").hex()[:16]

    def _is_pepper_known(self) -> bool:
        known = self._store.setting(_PEPPER_SETTING)
        return known is None or known == self._pepper_fingerprint()

    def changed(self) -> None:
        """Tell everybody who listens that keys, members or tenants are not what they were."""
        with self._lock:
            self._generation += 1
        for listener in tuple(self._listeners):
            listener()
        self._store.put_setting(_STAMP_SETTING, secrets.token_hex(8))

    def stamp(self) -> str | None:
        """Is another one after each change by any server on the database; costs one row."""
        return self._store.setting(_STAMP_SETTING)


def _found(records: KeyRecords, key_id: str) -> ApiKey:
    key = records.find(key_id)
    if key is None:
        raise NotFound(f"API key '{key_id[:80]}' does not exist.", param="key_id")
    return key


def _check_label(name: str) -> None:
    if not 1 <= len(name.strip()) <= 100 or not name.isprintable():
        raise InvalidInput(
            "The key's name must have 1 to 100 printable characters, not only blanks.",
            param="name",
        )


def _check_scopes(key: ApiKey) -> None:
    if key.scopes is None:
        return
    beyond = key.scopes - effective_permissions(key.tenant_id, key.role)
    if beyond or not key.scopes:
        named = f"{', '.join(sorted(beyond))} is not among" if beyond else "none was given of"
        raise InvalidInput(
            f"Scopes are some of what the role may do: {named} the rights of role '{key.role}': "
            f"{', '.join(sorted(effective_permissions(key.tenant_id, key.role)))}.",
            param="scopes",
        )


def _check_expiry(expires_at: datetime | None, now: datetime) -> None:
    if expires_at is None:
        return
    if expires_at.tzinfo is None:
        raise InvalidInput(
            f"The time '{expires_at.isoformat()}' has no timezone; write it with one, such as "
            "'2030-01-31T00:00:00Z'.",
            param="expires_at",
        )
    if expires_at <= now:
        raise InvalidInput(
            f"The time '{expires_at.isoformat()}' has passed; give one in the future.",
            param="expires_at",
        )
