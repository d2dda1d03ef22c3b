"""Device nodes that stand for those of GPUs: made ones, that behave as `/dev/null` does."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

NULL = os.makedev(1, 3)


def made_nodes(root: Path, names: tuple[str, ...] = ("nvidia0", "nvidiactl", "nvidia-uvm")) -> Path:
    """`root/dev` with such nodes; the test is skipped where none can be made."""
    folder = root / "dev"
    folder.mkdir(parents=True)
    for name in names:
        node = folder / name
        node.parent.mkdir(exist_ok=True)
        try:
            os.mknod(node, stat.S_IFCHR | 0o666, NULL)
            node.chmod(0o666)
            node.open("r+b", buffering=0).close()
        except OSError as error:
            pytest.skip(f"device nodes cannot be made and used here: {error}")
    return folder
