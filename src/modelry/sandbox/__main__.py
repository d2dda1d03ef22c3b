"""`python -P -m modelry.sandbox`: shuts itself in, and prints what this machine grants."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from modelry.sandbox.confinement import Ground, confine


def main() -> None:
    """Print the report as JSON."""
    scratch = Path(tempfile.mkdtemp(prefix="modelry-"))
    child = os.fork()
    if child == 0:
        report = confine(Ground(scratch=scratch))
        sys.stdout.write(json.dumps(report.to_wire()) + "\n")
        sys.stdout.flush()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    shutil.rmtree(scratch, ignore_errors=True)
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
