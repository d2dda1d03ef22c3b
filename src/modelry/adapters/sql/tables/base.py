"""What all rows have in common."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import MetaData, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeEngine

from modelry.adapters.sql.columns import JSON_DOCUMENT, UtcDateTime

DIGEST_CHARS = 71
NAME_CHARS = 64


class Base(DeclarativeBase):
    """Base of all rows; constraints have names, so that migrations can change them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, TypeEngine[Any]]] = {
        datetime: UtcDateTime(),
        dict[str, Any]: JSON_DOCUMENT,
        list[Any]: JSON_DOCUMENT,
    }


class TenantScoped:
    """Mixin of every row that a tenant owns; the session factory filters by it."""

    tenant_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True, sort_order=-10)
