"""Parses pages of package indexes: PEP 503 (HTML) and PEP 691 (JSON), and folders of wheels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import orjson

ACCEPT = (
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, "
    "text/html;q=0.1"
)
_SHA256 = re.compile(r"sha256=([0-9a-f]{64})")
_SEPARATORS = re.compile(r"[-_.]+")


@dataclass(frozen=True, slots=True)
class Link:
    """A distribution file that an index lists; `digest` is what the index promises of it."""

    file_name: str
    url: str
    digest: str | None


def links_of_page(body: bytes, content_type: str, url: str) -> list[Link]:
    """The links of a page; what is not understood of it is left out."""
    if "json" in content_type:
        return _json_links(body, url)
    parser = _Anchors(url)
    parser.feed(body.decode("utf-8", "replace"))
    return [_link(address) for address in parser.addresses]


def links_of_folder(folder: Path) -> list[Link]:
    """The wheels that lie in a folder."""
    return [Link(path.name, path.as_uri(), None) for path in sorted(folder.glob("*.whl"))]


def normalised(package: str) -> str:
    """A package's name as indexes compare it."""
    return _SEPARATORS.sub("-", package).lower()


def best_wheel(links: list[Link], package: str, version: str) -> Link | None:
    """The wheel of exactly this version: one for any platform if there is, else the first.

    Only a data file is read out of it, so that a wheel for another platform serves as well.
    """
    found = [link for link in links if _fits(link.file_name, package, version)]
    found.sort(key=lambda link: (not link.file_name.endswith("-any.whl"), link.file_name))
    return found[0] if found else None


def versions_of(links: list[Link], package: str) -> list[str]:
    """The versions of a package that have wheels, in the order of the page."""
    parts = (_wheel_parts(link.file_name) for link in links)
    return list(dict.fromkeys(part[1] for part in parts if part and part[0] == normalised(package)))


def _fits(file_name: str, package: str, version: str) -> bool:
    parts = _wheel_parts(file_name)
    return (
        parts is not None
        and parts[0] == normalised(package)
        and _version_key(parts[1]) == _version_key(version)
    )


def _wheel_parts(file_name: str) -> tuple[str, str] | None:
    """Normalised package and version of a wheel's name; None for other files."""
    parts = file_name.removesuffix(".whl").split("-")
    if not file_name.endswith(".whl") or len(parts) not in (5, 6):
        return None
    return normalised(parts[0]), parts[1]


def _version_key(version: str) -> str:
    """Equal for versions that differ in case, separators or closing zeros only: 1.0 and 1.0.0."""
    release, plus, local = version.lower().replace("-", "_").partition("+")
    while release.endswith(".0"):
        release = release[:-2]
    return release + plus + local.replace("_", ".")


def _json_links(body: bytes, url: str) -> list[Link]:
    try:
        files = orjson.loads(body)["files"]
        return [
            _link(
                urljoin(url, file["url"]),
                name=file["filename"],
                promised="sha256=" + str(file.get("hashes", {}).get("sha256", "")),
            )
            for file in files
        ]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError):
        return []


def _link(address: str, name: str | None = None, promised: str | None = None) -> Link:
    url, fragment = urldefrag(address)
    found = _SHA256.fullmatch(fragment if promised is None else promised)
    file_name = unquote(urlsplit(url).path).rpartition("/")[2] if name is None else name
    return Link(file_name, url, f"sha256:{found[1]}" if found else None)


class _Anchors(HTMLParser):
    """Collects what anchors lead to, as absolute URLs."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._base = url
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        target = dict(attrs).get("href")
        if not target:
            return
        try:
            address = urljoin(self._base, target)
        except ValueError:
            return
        if tag == "base":
            self._base = address
        elif tag == "a":
            self.addresses.append(address)
