# ruff: noqa: D102 - the names of the tests say what they check
"""What every `CatalogStore` must do. Subclass it and give the fixture `stores`: an empty
database with the default and the other tenant of `testing.samples`.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from modelry.domain.access import DEFAULT_TENANT_ID as TENANT
from modelry.domain.catalog import Alias, AliasMove, Model, Version
from modelry.domain.errors import Conflict
from modelry.services.catalog.ports import BlobRecord, CatalogRecords, UploadRecord
from modelry.testing import samples
from modelry.testing.samples import NOW, OTHER_TENANT_ID, Stores


class Undo(Exception):
    """Raised by work that shall leave no trace."""


def _take_number(records: CatalogRecords) -> int:
    return records.models.take_number("pets")


class CatalogStoreContract:
    """The suite."""

    def test_a_version_comes_back_as_it_was(self, stores: Stores) -> None:
        kept = samples.version()
        stores.catalog.write(TENANT, lambda records: samples.add_version(records, kept))
        found = stores.catalog.read(TENANT, lambda records: records.models.find_version("pets", 1))
        assert found == kept
        assert found is not None
        assert found.created_at.tzinfo is not None

    def test_versions_are_found_by_digest_and_newest_first(self, stores: Stores) -> None:
        kept = [samples.version(number=number) for number in (1, 2, 10)]

        def work(records: CatalogRecords) -> None:
            for version in kept:
                samples.add_version(records, version)
            samples.add_version(records, samples.version("dogs", 3))

        stores.catalog.write(TENANT, work)

        def check(records: CatalogRecords) -> None:
            models = records.models
            assert [one.number for one in models.list_versions("pets")] == [10, 2, 1]
            assert models.newest_version("pets") == kept[2]
            assert models.find_digest("pets", kept[1].digest) == kept[1]
            assert models.find_digest("dogs", kept[1].digest) is None
            assert [one.name for one in models.all()] == ["dogs", "pets"]
            assert models.newest_version("cats") is None
            assert models.list_versions("cats") == []

        stores.catalog.read(TENANT, check)

    def test_numbers_are_never_given_twice(self, stores: Stores) -> None:
        def work(records: CatalogRecords) -> list[int]:
            records.models.add(Model(TENANT, "pets", "tensor", NOW))
            return [records.models.take_number("pets") for _ in range(3)]

        assert stores.catalog.write(TENANT, work) == [1, 2, 3]
        stores.catalog.write(TENANT, lambda records: records.models.delete_version("pets", 3))
        number = stores.catalog.write(TENANT, lambda records: records.models.take_number("pets"))
        assert number == 4

    def test_numbers_taken_at_once_differ(self, stores: Stores) -> None:
        stores.catalog.write(
            TENANT, lambda records: records.models.add(Model(TENANT, "pets", "tensor", NOW))
        )
        taken: list[int] = []

        def take() -> None:
            for _ in range(5):
                number = stores.catalog.write(TENANT, _take_number)
                taken.append(number)

        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(taken) == list(range(1, 21))

    def test_work_that_raises_leaves_no_trace(self, stores: Stores) -> None:
        def work(records: CatalogRecords) -> None:
            samples.add_version(records, samples.version())
            raise Undo

        with pytest.raises(Undo):
            stores.catalog.write(TENANT, work)

        def check(records: CatalogRecords) -> None:
            assert records.models.all() == []
            assert records.blobs.digests() == set()

        stores.catalog.read(TENANT, check)

    def test_tenants_do_not_see_each_other(self, stores: Stores) -> None:
        kept = samples.version()
        stores.catalog.write(TENANT, lambda records: samples.add_version(records, kept))

        def look(records: CatalogRecords) -> None:
            assert records.models.all() == []
            assert records.models.find("pets") is None
            assert records.models.find_version("pets", 1) is None
            assert records.models.find_digest("pets", kept.digest) is None
            assert records.blobs.digests() == set()
            records.aliases.delete("pets", "champion")

        stores.catalog.write(OTHER_TENANT_ID, look)
        same_name = samples.version(tenant_id=OTHER_TENANT_ID)
        stores.catalog.write(
            OTHER_TENANT_ID, lambda records: samples.add_version(records, same_name)
        )
        found = stores.catalog.read(TENANT, lambda records: records.models.list_versions("pets"))
        assert found == [kept]
        assert stores.catalog.tenant_ids() == [TENANT, OTHER_TENANT_ID]

    def test_a_version_needs_its_contents(self, stores: Stores) -> None:
        version = samples.version()

        def work(records: CatalogRecords) -> None:
            records.models.add(Model(TENANT, "pets", "tensor", NOW))
            records.models.add_version(version)

        with pytest.raises(Conflict):
            stores.catalog.write(TENANT, work)
        assert stores.catalog.read(TENANT, lambda records: records.models.all()) == []

    def test_a_version_that_is_named_cannot_go(self, stores: Stores) -> None:
        def work(records: CatalogRecords) -> None:
            samples.add_version(records, samples.version())
            samples.add_version(records, samples.version(number=2))
            records.aliases.put(Alias(TENANT, "pets", "champion", 1, NOW))

        stores.catalog.write(TENANT, work)
        stores.deployments.put(samples.deployment(numbers=(2,)))
        for number in (1, 2):
            with pytest.raises(Conflict):
                stores.catalog.write(
                    TENANT,
                    lambda records, number=number: records.models.delete_version("pets", number),  # type: ignore[misc] # mypy cannot infer lambdas with defaults
                )
        found = stores.catalog.read(TENANT, lambda records: records.models.list_versions("pets"))
        assert len(found) == 2

    def test_deployments_of_a_version(self, stores: Stores) -> None:
        def work(records: CatalogRecords) -> None:
            samples.add_version(records, samples.version())
            samples.add_version(records, samples.version(number=2))

        stores.catalog.write(TENANT, work)
        stores.deployments.put(samples.deployment("b", numbers=(1, 2)))
        stores.deployments.put(samples.deployment("a", numbers=(1,)))

        def check(records: CatalogRecords) -> None:
            assert records.models.deployments_of("pets", 1) == ["a", "b"]
            assert records.models.deployments_of("pets", 2) == ["b"]
            assert records.models.deployments_of("pets") == ["a", "b"]
            assert records.models.deployments_of("dogs") == []

        stores.catalog.read(TENANT, check)

    def test_aliases_move(self, stores: Stores) -> None:
        def work(records: CatalogRecords) -> None:
            samples.add_version(records, samples.version())
            samples.add_version(records, samples.version(number=2))
            records.aliases.put(Alias(TENANT, "pets", "champion", 1, NOW))
            records.aliases.put(Alias(TENANT, "pets", "candidate", 2, NOW))
            records.aliases.put(Alias(TENANT, "pets", "champion", 2, NOW))

        stores.catalog.write(TENANT, work)
        found = stores.catalog.read(TENANT, lambda records: records.aliases.all("pets"))
        assert [(one.name, one.version_number) for one in found] == [
            ("candidate", 2),
            ("champion", 2),
        ]
        stores.catalog.write(TENANT, lambda records: records.aliases.delete("pets", "champion"))
        gone = stores.catalog.read(TENANT, lambda records: records.aliases.find("pets", "champion"))
        assert gone is None

    def test_moves_are_kept_newest_first(self, stores: Stores) -> None:
        def move(name: str, number: int | None) -> AliasMove:
            return AliasMove(TENANT, "pets", name, None, number, NOW, "owner", "why not")

        moves = [move("champion", 1), move("candidate", 2), move("champion", None)]

        def work(records: CatalogRecords) -> None:
            records.models.add(Model(TENANT, "pets", "tensor", NOW))
            for one in moves:
                records.aliases.add_move(one)

        stores.catalog.write(TENANT, work)

        def check(records: CatalogRecords) -> None:
            assert records.aliases.list_moves("pets", None, 10) == moves[::-1]
            assert records.aliases.list_moves("pets", None, 1) == [moves[2]]
            assert records.aliases.list_moves("pets", "champion", 10) == [moves[2], moves[0]]

        stores.catalog.read(TENANT, check)
        stores.catalog.write(TENANT, lambda records: records.models.delete("pets"))
        left = stores.catalog.read(
            TENANT, lambda records: records.aliases.list_moves("pets", None, 10)
        )
        assert left == []

    def test_unused_old_contents_go(self, stores: Stores) -> None:
        version = samples.version()
        old = BlobRecord("sha256:" + "1" * 64, 5, NOW - timedelta(days=2))
        young = BlobRecord("sha256:" + "2" * 64, 5, NOW)

        def work(records: CatalogRecords) -> None:
            samples.add_version(records, version)
            records.blobs.add(old)
            records.blobs.add(young)
            for file in version.files:
                records.blobs.add(replace(old, digest=file.digest))

        stores.catalog.write(TENANT, work)
        gone = stores.catalog.write(
            TENANT, lambda records: records.blobs.delete_unused(NOW - timedelta(days=1))
        )
        assert gone == [old.digest]
        left = stores.catalog.read(TENANT, lambda records: records.blobs.digests())
        assert left == {young.digest, *(file.digest for file in version.files)}
        assert (
            stores.catalog.read(TENANT, lambda records: records.blobs.find(young.digest)) == young
        )

    def test_a_version_with_a_damaged_content_is_quarantined(self, stores: Stores) -> None:
        version = samples.version()
        digest, at = version.files[0].digest, NOW + timedelta(hours=1)
        stores.catalog.write(TENANT, lambda records: samples.add_version(records, version))

        def found(records: CatalogRecords) -> list[Version | None]:
            return [
                records.models.find_version("pets", 1),
                records.models.newest_version("pets"),
                records.models.find_digest("pets", version.digest),
                *records.models.list_versions("pets"),
            ]

        assert stores.catalog.write(TENANT, lambda records: records.blobs.note_damage(digest, at))
        later = at + timedelta(hours=1)
        nowhere = "sha256:" + "9" * 64

        def note_again(records: CatalogRecords) -> bool:
            known = records.blobs.note_damage(digest, later)
            return known or records.blobs.note_damage(nowhere, later)

        assert not stores.catalog.write(TENANT, note_again)
        quarantined = replace(version, quarantined_at=at)
        assert stores.catalog.read(TENANT, found) == [quarantined] * 4
        stores.catalog.write(
            TENANT, lambda records: records.blobs.add(BlobRecord(digest, 6, later))
        )
        assert stores.catalog.read(TENANT, found) == [version] * 4

    def test_uploads_come_back_as_they_were(self, stores: Stores) -> None:
        first = UploadRecord("u1", 2**42, None, None, NOW, "owner")
        second = UploadRecord("u0", 1, "sha256:" + "3" * 64, None, NOW + timedelta(1), "owner")
        done = replace(second, digest=second.promised_digest)

        def work(records: CatalogRecords) -> None:
            for record in (second, first, done):
                records.uploads.put(record)

        stores.catalog.write(TENANT, work)
        found = stores.catalog.read(TENANT, lambda records: records.uploads.all())
        assert found == [first, done]
        assert stores.catalog.write(TENANT, lambda records: records.uploads.delete("u1"))
        assert not stores.catalog.write(TENANT, lambda records: records.uploads.delete("u1"))
        assert stores.catalog.read(TENANT, lambda records: records.uploads.find("u1")) is None
