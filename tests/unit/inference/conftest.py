from datetime import UTC, datetime

import pytest

from modelry.domain.access import ROLE_PERMISSIONS, Principal, Role
from modelry.domain.deployments import Limits
from modelry.services.inference.replica_group import ReplicaGroup
from modelry.services.quotas.accounts import Accounts


@pytest.fixture
def principal():
    return Principal("t1", "k1", Role.OWNER, ROLE_PERMISSIONS[Role.OWNER])


@pytest.fixture
def make_group():
    def make(limits=None, accounts=None, wake=lambda: None):
        return ReplicaGroup(
            ("t1", "d", 1, "tensor"), limits or Limits(), accounts or Accounts(), wake
        )

    return make


@pytest.fixture
def now():
    return datetime.now(UTC)
