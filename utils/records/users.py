"""People who sign in."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from utils.records.database import Record, UtcDateTime, new_public_id, utc_now

ROLES: Final = ("administrator", "pathologist", "technician", "trainee")
USER_STATES: Final = ("pending", "active", "disabled")


class User(Record):
    """One person. Accounts are disabled, never deleted: the audit trail names them."""

    __tablename__ = "users"
    __table_args__ = (
        sa.CheckConstraint(sa.column("role").in_(ROLES), name="role_known"),
        sa.CheckConstraint(sa.column("state").in_(USER_STATES), name="state_known"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(sa.String(32), unique=True, default=new_public_id)
    name: Mapped[str] = mapped_column(sa.String(120))
    email: Mapped[str] = mapped_column(sa.String(254), unique=True)
    password_hash: Mapped[str] = mapped_column(sa.String(255))
    role: Mapped[str] = mapped_column(sa.String(16), default="trainee")
    state: Mapped[str] = mapped_column(sa.String(16), default="pending")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    session_epoch: Mapped[int] = mapped_column(default=0)

    # What Flask-Login asks of a user, without its mixin: records know nothing of the web.
    @property
    def is_authenticated(self) -> bool:
        """Always true: a stored person is nobody anonymous."""
        return True

    @property
    def is_anonymous(self) -> bool:
        """Always false."""
        return False

    @property
    def is_active(self) -> bool:
        """Whether the person may sign in."""
        return self.state == "active"

    def get_id(self) -> str:
        """Identify the person; which of their sessions it is stands in `SignIn`."""
        return self.public_id


class SignIn(Record):
    """One signing in on one device. The browser's cookie names it; ending it here ends it there."""

    __tablename__ = "sign_ins"
    __table_args__ = (sa.Index("ix_sign_ins_user_id_started_at", "user_id", "started_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(sa.String(32), unique=True, default=new_public_id)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    epoch: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    user: Mapped[User] = relationship()
