"""A small real OpenID Connect issuer on loopback: discovery, keys, authorization, tokens.

It keeps to the protocol (codes are used once, PKCE and the redirect URI are checked) unless a test
tells it how to misbehave.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

CLIENT_ID = "modelry"
CLIENT_SECRET = "the client's secret & more"
_RSA = [rsa.generate_private_key(65537, 2048) for _ in range(3)]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def packed(value: Any) -> str:
    return b64(value if isinstance(value, bytes) else json.dumps(value).encode())


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


@dataclass
class SigningKey:
    """A key pair as an issuer has it."""

    kid: str
    private: Any

    def jwk(self) -> dict[str, Any]:
        public = self.private.public_key().public_numbers()
        common = {"kid": self.kid, "use": "sig"}
        if isinstance(self.private, rsa.RSAPrivateKey):
            return {"kty": "RSA", "n": number(public.n), "e": number(public.e), **common}
        size = 32
        x, y = (b64(value.to_bytes(size, "big")) for value in (public.x, public.y))
        return {"kty": "EC", "crv": "P-256", "x": x, "y": y, **common}

    def sign(self, header: Any, claims: Any) -> str:
        """A token; `header` and `claims` may be bytes, which are taken as they are."""
        covered = f"{packed(header)}.{packed(claims)}"
        if isinstance(self.private, rsa.RSAPrivateKey):
            signature = self.private.sign(covered.encode(), padding.PKCS1v15(), hashes.SHA256())
        else:
            der = self.private.sign(covered.encode(), ec.ECDSA(hashes.SHA256()))
            signature = b"".join(n.to_bytes(32, "big") for n in utils.decode_dss_signature(der))
        return f"{covered}.{b64(signature)}"


def rsa_key(kid: str, which: int = 0) -> SigningKey:
    return SigningKey(kid, _RSA[which])


def ec_key(kid: str) -> SigningKey:
    return SigningKey(kid, ec.generate_private_key(ec.SECP256R1()))


@dataclass
class Person:
    """Who signs in."""

    subject: str
    email: str | None = None
    email_verified: Any = True
    groups: Any = field(default_factory=list)
    name: str = "Ada"


class LocalIssuer:
    """The issuer's state; tests change it as they like."""

    def __init__(self) -> None:
        self.url = ""
        self.keys = [rsa_key("first")]
        self.person = Person("ada")
        self.asked: list[str] = []
        self.make_token: Callable[[dict[str, Any]], str] = self.sign
        self.changes: dict[str, Any] = {}
        self.described: dict[str, Any] = {}
        self.published: list[dict[str, Any]] | None = None
        self._codes: dict[str, dict[str, str]] = {}

    def discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "code_challenge_methods_supported": ["S256"],
            **self.described,
        }

    def key_set(self) -> dict[str, Any]:
        keys = [key.jwk() for key in self.keys] if self.published is None else self.published
        return {"keys": keys}

    def authorize(self, query: dict[str, str]) -> str:
        """Where the browser is sent back to, as if the person had agreed."""
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT_ID
        assert query["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self._codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def redeem(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        user, _, password = (
            base64.b64decode(authorization.partition(" ")[2]).decode().partition(":")
        )
        secret = dict(parse_qsl(f"s={password}")).get("s")
        if user != CLIENT_ID or secret != CLIENT_SECRET:
            return 401, {"error": "invalid_client"}
        asked = self._codes.pop(form["code"], None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        if asked is None or asked["code_challenge"] != b64(digest):
            return 400, {"error": "invalid_grant"}
        if asked["redirect_uri"] != form["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        return 200, {"id_token": self.make_token(self.claims(asked["nonce"])), "token_type": "x"}

    def claims(self, nonce: str) -> dict[str, Any]:
        now = int(time.time())
        who = self.person
        claims: dict[str, Any] = {
            "iss": self.url, "aud": CLIENT_ID, "sub": who.subject, "nonce": nonce,
            "iat": now, "exp": now + 300, "groups": who.groups, "name": who.name,
        }  # fmt: skip
        if who.email is not None:
            claims |= {"email": who.email, "email_verified": who.email_verified}
        claims |= self.changes
        return {name: value for name, value in claims.items() if value is not None}

    def sign(self, claims: dict[str, Any]) -> str:
        key = self.keys[-1]
        algorithm = "RS256" if isinstance(key.private, rsa.RSAPrivateKey) else "ES256"
        return key.sign({"alg": algorithm, "kid": key.kid, "typ": "JWT"}, claims)


class _Handler(BaseHTTPRequestHandler):
    issuer: LocalIssuer

    def log_message(self, *_: Any) -> None:
        """Silence."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.issuer.asked.append(parts.path)
        if parts.path == "/.well-known/openid-configuration":
            self._answer(200, self.issuer.discovery())
        elif parts.path == "/keys":
            self._answer(200, self.issuer.key_set())
        elif parts.path == "/authorize":
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            self.send_response(302)
            self.send_header("Location", self.issuer.authorize(query))
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._answer(404, {})

    def do_POST(self) -> None:
        self.issuer.asked.append(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self._answer(
            *self.issuer.redeem(dict(parse_qsl(body)), self.headers.get("Authorization", ""))
        )

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def local_issuer() -> Iterator[LocalIssuer]:
    """An issuer that runs."""
    issuer = LocalIssuer()
    handler = type("Handler", (_Handler,), {"issuer": issuer})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    issuer.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
