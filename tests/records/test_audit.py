"""The audit trail: nothing can be changed, removed or put in between without its being seen."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from flask import Flask
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app import create_app
from tests.conftest import close_app
from utils.errors import Conflict
from utils.records import AuditEntry, AuditHead, audit, db
from utils.records.database import utc_now
from utils.settings import Settings


@pytest.fixture
def trail(app: Flask) -> Iterator[Callable[[str], None]]:
    """Five entries, and a way to tamper with them behind the program's back."""
    with app.app_context():
        for number in range(5):
            audit.append(
                db.session,
                action="analysis.view",
                object_type="analysis",
                object_id=f"a{number}",
                details={"share": 0.1, "λ": ["Pre", None, True]},
            )
        db.session.commit()

        def tamper(statement: str) -> None:
            names = db.session.scalars(
                sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            ).all()
            for name in names:
                db.session.execute(sa.text(f"DROP TRIGGER {name}"))
            db.session.execute(sa.text(statement))
            db.session.commit()

        yield tamper


def test_an_untouched_trail_is_whole(trail) -> None:
    assert audit.verify(db.session) == []
    head = db.session.scalars(sa.select(AuditHead)).one()
    assert head.count == 5
    assert head.hash == db.session.get_one(AuditEntry, 5).hash


def test_an_empty_trail_is_whole(app: Flask) -> None:
    with app.app_context():
        assert audit.verify(db.session) == []


@pytest.mark.parametrize(
    ("statement", "number", "kind"),
    [
        ("UPDATE audit_entries SET action = 'x' WHERE id = 3", 3, "changed"),
        ("UPDATE audit_entries SET object_id = 'x' WHERE id = 3", 3, "changed"),
        ("UPDATE audit_entries SET object_type = 'x' WHERE id = 1", 1, "changed"),
        ("UPDATE audit_entries SET details = '{\"share\": 0.2}' WHERE id = 5", 5, "changed"),
        ("UPDATE audit_entries SET at = '2020-01-01 00:00:00.000000' WHERE id = 2", 2, "changed"),
        ("UPDATE audit_entries SET hash = 'x' WHERE id = 2", 2, "changed"),
        ("UPDATE audit_entries SET hash = 'x' WHERE id = 5", 5, "changed"),
        ("UPDATE audit_entries SET previous_hash = 'x' WHERE id = 4", 4, "unlinked"),
        ("DELETE FROM audit_entries WHERE id = 1", 1, "missing"),
        ("DELETE FROM audit_entries WHERE id IN (2, 3)", 2, "missing"),
        ("DELETE FROM audit_entries WHERE id = 5", 5, "removed_at_end"),
        ("DELETE FROM audit_entries WHERE id > 2", 3, "removed_at_end"),
        ("DELETE FROM audit_entries", 1, "removed_at_end"),
        ("UPDATE audit_head SET count = 4", 5, "added_at_end"),
        ("UPDATE audit_head SET hash = 'x'", 5, "head"),
        ("DELETE FROM audit_head", 5, "head"),
    ],
)
def test_the_first_break_is_named(trail, statement: str, number: int, kind: str) -> None:
    trail(statement)
    first = audit.verify(db.session)[0]
    assert (first.number, first.kind) == (number, kind)
    assert first.message


def test_an_actor_put_in_later_shows(trail, auth) -> None:
    auth.register()  # entry 6, by the first account
    trail("UPDATE audit_entries SET actor_id = 1 WHERE id = 4")
    assert [(found.number, found.kind) for found in audit.verify(db.session)] == [(4, "changed")]


def test_two_changes_are_two_breaks(trail) -> None:
    trail("UPDATE audit_entries SET action = 'x' WHERE id IN (2, 4)")
    assert [found.number for found in audit.verify(db.session)] == [2, 4]


def test_a_rewritten_entry_with_a_fresh_hash_shows_at_the_next(trail) -> None:
    entry = db.session.get_one(AuditEntry, 3)
    forged = audit.entry_hash(
        3, entry.at, None, "forged", "analysis", "a2", entry.details, entry.previous_hash
    )
    trail(f"UPDATE audit_entries SET action = 'forged', hash = '{forged}' WHERE id = 3")
    assert audit.verify(db.session)[0].number == 4


def test_the_orm_and_the_database_refuse_changes(app: Flask, trail) -> None:
    entry = db.session.get_one(AuditEntry, 2)
    entry.action = "x"
    with pytest.raises(Conflict):
        db.session.commit()
    db.session.rollback()
    for statement in ("UPDATE audit_entries SET action = 'x'", "DELETE FROM audit_entries"):
        with pytest.raises(sa.exc.IntegrityError, match="append-only"):
            db.session.execute(sa.text(statement))
        db.session.rollback()
    assert audit.verify(db.session) == []


def test_an_entry_goes_with_what_it_tells_of(app: Flask) -> None:
    with app.app_context():
        audit.append(db.session, action="a", object_type="t", object_id="o")
        db.session.rollback()
        assert db.session.scalars(sa.select(AuditHead.count)).one() == 0
        assert audit.verify(db.session) == []


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(details=st.dictionaries(st.text(max_size=6), _json, max_size=4))
@hypothesis_settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_whatever_the_details_hold_the_stored_entry_verifies(app: Flask, details) -> None:
    with app.app_context():
        try:
            audit.append(db.session, action="a", object_type="t", object_id="o", details=details)
            db.session.commit()
        except UnicodeEncodeError:
            db.session.rollback()  # lone surrogates cannot be stored at all
        assert audit.verify(db.session) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), b"bytes"])
def test_details_that_are_no_json_are_refused(app: Flask, value: object) -> None:
    with app.app_context(), pytest.raises((TypeError, ValueError)):
        audit.append(
            db.session, action="a", object_type="t", object_id="o", details={"value": value}
        )


def _write_entries(settings: Settings, writer: int, entries: int) -> None:
    app = create_app(settings)
    with app.app_context():
        for number in range(entries):
            audit.append(
                db.session, action="race", object_type="writer", object_id=f"{writer}.{number}"
            )
            db.session.commit()
    close_app(app)


def test_writers_at_once_never_fork_the_chain(settings: Settings, app: Flask) -> None:
    patient = settings.model_copy(update={"database_busy_ms": 30_000})
    # Fresh processes, as gunicorn's workers are.
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_entries, args=(patient, i, 25)) for i in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(90)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    with app.app_context():
        assert audit.verify(db.session) == []
        assert db.session.scalars(sa.select(AuditHead.count)).one() == 75


def test_a_hundred_thousand_entries_are_verified_in_five_seconds(app: Flask) -> None:
    number_of_entries = 100_000
    rows, previous, at = [], audit.GENESIS_HASH, utc_now()
    for number in range(1, number_of_entries + 1):
        content = (None, "analysis.view", "analysis", f"id-{number:018d}", {"class": "Pre"})
        digest = audit.entry_hash(number, at, *content, previous)
        keys = ("actor_id", "action", "object_type", "object_id", "details")
        rows.append(
            {"id": number, "at": at, "previous_hash": previous, "hash": digest}
            | dict(zip(keys, content, strict=True))
        )
        previous = digest
    with app.app_context():
        db.session.execute(sa.insert(AuditEntry), rows)
        db.session.execute(sa.update(AuditHead).values(count=number_of_entries, hash=previous))
        db.session.commit()
        start = time.process_time()
        assert audit.verify(db.session) == []
        assert time.process_time() - start <= 5.0
