"""Which combinations of addresses and TLS a server starts with."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from modelry.settings import Settings

PAIR = {"tls_cert": Path("cert.pem"), "tls_key": Path("key.pem")}


@pytest.mark.parametrize(
    ("given", "is_allowed"),
    [
        ({"host": "127.0.0.1"}, True),
        ({"host": "0.0.0.0"}, False),
        ({"host": "0.0.0.0", "insecure": True}, True),
        ({"host": "0.0.0.0", "tls": "auto"}, True),
        ({"host": "0.0.0.0", **PAIR}, True),
        ({"host": "::", "tls": "off"}, False),
        ({"tls_cert": Path("cert.pem")}, False),
        ({"tls_key": Path("key.pem")}, False),
        ({"tls": "auto", **PAIR}, False),
        ({"tls": "always"}, False),
    ],
)
def test_combinations(given, is_allowed):
    if is_allowed:
        Settings(**given)
    else:
        with pytest.raises(ValidationError):
            Settings(**given)


def test_the_way_out_is_told():
    with pytest.raises(ValidationError, match="--tls auto or --tls-cert and --tls-key"):
        Settings(host="0.0.0.0")
