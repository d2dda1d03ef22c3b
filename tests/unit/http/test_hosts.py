import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelry.domain.errors import MalformedBody, Misdirected
from modelry.protocols.http.hosts import Authority, HostList, parse_authority, same_place

label = st.from_regex(r"[a-z0-9]([a-z0-9_-]{0,20}[a-z0-9])?", fullmatch=True)
names = st.lists(label, min_size=1, max_size=4).map(".".join)
ports = st.none() | st.integers(1, 65535)
addresses = st.ip_addresses(v=6)


def written(host, port):
    return f"{host}" if port is None else f"{host}:{port}"


@given(names, ports, st.booleans())
def test_names_are_read_in_any_case(name, port, is_upper):
    text = written(name.upper() if is_upper else name, port)
    assert parse_authority(text.encode()) == Authority(name, port)


@given(addresses, ports)
def test_one_address_is_one_host_however_it_is_written(address, port):
    for text in (address.compressed, address.exploded, address.exploded.upper()):
        parsed = parse_authority(written(f"[{text}]", port).encode())
        assert parsed == Authority(address.compressed, port) or address.ipv4_mapped is not None


@given(st.binary(max_size=40))
def test_whatever_is_sent_is_told_or_answered(raw):
    hosts = HostList.listening_on("127.0.0.1", ["models.example.com"])
    parsed = parse_authority(raw)
    try:
        assert hosts.check([raw], is_required=True) == parsed
    except MalformedBody:
        assert parsed is None
    except Misdirected:
        assert parsed is not None
    else:
        assert parsed.host in {"127.0.0.1", "localhost", "::1", "models.example.com"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"local host",
        b"localhost ",
        b"user@localhost",
        b"user:secret@localhost",
        b"localhost:",
        b"localhost:x",
        b"localhost:0",
        b"localhost:65536",
        b"localhost:99999999",
        b"localhost:80:80",
        b"localhost..",
        b".localhost",
        b"local\x00host",
        b"local\r\nhost",
        "löcalhost".encode(),
        "localhost\u3002".encode(),
        b"localhost/",
        b"localhost#a",
        b"localhost\\@evil.example",
        b"localhost,evil.example",
        b"[::1",
        b"::1",
        b"[::1%25lo]",
        b"[::g]",
        b"-localhost",
        b"a" * 64,
        b".".join([b"a" * 60] * 5),
    ],
)
def test_what_is_no_host_is_refused(raw):
    with pytest.raises(MalformedBody):
        HostList.listening_on("127.0.0.1", ["*"]).check([raw], is_required=True)


@pytest.mark.parametrize("values", [[], [b"localhost", b"localhost"], [b"localhost", b"evil"]])
def test_exactly_one_host_is_expected(values):
    with pytest.raises(MalformedBody, match="exactly one"):
        HostList.listening_on("127.0.0.1").check(values, is_required=True)


@pytest.mark.parametrize(
    ("listens_on", "others", "public_url", "host", "is_answered"),
    [
        ("127.0.0.1", (), None, "localhost", True),
        ("127.0.0.1", (), None, "127.0.0.1", True),
        ("127.0.0.1", (), None, "::1", True),
        ("127.0.0.1", (), None, "127.0.0.2", False),
        ("127.0.0.1", (), None, "localhost.evil.example", False),
        ("127.0.0.1", (), None, "2130706433", False),
        ("127.0.0.1", (), None, "0x7f.1", False),
        ("127.0.0.1", (), "https://models.example.com:8443", "models.example.com", True),
        ("127.0.0.1", ("models.example.com",), None, "models.example.com", True),
        ("127.0.0.1", ("models.example.com",), None, "a.models.example.com", False),
        ("127.0.0.1", (".example.com",), None, "a.b.example.com", True),
        ("127.0.0.1", (".example.com",), None, "example.com", False),
        ("127.0.0.1", (".example.com",), None, "badexample.com", False),
        ("127.0.0.1", ("*",), None, "anything", True),
        ("0.0.0.0", (), None, "192.168.1.7", True),
        ("0.0.0.0", (), None, "fe80::1", True),
        ("0.0.0.0", (), None, "rebound.example", False),
        ("0.0.0.0", (), None, socket.gethostname().lower(), True),
        ("::", (), None, "192.168.1.7", True),
        ("192.168.1.7", (), None, "192.168.1.7", True),
        ("192.168.1.7", (), None, "192.168.1.8", False),
        ("[::1]", (), None, "::1", True),
    ],
)
def test_which_hosts_are_answered(listens_on, others, public_url, host, is_answered):
    assert HostList.listening_on(listens_on, others, public_url).has(host) is is_answered


@pytest.mark.parametrize(
    ("origin", "host", "is_same"),
    [
        (b"http://localhost:8080", b"localhost:8080", True),
        (b"https://models.example.com", b"models.example.com", True),
        (b"https://models.example.com", b"models.example.com:443", True),
        (b"http://[::1]:8080", b"[0:0::1]:8080", True),
        (b"http://localhost:8081", b"localhost:8080", False),
        (b"http://evil.example", b"localhost", False),
        (b"http://localhost.evil.example:8080", b"localhost:8080", False),
        (b"null", b"localhost", False),
        (b"", b"localhost", False),
        (b"file://localhost", b"localhost", False),
        (b"http://a@localhost", b"localhost", False),
    ],
)
def test_origins_are_compared_by_host_and_port(origin, host, is_same):
    assert same_place(origin, parse_authority(host)) is is_same
