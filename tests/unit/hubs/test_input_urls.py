"""URLs that callers name lead to what the operator allows, and to nothing else."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.web_places import Place, Served

from modelry.adapters.hubs import guard
from modelry.adapters.hubs.inputs import GuardedInputs
from modelry.adapters.hubs.types import FetchPolicy
from modelry.domain.errors import (
    DeadlineExceeded,
    InvalidInput,
    ModelryError,
    NotSupported,
    Overloaded,
    PayloadTooLarge,
    SourceUnavailable,
)
from modelry.services.inference.inputs import MAX_URLS, MOST_AT_ONCE, InputUrl, InputUrls

pytestmark = pytest.mark.anyio
IMAGE = b"\x89PNG and so on"
POLICY = FetchPolicy(
    allow_plain_http=True, max_bytes=100_000, connect_timeout_s=2, stall_timeout_s=0.3,
    max_duration_s=0.6,
)  # fmt: skip
PNG = {"Content-Type": "image/png"}


@pytest.fixture(autouse=True)
def one_public_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.1 counts as public; all other loopback addresses are as private as they are."""
    monkeypatch.setattr(guard, "is_public", lambda address: address == "127.0.0.1")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, Iterator[str]]:
    """Names and what they resolve to, question by question."""
    found: dict[str, Iterator[str]] = {}
    real = socket.getaddrinfo

    def resolve(host: str, *arguments: Any, **options: Any) -> Any:
        return real(next(found[host]) if host in found else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return found


def inputs(*hosts: str) -> GuardedInputs:
    return GuardedInputs(hosts or ("127.0.0.1", "localhost", ".test"), POLICY)


def port_of(place: Place) -> str:
    return place.url.rpartition(":")[2]


def test_an_image_is_fetched(place: Place) -> None:
    place.paths["/a.png"] = Served(IMAGE, headers=PNG)
    assert inputs().fetch(f"http://127.0.0.1:{port_of(place)}/a.png", "image") == IMAGE
    assert "authorization" not in place.seen[0].headers
    assert "cookie" not in place.seen[0].headers


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.2", "127.2", "2130706434", "0x7f000002", "0177.0.0.2", "[::1]", "[::]", "0.0.0.0",
        "[::ffff:127.0.0.2]", "[::ffff:7f00:2]", "[64:ff9b::7f00:2]", "[2002:7f00:2::]",
        "[fe80::1%25lo]", "169.254.169.254", "10.0.0.1", "[fd00:ec2::254]", "nowhere.invalid",
    ],
)  # fmt: skip
def test_private_addresses_are_refused_however_they_are_written(place: Place, host: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        inputs("*").fetch(f"http://{host}:{port_of(place)}/a.png", "image[3]")
    assert refused.value.param == "image[3]"
    assert "private" not in refused.value.message
    assert place.seen == []


def test_a_name_that_is_public_when_asked_first_gains_nothing(
    place: Place, names: dict[str, Iterator[str]]
) -> None:
    place.paths["/a.png"] = Served(IMAGE, headers=PNG)
    names["rebind.test"] = answers = iter(["127.0.0.1", "127.0.0.2"])
    url = f"http://rebind.test:{port_of(place)}/a.png"
    assert inputs().fetch(url, "image") == IMAGE
    assert next(answers) == "127.0.0.2"  # it was not asked again
    names["rebind.test"] = iter(["127.0.0.2", "127.0.0.1"])
    with pytest.raises(InvalidInput, match="no public address"):
        inputs().fetch(url, "image")


def test_each_redirect_is_resolved_and_checked_anew(
    place: Place, names: dict[str, Iterator[str]]
) -> None:
    port = port_of(place)
    place.paths["/a.png"] = Served(IMAGE, headers=PNG)
    place.paths["/hop"] = Served(status=302, location=f"http://rebind.test:{port}/a.png")
    names["rebind.test"] = iter(["127.0.0.1", "127.0.0.2"])
    with pytest.raises(InvalidInput, match="no public address"):
        inputs().fetch(f"http://rebind.test:{port}/hop", "image")
    assert [seen.path for seen in place.seen] == ["/hop"]


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.2:{}/a.png", "http://other.example/a.png", "file:///etc/passwd",
        "gopher://127.0.0.1:{}/", "http://a:b@127.0.0.1:{}/a.png", "//127.0.0.2:{}/a.png",
        "http://127.0.0.1:{}@evil.example/", "http://[::1]:{}/a.png", "http://:{}/",
    ],
)  # fmt: skip
def test_redirects_lead_nowhere_else(place: Place, target: str) -> None:
    port = port_of(place)
    place.paths["/a.png"] = Served(IMAGE, headers=PNG)
    place.paths["/hop"] = Served(status=302, location=target.format(port))
    with pytest.raises((InvalidInput, SourceUnavailable)):
        inputs().fetch(f"http://127.0.0.1:{port}/hop", "image")
    assert [seen.path for seen in place.seen] == ["/hop"]


@pytest.mark.parametrize(
    ("hosts", "host", "is_allowed"),
    [
        (["cdn.test"], "cdn.test", True),
        (["cdn.test"], "CDN.test", True),
        (["cdn.test"], "cdn.test.", True),
        (["cdn.test"], "a.cdn.test", False),
        (["cdn.test"], "evil-cdn.test", False),
        (["cdn.test"], "cdn.test.evil.test", False),
        ([".cdn.test"], "a.b.cdn.test", True),
        ([".cdn.test"], "cdn.test", False),
        (["*"], "anything.test", True),
    ],
)
def test_only_named_hosts_are_asked(
    place: Place, names: dict[str, Iterator[str]], hosts: list[str], host: str, is_allowed: bool
) -> None:
    place.paths["/a.png"] = Served(IMAGE, headers=PNG)
    names[host] = names[host.lower()] = iter(["127.0.0.1"] * 4)
    url = f"http://{host}:{port_of(place)}/a.png"
    if is_allowed:
        assert inputs(*hosts).fetch(url, "image") == IMAGE
    else:
        with pytest.raises(InvalidInput, match="MODELRY_ALLOW_INPUT_URLS"):
            inputs(*hosts).fetch(url, "image")
        assert place.seen == []


@pytest.mark.parametrize(
    "url",
    [
        "http://host.example/a.png", "https://host.example:8443/a", "https://host.example:22/",
        "ftp://host.example/a", "https://", "https:///a", "https://user@host.example/",
        "https://a b/",
        "https://host.example/" + "a" * 3000, "https://höst.example/", "https://host.example/\n",
    ],
)  # fmt: skip
def test_by_default_only_plain_https_urls_are_fetched(url: str) -> None:
    with pytest.raises(InvalidInput):
        GuardedInputs(["*"]).fetch(url, "image")


@pytest.mark.parametrize(
    ("served", "error"),
    [
        (Served(IMAGE, headers={"Content-Type": "text/html"}), InvalidInput),
        (Served(IMAGE), InvalidInput),
        (Served(IMAGE, headers={**PNG, "Content-Encoding": "gzip"}), InvalidInput),
        (Served(b"", headers=PNG), InvalidInput),
        (Served(IMAGE, headers=PNG, status=404), InvalidInput),
        (Served(b"a" * 100_001, headers=PNG), PayloadTooLarge),
        (Served(b"a" * 200_000, headers=PNG, is_chunked=True), PayloadTooLarge),
        (Served(IMAGE, headers=PNG, cuts=[3]), SourceUnavailable),
    ],
)
def test_answers_that_are_no_input_are_told(place: Place, served: Served, error: type) -> None:
    place.paths["/a.png"] = served
    with pytest.raises(error):
        inputs().fetch(f"http://127.0.0.1:{port_of(place)}/a.png", "image")


def test_a_host_that_drips_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n")
                try:
                    for _ in range(100):
                        connection.sendall(b"a")
                        stop.wait(0.05)
                except OSError:
                    return

        stop = threading.Event()
        dripping = threading.Thread(target=drip)
        dripping.start()
        with pytest.raises((DeadlineExceeded, SourceUnavailable)):
            inputs().fetch(f"http://127.0.0.1:{listener.getsockname()[1]}/a.png", "image")
        stop.set()
        dripping.join()


class Fetched:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def fetch(self, url: str, param: str) -> bytes:
        self.asked.append(url)
        return url.encode()


async def test_urls_are_refused_unless_they_are_allowed() -> None:
    items = [{"image": InputUrl("https://a/", "image")}]
    with pytest.raises(NotSupported, match="MODELRY_ALLOW_INPUT_URLS"):
        await InputUrls(None, 1000).fetched(items)
    assert await InputUrls(None, 1000).fetched([{"image": IMAGE}]) == [{"image": IMAGE}]


async def test_each_url_is_fetched_once_and_within_bounds() -> None:
    fetcher = Fetched()
    items = [{"image": InputUrl("https://a/", "image")}, {"image": b"x"}] * 3
    found = await InputUrls(fetcher, 1000).fetched(items)
    assert found == [{"image": b"https://a/"}, {"image": b"x"}] * 3
    assert fetcher.asked == ["https://a/"]
    for most, count, error in ((1000, MAX_URLS + 1, InvalidInput), (15, 2, PayloadTooLarge)):
        many = [{"image": InputUrl(f"https://{at}/", f"image[{at}]")} for at in range(count)]
        with pytest.raises(error) as refused:
            await InputUrls(fetcher, most).fetched(many)
        assert isinstance(refused.value, ModelryError)
        assert refused.value.param


async def test_callers_who_leave_do_not_get_more_than_their_share() -> None:
    may_end = threading.Event()

    class Slow:
        started = 0

        def fetch(self, url: str, param: str) -> bytes:
            self.started += 1
            assert may_end.wait(20)
            return b"x"

    fetcher = Slow()
    urls = InputUrls(fetcher, 1000)
    items = [{"image": InputUrl("https://a/", "image")}]
    for _ in range(MOST_AT_ONCE):
        before = fetcher.started
        asking = asyncio.create_task(urls.fetched(items))
        while fetcher.started == before:
            await asyncio.sleep(0.001)
        asking.cancel()
    with pytest.raises(Overloaded):
        await urls.fetched(items)
    may_end.set()
    while urls._busy:
        await asyncio.sleep(0.001)
    assert await urls.fetched(items) == [{"image": b"x"}]
