"""How what the server keeps is encrypted."""

from __future__ import annotations

from modelry.client.decoding import decode
from modelry.client.exchange import Flow, Request, send_json
from modelry.client.operations.paths import api
from modelry.client.records import EncryptionRotation, EncryptionStatus


def encryption_status() -> Flow[EncryptionStatus]:
    """How the data keys of all tenants are encrypted; needs a key of the platform."""
    body = yield from send_json(Request("GET", api("encryption"), idempotent=True))
    return decode(EncryptionStatus, body)


def rotate_encryption() -> Flow[EncryptionRotation]:
    """Wrap all data keys anew under a new key-encryption key; contents are not touched."""
    body = yield from send_json(Request("POST", api("encryption", "rotate"), json={}))
    return decode(EncryptionRotation, body)
