"""What people say about an analysis: confirmed, corrected, undone; always as events.

An event never changes. Where a review stands follows from replaying the events: a confirmation or
a correction is laid on top, an undo takes the topmost away. The same transaction writes the event,
the analysis's ``review_*`` columns and the audit entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from utils.errors import Conflict, InvalidInput
from utils.records import Analysis, LabelEvent, User, audit, db
from utils.records.database import utc_now
from utils.workflow import access

LONGEST_REASON = 1000
_PROJECTION = ("review_state", "reviewed_code", "reviewed_by_id", "reviewed_at")
Action = Literal["confirm", "correct", "undo"]


@dataclass(frozen=True)
class Standing:
    """Where a review stands.

    Attributes
    ----------
    state : "unreviewed", "confirmed" or "corrected"
    code : str or None
        The label that stands; None is "Unclassifiable — review".
    by : LabelEvent or None
        The event that it rests on.
    """

    state: str
    code: str | None
    by: LabelEvent | None


@dataclass(frozen=True)
class TimelineEntry:
    """One line of the history of a label."""

    at: datetime
    who: str
    action: str
    old_code: str | None
    new_code: str | None
    reason: str


def confirm(
    analysis: Analysis, user: User, reason: str = "", *, seen_event_id: int | None = None
) -> LabelEvent:
    """Confirm the label that stands.

    Parameters
    ----------
    seen_event_id : int, optional
        The newest event that the person saw, 0 for none. A newer one is a conflict.

    Raises
    ------
    Conflict
        If the label was changed meanwhile, or was confirmed by this person already.
    NotAllowed
        If the person's role does not let them.
    """
    return _append(analysis, user, "confirm", None, reason, seen_event_id)


def correct(
    analysis: Analysis,
    user: User,
    new_code: str | None,
    reason: str,
    *,
    seen_event_id: int | None = None,
) -> LabelEvent:
    """Put another label in place of the one that stands; the old one is kept in the event.

    Parameters
    ----------
    new_code : str or None
        A class of the network that read the field; None is "Unclassifiable — review".
    reason : str
        Why; not empty.

    Raises
    ------
    Conflict, NotAllowed
        As in `confirm`.
    InvalidInput
        If there is no reason, no such class, or the label stands already.
    """
    if not reason.strip():
        raise InvalidInput("A correction needs a reason; none was given.", code="reason_missing")
    if new_code is not None and new_code not in analysis.probabilities:
        known = ", ".join(analysis.probabilities)
        raise InvalidInput(f"One of the classes {known} was expected.", code="label_unknown")
    return _append(analysis, user, "correct", new_code, reason, seen_event_id)


def undo(analysis: Analysis, user: User, *, seen_event_id: int | None = None) -> LabelEvent:
    """Take the newest confirmation or correction back; that is an event too.

    Raises
    ------
    Conflict
        If the label was changed meanwhile, or there is nothing to take back.
    """
    return _append(analysis, user, "undo", None, "", seen_event_id)


def standing(analysis: Analysis, events: Sequence[LabelEvent]) -> Standing:
    """Replay the events of an analysis, oldest first."""
    kept: list[LabelEvent] = []
    for event in events:
        if event.action == "undo":
            if kept:
                kept.pop()
        else:
            kept.append(event)
    if not kept:
        return Standing("unreviewed", analysis.label_code, None)
    top = kept[-1]
    # "Confirmed" and "corrected" speak of the network: a second person who agrees with a
    # correction leaves the network corrected.
    state = "confirmed" if top.new_code == analysis.label_code else "corrected"
    return Standing(state, top.new_code, top)


def last_event_id(events: Sequence[LabelEvent]) -> int:
    """Give the newest event's number, 0 where there is none: what a form carries."""
    return events[-1].id if events else 0


def load_events(session: Session, analysis_id: int) -> list[LabelEvent]:
    """Events of an analysis with the people who made them, oldest first, in one query."""
    statement = (
        sa.select(LabelEvent)
        .where(LabelEvent.analysis_id == analysis_id)
        .order_by(LabelEvent.id)
        .options(joinedload(LabelEvent.user))
    )
    return list(session.scalars(statement))


def timeline(analysis: Analysis, events: Sequence[LabelEvent] | None = None) -> list[TimelineEntry]:
    """Everything that was said of a field, the network's reading first."""
    if events is None:
        events = load_events(db.session(), analysis.id)
    network = f"{analysis.network_name} {analysis.network_version}"
    read = TimelineEntry(analysis.created_at, network, "read", None, analysis.label_code, "")
    said = (
        TimelineEntry(
            event.at, event.user.name, event.action, event.old_code, event.new_code, event.reason
        )
        for event in events
    )
    return [read, *said]


def _append(
    analysis: Analysis,
    user: User,
    action: Action,
    new_code: str | None,
    reason: str,
    seen_event_id: int | None,
) -> LabelEvent:
    access.require_correct(user, analysis)
    reason = reason.strip()
    if len(reason) > LONGEST_REASON:
        raise InvalidInput(
            f"A reason of at most {LONGEST_REASON} characters was expected; {len(reason)} came.",
            code="reason_too_long",
        )
    session = db.session()
    try:
        event = _append_locked(session, analysis, user, action, new_code, reason, seen_event_id)
        session.commit()
    except BaseException:
        session.rollback()
        raise
    return event


def _append_locked(
    session: Session,
    analysis: Analysis,
    user: User,
    action: Action,
    new_code: str | None,
    reason: str,
    seen_event_id: int | None,
) -> LabelEvent:
    # A write that changes nothing takes the lock (SQLite: the database, PostgreSQL: the row), so
    # that nobody can add an event between the check below and the insert.
    session.execute(
        sa.update(Analysis)
        .where(Analysis.id == analysis.id)
        .values(review_state=Analysis.review_state)
        .execution_options(synchronize_session=False)
    )
    # What was loaded before the lock may be out of date, and an update is only written where a
    # value differs from the loaded one.
    session.refresh(analysis, _PROJECTION)
    events = load_events(session, analysis.id)
    before = standing(analysis, events)
    repeated = _same_again(events, user, action, new_code, reason, seen_event_id)
    if repeated is not None:
        return repeated
    _refuse_stale(events, seen_event_id)
    _refuse_idle(before, action, new_code)
    event = LabelEvent(
        analysis_id=analysis.id,
        user_id=user.id,
        user=user,
        at=utc_now(),
        action=action,
        old_code=before.code,
        new_code=before.code if action == "confirm" else new_code,
        reason=reason,
    )
    if action == "undo":
        undone = [*events, event]
        event.new_code = standing(analysis, undone).code
    session.add(event)
    session.flush()
    _project(analysis, standing(analysis, [*events, event]))
    audit.append(
        session,
        action=f"analysis.{action}",
        object_type="analysis",
        object_id=analysis.public_id,
        actor_id=user.id,
        details={"old": event.old_code, "new": event.new_code, "reason": reason},
    )
    return event


def _same_again(
    events: Sequence[LabelEvent],
    user: User,
    action: Action,
    new_code: str | None,
    reason: str,
    seen_event_id: int | None,
) -> LabelEvent | None:
    """Recognise a double click: the newest event is this very request, made from the same page."""
    if not events or seen_event_id is None:
        return None
    newest = events[-1]
    seen_before = events[-2].id if len(events) > 1 else 0
    same = (
        newest.user_id == user.id
        and newest.action == action
        and newest.reason == reason
        and (action != "correct" or newest.new_code == new_code)
        and seen_before == seen_event_id
    )
    return newest if same else None


def _refuse_stale(events: Sequence[LabelEvent], seen_event_id: int | None) -> None:
    if seen_event_id is None or seen_event_id == last_event_id(events):
        return
    who = events[-1].user.name if events else "Somebody"
    raise Conflict(
        f"{who} reviewed this field after you opened the page. Nothing of yours was saved: "
        "read what is there now, then decide again.",
        code="review_changed",
    )


def _refuse_idle(before: Standing, action: Action, new_code: str | None) -> None:
    if action == "undo" and before.by is None:
        raise Conflict("There is nothing to undo: nobody reviewed this field.", code="no_review")
    if action == "correct" and new_code == before.code:
        raise InvalidInput(
            "That label stands already; confirm it instead of correcting it.", code="label_same"
        )


def _project(analysis: Analysis, now: Standing) -> None:
    analysis.review_state = now.state
    analysis.reviewed_code = now.code if now.by else None
    analysis.reviewed_by_id = now.by.user_id if now.by else None
    analysis.reviewed_at = now.by.at if now.by else None
