"""A peer in a process of its own, which is asked in turns: a line of JSON there, one back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.environment import HERE, python_for


class Peer:
    """Answers questions one after the other.

    Args:
        process: reads questions and writes answers.
        folder: where arrays are left for it.
    """

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process = process
        self._folder = folder

    def ask(self, what: str, arrays: Mapping[str, np.ndarray], **more: Any) -> dict[str, Any]:
        """The answer to a question; arrays go and come by files."""
        given = self._folder / "given.npz"
        np.savez(given, **dict[str, Any](arrays))
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"what": what, "arrays": str(given), **more}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            sys.exit(f"the peer ended with status {self._process.wait()} when asked for {what}")
        told: dict[str, Any] = json.loads(answer)
        if "arrays" in told:
            with np.load(told["arrays"]) as found:
                told["arrays"] = dict(found)
        return told


@contextmanager
def asked(environment: str, script: str, *arguments: str) -> Iterator[Peer]:
    """The peer of a script beside this file, in its environment; it must be installable."""
    python = python_for(environment)
    if python is None:
        sys.exit(f"without its peer {environment} there is nothing to compare with")
    command: Sequence[str] = [str(python), str(HERE / script), *arguments]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=HERE,
        # as in our workers; by default tokenizers take all cores, whatever engines have
        env=os.environ | {"TOKENIZERS_PARALLELISM": "false"},
    )
    with tempfile.TemporaryDirectory() as folder:
        try:
            yield Peer(process, Path(folder))
        finally:
            process.terminate()
            process.wait(timeout=30)
