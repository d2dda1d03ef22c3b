"""The check of ID tokens. Nothing in a token says how it is to be checked."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from joserfc import jwk, jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jwt import JWTClaimsRegistry

from modelry.domain.errors import SignInFailed

MAX_TOKEN_BYTES = 16 * 1024
MAX_KEY_ID_CHARS = 256
MIN_RSA_BITS = 2048
LEEWAY_S = 60
MAX_AGE_S = 600
"""How old an ID token may be that a code was just exchanged for."""
_KEY_TYPES: dict[str, tuple[str, str | None]] = {
    "RS256": ("RSA", None),
    "RS384": ("RSA", None),
    "RS512": ("RSA", None),
    "PS256": ("RSA", None),
    "PS384": ("RSA", None),
    "PS512": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
ALGORITHMS = tuple(_KEY_TYPES)
"""All by public keys: a shared secret would let whoever can check a token make one."""
_HEADERS = frozenset({"alg", "kid", "typ", "cty", "x5t", "x5t#S256"})
"""Those that may stand in a header; of these only `alg` and `kid` are looked at. Others would have
the key taken from the token, or change what the signature covers."""
_TYPES = frozenset({"jwt", "id_token+jwt"})

_LONG = "n" * MIN_RSA_BITS

PublicKey = RSAKey | ECKey | OKPKey


@dataclass(frozen=True, slots=True)
class Expected:
    """What an ID token must say."""

    algorithm: str
    issuer: str
    client_id: str
    nonce: str
    now: float


class UnknownKey(SignInFailed):
    """A token by a key that is not in the set: the set may have changed."""


def usable_keys(documents: Sequence[Any], algorithm: str) -> list[tuple[str | None, PublicKey]]:
    """The keys of a key set that may sign by `algorithm`, with their ids; others are left out."""
    key_type, curve = _KEY_TYPES[algorithm]
    found: list[tuple[str | None, PublicKey]] = []
    for document in documents:
        if not isinstance(document, dict) or document.get("kty") != key_type:
            continue
        if curve is not None and document.get("crv") != curve:
            continue
        if document.get("use", "sig") != "sig" or document.get("alg", algorithm) != algorithm:
            continue
        if "verify" not in document.get("key_ops", ["verify"]):
            continue
        key_id = document.get("kid")
        key = _imported(document)
        if key is not None and (key_id is None or isinstance(key_id, str)):
            found.append((key_id, key))
    return found


def _imported(document: dict[str, Any]) -> PublicKey | None:
    public: dict[str, Any] = {
        name: document[name] for name in ("kty", "crv", "n", "e", "x", "y") if name in document
    }
    if len(str(public.get("n", _LONG))) * 6 < MIN_RSA_BITS:  # six bits a letter
        return None
    try:
        key = jwk.import_key(public)
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, RSAKey) and key.public_key.key_size < MIN_RSA_BITS:
        return None
    return key if isinstance(key, RSAKey | ECKey | OKPKey) else None


def read_id_token(
    token: object, keys: Sequence[tuple[str | None, PublicKey]], expected: Expected
) -> dict[str, Any]:
    """The claims of an ID token that proves what is expected.

    Args:
        token: as the issuer sent it.
        keys: those that may sign, from `usable_keys`.
        expected: what it must say.

    Raises:
        UnknownKey: it names a key that is not among `keys`.
        SignInFailed: it proves nothing.
    """
    if not isinstance(token, str) or not token.isascii() or len(token) > MAX_TOKEN_BYTES:
        raise _refused("it is no token, or too large")
    parts = token.split(".")
    if len(parts) != 3 or not all(parts):
        raise _refused("it is not of three parts")
    header = _object(parts[0], "its header")
    _check_header(header, expected.algorithm)
    key = _key_for(header.get("kid"), keys)
    try:
        signed = jws.deserialize_compact(token, key, algorithms=[expected.algorithm])
    except (JoseError, ValueError, TypeError) as error:
        raise _refused("its signature does not fit") from error
    if signed.payload != _decoded(parts[1]):
        raise _refused("its payload is not what was signed")
    claims = _object(parts[1], "its payload")
    _check_claims(claims, expected)
    return claims


def _check_header(header: dict[str, Any], algorithm: str) -> None:
    unknown = set(header) - _HEADERS
    if unknown:
        raise _refused("its header asks for more than is allowed")
    if header.get("alg") != algorithm:
        raise _refused("it is signed by another algorithm than is set for the issuer")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in _TYPES or "cty" in header:
        raise _refused("it is another kind of token")


def _key_for(key_id: Any, keys: Sequence[tuple[str | None, PublicKey]]) -> PublicKey:
    if key_id is None:
        candidates = [key for _, key in keys]
    elif isinstance(key_id, str) and 0 < len(key_id) <= MAX_KEY_ID_CHARS:
        candidates = [key for known, key in keys if known == key_id]
    else:
        raise _refused("the id of its key is none")
    if not candidates:
        raise UnknownKey(_words("it is signed by a key that the issuer does not publish"))
    if len(candidates) > 1:
        raise _refused("it may be signed by one of several keys, and does not say which")
    return candidates[0]


def _check_claims(claims: dict[str, Any], expected: Expected) -> None:
    registry = JWTClaimsRegistry(
        now=int(expected.now),
        leeway=LEEWAY_S,
        iss={"essential": True, "value": expected.issuer},
        sub={"essential": True},
        aud={"essential": True, "value": expected.client_id},
        exp={"essential": True},
        iat={"essential": True},
        nonce={"essential": True, "value": expected.nonce},
    )
    try:
        registry.validate(claims)
    except (JoseError, ValueError, TypeError, OverflowError) as error:
        raise _refused("a claim is missing, or not what it must be") from error
    audience = claims["aud"]
    parties = [audience] if isinstance(audience, str) else audience
    authorized = claims.get("azp")
    if (len(parties) > 1 and authorized is None) or authorized not in (None, expected.client_id):
        raise _refused("it is for another client")
    if not isinstance(claims["nonce"], str) or not 0 < len(claims["sub"]) <= 255:
        raise _refused("a claim is not what it must be")
    if claims["iat"] < expected.now - MAX_AGE_S - LEEWAY_S:
        raise _refused("it was issued too long ago")


def _object(part: str, what: str) -> dict[str, Any]:
    """A JSON object that says nothing twice."""
    try:
        value = json.loads(_decoded(part), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _refused(f"{what} is not JSON, or says something twice") from error
    if not isinstance(value, dict):
        raise _refused(f"{what} is no object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _decoded(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refused("a part of it is not base64url") from error


def _refused(reason: str) -> SignInFailed:
    return SignInFailed(_words(reason))


def _words(reason: str) -> str:
    return f"The issuer's token proves nothing: {reason}. Sign in again, or tell the operator."
