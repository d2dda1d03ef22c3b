"""Whatever is done to the rows of a chain is found out; a chain that nobody touched is sound."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelry.adapters.audit.head_file import HeadFile
from modelry.adapters.sql.database import open_database
from modelry.domain.access import DEFAULT_TENANT_ID as TENANT_ID
from modelry.domain.audit import TENANT_DESTROYED, BreakKind, SignedHead, tenant_resource
from modelry.domain.errors import AuditUnavailable, NotFound
from modelry.services.audit.chain import MAX_DETAIL_CHARS, ChainKeys, canonical_detail, is_signed_by
from modelry.services.audit.denials import MOST_PER_TENANT, WINDOW_S, Denials
from modelry.services.audit.ports import AuditFilter
from modelry.services.audit.service import AuditService
from modelry.services.audit.trail import ChainedTrail
from modelry.services.audit.verifier import verify_chain
from modelry.testing.samples import OTHER_TENANT_ID, add_tenants

KEYS = ChainKeys(b"k" * 32)
ENTRIES = 8
ALL = AuditFilter()


class Chain:
    """A chain of `ENTRIES` entries in a SQLite file, and ways to do it harm."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = open_database(f"sqlite:///{path}")
        self.store = self.database.audit
        self.trail = ChainedTrail(self.store, KEYS)
        self.heads = HeadFile(path.with_suffix(".heads"))
        self.service = AuditService(self.store, KEYS, self.heads)

    def fill(self, count: int = ENTRIES) -> None:
        for number in range(count):
            self.trail.append(
                TENANT_ID, actor="key", action="models.delete", resource=f"/m/{number}"
            )

    def harm(self, *statements: str) -> int:
        with sqlite3.connect(self.path) as connection:
            return sum(connection.execute(statement).rowcount for statement in statements)

    def kinds(self, *heads: SignedHead) -> set[BreakKind]:
        found = verify_chain(self.store, KEYS, TENANT_ID, heads)
        return {one.kind for one in found.breaks}

    def head(self) -> SignedHead:
        ends = self.store.ends(TENANT_ID)
        return KEYS.signed(TENANT_ID, ends.sequence, ends.mac, datetime.now(UTC))


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audit") / "modelry.db"
    chain = Chain(path)
    add_tenants(chain.database)
    chain.fill()
    chain.database.close()
    return path


@pytest.fixture
def chain(pristine: Path, tmp_path: Path) -> Iterator[Chain]:
    made = Chain(Path(shutil.copy(pristine, tmp_path / "modelry.db")))
    yield made
    made.database.close()


def test_an_honest_chain_is_sound(chain: Chain) -> None:
    found = verify_chain(chain.store, KEYS, TENANT_ID, [chain.head()])
    assert found.is_sound
    assert (found.checked, found.first_sequence, found.last_sequence) == (ENTRIES, 1, ENTRIES)
    assert found.heads == 1
    assert verify_chain(chain.store, KEYS, OTHER_TENANT_ID, []).is_sound


FIELDS = ("at", "actor", "action", "resource", "outcome", "detail", "previous_mac", "mac")
VALUES = {
    "at": "'2020-01-01 00:00:00.000000'",
    "detail": """'{"a":1}'""",
    "previous_mac": "randomblob(32)",
    "mac": "randomblob(32)",
}


AT = st.integers(1, ENTRIES)
KEPT_COLUMNS = "at, actor, action, resource, outcome, detail"


def _change(pick: tuple[int, str]) -> list[str]:
    value = VALUES.get(pick[1], "'x'")
    return [f"UPDATE audit_entries SET {pick[1]} = {value} WHERE sequence = {pick[0]}"]


def _swap(pair: tuple[int, int]) -> list[str]:
    return [
        f"UPDATE audit_entries SET sequence = -1 WHERE sequence = {pair[0]}",
        f"UPDATE audit_entries SET sequence = {pair[0]} WHERE sequence = {pair[1]}",
        f"UPDATE audit_entries SET sequence = {pair[1]} WHERE sequence = -1",
    ]


def _insert_at_the_end(copied: int) -> list[str]:
    columns = f"tenant_id, {ENTRIES + 1}, {KEPT_COLUMNS}, previous_mac, mac"
    return [
        f"INSERT INTO audit_entries SELECT {columns} FROM audit_entries WHERE sequence = {copied}"
    ]


def _insert_between(at: int) -> list[str]:
    columns = f"tenant_id, {at} + 1, {KEPT_COLUMNS}, mac, mac"
    return [
        f"UPDATE audit_entries SET sequence = sequence + 1000 WHERE sequence > {at}",
        f"INSERT INTO audit_entries SELECT {columns} FROM audit_entries WHERE sequence = {at}",
        "UPDATE audit_entries SET sequence = sequence - 999 WHERE sequence > 1000",
    ]


def _give_away(at: int) -> list[str]:
    return [f"UPDATE audit_entries SET tenant_id = '{OTHER_TENANT_ID}' WHERE sequence = {at}"]


def _pretend_a_sweep(at: int) -> list[str]:
    mac = f"(SELECT mac FROM audit_entries WHERE sequence = {at})"
    return [
        f"UPDATE audit_heads SET anchor_sequence = {at}, anchor_mac = {mac}",
        f"DELETE FROM audit_entries WHERE sequence <= {at}",
    ]


HARMS = st.one_of(
    st.tuples(AT, st.sampled_from(FIELDS)).map(_change),
    AT.map(lambda at: [f"DELETE FROM audit_entries WHERE sequence = {at}"]),
    AT.map(lambda at: [f"DELETE FROM audit_entries WHERE sequence >= {at}"]),
    st.tuples(AT, AT).filter(lambda pair: pair[0] != pair[1]).map(_swap),
    AT.map(_insert_at_the_end),
    AT.map(_insert_between),
    AT.map(_give_away),
    AT.map(_pretend_a_sweep),
    st.just(["DELETE FROM audit_heads"]),
    st.sampled_from([-1, 1]).map(lambda by: [f"UPDATE audit_heads SET sequence = sequence + {by}"]),
    st.just(["UPDATE audit_heads SET mac = zeroblob(32)"]),
)
"""SQL that changes the rows of the chain."""


@settings(max_examples=60, deadline=None)
@given(harm=HARMS)
def test_any_change_of_rows_is_found(
    pristine: Path, tmp_path_factory: pytest.TempPathFactory, harm: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("harm")
    harmed = Chain(Path(shutil.copy(pristine, folder / "modelry.db")))
    try:
        assert harmed.harm(*harm) > 0
        assert harmed.kinds()
    finally:
        harmed.database.close()
        shutil.rmtree(folder)


@pytest.mark.parametrize("left", range(ENTRIES))
def test_a_chain_cut_with_its_end_is_found_by_a_head(chain: Chain, left: int) -> None:
    kept = chain.head()
    chain.harm(
        f"UPDATE audit_heads SET sequence = {left}, mac = coalesce((SELECT mac FROM audit_entries "
        f"WHERE sequence = {left}), zeroblob(32))",
        f"DELETE FROM audit_entries WHERE sequence > {left}",
    )
    assert chain.kinds() == set(), "without a head, an earlier state looks like the present one"
    assert chain.kinds(kept) == {BreakKind.TRUNCATED}


def test_a_chain_put_back_and_gone_on_with_is_found_by_a_head(chain: Chain, tmp_path: Path) -> None:
    before = Path(shutil.copy(chain.path, tmp_path / "before.db"))
    chain.trail.append(TENANT_ID, actor="thief", action="keys.create_key", resource="/keys")
    kept = chain.head()
    chain.database.close()
    again = Chain(before)
    again.fill(5)
    assert again.kinds() == set()
    assert again.kinds(kept) == {BreakKind.ROLLED_BACK}
    again.database.close()


def test_where_the_chain_breaks_is_told(chain: Chain) -> None:
    chain.harm("UPDATE audit_entries SET actor = 'nobody' WHERE sequence = 5")
    found = verify_chain(chain.store, KEYS, TENANT_ID, [])
    assert [(one.kind, one.sequence) for one in found.breaks] == [(BreakKind.CHANGED, 5)]
    assert "5" in found.breaks[0].message
    assert found.checked == ENTRIES


def test_another_key_fits_no_entry(chain: Chain) -> None:
    found = verify_chain(chain.store, ChainKeys(b"x" * 32), TENANT_ID, [])
    assert {one.kind for one in found.breaks} == {BreakKind.CHANGED}
    assert len(found.breaks) == ENTRIES


def test_a_head_that_is_not_genuine_is_told(chain: Chain) -> None:
    ends = chain.store.ends(TENANT_ID)
    forged = ChainKeys(b"x" * 32).signed(TENANT_ID, 3, ends.mac, datetime.now(UTC))
    assert chain.kinds(forged) == {BreakKind.HEAD}
    assert is_signed_by(KEYS.public_key, chain.head())
    assert not is_signed_by(KEYS.public_key, forged)
    assert not is_signed_by(b"short", forged)


def test_swept_entries_leave_an_anchor(chain: Chain) -> None:
    early, late = chain.store.ends(TENANT_ID), chain.head()
    assert early.sequence == ENTRIES
    third = chain.store.entries(TENANT_ID, ALL, after=2, limit=1)[0]
    swept = chain.service.sweep(TENANT_ID, third.at + timedelta(microseconds=1))
    assert swept == 3
    found = verify_chain(chain.store, KEYS, TENANT_ID, [late])
    assert found.is_sound, found.breaks
    assert (found.checked, found.first_sequence) == (ENTRIES - 3, 4)
    assert chain.service.sweep(TENANT_ID, third.at) == 0


def test_the_last_entry_is_never_swept(chain: Chain) -> None:
    assert chain.service.sweep(TENANT_ID, datetime.now(UTC) + timedelta(days=1)) == ENTRIES - 1
    assert chain.kinds(chain.head()) == set()


def test_a_broken_chain_is_not_swept(chain: Chain) -> None:
    chain.harm("UPDATE audit_entries SET actor = 'nobody' WHERE sequence = 2")
    assert chain.service.sweep(TENANT_ID, datetime.now(UTC) + timedelta(days=1)) == 0
    assert chain.kinds() == {BreakKind.CHANGED}


def test_heads_are_kept_when_a_chain_grew(chain: Chain) -> None:
    chain.service.keep_heads()
    chain.service.keep_heads()
    assert len(list(chain.heads.kept(TENANT_ID))) == 1
    chain.fill(1)
    chain.service.keep_heads()
    kept = list(chain.heads.kept(TENANT_ID))
    assert [head.sequence for head in kept] == [ENTRIES, ENTRIES + 1]
    assert chain.service.verify_tenant(TENANT_ID).heads == 2
    assert list(chain.heads.kept(OTHER_TENANT_ID)) == []


def test_a_tenant_that_vanished_is_told_unless_it_was_deleted(chain: Chain) -> None:
    chain.trail.append(OTHER_TENANT_ID, actor="a", action="b.c", resource="/x")
    chain.service.keep_heads()
    assert chain.service.vanished() == []
    tables = ("audit_entries", "audit_heads", "tenants")
    chain.harm(*(f"DELETE FROM {table} WHERE tenant_id = '{OTHER_TENANT_ID}'" for table in tables))
    (gone,) = chain.service.vanished()
    assert (gone.tenant_id, gone.is_sound) == (OTHER_TENANT_ID, False)
    chain.trail.append(
        TENANT_ID, actor="a", action=TENANT_DESTROYED, resource=tenant_resource(OTHER_TENANT_ID)
    )
    assert chain.service.vanished() == []


def test_a_line_that_a_crash_cut_costs_no_other_head(chain: Chain) -> None:
    chain.service.keep_heads()
    with chain.path.with_suffix(".heads").open("ab") as file:
        file.write(b'{"tenant_id": "def')
    chain.fill(1)
    chain.service.keep_heads()
    assert len(list(chain.heads.kept(TENANT_ID))) == 2


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.one_of(st.text(), st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False,
                  allow_infinity=False)),
        max_size=4,
    ),
    st.text(max_size=300),
)  # fmt: skip
@settings(max_examples=40)
def test_any_words_are_kept_and_verified(pristine, detail, words) -> None:
    # one database for all examples: the chain just grows
    path = pristine.with_name("words.db")
    if not path.exists():
        shutil.copy(pristine, path)
    words_chain = Chain(path)
    try:
        words_chain.trail.append(
            TENANT_ID, actor=words, action=words, resource=words, outcome=words, detail=detail
        )
        entry = words_chain.store.entries(TENANT_ID, ALL, newest_first=True, limit=1)[0]
        assert entry.detail == detail
        assert words_chain.kinds() == set()
    finally:
        words_chain.database.close()


def test_what_is_too_long_says_so() -> None:
    assert "left_out_chars" in canonical_detail({"a": "x" * MAX_DETAIL_CHARS})


def test_appending_for_a_tenant_that_is_not_there(chain: Chain) -> None:
    with pytest.raises(NotFound):
        chain.trail.append("nobody", actor="a", action="b", resource="c")


def test_an_outcome_that_cannot_be_entered_is_entered_later(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(chain.store, "append", _fail)
        with pytest.raises(AuditUnavailable) as told:
            chain.trail.append(TENANT_ID, actor="a", action="b", resource="c")
        assert "/secret/place" not in told.value.message
        chain.trail.append_late(TENANT_ID, actor="a", action="b", resource="late")
        chain.trail.bring_late()
    chain.trail.bring_late()
    chain.trail.bring_late()
    late = chain.store.entries(TENANT_ID, AuditFilter(resource="late"), limit=9)
    assert len(late) == 1
    assert "happened_at" in late[0].detail


def _fail(*_: object) -> None:
    raise OSError("/secret/place")


def test_filters(chain: Chain) -> None:
    chain.trail.append(TENANT_ID, actor="Key", action="models_x", resource="/m/100%", outcome="no")

    def found(**wanted: object) -> int:
        return len(chain.store.entries(TENANT_ID, AuditFilter(**wanted), limit=99))

    assert found(actor="key") == ENTRIES
    assert found(actor="Key") == 1
    assert found(action="models.*") == ENTRIES
    assert found(action="Models.*") == 0
    assert found(resource="/m/*") == ENTRIES + 1
    assert found(resource="/m/100%") == 1
    assert found(resource="/m/%") == 0
    assert found(outcome="no") == 1
    now = datetime.now(UTC)
    assert found(since=now + timedelta(minutes=1)) == 0
    assert found(until=now + timedelta(minutes=1)) == ENTRIES + 1


def test_refusals_are_counted_and_cannot_fill_the_log(chain: Chain) -> None:
    now = [0.0]
    denials = Denials(chain.trail, clock=lambda: now[0])

    def refuse(action: str) -> None:
        enter = denials.note(
            TENANT_ID, actor="key", action=action, resource="/x", outcome="permission_denied"
        )
        if enter is not None:
            enter()

    for _ in range(50):
        for number in range(MOST_PER_TENANT + 30):
            refuse(f"a.{number}")
    entered = AuditFilter(outcome="permission_denied")
    assert len(chain.store.entries(TENANT_ID, entered, limit=1000)) == MOST_PER_TENANT
    denials.bring()
    assert len(chain.store.entries(TENANT_ID, entered, limit=1000)) == MOST_PER_TENANT
    now[0] = WINDOW_S + 1
    denials.bring()
    rows = chain.store.entries(TENANT_ID, entered, limit=1000)
    assert len(rows) == 2 * MOST_PER_TENANT + 1
    assert sum(row.detail["attempts"] for row in rows) == 50 * (MOST_PER_TENANT + 30)
    refuse("a.0")
    assert len(chain.store.entries(TENANT_ID, entered, limit=1000)) == len(rows) + 1
