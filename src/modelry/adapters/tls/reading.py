"""Certificates and keys from PEM files, with what is wrong in words for the operator."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from modelry.domain.errors import Conflict

MAX_BYTES = 2**20


def read_certificates(path: Path) -> list[x509.Certificate]:
    """The certificate in `path` and those that it is vouched for by; at least one.

    Raises:
        Conflict: it cannot be read, or holds none.
    """
    raw = _read(path, "certificate file")
    try:
        return x509.load_pem_x509_certificates(raw)
    except ValueError:
        raise Conflict(
            f"The certificate file '{path.name}' holds no certificate that can be read; expected "
            "PEM text: the server's certificate first, then those of its issuers.",
            param="tls_cert",
        ) from None


def read_key(path: Path) -> PrivateKeyTypes:
    """The private key in `path`.

    Raises:
        Conflict: it cannot be read, is encrypted, or others may read the file.
    """
    raw = _read(path, "key file", is_secret=True)
    try:
        return serialization.load_pem_private_key(raw, password=None)
    except TypeError:
        raise Conflict(
            f"The key file '{path.name}' is encrypted; the server cannot ask for the passphrase. "
            "Give it a key without one, in a file that the server's user alone can read.",
            param="tls_key",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise Conflict(
            f"The key file '{path.name}' holds no private key that can be read; expected PEM text.",
            param="tls_key",
        ) from None


def check_pair(certificate_file: Path, key_file: Path) -> x509.Certificate:
    """The server's certificate, if it and its key can be used now.

    Raises:
        Conflict: they do not belong together, or the certificate is not valid now.
    """
    (certificate, *_) = read_certificates(certificate_file)
    if read_key(key_file).public_key() != certificate.public_key():
        raise Conflict(
            f"The key in '{key_file.name}' is not the one of the certificate in "
            f"'{certificate_file.name}'. Name the files of one pair with --tls-cert and --tls-key.",
            param="tls_key",
        )
    now = datetime.now(UTC)
    if certificate.not_valid_after_utc < now:
        raise Conflict(
            f"The certificate in '{certificate_file.name}' ended on "
            f"{certificate.not_valid_after_utc:%Y-%m-%d}; renew it.",
            param="tls_cert",
        )
    if certificate.not_valid_before_utc > now:
        raise Conflict(
            f"The certificate in '{certificate_file.name}' begins on "
            f"{certificate.not_valid_before_utc:%Y-%m-%d}; is the clock of this machine right?",
            param="tls_cert",
        )
    return certificate


def _read(path: Path, what: str, *, is_secret: bool = False) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise Conflict(f"The {what} '{path.name}' cannot be read: {error.strerror}.") from None
    with os.fdopen(descriptor, "rb") as opened:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise Conflict(f"The {what} '{path.name}' is no file.")
        if is_secret and stat.S_IMODE(mode) & 0o077:
            raise Conflict(
                f"The {what} '{path.name}' may be read by others (mode {stat.S_IMODE(mode):04o}). "
                "Give it the mode 0600, and renew the certificate if somebody else could have "
                "read it.",
                param="tls_key",
            )
        return opened.read(MAX_BYTES)
