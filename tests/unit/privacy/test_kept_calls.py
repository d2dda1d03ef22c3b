"""Calls on their way into the store: sealed one by one, and no more than a rule says."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.support import databases

from modelry.adapters.sql.database import Database
from modelry.domain.access import DEFAULT_TENANT_ID
from modelry.domain.deployments import Limits
from modelry.domain.errors import InvalidInput
from modelry.runtime_api.frames import Kind
from modelry.services.audit.chain import ChainKeys
from modelry.services.audit.trail import ChainedTrail
from modelry.services.inference.call import RawCall
from modelry.services.inference.replica_group import ReplicaGroup
from modelry.services.privacy.ports import LogFilter, LoggedRequest
from modelry.services.privacy.redaction import Redactor
from modelry.services.privacy.request_logs import RequestLogs
from modelry.services.quotas.accounts import Accounts
from modelry.testing.encryption import memory_encryption
from modelry.testing.replica_pool import FakeLink
from modelry.testing.samples import add_version, deployment, principal, version

pytestmark = pytest.mark.anyio
OWNER = principal()
NAME = "digits"


class Reads(Redactor):
    """A redactor that fails on some texts, as a pipeline of somebody else's may."""

    def text(self, text: str, counts: Counter[str]) -> str:
        if text == "unreadable":
            raise ValueError(text)
        return super().text(text, counts)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = databases.with_tenants(tmp_path)
    found.catalog.write(DEFAULT_TENANT_ID, lambda records: add_version(records, version(NAME)))
    found.deployments.put(deployment(NAME, NAME))
    yield found
    found.close()


@pytest.fixture
def group() -> ReplicaGroup:
    made = ReplicaGroup((DEFAULT_TENANT_ID, NAME, 1, "tabular"), Limits(), Accounts(), lambda: None)
    made.attach(FakeLink("r", made))
    return made


@pytest.fixture
def logs(database: Database, group: ReplicaGroup) -> RequestLogs:
    trail = ChainedTrail(database.audit, ChainKeys(b"k" * 32))
    return RequestLogs(
        database.request_logs, memory_encryption(), lambda: [group], trail, redactor=Reads()
    )


async def ask(group: ReplicaGroup, *rows: Any) -> None:
    for row in rows:
        header = orjson.dumps({"items": [{"row": row}], "options": {}})
        call = RawCall(OWNER, Kind.PREDICT, header)
        group.submit(call)
        await call.answer()


def kept(database: Database) -> Sequence[LoggedRequest]:
    return database.request_logs.find(DEFAULT_TENANT_ID, LogFilter(), before=None, limit=500)


async def test_a_call_that_cannot_be_read_costs_no_other(
    database: Database, group: ReplicaGroup, logs: RequestLogs
) -> None:
    logs.put_rule(OWNER, NAME)
    await ask(group, "before")  # the queue has not begun: it is counted as dropped
    logs.queue.start()
    await ask(group, "one", "unreadable", "two")
    logs.queue.stop()
    assert len(kept(database)) == 2
    assert logs.dropped(OWNER) == 2


async def test_what_is_kept_can_be_told_and_exported_within_other_json(
    database: Database, group: ReplicaGroup, logs: RequestLogs
) -> None:
    logs.put_rule(OWNER, NAME)
    logs.queue.start()
    await ask(group, *[json.loads("[" * levels + "]" * levels) for levels in (200, 248)])
    logs.queue.stop()
    (one,) = kept(database)
    assert logs.dropped(OWNER) == 1
    assert orjson.dumps({"log_id": "", "content": [logs.get(OWNER, one.log_id).content]})


async def test_the_oldest_calls_go_first(
    database: Database, group: ReplicaGroup, logs: RequestLogs
) -> None:
    logs.put_rule(OWNER, NAME, max_requests=40)
    logs.queue.start()
    await ask(group, *[f"{number}" for number in range(150)])
    logs.queue.stop()
    found = kept(database)
    assert 40 <= len(found) <= 42
    contents = [logs.get(OWNER, one.log_id).content for one in found]
    names = [int(one["input"]["items"][0]["row"]) for one in contents]
    assert names == list(range(149, 149 - len(found), -1))
    logs.put_rule(OWNER, NAME, max_requests=10)
    now = datetime.now(UTC)
    assert database.request_logs.delete_expired(DEFAULT_TENANT_ID, now) == len(found) - 10
    assert [one.log_id for one in kept(database)] == [one.log_id for one in found[:10]]


def test_how_many_are_kept_is_bounded(logs: RequestLogs) -> None:
    for most in (0, 2_000_000):
        with pytest.raises(InvalidInput, match="expected 1 to 1000000"):
            logs.put_rule(OWNER, NAME, max_requests=most)
