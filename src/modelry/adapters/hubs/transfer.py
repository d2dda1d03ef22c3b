"""Downloads that can be cut off and go on where they ended, also in a later process.

Beside the partial file lies `<partial>.json` with the URL and the server's validator (a strong
ETag or a date); a download resumes only with a validator, or when the digest is known. What was
resumed and then has another digest is downloaded once more from the start.
"""

from __future__ import annotations

import errno
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx2
import orjson

from modelry.adapters.hubs.types import FetchPhase, FetchPolicy, Report
from modelry.adapters.hubs.web import WebClient
from modelry.domain.errors import (
    DeadlineExceeded,
    DigestMismatch,
    PayloadTooLarge,
    SourceUnavailable,
)
from modelry.manifest.digests import digest_of_file

MAX_ATTEMPTS_WITHOUT_PROGRESS = 5
MAX_ATTEMPTS = 200
REPORT_BYTES = 256 * 1024
REPORT_EVERY_S = 0.5
_RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_DISK_RESERVE_BYTES = 64 * 2**20

_COMPLETE_RANGE = re.compile(r"bytes \*/(\d+)")
_LONGEST_PAUSE_S = 8.0


class _CutOff(Exception):
    """The connection ended early or the server asked to come back."""


@dataclass
class Transfer:
    """One file to download.

    Args:
        web: the client.
        url: where the file is.
        partial: where the bytes go.
        what: what to call the file in messages.
        policy: sizes and times.
        digest: what the content is promised to be, if anybody promised.
        report: told how far it is.
        sleep: waits between attempts, in seconds.
    """

    web: WebClient
    url: str
    partial: Path
    what: str
    policy: FetchPolicy
    digest: str | None
    report: Report
    sleep: Callable[[float], None] = time.sleep

    def run(self) -> str:
        """Download until complete; returns the content's digest.

        Raises:
            SourceUnavailable: the server refuses, or stays away for too long.
            PayloadTooLarge: more bytes than the policy allows.
            DeadlineExceeded: it took longer than the policy allows.
            DigestMismatch: complete, and not what was promised.
        """
        was_resumed = self._held() > 0
        size = self._download()
        found = self._verify(size)
        if self.digest not in (None, found) and was_resumed:
            self.forget()
            size = self._download()
            found = self._verify(size)
        if self.digest not in (None, found):
            self.forget()
            raise DigestMismatch(
                f"{self.what} came with the digest {found}; promised was {self.digest}. The file "
                "at the source was exchanged, or the promise is mistyped: compare them.",
                param="source",
            )
        return found

    def forget(self) -> None:
        """Remove what is here."""
        self.partial.unlink(missing_ok=True)
        self._state().unlink(missing_ok=True)

    def _verify(self, size: int) -> str:
        return digest_of_file(
            self.partial, lambda done: self.report(FetchPhase.VERIFYING, done, size)
        )

    def _download(self) -> int:
        deadline = time.monotonic() + self.policy.max_duration_s
        fruitless = 0
        reason = ""
        for _ in range(MAX_ATTEMPTS):
            before = self._held()
            try:
                return self._attempt(deadline)
            except _CutOff as error:
                reason = str(error)
            except httpx2.TransportError as error:
                reason = reason_of(error)
            fruitless = 0 if self._held() > before else fruitless + 1
            if fruitless >= MAX_ATTEMPTS_WITHOUT_PROGRESS:
                break
            self.report(FetchPhase.DOWNLOADING, self._held())
            self.sleep(min(self.policy.retry_pause_s * 2**fruitless, _LONGEST_PAUSE_S))
        raise SourceUnavailable(
            f"{self.what} could not be downloaded: {reason}. {self._held()} bytes were kept; the "
            "next try goes on from there.",
            param="source",
            retry_after_s=10.0,
        )

    def _attempt(self, deadline: float) -> int:
        held, validator = self._resumable()
        headers = {"Accept-Encoding": "identity"}
        if held:
            headers["Range"] = f"bytes={held}-"
            if validator:
                headers["If-Range"] = validator
        with self.web.get(self.url, headers) as response:
            if response.status_code == 416 and held:
                return self._at_the_end(response, held)
            held, total = self._accepted(response, held)
            if total is not None:
                self._check_size(total, held)
            if held == 0:
                # first, so that no crash leaves these bytes beside the validator of others
                self.partial.unlink(missing_ok=True)
            self._note(response)
            return self._receive(response, held, total, deadline)

    def _at_the_end(self, response: httpx2.Response, held: int) -> int:
        """There is nothing after what is here: all of it came already, or it is another file."""
        found = _COMPLETE_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is not None and int(found[1]) == held:
            return held
        self.forget()
        raise _CutOff("the server's file has changed")

    def _accepted(self, response: httpx2.Response, held: int) -> tuple[int, int | None]:
        """From which byte the answer goes on, and the whole size."""
        status = response.status_code
        if status in _RETRYABLE:
            raise _CutOff(f"the server answered {status}")
        if status not in (200, 206):
            raise SourceUnavailable(
                f"{self.what} could not be downloaded: the server answered {status} "
                f"({_meaning(status)}). Check the source's spelling and access rights.",
                param="source",
            )
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise SourceUnavailable(
                f"{self.what}: the server insists on compressing it; fetch it by hand.",
                param="source",
            )
        length = response.headers.get("Content-Length", "")
        size = int(length) if length.isdigit() and len(length) < 19 else None
        if status == 200:
            return 0, size
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != held:
            self.forget()
            raise _CutOff("the server resumed at another place")
        if found[3] != "*":
            return held, int(found[3])
        return held, None if size is None else held + size

    def _receive(
        self, response: httpx2.Response, held: int, total: int | None, deadline: float
    ) -> int:
        self.report(FetchPhase.DOWNLOADING, held, total)
        reported, reported_at = held, time.monotonic()
        with self.partial.open("r+b" if held else "wb", buffering=0) as file:
            file.seek(held)
            file.truncate()
            for chunk in response.iter_raw():
                self._write(file, chunk)
                held += len(chunk)
                if held > self.policy.max_bytes:
                    self._check_size(held, held)
                now = time.monotonic()
                if now > deadline:
                    raise self._too_long(held)
                if held - reported >= REPORT_BYTES or now - reported_at >= REPORT_EVERY_S:
                    reported, reported_at = held, now
                    self.report(FetchPhase.DOWNLOADING, held, total)
        if total is not None and held < total:
            raise _CutOff(f"the connection ended after {held} of {total} bytes")
        self.report(FetchPhase.DOWNLOADING, held, held)
        self._state().unlink(missing_ok=True)
        return held

    def _too_long(self, held: int) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"{self.what} took longer than {self.policy.max_duration_s:g} s. {held} bytes were "
            "kept; the next try goes on from there."
        )

    @staticmethod
    def _write(file: BinaryIO, chunk: bytes) -> None:
        # an unbuffered file may take a part only
        view = memoryview(chunk)
        while view:
            view = view[file.write(view) :]

    def _check_size(self, total: int, held: int) -> None:
        if total > self.policy.max_bytes:
            self.forget()
            raise PayloadTooLarge(
                f"{self.what} has {total} bytes; at most {self.policy.max_bytes} are accepted.",
                param="source",
            )
        free = shutil.disk_usage(self.partial.parent).free
        if total - held + _DISK_RESERVE_BYTES > free and total > held:
            raise OSError(errno.ENOSPC, "it would not fit")

    def _state(self) -> Path:
        return self.partial.with_name(self.partial.name + ".json")

    def _held(self) -> int:
        try:
            return self.partial.stat().st_size
        except FileNotFoundError:
            return 0

    def _resumable(self) -> tuple[int, str | None]:
        try:
            state = orjson.loads(self._state().read_bytes())
            validator = state["validator"] if state["url"] == self.url else None
        except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError):
            validator = None
        if not isinstance(validator, str) and self.digest is None:
            return 0, None
        return self._held(), validator if isinstance(validator, str) else None

    def _note(self, response: httpx2.Response) -> None:
        tag = response.headers.get("ETag", "")
        strong = tag if tag and not tag.startswith("W/") else None
        validator = strong or response.headers.get("Last-Modified")
        self._state().write_bytes(orjson.dumps({"url": self.url, "validator": validator}))


def _meaning(status: int) -> str:
    return {401: "not signed in", 403: "forbidden", 404: "not found", 410: "gone"}.get(
        status, "unexpected"
    )


def reason_of(error: httpx2.HTTPError) -> str:
    """What went wrong with a connection, in words for people."""
    if isinstance(error, httpx2.TimeoutException):
        return "the server did not answer in time"
    if isinstance(error, httpx2.ConnectError):
        certificate = "certificate" in str(error).lower()
        return (
            "the server's certificate is not trusted here (set SSL_CERT_FILE to the CA bundle)"
            if certificate
            else "the server could not be reached"
        )
    if isinstance(error, httpx2.ProxyError):
        return "the proxy refused the connection"
    return "the connection was cut off"
