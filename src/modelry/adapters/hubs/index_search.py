"""Searches the package indexes and link folders of pip's configuration for one wheel."""

from __future__ import annotations

import base64
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from urllib.request import url2pathname

import httpx2

from modelry.adapters.hubs.index_pages import (
    ACCEPT,
    Link,
    best_wheel,
    links_of_folder,
    links_of_page,
    normalised,
    versions_of,
)
from modelry.adapters.hubs.pip_settings import PipSettings
from modelry.adapters.hubs.transfer import reason_of
from modelry.adapters.hubs.types import FetchPolicy
from modelry.adapters.hubs.web import WebClient, origin_of
from modelry.domain.errors import SourceUnavailable
from modelry.manifest.sources import PackageSource

MAX_PAGE_BYTES = 64 * 2**20
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class IndexSearch:
    """Looks for wheels; a context manager that closes its connections.

    Args:
        policy: times.
        settings: where to look, and how to get there.
    """

    def __init__(self, policy: FetchPolicy, settings: PipSettings) -> None:
        self._settings = settings
        self._authorization: dict[str, str] = {}
        self._indexes = [self._without_secret(url) for url in settings.indexes]
        self._links = [self._without_secret(url) for url in settings.links]
        self._failures: list[str] = []
        self.web = WebClient(
            policy,
            guarded=False,
            authorization=self._authorization,
            ca_file=settings.ca_file,
            proxy=settings.proxy,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.web.close()

    def find(self, source: PackageSource) -> Link:
        """The wheel that a source names.

        Raises:
            SourceUnavailable: no index has it; says what was found instead.
        """
        seen: list[Link] = []
        pages = [*self._links]
        pages += [
            f"{index.rstrip('/')}/{quote(normalised(source.package))}/" for index in self._indexes
        ]
        for page in pages:
            links = self._links_at(page)
            wheel = best_wheel(links, source.package, source.version)
            if wheel is not None:
                return wheel
            seen += links
        raise self._not_found(source, seen)

    def _not_found(self, source: PackageSource, seen: list[Link]) -> SourceUnavailable:
        wanted = f"{source.package}=={source.version}"
        versions = versions_of(seen, source.package)
        if versions:
            shown = ", ".join(versions[-8:])
            why = f"wheels were found of the versions {shown}"
        elif any(normalised(source.package) in normalised(link.file_name) for link in seen):
            why = "the package has no wheels, and nothing else is read"
        elif self._failures:
            why = "; ".join(dict.fromkeys(self._failures))
        else:
            why = "no index that pip is configured with has the package"
        return SourceUnavailable(
            f"{wanted} was not found: {why}. Check the spelling, and where pip looks: "
            "`python -m pip config list`.",
            param="source",
        )

    def _links_at(self, page: str) -> list[Link]:
        path = local_path(page)
        if path is not None:
            return _local_links(path)
        parts = urlsplit(page)
        if parts.scheme == "http" and not self._is_trusted(parts.hostname or ""):
            self._failures.append(
                "an index of pip's configuration is http:// and not among its trusted hosts"
            )
            return []
        try:
            return self._fetched_links(page)
        except httpx2.HTTPError as error:
            self._failures.append(reason_of(error))
        except (httpx2.InvalidURL, ValueError):
            self._failures.append("an index of pip's configuration has an unusable URL")
        return []

    def _fetched_links(self, page: str) -> list[Link]:
        with self.web.get(page, {"Accept": ACCEPT}) as response:
            if response.status_code == 404:
                return []
            if response.status_code != 200:
                self._failures.append(f"an index answered {response.status_code}")
                return []
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > MAX_PAGE_BYTES:
                    self._failures.append("an index's page is too large")
                    return []
            kind = response.headers.get("Content-Type", "")
            return links_of_page(bytes(body), kind, str(response.url))

    def _is_trusted(self, host: str) -> bool:
        trusted = {name.partition(":")[0] for name in self._settings.trusted_hosts}
        return host in _LOOPBACK or host in trusted

    def _without_secret(self, url: str) -> str:
        """`url` without user name and password, which go into the header for its origin."""
        try:
            parts = urlsplit(url)
            secret, at, host = parts.netloc.rpartition("@")
            if not at or parts.scheme not in ("https", "http"):
                return url
            plain = urlunsplit(parts._replace(netloc=host))
            self._authorization[origin_of(plain)] = "Basic " + base64.b64encode(
                unquote(secret).encode()
            ).decode("ascii")
        except ValueError:
            return url
        return plain


def local_path(url: str) -> Path | None:
    """The path that a `file://` URL or a plain path names; None for other URLs."""
    if url.startswith("file:"):
        return Path(url2pathname(urlsplit(url).path))
    return None if "://" in url else Path(url)


def _local_links(path: Path) -> list[Link]:
    try:
        page = path / "index.html" if path.is_dir() else path
        if page.is_file():
            if page.stat().st_size > MAX_PAGE_BYTES:
                return []
            return links_of_page(page.read_bytes(), "text/html", page.absolute().as_uri())
        return links_of_folder(path.absolute()) if path.is_dir() else []
    except OSError:
        return []
