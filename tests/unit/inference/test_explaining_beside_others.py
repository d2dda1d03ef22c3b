"""The gateway tells explanations of the requests that others have made lately."""

from __future__ import annotations

import time

import orjson
import pytest
from tests.support.answering import Answering, build

from modelry.domain.access import ROLE_PERMISSIONS, Principal, Role
from modelry.domain.errors import NotSupported
from modelry.explaining.contract import OTHERS_ARE_ASKED, Wish
from modelry.services.inference.call import ItemsCall
from modelry.testing import samples

pytestmark = pytest.mark.anyio
OWNER = Principal(samples.DEFAULT_TENANT_ID, "key", Role.OWNER, ROLE_PERMISSIONS[Role.OWNER])


@pytest.fixture
async def answering() -> Answering:
    return build()


@pytest.mark.parametrize(("ago_s", "is_told"), [(0.5, True), (2.0, False)])
async def test_requests_to_other_versions_are_told_for_a_moment(
    answering: Answering, monkeypatch: pytest.MonkeyPatch, ago_s: float, is_told: bool
) -> None:
    inference = answering.inference
    target, other = (inference.target(OWNER, name) for name in ("mood", "pets"))
    headers = []

    def submit(call: ItemsCall) -> None:
        headers.append(orjson.loads(call.header))
        call.fail(NotSupported("enough is known"))

    monkeypatch.setattr(target.group, "submit", submit)
    for group in inference.groups():
        group.last_used = time.monotonic() - 60
    other.group.last_used = time.monotonic() - ago_s
    target.group.last_used = time.monotonic()
    with pytest.raises(NotSupported):
        await inference.explain(OWNER, target, {"text": "a b"}, {}, Wish())
    assert headers[0][OTHERS_ARE_ASKED] is is_told
