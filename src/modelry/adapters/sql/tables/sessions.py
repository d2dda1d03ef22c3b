"""Who is signed in."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKeyConstraint, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from modelry.adapters.sql.tables.base import NAME_CHARS, Base, TenantScoped


class SessionRow(TenantScoped, Base):
    """A member that is signed in with a browser: the keyed hash of its token, never the token."""

    __tablename__ = "sessions"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "member_id"], ["members.tenant_id", "members.member_id"]
        ),
        UniqueConstraint("token_hmac"),
    )

    session_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    member_id: Mapped[str] = mapped_column(String(NAME_CHARS))
    token_hmac: Mapped[bytes] = mapped_column(LargeBinary(32))
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    browser: Mapped[str] = mapped_column(String(120))
