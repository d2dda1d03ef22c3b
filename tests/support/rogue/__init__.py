"""Installs the misbehaving runtimes for a server, as a package of somebody else."""

from __future__ import annotations

import shutil
from pathlib import Path

CRASH, LEAVE, HANG, HANG_LOCKED, ALLOCATE, FAIL, NONSENSE, NO_OUTPUT = range(101, 109)
"""First numbers of a request, and what the engine does then; see `rogue_runtime`."""

MANIFEST = """\
name: {name}
task: tensor
runtime: rogue
files: {{model: model.onnx}}
"""


def install_rogue(folder: Path) -> None:
    """Make `folder` hold the installed package; it belongs on the server's PYTHONPATH."""
    information = folder / "rogue_runtime-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: rogue-runtime\nVersion: 1.0\n"
    )
    (information / "entry_points.txt").write_text(
        "[modelry.runtimes]\nrogue = rogue_runtime:RogueRuntime\n"
        "attacker = attacker_runtime:AttackerRuntime\n"
    )
    for name in ("rogue_runtime.py", "attacker_runtime.py"):
        shutil.copy(Path(__file__).with_name(name), folder)
