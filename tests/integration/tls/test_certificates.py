"""Own certificates, and what is wrong with those of others."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from tests.support.certificates import NAMES, issue, replace_pair

from modelry.adapters.tls.issuing import CERTIFICATE_LIFE, OwnAuthority, names_of
from modelry.adapters.tls.live import LiveCertificate
from modelry.adapters.tls.reading import read_certificates, read_key
from modelry.domain.errors import Conflict


def leaf(authority: OwnAuthority) -> x509.Certificate:
    return read_certificates(authority.certificate_file)[0]


def test_a_certificate_is_for_its_names_and_verifies_under_the_strictest_rules(tmp_path):
    authority = issue(tmp_path / "tls")
    certificate = leaf(authority)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    (root,) = read_certificates(authority.ca_file)
    certificate.verify_directly_issued_by(root)
    store = x509.verification.Store([root])
    builder = x509.verification.PolicyBuilder().store(store)
    builder.build_server_verifier(x509.DNSName("localhost")).verify(certificate, [])
    assert certificate.not_valid_after_utc - datetime.now(UTC) <= CERTIFICATE_LIFE


def test_keys_are_for_their_owner_alone(tmp_path):
    authority = issue(tmp_path / "tls")
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o700
    for path in (authority.key_file, tmp_path / "tls" / "ca-key.pem"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_is_made_twice(tmp_path):
    first = leaf(issue(tmp_path / "tls"))
    again = OwnAuthority(tmp_path / "tls", NAMES)
    assert not again.renew()
    assert leaf(again) == first


def test_an_expired_certificate_is_renewed_under_the_same_authority(tmp_path):
    old = issue(tmp_path / "tls", ago=timedelta(days=40))
    before, trusted = leaf(old), old.ca_file.read_bytes()
    assert before.not_valid_after_utc < datetime.now(UTC)
    now = OwnAuthority(tmp_path / "tls", NAMES)
    assert now.renew()
    assert leaf(now).not_valid_after_utc > datetime.now(UTC)
    assert leaf(now).public_key() != before.public_key()
    assert now.ca_file.read_bytes() == trusted


def test_an_authority_that_ends_is_replaced(tmp_path):
    old = issue(tmp_path / "tls", ago=timedelta(days=3640))
    trusted = old.ca_file.read_bytes()
    now = OwnAuthority(tmp_path / "tls", NAMES)
    assert now.renew()
    assert now.ca_file.read_bytes() != trusted
    leaf(now).verify_directly_issued_by(read_certificates(now.ca_file)[0])


def test_other_names_get_another_certificate(tmp_path):
    issue(tmp_path / "tls")
    moved = OwnAuthority(tmp_path / "tls", (*NAMES, "models.example"))
    assert moved.renew()
    assert not moved.renew()


def test_a_crash_in_the_middle_is_mended(tmp_path):
    for missing in ("ca.pem", "ca-key.pem", "server.pem", "server-key.pem"):
        authority = issue(tmp_path / missing)
        (tmp_path / missing / missing).unlink()
        assert authority.renew()
        LiveCertificate(authority.certificate_file, authority.key_file)
        leaf(authority).verify_directly_issued_by(read_certificates(authority.ca_file)[0])


def test_names_of_a_server():
    assert names_of("10.1.2.3", ("a.example", ".b.example", "*")) == {
        "localhost", "127.0.0.1", "::1", "10.1.2.3", "a.example",
    }  # fmt: skip
    assert names_of("0.0.0.0") > {"localhost", "127.0.0.1", "::1"}
    assert "0.0.0.0" not in names_of("0.0.0.0")


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    folder = tmp_path / "pair"
    folder.mkdir()
    replace_pair(folder, issue(tmp_path / "made"))
    return folder


def opened(pair: Path) -> LiveCertificate:
    return LiveCertificate(pair / "cert.pem", pair / "key.pem")


def test_what_is_wrong_with_files_is_told(pair: Path, tmp_path: Path):
    opened(pair)
    key, certificate = pair / "key.pem", pair / "cert.pem"
    good_key, good_certificate = key.read_bytes(), certificate.read_bytes()

    key.chmod(0o640)
    with pytest.raises(Conflict, match=r"may be read by others \(mode 0640\)"):
        opened(pair)
    key.chmod(0o600)

    other = issue(tmp_path / "other")
    key.write_bytes(other.key_file.read_bytes())
    with pytest.raises(Conflict, match="is not the one of the certificate"):
        opened(pair)

    encrypted = read_key(other.key_file).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    key.write_bytes(encrypted)
    with pytest.raises(Conflict, match="is encrypted"):
        opened(pair)

    key.write_text("nothing")
    with pytest.raises(Conflict, match="holds no private key"):
        opened(pair)
    key.write_bytes(good_key)

    certificate.write_text("nothing")
    with pytest.raises(Conflict, match="holds no certificate"):
        opened(pair)
    certificate.unlink()
    with pytest.raises(Conflict, match="No such file") as missing:
        opened(pair)
    assert str(tmp_path) not in missing.value.message
    certificate.write_bytes(good_certificate)

    replace_pair(pair, issue(tmp_path / "old", ago=timedelta(days=50)))
    with pytest.raises(Conflict, match=r"ended on \d{4}-\d\d-\d\d"):
        opened(pair)


def test_changed_files_are_taken_and_broken_ones_are_not(pair: Path, tmp_path: Path, caplog):
    live = opened(pair)
    before = live.pair()
    (pair / "cert.pem").write_text("half a certifi")
    live.refresh()
    assert live.pair() == before
    assert "the old one goes on" in caplog.text
    caplog.clear()
    live.refresh()
    assert not caplog.text  # told once

    new = issue(tmp_path / "new")
    replace_pair(pair, new)
    live.refresh()
    assert live.pair() == (new.key_file.read_bytes(), new.certificate_file.read_bytes())


def test_the_context_takes_tls_1_2_and_sound_suites_alone(pair: Path):
    context = opened(pair).context
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    for suite in context.get_ciphers():
        name = suite["name"]
        assert name.startswith(("TLS_", "ECDHE-")), name
        assert any(part in name for part in ("GCM", "CHACHA20", "CCM")), name
