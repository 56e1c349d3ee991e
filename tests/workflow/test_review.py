"""Reviews: events, their projection, and what happens when two people are at it."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.workflow.conftest import MakeAnalysis, MakeUser
from utils.errors import Conflict, InvalidInput, NotAllowed, NotFound
from utils.records import Analysis, AuditEntry, LabelEvent, User, audit, db
from utils.workflow import review


def _events() -> list[LabelEvent]:
    return list(db.session.scalars(sa.select(LabelEvent).order_by(LabelEvent.id)))


def test_confirming_keeps_the_label_and_says_who(
    make_user: MakeUser, make_analysis: MakeAnalysis
) -> None:
    user = make_user()
    analysis = make_analysis(user, label_code="Pre")
    event = review.confirm(analysis, user, seen_event_id=0)
    assert (event.action, event.old_code, event.new_code) == ("confirm", "Pre", "Pre")
    assert (analysis.review_state, analysis.reviewed_code) == ("confirmed", "Pre")
    assert (analysis.reviewed_by_id, analysis.reviewed_at) == (user.id, event.at)


def test_correcting_keeps_the_old_value_in_the_event(
    make_user: MakeUser, make_analysis: MakeAnalysis
) -> None:
    user = make_user()
    analysis = make_analysis(user, label_code="Early")
    event = review.correct(analysis, user, "Pro", "CD10 negative", seen_event_id=0)
    assert (event.old_code, event.new_code, event.reason) == ("Early", "Pro", "CD10 negative")
    assert analysis.label_code == "Early", "the network's reading is never overwritten"
    assert (analysis.review_state, analysis.reviewed_code) == ("corrected", "Pro")


def test_a_person_may_call_a_field_unclassifiable(
    make_user: MakeUser, make_analysis: MakeAnalysis
) -> None:
    user = make_user()
    analysis = make_analysis(user)
    review.correct(analysis, user, None, "smudged", seen_event_id=0)
    assert (analysis.review_state, analysis.reviewed_code) == ("corrected", None)


def test_undo_is_an_event_and_goes_back_one_step_at_a_time(
    make_user: MakeUser, make_analysis: MakeAnalysis
) -> None:
    user = make_user()
    analysis = make_analysis(user, label_code="Early")
    review.correct(analysis, user, "Pro", "first")
    review.correct(analysis, user, "Pre", "second")
    first = review.undo(analysis, user)
    assert (first.old_code, first.new_code) == ("Pre", "Pro")
    assert (analysis.review_state, analysis.reviewed_code) == ("corrected", "Pro")
    second = review.undo(analysis, user)
    assert (second.old_code, second.new_code) == ("Pro", "Early")
    assert (analysis.review_state, analysis.reviewed_code) == ("unreviewed", None)
    assert analysis.reviewed_by_id is None
    assert [event.action for event in _events()] == ["correct", "correct", "undo", "undo"]
    with pytest.raises(Conflict, match="nothing to undo"):
        review.undo(analysis, user)
    assert len(_events()) == 4


def test_agreeing_with_a_correction_leaves_the_network_corrected(
    make_user: MakeUser, make_analysis: MakeAnalysis
) -> None:
    first, second = make_user(), make_user()
    analysis = make_analysis(first, label_code="Early")
    review.correct(analysis, first, "Pro", "CD10 negative")
    review.confirm(analysis, second)
    assert (analysis.review_state, analysis.reviewed_code) == ("corrected", "Pro")
    assert analysis.reviewed_by_id == second.id


def test_an_older_page_meets_a_conflict_and_changes_nothing(
    make_user: MakeUser, make_analysis: MakeAnalysis
) -> None:
    first, second = make_user(name="Ada"), make_user(name="Grace")
    analysis = make_analysis(first, label_code="Early")
    review.correct(analysis, first, "Pro", "mine", seen_event_id=0)
    with pytest.raises(Conflict, match="Ada reviewed this field") as caught:
        review.correct(analysis, second, "Pre", "theirs", seen_event_id=0)
    assert caught.value.code == "review_changed"
    assert [event.reason for event in _events()] == ["mine"]
    assert db.session.get_one(Analysis, analysis.id).reviewed_code == "Pro"


def test_the_same_request_twice_is_one_event(
    make_user: MakeUser, make_analysis: MakeAnalysis
) -> None:
    user = make_user()
    analysis = make_analysis(user)
    first = review.correct(analysis, user, "Pro", "mine", seen_event_id=0)
    again = review.correct(analysis, user, "Pro", "mine", seen_event_id=0)
    assert first.id == again.id
    undone = review.undo(analysis, user, seen_event_id=first.id)
    assert review.undo(analysis, user, seen_event_id=first.id).id == undone.id
    assert len(_events()) == 2


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        ("Pro", "   ", "reason_missing"),
        ("Burkitt", "morphology", "label_unknown"),
        ("Early", "morphology", "label_same"),
        ("Pro", "x" * 1001, "reason_too_long"),
    ],
)
def test_corrections_that_say_nothing_are_refused(
    make_user: MakeUser, make_analysis: MakeAnalysis, code: str, reason: str, expected: str
) -> None:
    user = make_user()
    analysis = make_analysis(user, label_code="Early")
    with pytest.raises(InvalidInput) as caught:
        review.correct(analysis, user, code, reason)
    assert caught.value.code == expected
    assert _events() == []


def test_roles_decide_who_reviews(make_user: MakeUser, make_analysis: MakeAnalysis) -> None:
    owner = make_user("trainee")
    analysis = make_analysis(owner)
    with pytest.raises(NotAllowed):
        review.confirm(analysis, make_user("technician"))
    with pytest.raises(NotFound):
        review.confirm(analysis, make_user("trainee"))
    review.confirm(analysis, owner)
    review.correct(analysis, make_user("pathologist"), "Pro", "morphology")
    assert [event.action for event in _events()] == ["confirm", "correct"]


def test_each_event_is_in_the_audit_trail_with_old_and_new(
    make_user: MakeUser, make_analysis: MakeAnalysis
) -> None:
    user = make_user()
    analysis = make_analysis(user, label_code="Early")
    review.correct(analysis, user, "Pro", "CD10 negative")
    review.undo(analysis, user)
    entries = list(db.session.scalars(sa.select(AuditEntry).order_by(AuditEntry.id)))
    assert [entry.action for entry in entries] == ["analysis.correct", "analysis.undo"]
    assert entries[0].details == {"old": "Early", "new": "Pro", "reason": "CD10 negative"}
    assert entries[1].details["new"] == "Early"
    assert audit.verify(db.session()) == []


def test_the_timeline_begins_with_the_network(
    make_user: MakeUser, make_analysis: MakeAnalysis
) -> None:
    user = make_user(name="Ada")
    analysis = make_analysis(user, label_code=None)
    review.correct(analysis, user, "Pro", "CD10 negative")
    lines = review.timeline(analysis)
    assert [(line.who, line.action, line.new_code) for line in lines] == [
        ("all4 0-untrained", "read", None),
        ("Ada", "correct", "Pro"),
    ]
    assert lines[1].reason == "CD10 negative"


def test_of_two_people_at_once_one_is_told(
    app: Flask, make_user: MakeUser, make_analysis: MakeAnalysis
) -> None:
    people = [make_user().id, make_user().id]
    analysis_id = make_analysis(make_user(), label_code="Early").id
    start = threading.Barrier(2)
    said: list[Any] = []

    def decide(user_id: int, code: str) -> None:
        with app.app_context():
            user = db.session.get_one(User, user_id)
            analysis = db.session.get_one(Analysis, analysis_id)
            start.wait()
            try:
                said.append(review.correct(analysis, user, code, "morphology", seen_event_id=0).id)
            except Conflict as error:
                said.append(error.code)

    threads = [
        threading.Thread(target=decide, args=(user_id, code))
        for user_id, code in zip(people, ("Pro", "Pre"), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, said)) == ["1", "review_changed"]
    assert len(_events()) == 1
