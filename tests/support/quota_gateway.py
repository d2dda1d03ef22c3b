"""A gateway's accounts and exchange as a process of their own: asks as fast as it can.

    python -m tests.support.quota_gateway DATABASE_URL SECONDS

Prints what was admitted, after each exchange, as JSON lines; ends at once when killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from modelry.adapters.sql.database import open_database
from modelry.domain.errors import QuotaExceeded
from modelry.services.quotas.accounts import Accounts, Use
from modelry.services.quotas.exchange import EXCHANGE_S, CountExchange
from modelry.services.quotas.gates import NOTHING
from modelry.testing.samples import principal

PAUSE_S = 0.002


def tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def run(url: str, seconds: float) -> None:
    database = open_database(url)
    accounts = Accounts()
    exchange = CountExchange(database.quotas, accounts)
    await exchange.run()
    account = accounts.of(principal())
    tell("ready")
    sys.stdin.readline()
    admitted = 0
    started = exchanged = time.monotonic()
    while (now := time.monotonic()) - started < seconds:
        try:
            account.check(NOTHING, now)
        except QuotaExceeded:
            pass
        else:
            admitted += 1
            account.end(account.begin(NOTHING, now), NOTHING, Use("ok", None, 0.0), now)
        if now - exchanged >= EXCHANGE_S:
            await exchange.run()
            exchanged = now
            tell(json.dumps(admitted))
        await asyncio.sleep(PAUSE_S)
    await exchange.run()
    tell(json.dumps(admitted))
    database.close()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], float(sys.argv[2])))
