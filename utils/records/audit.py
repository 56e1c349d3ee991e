"""The audit trail: append-only, each entry holding the hash of the one before.

A head row keeps the number of entries and the last hash, so that removing the newest entries
shows as well. It is also the lock: whoever appends updates it first, which on SQLite takes the
write lock and on PostgreSQL the row lock, so two writers can never continue from the same entry.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from utils.records.database import AnySession, Record, UtcDateTime, append_only, utc_now
from utils.records.users import User

GENESIS_HASH: Final = "0" * 64
MOST_BREAKS: Final = 100


@append_only
class AuditEntry(Record):
    """Who did what to which thing, and when. `id` counts from 1 without a gap."""

    __tablename__ = "audit_entries"
    __table_args__ = (
        sa.Index("ix_audit_entries_object_type_object_id", "object_type", "object_id"),
        sa.Index("ix_audit_entries_actor_id_id", "actor_id", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    actor_id: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    action: Mapped[str] = mapped_column(sa.String(64))
    object_type: Mapped[str] = mapped_column(sa.String(32))
    object_id: Mapped[str] = mapped_column(sa.String(64))
    details: Mapped[dict[str, Any]] = mapped_column(sa.JSON)
    previous_hash: Mapped[str] = mapped_column(sa.String(64))
    hash: Mapped[str] = mapped_column(sa.String(64))

    actor: Mapped[User | None] = relationship()


class AuditHead(Record):
    """The single row that says how long the trail is and how it ends."""

    __tablename__ = "audit_head"
    __table_args__ = (sa.CheckConstraint("id = 1", name="single_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    count: Mapped[int]
    hash: Mapped[str] = mapped_column(sa.String(64))


@dataclass(frozen=True)
class AuditBreak:
    """One place where the trail does not hold.

    Attributes
    ----------
    number : int
        Number of the entry at which it shows.
    kind : str
        ``changed``, ``missing``, ``unlinked``, ``removed_at_end``, ``added_at_end``, ``head``.
    message : str
        One sentence.
    """

    number: int
    kind: str
    message: str


def entry_hash(
    number: int,
    at: datetime,
    actor_id: int | None,
    action: str,
    object_type: str,
    object_id: str,
    details: Mapping[str, Any],
    previous_hash: str,
) -> str:
    """Hash an entry: SHA-256 over canonical JSON (sorted keys, no spaces, UTF-8)."""
    content = [
        number,
        at.isoformat(timespec="microseconds"),
        actor_id,
        action,
        object_type,
        object_id,
        details,
        previous_hash,
    ]
    canonical = json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def lock(session: AnySession) -> None:
    """Make every other writer of the trail wait until the caller's transaction ends.

    What must not happen twice (the first account, the last administrator) is decided under it.
    """
    session.execute(sa.text("UPDATE audit_head SET count = count WHERE id = 1"))


def append(
    session: AnySession,
    *,
    action: str,
    object_type: str,
    object_id: str,
    actor_id: int | None = None,
    details: Mapping[str, Any] | None = None,
    at: datetime | None = None,
) -> AuditEntry:
    """Add an entry within the caller's transaction; the caller commits.

    Parameters
    ----------
    session : Session or scoped_session
        What was changed and its entry are committed together, or neither is.
    action : str
        Dotted and in the past's plain words: ``analysis.view``, ``user.role``.
    object_type, object_id : str
        What it was done to; the identifier is the opaque public one.
    details : mapping
        Old and new values and the reason. JSON only; no names, no patient data.

    Raises
    ------
    DatabaseBusy
        If another writer holds the trail for longer than the configured wait.
    """
    session.flush()
    count, previous_hash = session.execute(
        sa.update(AuditHead)
        .where(AuditHead.id == 1)
        .values(count=AuditHead.count + 1)
        .returning(AuditHead.count, AuditHead.hash)
        .execution_options(synchronize_session=False)
    ).one()
    # Through JSON once, so that what is hashed is what will be read back.
    plain = json.loads(json.dumps(dict(details or {}), allow_nan=False))
    moment = at or utc_now()
    entry = AuditEntry(
        id=count,
        at=moment,
        actor_id=actor_id,
        action=action,
        object_type=object_type,
        object_id=object_id,
        details=plain,
        previous_hash=previous_hash,
        hash=entry_hash(
            count, moment, actor_id, action, object_type, object_id, plain, previous_hash
        ),
    )
    session.add(entry)
    session.flush()
    session.execute(
        sa.update(AuditHead)
        .where(AuditHead.id == 1)
        .values(hash=entry.hash)
        .execution_options(synchronize_session=False)
    )
    return entry


def verify(session: AnySession) -> list[AuditBreak]:
    """Walk the whole trail and list where it does not hold, first break first.

    After a break the walk goes on from what is stored there, so that one changed entry is one
    break; at most `MOST_BREAKS` are listed. Memory stays flat however long the trail is.
    """
    breaks: list[AuditBreak] = []
    number, last_hash = 0, GENESIS_HASH
    for entry in _stored_entries(session):
        number += 1
        if entry.id != number:
            breaks.append(_missing(number, entry.id))
        elif entry.previous_hash != last_hash:
            breaks.append(
                AuditBreak(number, "unlinked", f"Entry {number} does not follow the one before it.")
            )
        elif entry.hash != _recomputed(entry):
            breaks.append(
                AuditBreak(number, "changed", f"Entry {number} was changed after it was written.")
            )
        if len(breaks) >= MOST_BREAKS:
            return breaks
        number, last_hash = entry.id, entry.hash
    breaks.extend(_compare_with_head(session, number, last_hash))
    return breaks


def _stored_entries(session: AnySession) -> Iterator[Any]:
    columns = AuditEntry.__table__.c
    statement = sa.select(*columns).order_by(columns.id).execution_options(yield_per=2000)
    yield from session.execute(statement)


def _recomputed(entry: Any) -> str:
    try:
        return entry_hash(
            entry.id,
            entry.at,
            entry.actor_id,
            entry.action,
            entry.object_type,
            entry.object_id,
            entry.details,
            entry.previous_hash,
        )
    except (TypeError, ValueError):
        return ""  # what is stored there is no longer what could have been written


def _missing(expected: int, found: int) -> AuditBreak:
    if found < expected:
        return AuditBreak(found, "unlinked", f"Entry {found} stands where none belongs.")
    last = found - 1
    which = f"Entry {expected} is" if last == expected else f"Entries {expected} to {last} are"
    return AuditBreak(expected, "missing", f"{which} missing.")


def _compare_with_head(session: AnySession, number: int, last_hash: str) -> list[AuditBreak]:
    head = session.execute(sa.select(AuditHead.count, AuditHead.hash)).one_or_none()
    if head is None:
        return [AuditBreak(number, "head", "The row that says how the trail ends is missing.")]
    count, head_hash = head
    if count > number:
        return [
            AuditBreak(
                number + 1,
                "removed_at_end",
                f"The trail should have {count} entries and ends after {number}.",
            )
        ]
    if count < number:
        return [
            AuditBreak(
                count + 1,
                "added_at_end",
                f"The trail should have {count} entries and has {number}.",
            )
        ]
    if head_hash != last_hash:
        return [AuditBreak(number, "head", f"The trail does not end as it did (entry {number}).")]
    return []
