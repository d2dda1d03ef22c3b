"""kill -9 at any point leaves nothing dangling, nothing half registered, and work that goes on."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("crash_at_every_step.py")

ENDLESSLY = f"""
import itertools, sys
from pathlib import Path
sys.path.insert(0, {str(SCRIPT.parent)!r})
from crash_at_every_step import Installation, forget
installation = Installation(Path(sys.argv[1]))
print("ready", flush=True)
for _ in itertools.count():
    installation.go_on(bytes(range(256)) * 20, promise=True)
    forget(installation)
"""

CHECK = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(SCRIPT.parent)!r})
from crash_at_every_step import Installation
installation = Installation(Path(sys.argv[1]))
installation.check(bytes(range(256)) * 20)
installation.go_on(bytes(range(256)) * 20, promise=True)
installation.check(bytes(range(256)) * 20)
"""


@pytest.mark.parametrize("promise", ["promised", "unknown"])
def test_killed_at_every_step(tmp_path: Path, promise: str) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), promise],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30, "the steps are no longer seen"


def test_killed_at_random_moments(tmp_path: Path) -> None:
    from modelry.adapters.sql.database import open_database
    from modelry.testing.samples import add_tenants

    database = open_database(f"sqlite:///{tmp_path}/modelry.db")
    add_tenants(database)
    database.close()
    chance = random.Random(7)
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", ENDLESSLY, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            threading.Event().wait(chance.uniform(0.0, 0.3))  # where it is then is the point
            assert child.poll() is None
            child.send_signal(signal.SIGKILL)
        done = subprocess.run(
            [sys.executable, "-c", CHECK, str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
