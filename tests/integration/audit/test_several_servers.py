"""One chain, written by several processes and threads at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from modelry.adapters.sql.database import open_database
from modelry.domain.access import DEFAULT_TENANT_ID
from modelry.services.audit.chain import ChainKeys
from modelry.services.audit.verifier import verify_chain
from modelry.testing.samples import add_tenants

PROCESSES, THREADS, EACH = 2, 3, 8

WRITER = f"""
import sys, threading
from modelry.adapters.sql.database import Database
from modelry.adapters.sql.engine import open_engine
from modelry.services.audit.chain import ChainKeys
from modelry.services.audit.trail import ChainedTrail

trail = ChainedTrail(Database(open_engine(sys.argv[1])).audit, ChainKeys(b"k" * 32))

def write(name):
    for number in range({EACH}):
        trail.append("{DEFAULT_TENANT_ID}", actor=name, action="a.b", resource=str(number))

threads = [threading.Thread(target=write, args=(f"{{sys.argv[2]}}-{{at}}",)) for at in range({THREADS})]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""  # noqa: E501


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_nothing_is_lost_and_the_order_is_one(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "postgresql":
        url: str = request.getfixturevalue("postgres_url")
        database = open_database(url)
    else:
        url = f"sqlite:///{tmp_path}/modelry.db"
        database = open_database(url)
        add_tenants(database)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, url, str(number)], stderr=subprocess.PIPE)
        for number in range(PROCESSES)
    ]
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert (writer.returncode, errors) == (0, b"")
    found = verify_chain(database.audit, ChainKeys(b"k" * 32), DEFAULT_TENANT_ID, [])
    assert found.is_sound, found.breaks
    assert found.checked == PROCESSES * THREADS * EACH
    database.close()
