"""What one usage record costs: processor time on the event loop and in the ledger's threads, and
bytes in the database. Everything runs alone in this process, on SQLite in a temporary folder.

    python -m benchmarks.ledger [--flushes N] [--records N]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import machine
from modelry.adapters.sql.database import open_database
from modelry.domain.access import Tenant
from modelry.domain.usage import Origin
from modelry.services.inference.metering import Meter, Taken
from modelry.services.inference.request_ids import new_request_id
from modelry.services.usage.ports import Segment
from modelry.services.usage.segments import segments_of

KEYS = 20
HEAD = """\
- processor time per record: noted on the event loop (with its id), made a segment and added to the
  database in threads; bytes per record; thousand records per second"""
NOW = datetime.now(UTC)
ITEMS = {"items": 1}
TOKENS = [{"input_tokens": 20 + at, "output_tokens": at, "cached_tokens": 0} for at in range(50)]


def noted(records: int, *, varied: bool) -> tuple[Taken, float]:
    """Records as the data plane notes them, and the processor seconds that it took.

    Args:
        records: how many.
        varied: as chats note them, each with other units; else as tensors do.
    """
    meter = Meter()
    origin = Origin("default", "tiny", "tiny", 1, "tensor", "sha256:" + "0" * 64, "sha256:1")
    keys = [(origin, "default", f"key{at}", "ok", "replica1", b"") for at in range(KEYS)]
    started = time.monotonic()
    begun = time.process_time()
    for at in range(records):
        begin = started + at * 27e-6
        request_id = new_request_id()
        units = TOKENS[at % len(TOKENS)] if varied else ITEMS
        meter.note(keys[at % KEYS], begin, begin + 0.001 + at % 97 * 1e-6, request_id, (units, 500))
    taken = meter.take()
    return taken, time.process_time() - begun


def measured(work: Callable[[], object]) -> float:
    """Processor seconds of all threads of this process."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def rows(folder: Path, flushes: int, records: int, *, varied: bool) -> list[str]:
    """The lines of the table."""
    path = folder / f"{'varied' if varied else 'alike'}.db"
    database = open_database(f"sqlite:///{path}")
    database.keys.write("default", lambda kept: kept.add_tenant(Tenant("default", "Default", NOW)))
    note_s = made_s = added_s = 0.0
    size = 0
    started = time.perf_counter()
    for sequence in range(flushes):
        taken, seconds = noted(records, varied=varied)
        note_s += seconds
        made: list[Segment] = []
        made_s += measured(lambda: made.extend(segments_of(taken, "run", sequence)))  # noqa: B023
        added_s += measured(lambda: database.usage.add(made))  # noqa: B023
        size += sum(len(one.data) for one in made)
    elapsed = time.perf_counter() - started
    database.close()
    total = flushes * records
    kind = "chats (units differ)" if varied else "tensors (units alike)"
    figures = [
        f"{note_s / total * 1e6:.2f} µs",
        f"{made_s / total * 1e6:.2f} µs",
        f"{added_s / total * 1e6:.2f} µs",
        f"{(note_s + made_s + added_s) / total * 1e6:.2f} µs",
        f"{size / total:.1f}",
        f"{path.stat().st_size / total:.1f}",
        f"{total / elapsed / 1000:.0f}",
    ]
    return [f"| {kind}, {records} per flush | {' | '.join(figures)} |"]


def main() -> None:
    """Measure and write `results/ledger.md`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flushes", type=int, default=40)
    parser.add_argument("--records", type=int, default=18_500, help="half a second at 37,000/s")
    arguments = parser.parse_args()
    lines = [
        *machine.describe(["modelry", "numpy", "sqlalchemy"]),
        HEAD,
        f"- {arguments.flushes} flushes; {KEYS} keys, one deployment; SQLite, synchronous=FULL",
        "",
        "| records | note (loop) | segments | database | together | segment B | database B | k/s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for records in (arguments.records, 100):
            for varied in (False, True):
                lines += rows(
                    Path(folder) / str(records), arguments.flushes, records, varied=varied
                )
    print("\n".join(lines))
    machine.write("ledger", "What a usage record costs", lines)


if __name__ == "__main__":
    main()
