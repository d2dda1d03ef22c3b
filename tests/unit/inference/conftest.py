from datetime import UTC, datetime

import pytest

from modelry.domain.access import ROLE_PERMISSIONS, Principal, Role
from modelry.domain.deployments import Limits
from modelry.services.inference.replica_group import ReplicaGroup, TenantLoad


@pytest.fixture
def principal():
    return Principal("t1", "k1", Role.OWNER, ROLE_PERMISSIONS[Role.OWNER])


@pytest.fixture
def make_group():
    def make(limits=None, load=None, wake=lambda: None):
        return ReplicaGroup(
            ("t1", "d", 1, "tensor"), limits or Limits(), load or TenantLoad(1000), wake
        )

    return make


@pytest.fixture
def now():
    return datetime.now(UTC)
