"""`make bench-import`: importing datasets, by format: rows per second and peak memory.

Each import runs in a process of its own, as the job does: files are made, read twice where the
format needs it, validated, and written as shards. Memory must not grow with the rows.

    python -m benchmarks.dataset_import [--rows N] [--formats csv,jsonl,...]
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
from PIL import Image

from benchmarks import machine

ROWS = {"csv": 10_000_000, "csv.gz": 2_000_000, "jsonl": 1_000_000, "parquet": 5_000_000,
        "npz": 200_000, "idx": 200_000, "image-folder": 50_000, "coco": 20_000,
        "tsv": 2_000_000}  # fmt: skip
SMALLER = 10
"""Each format is also imported with so many times fewer rows, to see that memory stays."""

BATCH = 100_000


def tables(rows: int) -> Iterator[pa.Table]:
    """Ten columns as tables have them, a label among them."""
    rng = np.random.default_rng(3)
    words = np.array(["Aachen", "Berlin, Mitte", "Köln", "a longer text of some words", ""])
    for start in range(0, rows, BATCH):
        count = min(BATCH, rows - start)
        yield pa.table(
            {
                "id": np.arange(start, start + count),
                **{f"x{at}": rng.normal(size=count).round(6) for at in range(5)},
                "age": rng.integers(0, 99, count),
                "member": rng.integers(0, 2, count).astype(bool),
                "city": words[rng.integers(0, len(words), count)],
                "label": np.array(["yes", "no", "maybe"])[rng.integers(0, 3, count)],
            }
        )


def make_csv(folder: Path, rows: int) -> list[Path]:
    """A table as CSV."""
    path = folder / "rows.csv"
    with path.open("wb") as sink:
        for at, table in enumerate(tables(rows)):
            arrow_csv.write_csv(table, sink, arrow_csv.WriteOptions(include_header=at == 0))
    return [path]


def make_packed_csv(folder: Path, rows: int) -> list[Path]:
    """The same, packed."""
    (plain,) = make_csv(folder, rows)
    path = folder / "rows.csv.gz"
    with plain.open("rb") as source, gzip.open(path, "wb", compresslevel=1) as sink:
        while data := source.read(2**20):
            sink.write(data)
    plain.unlink()
    return [path]


def make_jsonl(folder: Path, rows: int) -> list[Path]:
    """The same as JSON lines."""
    path = folder / "rows.jsonl"
    with path.open("w") as sink:
        for table in tables(rows):
            sink.writelines(json.dumps(row) + "\n" for row in table.to_pylist())
    return [path]


def make_parquet(folder: Path, rows: int) -> list[Path]:
    """The same as Parquet."""
    path = folder / "rows.parquet"
    writer = None
    for table in tables(rows):
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()
    return [path]


def pixels(rows: int) -> Iterator[Any]:
    """Images of 28 x 28 pixels, a thousand at a time."""
    rng = np.random.default_rng(4)
    for start in range(0, rows, 1000):
        yield rng.integers(0, 255, (min(1000, rows - start), 28, 28), dtype=np.uint8)


def make_npz(folder: Path, rows: int) -> list[Path]:
    """Images and labels as arrays."""
    path = folder / "rows.npz"
    np.savez(path, x=np.concatenate(list(pixels(rows))), y=np.arange(rows) % 10)
    return [path]


def make_idx(folder: Path, rows: int) -> list[Path]:
    """The same as MNIST has them, packed."""
    images, labels = folder / "images-idx3-ubyte.gz", folder / "labels-idx1-ubyte.gz"
    with gzip.open(images, "wb", compresslevel=1) as sink:
        sink.write(b"\0\0\x08\x03" + rows.to_bytes(4) + (28).to_bytes(4) * 2)
        for one in pixels(rows):
            sink.write(one.tobytes())
    with gzip.open(labels, "wb") as sink:
        sink.write(b"\0\0\x08\x01" + rows.to_bytes(4))
        sink.write((np.arange(rows) % 10).astype(np.uint8).tobytes())
    return [images, labels]


def encoded(rows: int, side: int) -> Iterator[bytes]:
    """Different images as PNG."""
    rng = np.random.default_rng(5)
    for _ in range(rows):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=np.uint8)).save(buffer, "PNG")
        yield buffer.getvalue()


def make_folder(folder: Path, rows: int) -> list[Path]:
    """A folder of small images per class."""
    path = folder / "rows.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for at, data in enumerate(encoded(rows, 28)):
            archive.writestr(f"class-{at % 10}/{at}.png", data)
    return [path]


def make_coco(folder: Path, rows: int) -> list[Path]:
    """Images with three boxes each."""
    path = folder / "rows.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for at, data in enumerate(encoded(rows, 96)):
            archive.writestr(f"{at}.png", data)
    told = folder / "rows.json"
    boxes = [
        {"id": at, "image_id": at // 3, "category_id": at % 5, "bbox": [at % 7, 5, 20, 30.5]}
        for at in range(3 * rows)
    ]
    names = [{"id": at, "file_name": f"{at}.png"} for at in range(rows)]
    kinds = [{"id": at, "name": f"class {at}"} for at in range(5)]
    told.write_text(json.dumps({"images": names, "annotations": boxes, "categories": kinds}))
    return [told, path]


def make_tsv(folder: Path, rows: int) -> list[Path]:
    """Pairs of texts."""
    path = folder / "rows.tsv"
    with path.open("w") as sink:
        sink.writelines(
            f"a text with number {at}\tein Text mit Nummer {at}\n" for at in range(rows)
        )
    return [path]


MAKERS: Mapping[str, tuple[str, Callable[[Path, int], list[Path]]]] = {
    "csv": ("csv", make_csv),
    "csv.gz": ("csv", make_packed_csv),
    "jsonl": ("jsonl", make_jsonl),
    "parquet": ("parquet", make_parquet),
    "npz": ("npz", make_npz),
    "idx": ("idx", make_idx),
    "image-folder": ("image-folder", make_folder),
    "coco": ("coco", make_coco),
    "tsv": ("parallel-text", make_tsv),
}


class Host:
    """A `WorkHost` that throws shards away."""

    request: Mapping[str, Any] = {}

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.stop = self
        self.bytes = 0

    def is_set(self) -> bool:
        """Never stopped."""
        return False

    def put(self, name: str, file: Path, about: Any = None) -> dict[str, Any]:
        """Take a shard."""
        del name, about
        size = file.stat().st_size
        self.bytes += size
        return {"digest": "", "size_bytes": size}

    def progress(self, *_: Any) -> None:
        """Not told on."""

    metrics = log = ask = progress

    def open(self, name: str) -> AbstractContextManager[Path]:
        """There are no inputs."""
        raise KeyError(name)


def import_once(format_: str, files: list[Path]) -> dict[str, float]:
    """Import files in this process, and tell how long it took and what memory it needed."""
    from modelry.datasets.importers import open_source
    from modelry.datasets.writing import write_version

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as scratch:
        host = Host(Path(scratch))
        began = time.perf_counter()
        source = open_source(format_, {path.name: path for path in files}, {})
        checked = time.perf_counter()
        for split in source.splits:
            for _ in source.rows(split):
                pass
        read = time.perf_counter()

        class Rows:
            schema, splits = source.schema, source.splits

            def rows(self) -> Iterator[tuple[str, pa.RecordBatch]]:
                for split in source.splits:
                    yield from ((split, batch) for batch in source.rows(split))

        told = write_version(Rows(), host)  # type: ignore[arg-type]
        written = time.perf_counter()
    rows = sum(shard["rows"] for split in told["splits"] for shard in split["shards"])
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "rows": rows,
        "check_s": checked - began,
        "read_s": read - checked,
        "whole_s": (checked - began) + (written - read),
        "memory_mib": (after - before) / 1024,
        "peak_mib": after / 1024,
        "shards_mib": host.bytes / 2**20,
    }


def measured(name: str, rows: int) -> tuple[dict[str, float], float]:
    """The figures of an import in a fresh process, and the size of its files in MiB."""
    format_, make = MAKERS[name]
    with tempfile.TemporaryDirectory() as folder:
        files = make(Path(folder), rows)
        size = sum(path.stat().st_size for path in files) / 2**20
        command = [sys.executable, "-m", "benchmarks.dataset_import", "--once", format_]
        done = subprocess.run(
            [*command, *map(str, files)], check=True, capture_output=True, text=True
        )
    return json.loads(done.stdout), size


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, help="of every format, instead of its own number")
    parser.add_argument("--formats", default=",".join(MAKERS))
    parser.add_argument("--once", nargs="+", metavar=("FORMAT", "FILE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.once:
        print(json.dumps(import_once(given.once[0], [Path(one) for one in given.once[1:]])))
        return
    lines = []
    for name in given.formats.split(","):
        for part in (SMALLER, 1):
            rows = max((given.rows or ROWS[name]) // part, 1)
            figures, size = measured(name, rows)
            lines.append(
                [
                    name,
                    f"{rows:,}",
                    f"{size:.0f}",
                    f"{rows / max(figures['check_s'], 1e-9):,.0f}",
                    f"{rows / max(figures['read_s'], 1e-9):,.0f}",
                    f"{rows / figures['whole_s']:,.0f}",
                    f"{figures['peak_mib']:.0f}",
                    f"{figures['memory_mib']:.0f}",
                ]
            )
            print(*lines[-1], sep="\t", flush=True)
    head = ["files", "rows", "MiB", "check rows/s", "read rows/s", "whole rows/s", "peak MiB",
            "import MiB"]  # fmt: skip
    machine.write(
        "dataset-import",
        "Importing datasets",
        [
            *machine.describe(["modelry", "numpy", "pillow", "pyarrow"]),
            "- check: all rows are looked at once, to settle types (tables) or names (others)",
            "- read: rows are made; whole: checked, read, validated, written as shards",
            "- one process, no sandbox; memory of the process at its peak",
            "- import MiB: how much of the peak was added after all libraries were loaded",
            "",
            *machine.table(head, lines),
        ],
    )


if __name__ == "__main__":
    main()
