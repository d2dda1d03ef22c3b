# ruff: noqa: D102 - the names of the tests say what they check
"""What every `KeyStore` must do. Subclass it and give the fixture `stores`: an empty database
with the default and the other tenant of `testing.samples`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from modelry.domain.access import DEFAULT_TENANT_ID as TENANT
from modelry.domain.access import Permission, TenantState
from modelry.domain.errors import Conflict
from modelry.domain.quotas import UNLIMITED, Quota, QuotaLimits
from modelry.services.tenancy.ports import KeyRecords
from modelry.testing import samples
from modelry.testing.samples import NOW, OTHER_TENANT_ID, Stores


class KeyStoreContract:
    """The suite."""

    def test_the_tenant_is_there(self, stores: Stores) -> None:
        found = stores.keys.read(TENANT, lambda records: records.tenant())
        assert found is not None
        assert (found.tenant_id, found.created_at) == (TENANT, NOW)
        assert stores.keys.read("nobody", lambda records: records.tenant()) is None

    def test_a_key_comes_back_as_it_was(self, stores: Stores) -> None:
        key = samples.api_key()
        stores.keys.write(TENANT, lambda records: records.put(key))
        assert stores.keys.read(TENANT, lambda records: records.find("k1")) == key
        revoked = replace(key, revoked_at=NOW, expires_at=NOW + timedelta(days=1))
        stores.keys.write(TENANT, lambda records: records.put(revoked))
        assert stores.keys.read(TENANT, lambda records: records.all()) == [revoked]

    def test_it_knows_who_has_limits(self, stores: Stores) -> None:
        for key_id, limits in (("k1", QuotaLimits(tokens_per_day=5)), ("k2", UNLIMITED)):
            quota = Quota(TENANT, key_id, limits)
            stores.quotas.write(TENANT, lambda records, quota=quota: records.put(quota, "o", NOW))  # type: ignore[misc] # mypy cannot infer lambdas with defaults
        limited = [
            stores.keys.read(tenant_id, lambda records, one=one: records.has_limits(one))  # type: ignore[misc] # mypy cannot infer lambdas with defaults
            for tenant_id in (TENANT, OTHER_TENANT_ID)
            for one in ("k1", "k2", "k3")
        ]
        assert limited == [True, False, False, False, False, False]

    def test_scopes_and_rotation_come_back(self, stores: Stores) -> None:
        for number, scopes in enumerate(
            (None, frozenset[Permission](), frozenset({Permission.INFERENCE}))
        ):
            key = replace(
                samples.api_key(f"k{number}"),
                scopes=scopes,
                last_used_at=NOW,
                previous_hmac=bytes([number]) * 32,
                previous_until=NOW,
            )
            stores.keys.write(TENANT, lambda records, key=key: records.put(key))  # type: ignore[misc] # mypy cannot infer lambdas with defaults
            assert stores.keys.find_hmac(bytes([number]) * 32) == key
            assert stores.keys.find_hmac(key.secret_hmac) == key

    def test_a_tenant_changes_its_state(self, stores: Stores) -> None:
        def suspend(records: KeyRecords) -> None:
            found = records.tenant()
            assert found is not None
            assert found.state is TenantState.ACTIVE
            records.put_tenant(
                replace(found, name="Renamed", state=TenantState.SUSPENDED, changed_at=NOW)
            )

        stores.keys.write(TENANT, suspend)
        found, other = stores.keys.all_tenants()
        assert (found.tenant_id, other.tenant_id) == (TENANT, OTHER_TENANT_ID)
        assert (found.name, found.state, found.changed_at) == ("Renamed", "suspended", NOW)
        assert (other.state, other.changed_at) == (TenantState.ACTIVE, None)

    def test_a_member_comes_back_as_it_was(self, stores: Stores) -> None:
        member = samples.member()
        invited = replace(
            samples.member("m2"), issuer=None, subject=None, email=None, disabled_at=NOW
        )
        for one in (member, invited):
            stores.keys.write(TENANT, lambda records, one=one: records.members.put(one))  # type: ignore[misc] # mypy cannot infer lambdas with defaults
        assert stores.keys.read(TENANT, lambda records: records.members.all()) == [member, invited]
        assert stores.keys.read(TENANT, lambda records: records.members.find("m1")) == member
        changed = replace(member, name="Other")
        stores.keys.write(TENANT, lambda records: records.members.put(changed))
        assert stores.keys.read(TENANT, lambda records: records.members.find("m1")) == changed

    def test_a_person_is_found_in_every_tenant(self, stores: Stores) -> None:
        mine, theirs = samples.member(), samples.member(tenant_id=OTHER_TENANT_ID)
        assert mine.issuer is not None
        assert mine.subject is not None
        for one in (mine, theirs):
            stores.keys.write(one.tenant_id, lambda records, one=one: records.members.put(one))  # type: ignore[misc] # mypy cannot infer lambdas with defaults
        assert stores.keys.find_subject(mine.issuer, mine.subject) == [mine, theirs]
        assert stores.keys.find_subject("https://other.example", mine.subject) == []
        assert stores.keys.read(OTHER_TENANT_ID, lambda records: records.members.all()) == [theirs]

    def test_a_person_is_one_member_of_a_tenant(self, stores: Stores) -> None:
        stores.keys.write(TENANT, lambda records: records.members.put(samples.member()))
        again = replace(samples.member("m2"), subject=samples.member().subject)
        with pytest.raises(Conflict):
            stores.keys.write(TENANT, lambda records: records.members.put(again))
        assert len(stores.keys.read(TENANT, lambda records: records.members.all())) == 1

    def test_keys_of_all_tenants_are_found_by_hash(self, stores: Stores) -> None:
        mine, theirs = samples.api_key(), samples.api_key(tenant_id=OTHER_TENANT_ID)
        stores.keys.write(TENANT, lambda records: records.put(mine))
        stores.keys.write(OTHER_TENANT_ID, lambda records: records.put(theirs))
        assert stores.keys.find_hmac(theirs.secret_hmac) == theirs
        assert stores.keys.find_hmac(b"x" * 32) is None
        assert {one.tenant_id for one in stores.keys.all_keys()} == {TENANT, OTHER_TENANT_ID}

    def test_tenants_do_not_see_each_others_keys(self, stores: Stores) -> None:
        stores.keys.write(TENANT, lambda records: records.put(samples.api_key()))
        assert stores.keys.read(OTHER_TENANT_ID, lambda records: records.all()) == []
        assert stores.keys.read(OTHER_TENANT_ID, lambda records: records.find("k1")) is None

    def test_work_that_raises_leaves_no_trace(self, stores: Stores) -> None:
        def work(records: KeyRecords) -> None:
            records.put(samples.api_key())
            raise LookupError

        with pytest.raises(LookupError):
            stores.keys.write(TENANT, work)
        assert stores.keys.all_keys() == []

    def test_settings(self, stores: Stores) -> None:
        assert stores.keys.setting("colour") is None
        stores.keys.put_setting("colour", "red")
        stores.keys.put_setting("colour", "green")
        assert stores.keys.setting("colour") == "green"
