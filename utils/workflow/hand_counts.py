"""Counts by hand: cells called at the microscope, one event a press of a key, never changed.

An event carries a key that the page chose: sent twice, it counts once, so that a page may send
again whatever it is not sure has arrived. A cell is taken back by an event of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from utils.errors import Conflict, InvalidInput, MarrowFindError
from utils.records import Case, HandCount, User, audit, db
from utils.records.database import AnySession
from utils.workflow import access

_KEY: Final = re.compile(r"[A-Za-z0-9_-]{16,64}")
STEPS: Final = (1, -1)


@dataclass(frozen=True)
class Press:
    """One press of a key.

    Attributes
    ----------
    code : str
        Class of the label set.
    step : int
        1, or -1 to take a cell of this class back.
    request_key : str
        Chosen by the page, once for each press; 16 to 64 letters, digits, ``-`` or ``_``.
    """

    code: str
    step: int
    request_key: str


@dataclass(frozen=True)
class Outcome:
    """What became of several presses.

    Attributes
    ----------
    events : tuple of HandCount
        Stored, now or by an earlier sending, in the order given.
    refused : tuple of (Press, MarrowFindError)
        Those that cannot be stored however often they are sent.
    """

    events: tuple[HandCount, ...]
    refused: tuple[tuple[Press, MarrowFindError], ...]


@dataclass(frozen=True)
class PersonTally:
    """What one person counted of a case.

    Attributes
    ----------
    user_public_id, name : str
    counts : dict of str to int
        Standing cells by class; none below 1.
    """

    user_public_id: str
    name: str
    counts: dict[str, int]


def count(
    case: Case,
    user: User,
    code: str,
    step: int,
    request_key: str,
    *,
    label_set: str,
    codes: Collection[str],
) -> HandCount:
    """Count one cell, or take one back; sent again with the same key, give the stored event.

    Parameters
    ----------
    case : Case
    user : User
    code, step, request_key
        As in `Press`.
    label_set : str
        Name of the network whose classes are counted by.
    codes : collection of str
        Its classes.

    Raises
    ------
    Conflict
        If the key belongs to another press, or there is no cell of this class to take back.
    InvalidInput
        If the class is not in the label set, or step or key are not as expected.
    NotFound, NotAllowed
        If the person may not see or not change the case.
    """
    press = Press(code, step, request_key)
    outcome = count_all(case, user, [press], label_set=label_set, codes=codes)
    for _, error in outcome.refused:
        raise error
    return outcome.events[0]


def count_all(
    case: Case, user: User, presses: Sequence[Press], *, label_set: str, codes: Collection[str]
) -> Outcome:
    """Store several presses in their order, with one audit entry for what is new.

    A press that cannot be stored does not hold up the others: the page that sent it must learn
    which it was, or it would send it for ever.

    Raises
    ------
    NotFound, NotAllowed
        If the person may not see or not change the case; then nothing is stored.
    """
    access.require_correct(user, case)
    session = db.session()
    try:
        # One writer at a time from here: between the look at a key or a standing count and the
        # insert nobody adds an event.
        audit.lock(session)
        outcome = _count_locked(session, case, user, presses, label_set, codes)
        session.commit()
    except BaseException:
        session.rollback()
        raise
    return outcome


def _count_locked(
    session: AnySession,
    case: Case,
    user: User,
    presses: Sequence[Press],
    label_set: str,
    codes: Collection[str],
) -> Outcome:
    known = _stored(session, presses)
    standing = Counter(_standing(session, case, user, label_set))
    events: list[HandCount] = []
    refused: list[tuple[Press, MarrowFindError]] = []
    new: list[HandCount] = []
    for press in presses:
        try:
            _check(press, codes)
            event = known.get(press.request_key)
            if event is None:
                _refuse_empty(press, standing)
                event = HandCount(
                    case_id=case.id,
                    user_id=user.id,
                    label_set=label_set,
                    code=press.code,
                    step=press.step,
                    request_key=press.request_key,
                )
                known[press.request_key] = event
                standing[press.code] += press.step
                new.append(event)
            _refuse_other(event, case, user, press)
            events.append(event)
        except MarrowFindError as error:
            refused.append((press, error))
    session.add_all(new)
    session.flush()
    if new:
        audit.append(
            session,
            action="case.hand_count",
            object_type="case",
            object_id=case.public_id,
            actor_id=user.id,
            details={
                "label_set": label_set,
                "counted": dict(Counter(event.code for event in new if event.step > 0)),
                "taken_back": dict(Counter(event.code for event in new if event.step < 0)),
            },
        )
    return Outcome(tuple(events), tuple(refused))


def _stored(session: AnySession, presses: Sequence[Press]) -> dict[str, HandCount]:
    keys = {press.request_key for press in presses}
    statement = sa.select(HandCount).where(HandCount.request_key.in_(keys))
    return {event.request_key: event for event in session.scalars(statement)}


def _check(press: Press, codes: Collection[str]) -> None:
    if not _KEY.fullmatch(press.request_key):
        raise InvalidInput(
            "A key of 16 to 64 letters, digits, - or _ was expected.", code="request_key"
        )
    if press.code not in codes:
        known = ", ".join(codes)
        raise InvalidInput(f"One of the classes {known} was expected.", code="label_unknown")
    if press.step not in STEPS:
        raise InvalidInput("A step of 1 or -1 was expected.", code="step_unknown")


def _refuse_empty(press: Press, standing: Counter[str]) -> None:
    if press.step < 0 and standing[press.code] < 1:
        raise Conflict(
            f"No cell of class {press.code} that you counted is left to take back.",
            code="nothing_to_take_back",
        )


def _refuse_other(event: HandCount, case: Case, user: User, press: Press) -> None:
    same = (event.case_id, event.user_id, event.code, event.step) == (
        case.id,
        user.id,
        press.code,
        press.step,
    )
    if not same:
        raise Conflict("This key belongs to another count. Reload the page.", code="request_key")


def _standing(session: AnySession, case: Case, user: User, label_set: str) -> dict[str, int]:
    statement = (
        sa.select(HandCount.code, sa.func.sum(HandCount.step))
        .where(
            HandCount.case_id == case.id,
            HandCount.user_id == user.id,
            HandCount.label_set == label_set,
        )
        .group_by(HandCount.code)
    )
    return {code: int(cells) for code, cells in session.execute(statement)}


def tally_by_hand(session: AnySession, case: Case, *, label_set: str) -> dict[str, int]:
    """Cells by class that all people together counted of a case by one label set."""
    total: Counter[str] = Counter()
    for person in tally_by_person(session, case, label_set=label_set):
        total.update(person.counts)
    return dict(total)


def tally_by_person(session: AnySession, case: Case, *, label_set: str) -> list[PersonTally]:
    """Cells by class that each person counted of a case, by name; nobody with none standing."""
    statement = (
        sa.select(User.public_id, User.name, HandCount.code, sa.func.sum(HandCount.step))
        .join(User, HandCount.user_id == User.id)
        .where(HandCount.case_id == case.id, HandCount.label_set == label_set)
        .group_by(User.public_id, User.name, HandCount.code)
        .order_by(User.name, User.public_id)
    )
    people: dict[tuple[str, str], dict[str, int]] = {}
    for public_id, name, code, cells in session.execute(statement):
        if cells > 0:
            people.setdefault((public_id, name), {})[code] = int(cells)
    return [PersonTally(*who, counts) for who, counts in people.items()]


def last_counted(
    session: AnySession, case: Case, user: User, *, label_set: str, most: int = 12
) -> list[str]:
    """Classes of the cells that a person counted last and that stand, the newest last."""
    statement = (
        sa.select(HandCount.code, HandCount.step)
        .where(
            HandCount.case_id == case.id,
            HandCount.user_id == user.id,
            HandCount.label_set == label_set,
        )
        .order_by(HandCount.id)
    )
    standing: list[str] = []
    for code, step in session.execute(statement):
        if step > 0:
            standing.append(code)
        elif code in standing:
            # A cell taken back is the newest of its class.
            del standing[len(standing) - 1 - standing[::-1].index(code)]
    return standing[-most:]
