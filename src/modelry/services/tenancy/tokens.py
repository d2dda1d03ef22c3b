"""The shape of API keys: `mlry_<env>_<key id>_<43 base62 characters><6 of a checksum>`.

The 43 characters carry 256 random bits. The checksum lets secret scanners, and this server
before it asks anything, tell a mistyped key from an unknown one.
"""

from __future__ import annotations

import re
import secrets
import zlib

PREFIX = "mlry"
KEY_ID_CHARS = 12
SECRET_CHARS = 43
CHECKSUM_CHARS = 6

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LOWER = "0123456789abcdefghijklmnopqrstuvwxyz"
_TOKEN = re.compile(
    rf"({PREFIX}_[a-z0-9]{{1,16}}_([0-9a-z]{{{KEY_ID_CHARS}}})_[0-9A-Za-z]{{{SECRET_CHARS}}})"
    rf"([0-9A-Za-z]{{{CHECKSUM_CHARS}}})"
)


def make_key_id() -> str:
    """A new key id: 12 lower-case letters and digits."""
    return "".join(secrets.choice(_LOWER) for _ in range(KEY_ID_CHARS))


def make_token(environment: str, key_id: str) -> str:
    """A new key for `key_id`; `environment` is a word that tells installations apart."""
    secret = "".join(secrets.choice(_BASE62) for _ in range(SECRET_CHARS))
    body = f"{PREFIX}_{environment}_{key_id}_{secret}"
    return body + checksum(body)


def is_mistyped(token: str) -> bool:
    """Whether `token` claims to be one of ours and cannot be."""
    if not token.startswith(f"{PREFIX}_"):
        return False
    found = _TOKEN.fullmatch(token)
    return found is None or checksum(found[1]) != found[3]


def checksum(body: str) -> str:
    """CRC-32 of `body` in base62, six characters."""
    rest = zlib.crc32(body.encode())
    digits = []
    for _ in range(CHECKSUM_CHARS):
        rest, digit = divmod(rest, 62)
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))
