# ruff: noqa: D102 - the names of the tests say what they check
"""What every `DatasetStore` must do. Subclass it and give the fixture `stores`: an empty
database with the default and the other tenant of `testing.samples`.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from modelry.domain.access import DEFAULT_TENANT_ID as TENANT
from modelry.domain.errors import NotFound
from modelry.services.catalog.ports import BlobRecord, CatalogRecords
from modelry.services.datasets.ports import NewVersion
from modelry.testing import samples
from modelry.testing.samples import NOW, OTHER_TENANT_ID, Stores


def _add(stores: Stores, version: NewVersion) -> int:
    shards = [shard for split in version.splits for shard in split.shards]

    def keep(records: CatalogRecords) -> None:
        for one in shards:
            records.blobs.add(BlobRecord(one.digest, one.size_bytes, NOW))

    stores.catalog.write(version.tenant_id, keep)
    return stores.datasets.add(version)[0].number


class DatasetStoreContract:
    """The suite."""

    def test_a_version_comes_back_as_it_was(self, stores: Stores) -> None:
        wanted = samples.dataset_version()

        number = _add(stores, wanted)

        assert number == 1
        assert stores.datasets.version(TENANT, "digits", 1) == wanted.numbered(1)
        dataset = stores.datasets.find(TENANT, "digits")
        assert dataset is not None
        assert (dataset.name, dataset.created_at, dataset.created_by) == ("digits", NOW, "owner")
        assert stores.datasets.all(TENANT) == [dataset]

    def test_the_newest_is_found_and_all_are_listed(self, stores: Stores) -> None:
        for rows in ("a", "b", "c"):
            _add(stores, samples.dataset_version(rows=rows))
        _add(stores, samples.dataset_version("faces"))

        store = stores.datasets
        assert [one.number for one in store.versions(TENANT, "digits")] == [3, 2, 1]
        newest = store.version(TENANT, "digits")
        assert newest is not None
        assert newest.number == 3
        assert {name: one.number for name, one in store.newest(TENANT).items()} == {
            "digits": 3,
            "faces": 1,
        }
        assert store.newest(TENANT)["digits"] == newest
        assert store.with_digest(TENANT, "digits", newest.digest) == newest
        assert store.with_digest(TENANT, "faces", "sha256:none") is None
        assert store.version(TENANT, "digits", 4) is None
        assert store.versions(TENANT, "nothing") == []

    def test_the_same_rows_are_the_same_version(self, stores: Stores) -> None:
        _add(stores, samples.dataset_version())
        later = replace(samples.dataset_version(), created_at=NOW + timedelta(days=1))

        again, is_new = stores.datasets.add(later)

        assert not is_new
        assert again == samples.dataset_version().numbered(1)

    def test_numbers_are_never_given_twice(self, stores: Stores) -> None:
        _add(stores, samples.dataset_version(rows="a"))
        _add(stores, samples.dataset_version(rows="b"))

        assert stores.datasets.delete_version(TENANT, "digits", 2)
        assert not stores.datasets.delete_version(TENANT, "digits", 2)

        assert _add(stores, samples.dataset_version(rows="b")) == 3

    def test_rows_added_at_once_are_one_version(self, stores: Stores) -> None:
        _add(stores, samples.dataset_version("other"))
        made: list[tuple[int, bool]] = []

        def add() -> None:
            version, is_new = stores.datasets.add(samples.dataset_version())
            made.append((version.number, is_new))

        threads = [threading.Thread(target=add) for _ in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()

        assert [number for number, _ in made] == [1, 1, 1, 1]
        assert sum(is_new for _, is_new in made) == 1

    def test_shards_must_be_kept(self, stores: Stores) -> None:
        with pytest.raises(NotFound, match="of a shard is not there"):
            stores.datasets.add(samples.dataset_version())

        assert stores.datasets.find(TENANT, "digits") is None

    def test_shards_are_not_collected_while_a_version_has_them(self, stores: Stores) -> None:
        wanted = samples.dataset_version()
        _add(stores, wanted)
        later = NOW + timedelta(days=9)
        digests = {shard.digest for split in wanted.splits for shard in split.shards}

        def sweep() -> set[str]:
            return set(
                stores.catalog.write(TENANT, lambda records: records.blobs.delete_unused(later))
            )

        assert sweep() == set()
        assert stores.datasets.delete(TENANT, "digits")
        assert sweep() == digests

    def test_a_dataset_goes_with_its_versions(self, stores: Stores) -> None:
        _add(stores, samples.dataset_version(rows="a"))
        _add(stores, samples.dataset_version(rows="b"))

        assert stores.datasets.delete(TENANT, "digits")

        assert stores.datasets.all(TENANT) == []
        assert stores.datasets.versions(TENANT, "digits") == []
        assert not stores.datasets.delete(TENANT, "digits")

    def test_tenants_do_not_see_each_other(self, stores: Stores) -> None:
        _add(stores, samples.dataset_version())
        store = stores.datasets

        assert store.all(OTHER_TENANT_ID) == []
        assert store.newest(OTHER_TENANT_ID) == {}
        assert store.version(OTHER_TENANT_ID, "digits", 1) is None
        assert not store.delete_version(OTHER_TENANT_ID, "digits", 1)
        assert not store.delete(OTHER_TENANT_ID, "digits")
        with pytest.raises(NotFound):  # the shard's content is the other tenant's alone
            store.add(replace(samples.dataset_version(), tenant_id=OTHER_TENANT_ID))
        assert store.version(TENANT, "digits", 1) is not None
