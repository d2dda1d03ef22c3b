"""Which certificate the ports show, by the settings."""

from __future__ import annotations

from urllib.parse import urlsplit

from modelry.adapters.data_folder import DataFolder
from modelry.adapters.tls.issuing import OwnAuthority, names_of
from modelry.adapters.tls.live import LiveCertificate
from modelry.domain.errors import Conflict
from modelry.settings import Settings


def open_certificate(settings: Settings, folder: DataFolder) -> LiveCertificate | None:
    """The certificate to listen with; None for plain connections.

    Raises:
        Conflict: its files cannot be used, or our own cannot be made.
    """
    if settings.tls_cert is not None and settings.tls_key is not None:
        return LiveCertificate(settings.tls_cert.expanduser(), settings.tls_key.expanduser())
    if settings.tls == "off":
        return None
    public = urlsplit(settings.public_url).hostname if settings.public_url else None
    names = names_of(settings.host, (*settings.allowed_hosts, public or ""))
    authority = OwnAuthority(folder.tls, names)
    try:
        authority.renew()
    except OSError as error:
        raise Conflict(
            f"The server's own certificate cannot be kept in the data folder ({error.strerror})."
        ) from None
    return LiveCertificate(
        authority.certificate_file,
        authority.key_file,
        ca_file=authority.ca_file,
        renew=authority.renew,
    )
