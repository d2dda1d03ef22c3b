"""The certificate in use, read again when its files change; open connections keep what they had."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from modelry.adapters.tls.reading import check_pair
from modelry.domain.errors import Conflict

log = logging.getLogger(__name__)

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2; all suites of TLS 1.3 are sound."""
WARN_BEFORE = timedelta(days=7)
_Stamp = tuple[tuple[int, int, int], ...]


class LiveCertificate:
    """A certificate and its key, for servers that listen with TLS.

    Args:
        certificate_file: PEM, the server's certificate first.
        key_file: PEM, without passphrase, for its owner alone.
        ca_file: what clients must trust, if it is an authority of our own.
        renew: makes files anew that end soon.

    Raises:
        Conflict: the files cannot be used.
    """

    def __init__(
        self,
        certificate_file: Path,
        key_file: Path,
        *,
        ca_file: Path | None = None,
        renew: Callable[[], object] | None = None,
    ) -> None:
        self.ca_file = ca_file
        self._files = (certificate_file, key_file)
        self._renew = renew
        self._stamp = self._seen = self._look()
        self._current, self._pair = self._load()
        self.context = _context()
        self.context.load_cert_chain(certificate_file, key_file)
        self.context.sni_callback = self._choose
        self._warned_on: object = None

    def pair(self) -> tuple[bytes, bytes]:
        """Key and certificates as PEM, for servers that take no context."""
        return self._pair

    def _choose(self, connection: ssl.SSLObject, _name: object, _context: object) -> None:
        """Called by OpenSSL at the start of every handshake, with or without a server name."""
        connection.context = self._current

    def refresh(self) -> None:
        """Renew and read again what needs it; what is wrong is logged, and the old one goes on."""
        try:
            if self._renew is not None:
                self._renew()
            seen = self._look()
            if seen == self._stamp:
                return
            self._current, self._pair = self._load()
            self._stamp = self._seen = seen
            log.info("the TLS certificate was read again")
        except (OSError, Conflict) as error:
            if (seen := self._look()) != self._seen:
                self._seen = seen
                log.error("the TLS certificate was not taken, the old one goes on: %s", error)  # noqa: TRY400 - for the operator

    def _load(self) -> tuple[ssl.SSLContext, tuple[bytes, bytes]]:
        certificate_file, key_file = self._files
        certificate = check_pair(certificate_file, key_file)
        if certificate.not_valid_after_utc - datetime.now(UTC) < WARN_BEFORE:
            log.warning("the TLS certificate ends on %s", certificate.not_valid_after_utc)
        context = _context()
        try:
            context.load_cert_chain(certificate_file, key_file)
        except ssl.SSLError as error:
            raise Conflict(
                f"The certificate in '{certificate_file.name}' cannot be used: "
                f"{error.reason or 'refused by OpenSSL'}.",
                param="tls_cert",
            ) from None
        return context, (key_file.read_bytes(), certificate_file.read_bytes())

    def _look(self) -> _Stamp:
        found = []
        for path in self._files:
            try:
                at = path.stat()
            except OSError:
                found.append((0, 0, 0))
            else:
                found.append((at.st_ino, at.st_mtime_ns, at.st_size))
        return tuple(found)


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    return context
