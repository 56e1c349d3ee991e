"""The log of what people did to the cells of a field, and what follows from it.

Cells are never overwritten. Each action is one event, whatever number of cells it touches; an undo
takes the newest action away and a redo brings it back, and both are events too. Whether a cell is
present and what it is called follow from replaying the events; the columns of `Cell` that say so
are written in the same transaction as the event and its audit entry.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from utils.errors import Conflict, InvalidInput
from utils.records import Analysis, Cell, CellEvent, User, audit, db
from utils.records.database import AnySession, utc_now
from utils.workflow import access

LONGEST_REASON: Final = 1000
# Cells in one action: more than a screen of them, less than a request may carry for ever.
MOST_CELLS: Final = 5000
REPAIRS: Final = ("split", "merge", "remove", "add", "find_again")


@dataclass(frozen=True)
class Request:
    """One action as a page sends it.

    Attributes
    ----------
    analysis : Analysis
    user : User
        Who does it.
    key : str
        Chosen by the page; the same key again is the same action.
    seen : int or None
        The newest event that the person saw, 0 for none; a newer one is a conflict.
    reason : str
    """

    analysis: Analysis
    user: User
    key: str
    seen: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Replay:
    """The events of a field, told apart.

    Attributes
    ----------
    done : tuple of CellEvent
        Actions that stand, oldest first.
    undone : tuple of CellEvent
        Actions that a redo would bring back, the next one last.
    """

    done: tuple[CellEvent, ...]
    undone: tuple[CellEvent, ...]


def load_events(session: AnySession, analysis_id: int) -> list[CellEvent]:
    """Events of a field's cells with the people who made them, oldest first."""
    statement = (
        sa.select(CellEvent)
        .where(CellEvent.analysis_id == analysis_id)
        .order_by(CellEvent.id)
        .options(joinedload(CellEvent.user))
    )
    return list(session.scalars(statement))


def has_events(session: AnySession, analysis_id: int) -> bool:
    """Whether anybody did anything to the cells of a field."""
    return (
        session.scalar(sa.select(CellEvent.id).where(CellEvent.analysis_id == analysis_id).limit(1))
        is not None
    )


def replay(events: Sequence[CellEvent]) -> Replay:
    """Say which actions stand after all undoing and redoing."""
    done: list[CellEvent] = []
    undone: list[CellEvent] = []
    for event in events:
        if event.action == "undo":
            undone.append(done.pop())
        elif event.action == "redo":
            done.append(undone.pop())
        else:
            done.append(event)
            undone.clear()
    return Replay(tuple(done), tuple(undone))


def last_id(events: Sequence[CellEvent]) -> int:
    """Give the newest event's number, 0 where there is none: what a page carries."""
    return events[-1].id if events else 0


def touched(event: CellEvent) -> set[int]:
    """Numbers of the cells that an action changed."""
    changes = event.changes
    named = {int(cell["number"]) for cell in changes.get("cells", ())}
    return named | set(changes.get("removed", ())) | set(changes.get("added", ()))


Check = Callable[[AnySession, list[CellEvent]], dict[str, Any] | None]


def append(request: Request, action: str, changes: Check) -> CellEvent | None:
    """Write one action: event, cells and audit entry, or nothing.

    Parameters
    ----------
    request : Request
    action : str
    changes : callable
        Called while nobody else can write to the field, with the session and its events. Checks
        the action and gives the event's `changes`; None where nothing changes.

    Returns
    -------
    event : CellEvent or None
        The one written, or the one that this request wrote before; None where nothing changes.

    Raises
    ------
    Conflict
        If somebody acted after the person looked.
    InvalidInput, NotAllowed, NotFound
    """
    access.require_correct(request.user, request.analysis)
    if len(request.reason) > LONGEST_REASON:
        raise InvalidInput(
            f"A reason of at most {LONGEST_REASON} characters was expected; "
            f"{len(request.reason)} came.",
            code="reason_too_long",
        )
    if not 8 <= len(request.key) <= 64:
        raise InvalidInput("The form is not one of this page; reload it.", code="key_invalid")
    session = db.session()
    try:
        event = _append_locked(session, request, action, changes)
        session.commit()
    except BaseException:
        session.rollback()
        raise
    return event


def done_before(session: AnySession, request: Request) -> CellEvent | None:
    """Give the event that this very request wrote before, if it was sent twice.

    Raises
    ------
    Conflict
        If its key belongs to another field or person.
    """
    event = session.scalar(sa.select(CellEvent).where(CellEvent.request_key == request.key))
    if event is None:
        return None
    if (event.analysis_id, event.user_id) != (request.analysis.id, request.user.id):
        raise Conflict("The form is not one of this page; reload it.", code="key_taken")
    return event


def lock(session: AnySession, analysis_id: int) -> None:
    """Keep everybody else from writing to a field until the transaction ends."""
    # A write that changes nothing: SQLite locks the database, PostgreSQL the row.
    session.execute(
        sa.update(Analysis)
        .where(Analysis.id == analysis_id)
        .values(review_state=Analysis.review_state)
        .execution_options(synchronize_session=False)
    )


def _append_locked(
    session: Session, request: Request, action: str, changes: Check
) -> CellEvent | None:
    analysis = request.analysis
    lock(session, analysis.id)
    # Rows of before the lock may be out of date.
    session.expire_all()
    before = done_before(session, request)
    if before is not None:
        return before
    events = load_events(session, analysis.id)
    if request.seen is not None and request.seen != last_id(events):
        who = events[-1].user.name if events else "Somebody"
        raise Conflict(
            f"{who} changed the cells of this field after you opened the page. This step was not "
            "saved: look at what is there now, then decide again.",
            code="cells_changed",
        )
    written = changes(session, events)
    if written is None:
        session.flush()
        return None
    event = CellEvent(
        analysis_id=analysis.id,
        user_id=request.user.id,
        user=request.user,
        at=utc_now(),
        action=action,
        changes=written,
        reason=request.reason.strip(),
        request_key=request.key,
    )
    session.add(event)
    session.flush()
    concerned = touched(event)
    if "event" in written:
        concerned |= touched(next(e for e in events if e.id == written["event"]))
    project(session, analysis.id, replay([*events, event]).done, concerned)
    audit.append(
        session,
        action=f"cells.{action}",
        object_type="analysis",
        object_id=analysis.public_id,
        actor_id=request.user.id,
        details={**written, "reason": event.reason},
    )
    return event


def project(
    session: AnySession, analysis_id: int, done: Sequence[CellEvent], numbers: Collection[int]
) -> None:
    """Bring the columns of some cells to what the standing actions say."""
    cells = session.scalars(
        sa.select(Cell).where(Cell.analysis_id == analysis_id, Cell.number.in_(sorted(numbers)))
    )
    for cell in cells:
        # A cell that a person drew is there as long as the action that drew it stands.
        present = cell.origin == "found"
        said: tuple[str | None, CellEvent] | None = None
        for event in done:
            changes = event.changes
            if cell.number in changes.get("added", ()):
                present = True
            elif cell.number in changes.get("removed", ()):
                present = False
            for change in changes.get("cells", ()):
                if change["number"] == cell.number:
                    said = change["new"], event
        cell.present = present
        cell.reviewed_code = said[0] if said else None
        cell.reviewed_by_id = said[1].user_id if said else None
        cell.reviewed_at = said[1].at if said else None
        cell.review_state = "unreviewed"
        if said:
            # "Confirmed" and "corrected" speak of the network.
            cell.review_state = "confirmed" if said[0] == cell.code else "corrected"


def present_cells(session: AnySession, analysis: Analysis, numbers: Collection[int]) -> list[Cell]:
    """Find cells of a field that are there now.

    Raises
    ------
    InvalidInput
        If none or too many are asked for.
    Conflict
        If one of them is not there, or not any more.
    """
    wanted = sorted(set(numbers))
    if not 1 <= len(wanted) <= MOST_CELLS:
        raise InvalidInput(
            f"From 1 to {MOST_CELLS} cells were expected; {len(wanted)} came.", code="cells_none"
        )
    cells = list(
        session.scalars(
            sa.select(Cell)
            .where(Cell.analysis_id == analysis.id, Cell.number.in_(wanted), Cell.present)
            .order_by(Cell.number)
        )
    )
    if len(cells) != len(wanted):
        there = {cell.number for cell in cells}
        missing = ", ".join(str(number) for number in wanted if number not in there)
        raise Conflict(f"Cell {missing} is not in this field any more.", code="cell_gone")
    return cells


def standing_code(cell: Cell) -> str | None:
    """What a cell is called now: a person's word before the network's."""
    return cell.code if cell.review_state == "unreviewed" else cell.reviewed_code
