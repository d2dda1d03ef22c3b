import ipaddress
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from tests.support.fetching import CONTENT
from tests.support.web_places import Served, place_on_loopback

from modelry.adapters.hubs import guard
from modelry.adapters.hubs.guard import is_public
from modelry.domain.errors import InvalidInput, SourceUnavailable

PRIVATE = [
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16",
    "100.64.0.0/10", "0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "198.18.0.0/15",
]  # fmt: skip


def addresses_in(network: str) -> st.SearchStrategy[ipaddress.IPv4Address]:
    return st.ip_addresses(network=network)


@given(st.sampled_from(PRIVATE).flatmap(addresses_in))
def test_private_addresses_are_seen_through_every_wrapping(address):
    number = int(address)
    wrapped = [
        str(address),
        f"::ffff:{address}",
        str(ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) | number)),
        str(ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b:1::")) | number)),
        str(ipaddress.IPv6Address((0x2002 << 112) | (number << 80))),
        str(ipaddress.IPv6Address(number)),
    ]
    assert not any(is_public(text) for text in wrapped)


@pytest.mark.parametrize(
    "address", ["::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1", "2001::1", "2001:db8::1"]
)
def test_private_ipv6(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2600::1", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses(address):
    assert is_public(address)


@pytest.fixture
def guarded(fetch, monkeypatch):
    """Fetches with private hosts refused, where 127.0.0.1 counts as public."""
    fetch.policy = replace(fetch.policy, allow_private_hosts=False)
    monkeypatch.setattr(guard, "is_public", lambda address: address == "127.0.0.1")
    return fetch


def test_a_public_host_is_fetched_from(guarded, place):
    place.paths["/m"] = Served(CONTENT)
    assert guarded(place.url + "/m") == CONTENT


@pytest.mark.parametrize("host", ["127.0.0.2", "127.2", "[::1]", "2130706434", "0x7f000002"])
def test_private_hosts_are_refused_however_they_are_written(guarded, place, host):
    port = place.url.rpartition(":")[2]
    with pytest.raises(InvalidInput, match="private"):
        guarded(f"http://{host}:{port}/m")
    assert place.seen == []


def test_a_redirect_to_a_private_host_is_refused(guarded, place):
    port = place.url.rpartition(":")[2]
    place.paths["/m"] = Served(status=302, location=f"http://127.0.0.2:{port}/secret")
    place.paths["/secret"] = Served(b"secret")
    with pytest.raises(InvalidInput, match="private"):
        guarded(place.url + "/m")
    assert len(place.seen) == 1


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://host/x", "//", "http://a:b@c/"])
def test_a_redirect_to_something_else_is_refused(guarded, place, target):
    place.paths["/m"] = Served(status=302, location=target)
    with pytest.raises((InvalidInput, SourceUnavailable)):
        guarded(place.url + "/m")


def test_redirects_are_followed_and_bounded(fetch, place):
    place.paths["/a"] = Served(status=302, location="/b")
    place.paths["/b"] = Served(status=307, location=place.url + "/m")
    place.paths["/m"] = Served(CONTENT)
    place.paths["/loop"] = Served(status=302, location="/loop")
    assert fetch(place.url + "/a") == CONTENT
    with pytest.raises(SourceUnavailable, match="redirected"):
        fetch(place.url + "/loop")


def test_a_name_that_changes_its_answer_gains_nothing(guarded, place, monkeypatch):
    port = int(place.url.rpartition(":")[2])
    place.paths["/m"] = Served(CONTENT)
    answers = iter(["127.0.0.1", "127.0.0.2"])
    real = socket.getaddrinfo

    def rebinding(host, *arguments, **options):
        return real(next(answers) if host == "rebind.test" else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    assert guarded(f"http://rebind.test:{port}/m") == CONTENT
    assert place.seen[0].headers["host"] == f"rebind.test:{port}"
    assert next(answers) == "127.0.0.2"  # it was not asked again


def test_plain_http_is_refused_by_default(fetch, place):
    fetch.policy = replace(fetch.policy, allow_plain_http=False)
    with pytest.raises(InvalidInput, match="https://"):
        fetch(place.url + "/m")


def test_tls_verifies_the_name(fetch, tmp_path, monkeypatch):
    certificate = tmp_path / "server.pem"
    certificate.write_bytes(_self_signed("localhost"))
    with place_on_loopback(certificate) as place:
        place.paths["/m"] = Served(CONTENT)
        with pytest.raises(SourceUnavailable, match="certificate is not trusted"):
            fetch(place.url + "/m")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert fetch(place.url + "/m") == CONTENT
        with pytest.raises(SourceUnavailable, match="certificate is not trusted"):
            fetch(place.url.replace("localhost", "127.0.0.1") + "/m")


def _self_signed(host: str) -> bytes:
    """A certificate for `host` and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + secret
