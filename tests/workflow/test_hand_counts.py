"""Counts by hand: each press once, nothing changed afterwards, nobody's but one's own."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.workflow.conftest import MakeAnalysis, MakeUser
from utils.errors import Conflict, InvalidInput, NotAllowed, NotFound
from utils.records import AuditEntry, Case, HandCount, User, db
from utils.workflow import hand_counts
from utils.workflow.hand_counts import Press

BY = {"label_set": "marrow7", "codes": ("BLA", "LYT", "NIF")}


def key(number: int) -> str:
    return f"request-key-{number:08d}"


@pytest.fixture
def person(make_user: MakeUser) -> User:
    return make_user()


@pytest.fixture
def case(person: User, make_analysis: MakeAnalysis) -> Case:
    return make_analysis(person).case


def _events() -> list[tuple[str, int]]:
    rows = db.session.scalars(sa.select(HandCount).order_by(HandCount.id))
    return [(row.code, row.step) for row in rows]


def _entries() -> list[AuditEntry]:
    statement = sa.select(AuditEntry).where(AuditEntry.action == "case.hand_count")
    return list(db.session.scalars(statement))


def _tally(case: Case) -> dict[str, int]:
    return hand_counts.tally_by_hand(db.session, case, label_set="marrow7")


def test_a_press_is_an_event_with_who_and_when(case: Case, person: User) -> None:
    event = hand_counts.count(case, person, "BLA", 1, key(1), **BY)
    assert (event.case_id, event.user_id) == (case.id, person.id)
    assert (event.label_set, event.code, event.step) == ("marrow7", "BLA", 1)
    assert event.at is not None
    assert _tally(case) == {"BLA": 1}


def test_the_same_key_counts_once(case: Case, person: User) -> None:
    first = hand_counts.count(case, person, "BLA", 1, key(1), **BY)
    again = hand_counts.count(case, person, "BLA", 1, key(1), **BY)
    assert again.id == first.id
    assert _events() == [("BLA", 1)]
    assert len(_entries()) == 1, "what changed nothing leaves no entry"


def test_a_key_of_another_press_is_a_conflict(
    case: Case, person: User, make_user: MakeUser, make_analysis: MakeAnalysis
) -> None:
    hand_counts.count(case, person, "BLA", 1, key(1), **BY)
    elsewhere = make_analysis(person).case
    for where, who, code in (
        (elsewhere, person, "BLA"),
        (case, make_user(), "BLA"),
        (case, person, "LYT"),
    ):
        with pytest.raises(Conflict):
            hand_counts.count(where, who, code, 1, key(1), **BY)
    assert _events() == [("BLA", 1)]


def test_taking_back_is_an_event_and_needs_ones_own_cell(
    case: Case, person: User, make_user: MakeUser
) -> None:
    other = make_user()
    hand_counts.count(case, person, "BLA", 1, key(1), **BY)
    with pytest.raises(Conflict, match="take back"):
        hand_counts.count(case, other, "BLA", -1, key(2), **BY)
    with pytest.raises(Conflict, match="take back"):
        hand_counts.count(case, person, "LYT", -1, key(3), **BY)
    hand_counts.count(case, person, "BLA", -1, key(4), **BY)
    with pytest.raises(Conflict, match="take back"):
        hand_counts.count(case, person, "BLA", -1, key(5), **BY)
    assert _events() == [("BLA", 1), ("BLA", -1)]
    assert _tally(case) == {}


def test_what_was_counted_by_other_classes_cannot_be_taken_back(case: Case, person: User) -> None:
    hand_counts.count(case, person, "BLA", 1, key(1), label_set="whole", codes=("BLA",))
    with pytest.raises(Conflict):
        hand_counts.count(case, person, "BLA", -1, key(2), **BY)
    assert _tally(case) == {}


@pytest.mark.parametrize(
    ("code", "step", "sent_key", "expected"),
    [
        ("XXX", 1, key(1), "label_unknown"),
        ("BLA", 0, key(1), "step_unknown"),
        ("BLA", 2, key(1), "step_unknown"),
        ("BLA", 1, "short", "request_key"),
        ("BLA", 1, "x" * 65, "request_key"),
        ("BLA", 1, "with spaces in between", "request_key"),
    ],
)
def test_what_is_not_as_expected_is_refused(
    case: Case, person: User, code: str, step: int, sent_key: str, expected: str
) -> None:
    with pytest.raises(InvalidInput) as raised:
        hand_counts.count(case, person, code, step, sent_key, **BY)
    assert raised.value.code == expected
    assert _events() == []


def test_several_presses_make_one_entry_and_a_bad_one_holds_none_up(
    case: Case, person: User
) -> None:
    presses = [
        Press("BLA", 1, key(1)),
        Press("LYT", 1, key(2)),
        Press("NOT", 1, key(3)),
        Press("BLA", 1, key(1)),
        Press("BLA", 1, key(4)),
        Press("BLA", -1, key(5)),
        Press("NIF", -1, key(6)),
    ]
    outcome = hand_counts.count_all(case, person, presses, **BY)
    assert [(press.request_key, error.code) for press, error in outcome.refused] == [
        (key(3), "label_unknown"),
        (key(6), "nothing_to_take_back"),
    ]
    assert len(outcome.events) == 5
    assert _events() == [("BLA", 1), ("LYT", 1), ("BLA", 1), ("BLA", -1)]
    (entry,) = _entries()
    assert (entry.object_id, entry.actor_id) == (case.public_id, person.id)
    assert entry.details == {
        "label_set": "marrow7",
        "counted": {"BLA": 2, "LYT": 1},
        "taken_back": {"BLA": 1},
    }


def test_tallies_of_all_and_of_each(case: Case, person: User, make_user: MakeUser) -> None:
    other = make_user()
    for number in range(3):
        hand_counts.count(case, person, "BLA", 1, key(number), **BY)
    hand_counts.count(case, other, "BLA", 1, key(10), **BY)
    hand_counts.count(case, other, "LYT", 1, key(11), **BY)
    hand_counts.count(case, other, "LYT", -1, key(12), **BY)
    assert _tally(case) == {"BLA": 4}
    people = hand_counts.tally_by_person(db.session, case, label_set="marrow7")
    assert [(each.user_public_id, each.counts) for each in people] == [
        (person.public_id, {"BLA": 3}),
        (other.public_id, {"BLA": 1}),
    ]


def test_the_cells_counted_last_are_those_that_stand(case: Case, person: User) -> None:
    steps = [("BLA", 1), ("LYT", 1), ("BLA", 1), ("NIF", 1), ("BLA", -1), ("LYT", 1)]
    for number, (code, step) in enumerate(steps):
        hand_counts.count(case, person, code, step, key(number), **BY)

    def last(most: int) -> list[str]:
        return hand_counts.last_counted(db.session, case, person, label_set="marrow7", most=most)

    assert last(12) == ["BLA", "LYT", "NIF", "LYT"]
    assert last(2) == ["NIF", "LYT"]


@pytest.mark.parametrize(
    ("role", "own", "error"),
    [
        ("administrator", False, None),
        ("pathologist", False, None),
        ("technician", True, None),
        ("technician", False, NotAllowed),
        ("trainee", True, None),
        ("trainee", False, NotFound),
    ],
)
def test_who_may_count(
    context: Flask,
    make_user: MakeUser,
    make_analysis: MakeAnalysis,
    role: str,
    own: bool,
    error: type[Exception] | None,
) -> None:
    person = make_user(role)
    case = make_analysis(person if own else make_user()).case
    if error is None:
        hand_counts.count(case, person, "BLA", 1, key(1), **BY)
        assert _tally(case) == {"BLA": 1}
        return
    with pytest.raises(error):
        hand_counts.count(case, person, "BLA", 1, key(1), **BY)
    assert _events() == []


def test_events_cannot_be_changed(case: Case, person: User) -> None:
    event = hand_counts.count(case, person, "BLA", 1, key(1), **BY)
    event.code = "LYT"
    with pytest.raises(Conflict):
        db.session.flush()
    db.session.rollback()
    assert _events() == [("BLA", 1)]
