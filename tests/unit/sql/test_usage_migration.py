"""What was counted before the ledger is still counted after it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

import modelry.adapters.sql
from modelry.adapters.sql.database import open_database
from modelry.services.usage.ports import TotalsQuery, UsageGroup

MIGRATIONS = Path(modelry.adapters.sql.__file__).with_name("migrations")


def test_totals_of_before_are_brought_over(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/modelry.db"
    engine = sa.create_engine(url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    minute = "2030-01-31 12:30:00.000000"
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0005")
        connection.execute(
            sa.text(
                "INSERT INTO tenants (tenant_id, name, created_at) VALUES ('default', 'D', :at)"
            ),
            {"at": minute},
        )
        for unit, amount in (("requests", 3), ("images", 2**40)):
            connection.execute(
                sa.text(
                    "INSERT INTO usage_totals VALUES"
                    " ('default', :at, 'k1', 'pets', 2, 'tensor', 'ok', :unit, :amount)"
                ),
                {"at": minute, "unit": unit, "amount": amount},
            )
    engine.dispose()
    database = open_database(url)
    at = datetime(2030, 1, 31, 12, 30, tzinfo=UTC)
    groups = (UsageGroup.MINUTE, UsageGroup.KEY, UsageGroup.DEPLOYMENT, UsageGroup.VERSION)
    query = TotalsQuery("default", at, at + timedelta(minutes=1), groups)
    (total,) = database.usage.totals(query)
    database.close()
    assert list(total.group.values()) == [at.isoformat(), "k1", "pets", "2"]
    assert total.units == {"requests": 3, "images": 2**40}
