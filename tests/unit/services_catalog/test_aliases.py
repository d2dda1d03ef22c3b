"""Aliases: compare-and-set, history, and a model of the whole that Hypothesis walks through."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support import databases

from modelry.adapters.sql.database import Database
from modelry.domain.access import Role
from modelry.domain.catalog import Version
from modelry.domain.errors import Conflict, InvalidInput, NotFound, PermissionDenied
from modelry.domain.signature import NO_TENSORS
from modelry.services.catalog.aliases import Aliases, Expected
from modelry.services.catalog.registration import Registrar, ResolvedManifest
from modelry.services.catalog.versions import Versions
from modelry.testing.memory_database import MemoryDatabase
from modelry.testing.samples import (
    NOW,
    OTHER_TENANT_ID,
    Stores,
    add_tenants,
    add_version,
    deployment,
    principal,
    version,
)

ME = principal(Role.DEVELOPER)
STRANGER = principal(Role.OWNER, OTHER_TENANT_ID)


@pytest.fixture
def stores() -> Stores:
    stores = MemoryDatabase()
    add_tenants(stores)
    for number in (1, 2, 3):
        stores.catalog.write(
            "default", lambda records, number=number: add_version(records, version(number=number))
        )
    return stores


@pytest.fixture
def aliases(stores: Stores) -> Aliases:
    return Aliases(stores.catalog, lambda: NOW)


@pytest.fixture
def versions(stores: Stores) -> Versions:
    return Versions(stores.catalog)


def test_an_alias_points_where_it_was_set(aliases: Aliases, versions: Versions) -> None:
    aliases.set(ME, "pets", "champion", 2, reason="better on cats")
    assert versions.resolve(ME, "pets@champion").number == 2
    aliases.set(ME, "pets", "champion", 1)
    assert versions.resolve(ME, "pets@champion").number == 1
    moves = aliases.history(ME, "pets", "champion")
    assert [(one.previous_number, one.version_number, one.reason) for one in moves] == [
        (2, 1, ""),
        (None, 2, "better on cats"),
    ]
    assert {one.moved_by for one in moves} == {ME.key_id}
    assert {one.moved_at for one in moves} == {NOW}


def test_setting_it_where_it_is_records_nothing(aliases: Aliases) -> None:
    first = aliases.set(ME, "pets", "champion", 2)
    assert aliases.set(ME, "pets", "champion", 2) == first
    assert len(aliases.history(ME, "pets")) == 1


def test_compare_and_set(aliases: Aliases) -> None:
    with pytest.raises(Conflict, match="does not exist"):
        aliases.set(ME, "pets", "champion", 2, expected=1)
    aliases.set(ME, "pets", "champion", 1, expected=Expected.ABSENT)
    with pytest.raises(Conflict, match="points at version 1"):
        aliases.set(ME, "pets", "champion", 2, expected=Expected.ABSENT)
    aliases.set(ME, "pets", "champion", 2, expected=1)
    with pytest.raises(Conflict):
        aliases.remove(ME, "pets", "champion", expected=1)
    aliases.remove(ME, "pets", "champion", expected=2, reason="retired")
    assert aliases.all(ME, "pets") == []
    assert aliases.history(ME, "pets", limit=1)[0].version_number is None


def test_what_is_not_there(aliases: Aliases) -> None:
    with pytest.raises(NotFound, match="version 9"):
        aliases.set(ME, "pets", "champion", 9)
    for number in (0, -1, 2**70):
        with pytest.raises(NotFound):
            aliases.set(ME, "pets", "champion", number)
    with pytest.raises(NotFound):
        aliases.set(ME, "dogs", "champion", 1)
    with pytest.raises(NotFound):
        aliases.set(STRANGER, "pets", "champion", 1)
    with pytest.raises(NotFound):
        aliases.remove(ME, "pets", "nobody")
    with pytest.raises(NotFound):
        aliases.history(STRANGER, "pets")
    with pytest.raises(NotFound):
        aliases.all(STRANGER, "pets")


@pytest.mark.parametrize("name", ["", "7", "007", "A", "a/b", "..", "a@b", "x" * 65, "a\n"])
def test_unfit_names(aliases: Aliases, name: str) -> None:
    with pytest.raises(InvalidInput) as told:
        aliases.set(ME, "pets", name, 1)
    assert told.value.param == "alias"


def test_unfit_reasons_and_limits(aliases: Aliases) -> None:
    for reason in ("x" * 2001, "a\x00b"):
        with pytest.raises(InvalidInput):
            aliases.set(ME, "pets", "champion", 1, reason=reason)
    for limit in (0, -1, 1001):
        with pytest.raises(InvalidInput):
            aliases.history(ME, "pets", limit=limit)


def test_who_may_move_aliases(aliases: Aliases) -> None:
    for role in (Role.VIEWER, Role.OPERATOR, Role.INFERENCE, Role.AUDITOR):
        with pytest.raises(PermissionDenied):
            aliases.set(principal(role), "pets", "champion", 1)
    with pytest.raises(PermissionDenied):
        aliases.all(principal(Role.INFERENCE), "pets")


@pytest.mark.parametrize(
    "reference",
    ["pets@", "pets@A", "pets@1@2", "pets@-1", "pets@ 1"],
)
def test_references_that_are_not_understood(versions: Versions, reference: str) -> None:
    with pytest.raises(InvalidInput, match="name@3"):
        versions.resolve(ME, reference)


@pytest.mark.parametrize(
    "reference", ["", "dogs", "dogs@1", "pets@99", "pets@nobody", "pets@9999999999", "../pets"]
)
def test_references_to_nothing(versions: Versions, reference: str) -> None:
    with pytest.raises(NotFound):
        versions.resolve(ME, reference)


def test_the_name_alone_means_the_newest(versions: Versions) -> None:
    assert versions.resolve(ME, "pets").number == 3
    versions.delete_version(ME, "pets", 3)
    assert versions.resolve(ME, "pets").number == 2


def test_what_is_in_use_is_not_deleted(
    stores: Stores, aliases: Aliases, versions: Versions
) -> None:
    aliases.set(ME, "pets", "champion", 1)
    stores.deployments.put(deployment("shop", numbers=(2,)))
    with pytest.raises(Conflict, match="champion"):
        versions.delete_version(ME, "pets", 1)
    with pytest.raises(Conflict, match="shop"):
        versions.delete_version(ME, "pets", 2)
    with pytest.raises(Conflict, match="shop"):
        versions.delete_model(ME, "pets")
    stores.deployments.delete("default", "shop")
    versions.delete_model(ME, "pets")
    assert versions.models(ME) == []
    with pytest.raises(NotFound):
        versions.model(ME, "pets")


def test_models_are_told_with_newest_and_aliases(aliases: Aliases, versions: Versions) -> None:
    aliases.set(ME, "pets", "champion", 1)
    summary = versions.model(ME, "pets")
    assert summary.newest is not None
    assert (summary.newest.number, [one.name for one in summary.aliases]) == (3, ["champion"])
    assert versions.models(ME) == [summary]
    assert versions.models(STRANGER) == []
    assert [one.number for one in versions.versions(ME, "pets")] == [3, 2, 1]


@pytest.fixture
def sql(tmp_path: Path) -> Iterator[Database]:
    database = databases.with_tenants(tmp_path)
    yield database
    database.close()


def test_of_two_that_move_at_once_one_succeeds(sql: Database) -> None:
    aliases = Aliases(sql.catalog, lambda: NOW)
    for number in range(1, 10):
        sql.catalog.write(
            "default", lambda records, number=number: add_version(records, version(number=number))
        )
    aliases.set(ME, "pets", "champion", 1)
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def move(number: int) -> None:
        start.wait()
        try:
            aliases.set(ME, "pets", "champion", number, expected=1)
            outcomes.append("moved")
        except Conflict:
            outcomes.append("conflict")

    threads = [threading.Thread(target=move, args=(number,)) for number in range(2, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict"] * 7 + ["moved"]
    assert len(aliases.history(ME, "pets")) == 2


# ---- the whole, against a model of it ---------------------------------------------------------

NAMES = st.sampled_from(["champion", "candidate", "x"])
MODELS = st.sampled_from(["pets", "dogs"])
CONTENTS = st.integers(0, 4)


class CatalogueMachine(RuleBasedStateMachine):
    """Versions and aliases on SQLite behave as a few dictionaries do."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.database = databases.with_tenants(Path(self.folder.name))
        self.time = NOW
        self.aliases = Aliases(self.database.catalog, self.clock)
        self.versions = Versions(self.database.catalog)
        self.registrar = Registrar(self.database.catalog, self.clock)
        self.last: dict[str, int] = {}
        self.kept: dict[str, dict[int, int]] = {}
        self.pointing: dict[tuple[str, str], int] = {}
        self.moves: dict[str, list[tuple[str, int | None, int | None]]] = {}

    def clock(self) -> datetime:
        self.time += timedelta(seconds=1)
        return self.time

    def teardown(self) -> None:
        self.database.close()
        self.folder.cleanup()

    @rule(model=MODELS, content=CONTENTS)
    def register(self, model: str, content: int) -> None:
        document = {"name": model, "task": "tensor", "runtime": "onnx", "content": content}
        resolved = ResolvedManifest(document, NO_TENSORS, ())
        registration = self.registrar.register(ME, resolved, "test")
        versions = self.kept.setdefault(model, {})
        self.moves.setdefault(model, [])
        known = [number for number, kept in versions.items() if kept == content]
        assert registration.created is not bool(known)
        if known:
            assert registration.version.number == known[0]
        else:
            self.last[model] = self.last.get(model, 0) + 1
            assert registration.version.number == self.last[model]
            versions[self.last[model]] = content

    @rule(model=MODELS, name=NAMES, number=st.integers(1, 6), expected=st.integers(0, 6))
    def set_alias(self, model: str, name: str, number: int, expected: int) -> None:
        wanted = Expected.ANYTHING if expected == 0 else expected
        current = self.pointing.get((model, name))
        if number not in self.kept.get(model, {}):
            with pytest.raises(NotFound):
                self.aliases.set(ME, model, name, number, expected=wanted)
        elif wanted not in (Expected.ANYTHING, current):
            with pytest.raises(Conflict):
                self.aliases.set(ME, model, name, number, expected=wanted)
        else:
            self.aliases.set(ME, model, name, number, expected=wanted)
            if current != number:
                self.moves[model].append((name, current, number))
            self.pointing[model, name] = number

    @precondition(lambda self: self.pointing)
    @rule(data=st.data())
    def remove_alias(self, data: st.DataObject) -> None:
        model, name = data.draw(st.sampled_from(sorted(self.pointing)))
        self.aliases.remove(ME, model, name)
        self.moves[model].append((name, self.pointing.pop((model, name)), None))

    @rule(model=MODELS, number=st.integers(1, 6))
    def delete_version(self, model: str, number: int) -> None:
        named = any(one == model and at == number for (one, _), at in self.pointing.items())
        if number not in self.kept.get(model, {}):
            with pytest.raises(NotFound):
                self.versions.delete_version(ME, model, number)
        elif named:
            with pytest.raises(Conflict):
                self.versions.delete_version(ME, model, number)
        else:
            self.versions.delete_version(ME, model, number)
            del self.kept[model][number]

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def delete_model(self, data: st.DataObject) -> None:
        model = data.draw(st.sampled_from(sorted(self.kept)))
        self.versions.delete_model(ME, model)
        del self.kept[model], self.moves[model]
        self.last.pop(model, None)
        self.pointing = {key: at for key, at in self.pointing.items() if key[0] != model}

    @invariant()
    def is_as_modelled(self) -> None:
        assert [one.model.name for one in self.versions.models(ME)] == sorted(self.kept)
        assert self.versions.models(STRANGER) == []
        for model, versions in self.kept.items():
            found: list[Version] = self.versions.versions(ME, model)
            assert [one.number for one in found] == sorted(versions, reverse=True)
            assert {one.number: one.manifest["content"] for one in found} == versions
            aliases = {one.name: one.version_number for one in self.aliases.all(ME, model)}
            assert aliases == {
                name: at for (one, name), at in self.pointing.items() if one == model
            }
            moves = [
                (one.name, one.previous_number, one.version_number)
                for one in reversed(self.aliases.history(ME, model))
            ]
            assert moves == self.moves[model][-100:]
            for name, at in aliases.items():
                assert self.versions.resolve(ME, f"{model}@{name}").number == at


CatalogueMachine.TestCase.settings = settings(
    max_examples=15,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestCatalogue = CatalogueMachine.TestCase
