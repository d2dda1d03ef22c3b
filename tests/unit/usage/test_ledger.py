"""The ledger: everything arrives, once, whatever the database and the process do."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.operating import wait_until
from tests.support.usage import note

from modelry.adapters.usage_spool import FileSegmentSpool
from modelry.domain.errors import Overloaded
from modelry.services.inference.metering import Meter, Taken
from modelry.services.usage import ledger as ledger_module
from modelry.services.usage.ledger import Ledger
from modelry.services.usage.ports import Segment, TotalsQuery, UsageGroup
from modelry.services.usage.segments import segments_of
from modelry.testing.memory_database import MemoryDatabase
from modelry.testing.samples import add_tenants


class Failing:
    """A store that fails when told to, before or after it has committed, or hangs."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._store = database.usage
        self.mode = "works"
        self.poison: str | None = None
        self.go_on = threading.Event()
        self.tried = 0

    def add(self, segments: Sequence[Segment]) -> None:
        self.tried += 1
        if self.mode == "hangs":
            self.go_on.wait(30)
        if self.mode == "fails":
            raise Overloaded("down")
        if any(one.key_id == self.poison for each in segments for one in each.amounts):
            raise ValueError("a value that no column takes")
        self._store.add(segments)
        if self.mode == "fails after the commit":
            raise Overloaded("the connection broke before the answer")

    def requests(self) -> int:
        return sum(self._by_key().values())

    def requests_of(self, key_id: str) -> int:
        return self._by_key()[key_id]

    def _by_key(self) -> dict[str, int]:
        begin = datetime(2000, 1, 1, tzinfo=UTC)
        query = TotalsQuery("default", begin, begin + timedelta(days=36500), (UsageGroup.KEY,))
        found = self._store.totals(query)
        return {one.group["key_id"]: one.units.get("requests", 0) for one in found}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "SPOOL_AFTER_S", 0.02)
    monkeypatch.setattr(ledger_module, "RETRY_S", 0.01)
    monkeypatch.setattr(ledger_module, "LONGEST_RETRY_S", 0.02)
    monkeypatch.setattr(ledger_module, "STOP_S", 0.1)


@pytest.fixture
def store(database: MemoryDatabase) -> Failing:
    return Failing(database)


@pytest.fixture
def spool(tmp_path: Path) -> FileSegmentSpool:
    return FileSegmentSpool(tmp_path / "spool")


@pytest.fixture
def ledger(store: Failing, spool: FileSegmentSpool) -> Iterator[Ledger]:
    made = Ledger(store, spool)  # type: ignore[arg-type] # as much of a store as it needs
    made.start()
    yield made
    store.mode = "works"
    store.go_on.set()
    made.stop()


Take = Callable[..., Taken]


def test_what_is_added_arrives(ledger: Ledger, store: Failing, taken: Take) -> None:
    for _ in range(5):
        ledger.add(taken({}, {"status": "not_found"}))
    assert ledger.settle(5)
    assert store.requests() == 10
    assert ledger.waiting_bytes == 0


def test_nothing_is_lost_or_doubled_while_the_store_fails(
    ledger: Ledger, store: Failing, spool: FileSegmentSpool, taken: Take
) -> None:
    store.mode = "fails"
    for _ in range(5):
        ledger.add(taken())
    wait_until(lambda: len(spool.names()) == 5, "the ledger did not get there")
    assert not ledger.settle(0.01)
    assert ledger.waiting_bytes == 0
    store.mode = "fails after the commit"
    tried = store.tried
    wait_until(lambda: store.tried > tried + 2, "the ledger did not get there")
    store.mode = "works"
    assert ledger.settle(5)
    assert store.requests() == 5
    wait_until(lambda: spool.names() == [], "what was added stayed on the disk")


def test_a_store_that_hangs_does_not_keep_usage_from_the_disk(
    ledger: Ledger, store: Failing, spool: FileSegmentSpool, taken: Take
) -> None:
    store.mode = "hangs"
    ledger.add(taken())
    ledger.add(taken())
    wait_until(lambda: len(spool.names()) == 2, "the ledger did not get there")
    store.mode = "works"
    store.go_on.set()
    assert ledger.settle(5)
    assert store.requests() == 2
    wait_until(lambda: spool.names() == [], "the ledger did not get there")


def test_the_end_leaves_what_the_store_did_not_take_to_the_next_start(
    store: Failing, spool: FileSegmentSpool, taken: Take
) -> None:
    first = Ledger(store, spool)  # type: ignore[arg-type]
    first.start()
    store.mode = "fails after the commit"
    first.add(taken())
    wait_until(lambda: store.tried > 0, "the ledger did not get there")
    store.mode = "fails"
    first.add(taken({}, {}))
    first.stop()
    store.mode = "works"
    assert len(spool.names()) == 2
    second = Ledger(store, spool)  # type: ignore[arg-type]
    second.start()
    assert second.settle(5)
    second.stop()
    assert store.requests() == 3
    assert spool.names() == []


def test_requests_are_refused_when_no_room_is_left_and_taken_again(
    store: Failing, taken: Take, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    nowhere = FileSegmentSpool(tmp_path / "file" / "spool")
    meter = Meter()

    def on_full(is_full: bool) -> None:
        meter.is_full = is_full

    ledger = Ledger(store, nowhere, on_full, max_memory_bytes=1000)  # type: ignore[arg-type]
    ledger.start()
    store.mode = "fails"
    for _ in range(10):
        ledger.add(taken())
    wait_until(lambda: meter.is_full, "the ledger did not get there")
    with pytest.raises(Overloaded, match="cannot record"):
        meter.check_room()
    note(meter, status="overloaded")
    assert meter.dropped == 1
    assert meter.take().series == ()
    store.mode = "works"
    wait_until(lambda: not meter.is_full, "the ledger did not get there")
    meter.check_room()
    assert ledger.settle(5)
    assert store.requests() == 10
    ledger.stop()


def test_one_that_can_never_be_saved_holds_up_no_others(
    ledger: Ledger, store: Failing, taken: Take
) -> None:
    store.poison = "bad"
    ledger.add(taken({"key_id": "bad"}))
    wait_until(lambda: store.tried > 0, "it was not tried")
    for _ in range(5):
        ledger.add(taken())
    wait_until(lambda: store.requests() == 5, "the others were held up")
    assert not ledger.settle(0.01)
    store.poison = None
    assert ledger.settle(5)
    assert store.requests() == 6


def test_a_file_that_somebody_removed_holds_up_nothing(
    ledger: Ledger, store: Failing, spool: FileSegmentSpool, taken: Take
) -> None:
    store.mode = "fails"
    ledger.add(taken())
    wait_until(lambda: spool.names() != [], "it was not put on the disk")
    spool.delete(spool.names()[0])
    ledger.add(taken())
    store.mode = "works"
    assert ledger.settle(5)
    assert store.requests() == 1


def test_a_damaged_file_is_set_aside(
    store: Failing, spool: FileSegmentSpool, taken: Take, tmp_path: Path
) -> None:
    bad = spool.put(segments_of(taken(), "run", 1))
    spool.put(segments_of(taken({}, {}), "run", 2))
    path = tmp_path / "spool" / bad
    path.write_bytes(path.read_bytes()[:-1])
    ledger = Ledger(store, spool)  # type: ignore[arg-type]
    ledger.start()
    assert ledger.settle(5)
    ledger.stop()
    assert store.requests() == 2
    assert [one.suffix for one in (tmp_path / "spool").iterdir()] == [".damaged"]


def test_the_spool_keeps_what_it_was_given(spool: FileSegmentSpool, taken: Take) -> None:
    segments = segments_of(taken({}, {"tenant_id": "other", "request_id": "mine"}), "run", 1)
    name = spool.put(segments)
    assert spool.get(name) == segments
    assert spool.names() == [name]
    assert spool.size_bytes() > sum(len(one.data) for one in segments)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.sampled_from(["add", "works", "fails", "fails after the commit", "restart"])))
def test_any_sequence_of_troubles_leaves_each_request_once(steps: list[str]) -> None:
    database = MemoryDatabase()
    add_tenants(database)
    store = Failing(database)
    with tempfile.TemporaryDirectory() as folder:
        spool = FileSegmentSpool(Path(folder) / "spool")

        def start() -> Ledger:
            made = Ledger(store, spool)  # type: ignore[arg-type]
            made.start()
            return made

        ledger = start()
        added = 0
        for step in steps:
            if step == "add":
                meter = Meter()
                note(meter)
                ledger.add(meter.take())
                added += 1
            elif step == "restart":
                ledger.stop()
                ledger = start()
            else:
                store.mode = step
            time.sleep(0.002)
        store.mode = "works"
        assert ledger.settle(5)
        ledger.stop()
        assert store.requests() == added
        assert spool.names() == []


def test_a_question_waits_for_what_was_before_it_and_no_longer(
    ledger: Ledger, store: Failing, taken: Take
) -> None:
    stop = threading.Event()

    def keep_adding() -> None:
        while not stop.is_set():
            ledger.add(taken())
            time.sleep(0.001)

    adding = threading.Thread(target=keep_adding)
    adding.start()
    try:
        for number in range(1, 6):
            ledger.add(taken({"key_id": "asked"}))
            assert ledger.settle(5)
            assert store.requests_of("asked") == number
    finally:
        stop.set()
        adding.join()
