"""Every way that we know of to pass a token off for another's, against one that is right."""

from __future__ import annotations

import hmac
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwe, jwk
from tests.support.issuer import CLIENT_ID, SigningKey, b64, ec_key, packed, rsa_key

from modelry.adapters.oidc.tokens import Expected, UnknownKey, read_id_token, usable_keys
from modelry.domain.errors import SignInFailed

ISSUER = "https://issuer.example"
NONCE = "the nonce"
NOW = int(time.time())
KEY = rsa_key("k1")
OTHER = rsa_key("k1", 1)
EC = ec_key("e1")
HEADER = {"alg": "RS256", "kid": "k1", "typ": "JWT"}
CLAIMS = {
    "iss": ISSUER, "aud": CLIENT_ID, "sub": "ada", "nonce": NONCE, "iat": NOW, "exp": NOW + 300,
}  # fmt: skip


def expected(algorithm: str = "RS256") -> Expected:
    return Expected(algorithm, ISSUER, CLIENT_ID, NONCE, NOW)


def read(token: Any, *keys: SigningKey, algorithm: str = "RS256") -> dict[str, Any]:
    documents = [key.jwk() for key in keys or (KEY,)]
    return read_id_token(token, usable_keys(documents, algorithm), expected(algorithm))


def hs256(header: Any, claims: Any, secret: bytes) -> str:
    covered = f"{packed(header)}.{packed(claims)}"
    return f"{covered}.{b64(hmac.digest(secret, covered.encode(), 'sha256'))}"


def claims(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in (CLAIMS | changes).items() if value is not ...}


def header(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in (HEADER | changes).items() if value is not ...}


def test_a_token_that_is_right_is_read():
    assert read(KEY.sign(HEADER, CLAIMS)) == CLAIMS
    assert read(KEY.sign(header(kid=...), CLAIMS)) == CLAIMS
    assert read(KEY.sign(header(typ=...), CLAIMS)) == CLAIMS
    assert read(KEY.sign(HEADER, claims(aud=[CLIENT_ID]))) == claims(aud=[CLIENT_ID])
    several = claims(aud=["other", CLIENT_ID], azp=CLIENT_ID)
    assert read(KEY.sign(HEADER, several)) == several
    slightly_off = claims(iat=NOW + 30, nbf=NOW + 30, exp=NOW - 30)
    assert read(KEY.sign(HEADER, slightly_off)) == slightly_off
    by_curve = EC.sign({"alg": "ES256", "kid": "e1"}, CLAIMS)
    assert read(by_curve, KEY, EC, algorithm="ES256") == CLAIMS


PEM = KEY.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
DER = KEY.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
GOOD = KEY.sign(HEADER, CLAIMS)
PARTS = GOOD.split(".")
OTHER_JWK = OTHER.jwk()

FORGED: dict[str, Any] = {
    "nothing": "",
    "no text": None,
    "a number": 7,
    "a list": [GOOD],
    "two parts": ".".join(PARTS[:2]),
    "four parts": GOOD + ".x",
    "five parts": "a.b.c.d.e",
    "no signature": f"{PARTS[0]}.{PARTS[1]}.",
    "a blank after it": GOOD + " ",
    "a line feed after it": GOOD + "\n",
    "padding": GOOD + "==",
    "other letters": GOOD + "é",
    "none": f"{packed(header(alg='none'))}.{PARTS[1]}.",
    "none with a signature": f"{packed(header(alg='none'))}.{PARTS[1]}.{PARTS[2]}",
    "None": KEY.sign(header(alg="None"), CLAIMS),
    "nOnE": f"{packed(header(alg='nOnE'))}.{PARTS[1]}.AA",
    "no algorithm": KEY.sign(header(alg=...), CLAIMS),
    "a null algorithm": KEY.sign(header(alg=None), CLAIMS),
    "a list of algorithms": KEY.sign(header(alg=["RS256"]), CLAIMS),
    "lower case": KEY.sign(header(alg="rs256"), CLAIMS),
    "another algorithm of the key": KEY.sign(header(alg="RS512"), CLAIMS),
    "PS256 for RS256": KEY.sign(header(alg="PS256"), CLAIMS),
    "HS256 by the public key in PEM": hs256(header(alg="HS256"), CLAIMS, PEM),
    "HS256 by the public key in DER": hs256(header(alg="HS256"), CLAIMS, DER),
    "HS256 by the public JWK": hs256(header(alg="HS256"), CLAIMS, json.dumps(KEY.jwk()).encode()),
    "HS256 by the modulus": hs256(header(alg="HS256"), CLAIMS, KEY.jwk()["n"].encode()),
    "HS256 by nothing": hs256(header(alg="HS256"), CLAIMS, b""),
    "HMAC called RS256": hs256(HEADER, CLAIMS, PEM),
    "an elliptic key called RS256": EC.sign(HEADER, CLAIMS),
    "another issuer's key": OTHER.sign(HEADER, CLAIMS),
    "another key without an id": OTHER.sign(header(kid=...), CLAIMS),
    "the signature of another payload": f"{PARTS[0]}.{packed(claims(sub='eve'))}.{PARTS[2]}",
    "the signature of another header": f"{packed(header(typ=...))}.{PARTS[1]}.{PARTS[2]}",
    "a bit of the signature": GOOD[:-3] + ("A" if GOOD[-3] != "A" else "B") + GOOD[-2:],
    "its own key": OTHER.sign(header(jwk=OTHER_JWK), CLAIMS),
    "its own key, in place of the id": OTHER.sign(header(jwk=OTHER_JWK, kid=...), CLAIMS),
    "its own key URL": OTHER.sign(header(jku="http://127.0.0.1/keys"), CLAIMS),
    "the issuer's key URL, signed rightly": KEY.sign(header(jku=f"{ISSUER}/keys"), CLAIMS),
    "its own certificate URL": KEY.sign(header(x5u="http://127.0.0.1/cert"), CLAIMS),
    "its own certificate": KEY.sign(header(x5c=["AAAA"]), CLAIMS),
    "critical extensions": KEY.sign(header(crit=["exp"], exp=NOW), CLAIMS),
    "no critical extensions": KEY.sign(header(crit=[]), CLAIMS),
    "an unencoded payload": KEY.sign(header(b64=False, crit=["b64"]), CLAIMS),
    "a compressed payload": KEY.sign(header(zip="DEF"), CLAIMS),
    "encryption's header": KEY.sign(header(enc="A128GCM"), CLAIMS),
    "a nested token": KEY.sign(header(cty="JWT"), GOOD.encode()),
    "a token in a token": KEY.sign(HEADER, GOOD.encode()),
    "an access token": KEY.sign(header(typ="at+jwt"), CLAIMS),
    "a logout token": KEY.sign(header(typ="logout+jwt"), CLAIMS),
    "a type that is none": KEY.sign(header(typ=1), CLAIMS),
    "an id that is a path": KEY.sign(header(kid="../../../../dev/null"), CLAIMS),
    "an id that is a path, by nothing": hs256(header(alg="HS256", kid="/dev/null"), CLAIMS, b""),
    "an id that is SQL": KEY.sign(header(kid="k1' OR '1'='1"), CLAIMS),
    "an id that is a command": KEY.sign(header(kid="k1; cat /etc/passwd"), CLAIMS),
    "an id that is a URL": KEY.sign(header(kid="http://127.0.0.1/k1"), CLAIMS),
    "an id that is a number": KEY.sign(header(kid=1), CLAIMS),
    "an id that is a list": KEY.sign(header(kid=["k1"]), CLAIMS),
    "an id that is empty": KEY.sign(header(kid=""), CLAIMS),
    "an id that is long": KEY.sign(header(kid="k" * 5000), CLAIMS),
    "an id with NUL": KEY.sign(header(kid="k1\0"), CLAIMS),
    "an algorithm twice": KEY.sign(b'{"alg":"none","kid":"k1","alg":"RS256"}', CLAIMS),
    "a subject twice": KEY.sign(HEADER, json.dumps(CLAIMS)[:-1].encode() + b', "sub": "eve"}'),
    "a header that is a list": KEY.sign(b"[]", CLAIMS),
    "a header that is no JSON": KEY.sign(b"{", CLAIMS),
    "claims that are a list": KEY.sign(HEADER, [CLAIMS]),
    "claims that are no JSON": KEY.sign(HEADER, b"{"),
    "claims that are no UTF-8": KEY.sign(HEADER, b'{"sub": "\xff"}'),
    "claims that are deep": KEY.sign(HEADER, b'{"a":' * 3000 + b"1" + b"}" * 3000),
    "a huge token": KEY.sign(HEADER, claims(padding="a" * 20_000)),
    "another issuer": KEY.sign(HEADER, claims(iss="https://evil.example")),
    "an issuer with a slash": KEY.sign(HEADER, claims(iss=ISSUER + "/")),
    "an issuer in upper case": KEY.sign(HEADER, claims(iss=ISSUER.upper())),
    "a list of issuers": KEY.sign(HEADER, claims(iss=[ISSUER])),
    "no issuer": KEY.sign(HEADER, claims(iss=...)),
    "another audience": KEY.sign(HEADER, claims(aud="other")),
    "a part of the audience": KEY.sign(HEADER, claims(aud=CLIENT_ID + "-2")),
    "an audience of none": KEY.sign(HEADER, claims(aud=[])),
    "an audience that is an object": KEY.sign(HEADER, claims(aud={CLIENT_ID: 1})),
    "no audience": KEY.sign(HEADER, claims(aud=...)),
    "several audiences and no party": KEY.sign(HEADER, claims(aud=[CLIENT_ID, "other"])),
    "another party": KEY.sign(HEADER, claims(azp="other")),
    "another party of several": KEY.sign(HEADER, claims(aud=[CLIENT_ID, "other"], azp="other")),
    "a party that is a list": KEY.sign(HEADER, claims(azp=[CLIENT_ID])),
    "another nonce": KEY.sign(HEADER, claims(nonce="another")),
    "a list of nonces": KEY.sign(HEADER, claims(nonce=[NONCE, "another"])),
    "no nonce": KEY.sign(HEADER, claims(nonce=...)),
    "a null nonce": KEY.sign(HEADER, claims(nonce=None)),
    "expired": KEY.sign(HEADER, claims(exp=NOW - 61)),
    "no expiry": KEY.sign(HEADER, claims(exp=...)),
    "an expiry that is text": KEY.sign(HEADER, claims(exp=str(NOW + 300))),
    "an expiry that is true": KEY.sign(HEADER, claims(exp=True)),
    "an expiry that is no number": KEY.sign(HEADER, json.dumps(claims(exp=float("nan"))).encode()),
    "an endless expiry": KEY.sign(HEADER, json.dumps(claims(exp=float("inf"))).encode()),
    "not yet valid": KEY.sign(HEADER, claims(nbf=NOW + 90)),
    "issued in the future": KEY.sign(HEADER, claims(iat=NOW + 90)),
    "issued long ago": KEY.sign(HEADER, claims(iat=NOW - 3600)),
    "no time of issue": KEY.sign(HEADER, claims(iat=...)),
    "no subject": KEY.sign(HEADER, claims(sub=...)),
    "an empty subject": KEY.sign(HEADER, claims(sub="")),
    "a subject that is a number": KEY.sign(HEADER, claims(sub=7)),
    "a long subject": KEY.sign(HEADER, claims(sub="a" * 256)),
    "encrypted": jwe.encrypt_compact(
        {"alg": "RSA-OAEP", "enc": "A128GCM", "kid": "k1"},
        GOOD, jwk.import_key(KEY.jwk() | {"use": "enc"}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("token", FORGED.values(), ids=FORGED)
def test_a_token_that_proves_nothing_is_refused(token):
    with pytest.raises(SignInFailed) as refused:
        read(token)
    assert "ada" not in refused.value.message
    assert "eve" not in refused.value.message


def test_two_keys_of_one_id_sign_nothing():
    for token in (KEY.sign(HEADER, CLAIMS), OTHER.sign(HEADER, CLAIMS)):
        with pytest.raises(SignInFailed, match="several keys"):
            read(token, KEY, OTHER)


def test_without_an_id_only_a_single_key_counts():
    with pytest.raises(SignInFailed, match="several keys"):
        read(KEY.sign(header(kid=...), CLAIMS), KEY, rsa_key("k2", 1))


def test_a_key_of_another_type_under_the_same_id_does_not_get_in_the_way():
    assert read(GOOD, SigningKey("k1", EC.private), KEY) == CLAIMS
    with pytest.raises(UnknownKey):
        read(EC.sign({"alg": "ES256", "kid": "e1"}, CLAIMS), KEY, algorithm="ES256")


def test_keys_that_may_not_sign_are_left_out():
    good = KEY.jwk()
    weak = SigningKey("k1", rsa.generate_private_key(65537, 1024)).jwk()
    for document in (
        {**good, "use": "enc"}, {**good, "alg": "RS512"}, {**good, "key_ops": ["sign"]}, weak,
        {**good, "kty": "oct", "k": "AAAA"}, {**good, "n": "!"}, {**good, "kid": 7},
        {"kty": "oct", "kid": "k1", "k": b64(PEM)}, {"kty": "RSA"}, {}, None, "k1", 7,
    ):  # fmt: skip
        assert usable_keys([document], "RS256") == []
    assert len(usable_keys([good], "RS256")) == 1
    assert usable_keys([EC.jwk() | {"crv": "P-384"}], "ES256") == []


@given(st.integers(0, len(GOOD) - 1), st.sampled_from("ABab01-_."))
def test_no_other_letter_anywhere_passes(at, letter):
    changed = GOOD[:at] + letter + GOOD[at + 1 :]
    try:
        assert read(changed) == CLAIMS
        # the last letter of a part holds bits that base64 leaves unused
        assert changed == GOOD or at + 1 == len(GOOD)
    except SignInFailed:
        assert changed != GOOD
