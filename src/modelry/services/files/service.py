"""The use cases on files."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from modelry.domain.access import Permission, Principal
from modelry.domain.errors import Conflict, InvalidInput, NotFound
from modelry.domain.files import FilePurpose, TenantFile
from modelry.services.files.ports import Contents, FileFilter, FileStore, KeptContent, Readable

MAX_LISTED = 10_000
MAX_NAME_CHARS = 255
SHORTEST_S = 3600
LONGEST_S = 30 * 86_400
_ID_CHARS = "0123456789abcdefghijklmnopqrstuvwxyz"

Users = Callable[[str, str], list[str]]
"""Says, for a tenant and a file's id, what needs the file just now, in words."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to keep; `expires_after_s` None for as long as nobody deletes it."""

    name: str
    purpose: FilePurpose = FilePurpose.FINE_TUNE
    expires_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class FilePage:
    """Some files; `has_more` whether others come after them."""

    files: Sequence[TenantFile]
    has_more: bool


class FilesService:
    """Files of the caller's tenant. Every method blocks; call it in a thread.

    Args:
        store: keeps which files there are.
        contents: keeps their bytes.
        readable: gives their bytes.
        clock: gives the time.
    """

    def __init__(
        self,
        store: FileStore,
        contents: Contents,
        readable: Readable,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._contents = contents
        self._readable = readable
        self._clock = clock
        self._users: list[Users] = []

    def used_by(self, users: Users) -> None:
        """Have `users` asked before a file is deleted: what it names keeps the file."""
        self._users.append(users)

    # ---- making -----------------------------------------------------------------------------

    def check_room(self, principal: Principal, size_bytes: int) -> None:
        """See that a file of this size can be kept, before it is sent.

        Raises:
            PermissionDenied, PayloadTooLarge, QuotaExceeded, Overloaded: it cannot.
        """
        principal.require(Permission.DATASETS_WRITE)
        self._contents.check_room(principal.tenant_id, size_bytes)

    def receive(self, principal: Principal, chunks: Iterable[bytes]) -> KeptContent:
        """Keep the bytes of a file; `add` has to follow soon.

        Raises:
            QuotaExceeded, PayloadTooLarge, Overloaded: they cannot be kept.
        """
        principal.require(Permission.DATASETS_WRITE)
        return self._contents.keep(principal.tenant_id, chunks)

    def add(self, principal: Principal, content: KeptContent, wanted: NewFile) -> TenantFile:
        """A file with a content that was received.

        Raises:
            InvalidInput: it is empty, or name or time are not allowed.
            NotFound: the content is not kept (any more).
        """
        principal.require(Permission.DATASETS_WRITE)
        check_new(wanted)
        if content.size_bytes < 1:
            raise InvalidInput("The file is empty; send one with rows.", param="file")
        return self._kept(principal, content, wanted, _make_id())

    def keep_made(
        self, principal: Principal, file_id: str, wanted: NewFile, chunks: Iterable[bytes]
    ) -> TenantFile:
        """A file that the server makes; the one of that id where it was made before."""
        content = self._contents.keep(principal.tenant_id, chunks)
        return self._kept(principal, content, wanted, file_id)

    def _kept(
        self, principal: Principal, content: KeptContent, wanted: NewFile, file_id: str
    ) -> TenantFile:
        now, after_s = self._clock(), wanted.expires_after_s
        return self._store.add(
            TenantFile(
                tenant_id=principal.tenant_id,
                file_id=file_id,
                name=wanted.name,
                purpose=wanted.purpose,
                digest=content.digest,
                size_bytes=content.size_bytes,
                created_at=now,
                created_by=principal.key_id,
                expires_at=None if after_s is None else now + timedelta(seconds=after_s),
            )
        )

    # ---- looking ----------------------------------------------------------------------------

    def get(self, principal: Principal, file_id: str) -> TenantFile:
        """One file.

        Raises:
            NotFound: there is none of that id (any more).
        """
        principal.require(Permission.DATASETS_READ)
        found = self._store.find(principal.tenant_id, file_id, self._clock())
        if found is None:
            raise _no_file(file_id)
        return found

    def list(
        self,
        principal: Principal,
        *,
        purpose: FilePurpose | None = None,
        after: str | None = None,
        newest_first: bool = True,
        limit: int = MAX_LISTED,
    ) -> FilePage:
        """Files by when they were made.

        Args:
            principal: whose.
            purpose: only those.
            after: the id of the last file of the page before.
            newest_first: or oldest first.
            limit: how many at most.

        Raises:
            NotFound: there is no file called `after`.
        """
        principal.require(Permission.DATASETS_READ)
        last = None if after is None else self.get(principal, after)
        limit = max(1, min(limit, MAX_LISTED))
        wanted = FileFilter(purpose, last, newest_first)
        found = self._store.list(principal.tenant_id, wanted, self._clock(), limit + 1)
        return FilePage(found[:limit], len(found) > limit)

    def open_content(
        self, principal: Principal, file_id: str
    ) -> tuple[TenantFile, Iterator[bytes]]:
        """A file and its bytes, in pieces.

        Raises:
            NotFound: there is none of that id (any more).
            DataDamaged: it was changed on the disk; also while reading.
        """
        principal.require(Permission.ROWS_READ)
        found = self._store.find(principal.tenant_id, file_id, self._clock())
        if found is None:
            raise _no_file(file_id)
        return found, self._readable.read(principal.tenant_id, found.digest)

    # ---- ending -----------------------------------------------------------------------------

    def delete(self, principal: Principal, file_id: str) -> None:
        """Delete a file; its content is collected later, unless something else has it.

        Raises:
            NotFound: there is none of that id (any more).
            Conflict: something needs it.
        """
        principal.require(Permission.DATASETS_WRITE)
        if self._store.find(principal.tenant_id, file_id, self._clock()) is None:
            raise _no_file(file_id)
        for users in self._users:
            needed = users(principal.tenant_id, file_id)
            if needed:
                raise Conflict(
                    f"File '{file_id}' is needed by {needed[0]}; wait for its end, or cancel it "
                    "first.",
                    param="file_id",
                )
        self._store.delete(principal.tenant_id, file_id)

    def sweep(self) -> int:
        """Delete what has expired, of all tenants; how many."""
        return self._store.delete_expired(self._clock())


def check_new(wanted: NewFile) -> None:
    """See that a file may be called and kept so.

    Raises:
        InvalidInput: name or time are not allowed.
    """
    if not 1 <= len(wanted.name) <= MAX_NAME_CHARS or not wanted.name.isprintable():
        raise InvalidInput(
            f"The file's name must have 1 to {MAX_NAME_CHARS} printable characters.", param="file"
        )
    after_s = wanted.expires_after_s
    if after_s is not None and not SHORTEST_S <= after_s <= LONGEST_S:
        raise InvalidInput(
            f"expires_after.seconds is {after_s}; expected {SHORTEST_S} (an hour) to {LONGEST_S} "
            "(30 days).",
            param="expires_after.seconds",
        )


def _make_id() -> str:
    return "file-" + "".join(secrets.choice(_ID_CHARS) for _ in range(24))


def _no_file(file_id: str) -> NotFound:
    return NotFound(
        f"No such file '{file_id[:80]}': it was never sent, was deleted, or has expired.",
        param="file_id",
    )
