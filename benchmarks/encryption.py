"""`make bench-encryption`: what encryption at rest costs, beside raw AES-GCM and plain files.

Everything is measured in turns in one run, on one file, so that ratios mean something on a noisy
machine; each figure is the median of the rounds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks import machine, weights
from modelry.adapters.blobs.durable import write_all
from modelry.adapters.blobs.file_store import FileBlobStore
from modelry.adapters.blobs.memory_files import MemoryFile, MemoryFiles
from modelry.adapters.blobs.streaming import EncryptedStream, encrypted
from modelry.runtime_api.engine import Engine, LoadSpec
from modelry.runtime_api.registry import load_runtime
from modelry.testing.encryption import memory_encryption

MIB = 2**20
TENANT = "default"
KEY = bytes(32)


def chunks_of(path: Path) -> Iterator[bytes]:
    """A file in pieces of 1 MiB."""
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(MIB):
            yield chunk


def copy_durably(source: Path, target: Path) -> None:
    """A plain copy that survives a crash, as what is kept must."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for chunk in chunks_of(source):
        write_all(descriptor, chunk)
    os.fsync(descriptor)
    os.close(descriptor)


def into_memory(files: MemoryFiles, path: Path) -> MemoryFile:
    """A plain file in memory, without a key."""

    def fill(descriptor: int) -> None:
        for chunk in chunks_of(path):
            write_all(descriptor, chunk)

    return files.open(path, path.stat().st_size, fill)


def load(path: Path) -> Engine:
    """SmolLM2 in llama.cpp."""
    manifest = {"files": {"model": {"name": "model.gguf"}}, "limits": {"context": 256}}
    spec = LoadSpec("chat", "llamacpp", manifest, {"model": path}, {"slots": 1})
    return load_runtime("llamacpp").load(spec)


class Measures:
    """Seconds of each kind of work, over the rounds."""

    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = {}

    def take(self, name: str, work: Callable[[], object]) -> None:
        """Time `work` once."""
        started = time.perf_counter()
        done = work()
        self._seconds.setdefault(name, []).append(time.perf_counter() - started)
        close = getattr(done, "close", None)
        if close is not None:
            close()

    def median(self, name: str) -> float:
        """The median of `name`, in seconds."""
        return statistics.median(self._seconds[name])


def run(folder: Path, path: Path, rounds: int) -> Measures:
    """Measure everything on the file at `path`."""
    measures, files = Measures(), MemoryFiles()
    blobs = FileBlobStore(folder / "blobs", memory_encryption())
    content, size = path.read_bytes(), path.stat().st_size
    segments = [content[start : start + MIB] for start in range(0, size, MIB)]
    cipher, nonce = AESGCM(KEY), bytes(12)
    sealed = [cipher.encrypt(nonce, one, None) for one in segments]
    stream = b"".join(encrypted(KEY, b"", segments))

    def read_at(offset: int, count: int) -> bytes:
        return stream[offset : offset + count]

    def read_stream() -> None:
        for _ in EncryptedStream(KEY, b"", read_at, len(stream)).read(0, size):
            pass

    digest = blobs.put(TENANT, chunks_of(path), limit_bytes=size).digest
    for _ in range(rounds):
        measures.take("encrypt raw", lambda: [cipher.encrypt(nonce, x, None) for x in segments])
        measures.take("encrypt stream", lambda: [*encrypted(KEY, b"", segments)])
        measures.take("decrypt raw", lambda: [cipher.decrypt(nonce, x, None) for x in sealed])
        measures.take("decrypt stream", read_stream)
        measures.take("keep plain", lambda: copy_durably(path, folder / "copy"))
        measures.take(
            "keep encrypted", lambda: blobs.put(TENANT, chunks_of(path), limit_bytes=size)
        )
        measures.take("open plain", lambda: into_memory(files, path))
        measures.take("open encrypted", lambda: blobs.open_sealed(TENANT, digest))
        measures.take("load plain", lambda: load(path))
        measures.take("load encrypted", lambda: load(blobs.open_sealed(TENANT, digest).path))
    return measures


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    path = weights.packaged_file(weights.SMOLLM2_Q4_1)
    mib = path.stat().st_size / MIB
    folder = Path(tempfile.mkdtemp(prefix="modelry-bench-"))
    try:
        measures = run(folder, path, arguments.rounds)
    finally:
        shutil.rmtree(folder)
    pairs = [
        ("encrypt in memory", "encrypt raw", "encrypt stream"),
        ("decrypt in memory", "decrypt raw", "decrypt stream"),
        ("keep a file durably, with its SHA-256", "keep plain", "keep encrypted"),
        ("open a file in memory", "open plain", "open encrypted"),
        ("load into llama.cpp", "load plain", "load encrypted"),
    ]
    rows = []
    for what, plain, ours in pairs:
        before, after = measures.median(plain), measures.median(ours)
        rows.append(
            [
                what,
                f"{mib / before:.0f}",
                f"{mib / after:.0f}",
                f"{after:.3f}",
                f"{after / before:.2f}",
            ]
        )
    head = ["work", "plain MiB/s", "Modelry MiB/s", "Modelry s", "times plain"]
    lines = machine.describe(["modelry", "cryptography", "xllamacpp"])
    lines += [
        f"- file: {path.name}, {mib:.0f} MiB; median of {arguments.rounds} rounds in turns",
        "- plain: AES-GCM of `cryptography`; a copy with fsync; a copy into memory; the path",
        "",
        *machine.table(head, rows),
    ]
    print("\n".join(lines))
    machine.write("encryption", "What encryption at rest costs", lines)


if __name__ == "__main__":
    main()
