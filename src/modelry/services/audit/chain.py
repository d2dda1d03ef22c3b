"""The format of chains: what a MAC covers, which key makes it, what a head's signature says.

Every field goes into a MAC as its length (8 bytes, big-endian) and its bytes, in a fixed order
and behind a label for the kind of statement: two different statements never give the same bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from modelry.domain.audit import AuditEntry, SignedHead

KEY_BYTES = 32
MAX_TEXT_CHARS = {"actor": 200, "action": 100, "resource": 1000, "outcome": 64}
MAX_DETAIL_CHARS = 8192

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class ChainKeys:
    """The keys of all chains, derived from one secret that is not in the database.

    Args:
        secret: 32 bytes; servers that share a database share it.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise ValueError(f"expected {KEY_BYTES} bytes")
        self._secret = secret
        self._by_tenant: dict[str, bytes] = {}
        self._signer = Ed25519PrivateKey.from_private_bytes(
            _derived(secret, b"modelry audit heads v1")
        )

    @property
    def fingerprint(self) -> str:
        """Tells whether another server has the same secret, without telling it."""
        return _derived(self._secret, b"modelry audit fingerprint v1").hex()[:16]

    @property
    def public_key(self) -> bytes:
        """What the signatures of heads are checked with: Ed25519, 32 bytes."""
        return self._signer.public_key().public_bytes_raw()

    def sealed(self, entry: AuditEntry) -> AuditEntry:
        """`entry` with its MAC."""
        return replace(entry, mac=self.mac(entry))

    def mac(self, entry: AuditEntry) -> bytes:
        """The MAC that `entry` must have."""
        fields = (
            entry.tenant_id.encode(),
            _number(entry.sequence),
            _number(_microseconds(entry.at)),
            entry.actor.encode(),
            entry.action.encode(),
            entry.resource.encode(),
            entry.outcome.encode(),
            entry.detail_json.encode(),
            entry.previous_mac,
        )
        return self._tenant_mac(entry.tenant_id, b"modelry audit entry v1", fields)

    def anchor_proof(self, tenant_id: str, sequence: int, mac: bytes) -> bytes:
        """Shows that the entries up to `sequence` were swept by a server that has the secret."""
        fields = (tenant_id.encode(), _number(sequence), mac)
        return self._tenant_mac(tenant_id, b"modelry audit anchor v1", fields)

    def signed(self, tenant_id: str, sequence: int, mac: bytes, at: datetime) -> SignedHead:
        """A signed head."""
        head = SignedHead(tenant_id, sequence, mac, at, b"")
        return replace(head, signature=self._signer.sign(_head_statement(head)))

    def is_genuine(self, head: SignedHead) -> bool:
        """Whether `head` was signed with this secret."""
        return is_signed_by(self.public_key, head)

    def _tenant_mac(self, tenant_id: str, label: bytes, fields: tuple[bytes, ...]) -> bytes:
        key = self._by_tenant.get(tenant_id)
        if key is None:
            info = _statement(b"modelry audit chain v1", (tenant_id.encode(),))
            key = self._by_tenant[tenant_id] = _derived(self._secret, info)
        return hmac.digest(key, _statement(label, fields), hashlib.sha256)


def is_signed_by(public_key: bytes, head: SignedHead) -> bool:
    """Whether the owner of `public_key` (Ed25519, 32 bytes) signed `head`."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(head.signature, _head_statement(head))
    except (InvalidSignature, ValueError):
        return False
    return True


def canonical_detail(detail: Mapping[str, Any] | None) -> str:
    """`detail` as JSON, the same text for the same content; told by digest when it is too long."""
    text = json.dumps(
        dict(detail or {}),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
        allow_nan=False,
        default=str,
    )
    if len(text) <= MAX_DETAIL_CHARS:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps({"left_out_chars": len(text), "sha256": digest}, separators=(",", ":"))


def clean_text(name: str, text: str) -> str:
    """`text` as every database keeps it, of bounded length; a cut says so."""
    kept = text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
    limit = MAX_TEXT_CHARS[name]
    if len(kept) <= limit:
        return kept
    mark = f"…[{len(kept)} characters]"
    return kept[: limit - len(mark)] + mark


def _derived(secret: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=info).derive(secret)


def _head_statement(head: SignedHead) -> bytes:
    return _statement(
        b"modelry audit head v1",
        (
            head.tenant_id.encode(),
            _number(head.sequence),
            head.mac,
            _number(_microseconds(head.at)),
        ),
    )


def _statement(label: bytes, fields: tuple[bytes, ...]) -> bytes:
    return b"".join(len(part).to_bytes(8, "big") + part for part in (label, *fields))


def _number(value: int) -> bytes:
    return str(value).encode()


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
