"""A small certificate authority in a folder, which issues one short-lived server certificate."""

from __future__ import annotations

import ipaddress
import os
import socket
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from modelry.adapters.blobs.durable import exclusively, sync_folder
from modelry.adapters.tls.reading import read_certificates, read_key

AUTHORITY_LIFE = timedelta(days=3650)
CERTIFICATE_LIFE = timedelta(days=30)
RENEW_BEFORE = timedelta(days=10)
"""Time before its end at which a certificate is made anew."""
_CLOCKS_DIFFER = timedelta(hours=1)
EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared with, not listened on


class OwnAuthority:
    """Certificates for one server, below one folder.

    Clients trust `ca_file` once; the server's certificate changes under it.

    Args:
        folder: made for its owner alone if it is not there.
        names: host names and addresses that clients may use.
        clock: gives the time.
    """

    def __init__(
        self,
        folder: Path,
        names: Iterable[str],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.ca_file = folder / "ca.pem"
        self.certificate_file = folder / "server.pem"
        self.key_file = folder / "server-key.pem"
        self._folder = folder
        self._ca_key_file = folder / "ca-key.pem"
        self._names = sorted(set(names))
        self._clock = clock

    def renew(self) -> bool:
        """Make what is missing, ends soon or is for other names; whether anything was made.

        Raises:
            Conflict: a file is there and cannot be used.
            OSError: the folder cannot be written.
        """
        for folder in (self._folder.parent, self._folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with exclusively(self._folder / "lock"):
            is_new = self._needs_authority()
            if is_new:
                self._make_authority()
            if not is_new and not self._needs_certificate():
                return False
            self._make_certificate()
            return True

    def _needs_authority(self) -> bool:
        if not self.ca_file.exists() or not self._ca_key_file.exists():
            return True
        (certificate, *_) = read_certificates(self.ca_file)
        return certificate.not_valid_after_utc - self._clock() < CERTIFICATE_LIFE

    def _needs_certificate(self) -> bool:
        if not self.certificate_file.exists() or not self.key_file.exists():
            return True
        certificate, authority, *_ = read_certificates(self.certificate_file)
        if certificate.not_valid_after_utc - self._clock() < RENEW_BEFORE:
            return True
        if authority.public_key() != read_certificates(self.ca_file)[0].public_key():
            return True
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return set(names.value) != set(map(_general_name, self._names))

    def _make_authority(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, f"Modelry authority {uuid.uuid4().hex[:8]}")]
        )
        certificate = (
            self._builder(name, name, key.public_key(), AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        # the certificate last: with it the authority counts as made
        self._write(self._ca_key_file, _pem_of_key(key), 0o600)
        self._write(self.ca_file, _pem_of(certificate), 0o644)

    def _make_certificate(self) -> None:
        (authority, *_) = read_certificates(self.ca_file)
        authority_key = read_key(self._ca_key_file)
        if not isinstance(authority_key, ec.EllipticCurvePrivateKey):
            raise TypeError("the authority's key is none that was made here")
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Modelry server")])
        issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
        certificate = (
            self._builder(name, authority.subject, key.public_key(), CERTIFICATE_LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(issuer_id, critical=False)
            .add_extension(
                x509.SubjectAlternativeName(map(_general_name, self._names)), critical=False
            )
            .sign(authority_key, hashes.SHA256())
        )
        # a server that reads in between finds that the two do not fit, and reads again
        self._write(self.key_file, _pem_of_key(key), 0o600)
        self._write(self.certificate_file, _pem_of(certificate) + _pem_of(authority), 0o644)

    def _builder(
        self, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, life: timedelta
    ) -> x509.CertificateBuilder:
        now = self._clock()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCKS_DIFFER)
            .not_valid_after(now + life)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )

    def _write(self, path: Path, content: bytes, mode: int) -> None:
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            os.write(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        sync_folder(self._folder)


def names_of(host: str, more: Iterable[str] = ()) -> set[str]:
    """What a server that listens on `host` may be called.

    Args:
        host: the address or name that it listens on.
        more: further names; those that stand for several (`*`, `.example.com`) are left out.
    """
    names = {"localhost", "127.0.0.1", "::1"}
    names |= {name for name in more if name and not name.startswith((".", "*"))}
    plain = host.strip("[]")
    if plain not in EVERYWHERE:
        return names | {plain}
    names.add(socket.gethostname())
    for addresses in psutil.net_if_addrs().values():
        for one in addresses:
            if one.family in (socket.AF_INET, socket.AF_INET6):
                names.add(one.address.split("%")[0])
    return names


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem_of(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
