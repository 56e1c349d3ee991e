"""The database: its settings, its schema, and what it says when it cannot."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import alembic.autogenerate
import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask

from tests.conftest import Auth, make_settings
from utils.errors import Conflict, DatabaseBusy, StorageFailed
from utils.records import Case, LabelEvent, User, db
from utils.records.database import MIGRATIONS_DIR, explain_database_error, utc_now
from utils.settings import PROJECT_ROOT, Settings


def test_sqlite_runs_in_wal_mode_with_foreign_keys_and_patience(app: Flask) -> None:
    with app.app_context():
        asked = ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
        values = [db.session.execute(sa.text(f"PRAGMA {name}")).scalar() for name in asked]
    assert values == ["wal", 1, 2, 5000]


def test_the_migrations_give_exactly_the_schema_of_the_records(app: Flask) -> None:
    with app.app_context(), db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert alembic.autogenerate.compare_metadata(context, db.metadata) == []


def test_foreign_keys_are_enforced(app: Flask) -> None:
    with app.app_context():
        db.session.add(Case(owner_id=4711))
        with pytest.raises(sa.exc.IntegrityError):
            db.session.commit()


def test_error_texts_hold_no_values(app: Flask) -> None:
    with app.app_context():
        db.session.add(Case(owner_id=4711, patient_reference="Erika Mustermann"))
        with pytest.raises(sa.exc.IntegrityError) as caught:
            db.session.commit()
    assert "Mustermann" not in str(caught.value)


def test_moments_are_kept_in_utc(app: Flask) -> None:
    moment = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    with app.app_context():
        db.session.add(
            User(name="A", email="a@b.org", password_hash="x", role="trainee", created_at=moment)
        )
        db.session.commit()
        db.session.expire_all()
        kept = db.session.scalars(sa.select(User.created_at)).one()
    assert kept == moment
    assert kept.tzinfo is UTC


def test_a_moment_without_a_zone_is_refused(app: Flask) -> None:
    with app.app_context():
        naive = datetime(2026, 3, 1)
        db.session.add(User(name="A", email="a@b.org", password_hash="x", created_at=naive))
        with pytest.raises(sa.exc.StatementError, match="time zone"):
            db.session.commit()


def test_the_orm_refuses_to_change_a_label_event(app: Flask, stored_event: int) -> None:
    with app.app_context():
        event = db.session.get_one(LabelEvent, stored_event)
        event.reason = "something else"
        with pytest.raises(Conflict, match="kept as they were written"):
            db.session.commit()
        db.session.rollback()
        db.session.delete(db.session.get_one(LabelEvent, stored_event))
        with pytest.raises(Conflict):
            db.session.commit()


@pytest.mark.parametrize(
    "statement", ["UPDATE label_events SET reason = ''", "DELETE FROM label_events"]
)
def test_the_database_refuses_to_change_a_label_event(
    app: Flask, stored_event: int, statement: str
) -> None:
    with app.app_context():
        with pytest.raises(sa.exc.IntegrityError, match="append-only"):
            db.session.execute(sa.text(statement))
        db.session.rollback()
        assert db.session.get_one(LabelEvent, stored_event).reason == "larger nucleoli"


@pytest.fixture
def stored_event(app: Flask, auth: Auth, add_analysis: Callable[..., str]) -> int:
    auth.register()
    add_analysis(auth.user_id)
    with app.app_context():
        event = LabelEvent(
            analysis_id=1,
            user_id=1,
            action="correct",
            old_code="Pre",
            new_code="Pro",
            reason="larger nucleoli",
        )
        db.session.add(event)
        db.session.commit()
        return event.id


_HOLD_THE_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_database_locked_by_another_process_is_said_plainly(
    settings: Settings, make_app: Callable[..., Flask]
) -> None:
    app = make_app(database_busy_ms=50)
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD_THE_LOCK, settings.instance_dir / "marrow-find.sqlite3"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        auth = Auth(app, app.test_client())
        page = auth.register()
        assert page.status_code == 503
        assert "The database is busy" in page.get_data(as_text=True)
        program = auth.client.get("/health", headers={"Accept": "application/json"})
        assert program.status_code == 503
        assert program.json["checks"]["database"] == "database_busy"
        # Readers never wait for a writer.
        assert auth.client.get("/login").status_code == 200
        holder.communicate("")
    assert auth.register().status_code == 303
    assert auth.login().status_code == 303


def test_a_start_does_not_wait_for_a_writer(
    settings: Settings, make_app: Callable[..., Flask]
) -> None:
    other = sqlite3.connect(settings.instance_dir / "marrow-find.sqlite3")
    other.execute("BEGIN IMMEDIATE")
    app = make_app(database_busy_ms=50)
    assert app.test_client().get("/login").status_code == 200
    other.close()


def test_a_lock_that_is_let_go_in_time_is_waited_for(
    settings: Settings, app: Flask, auth: Auth
) -> None:
    other = sqlite3.connect(settings.instance_dir / "marrow-find.sqlite3", check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    import threading

    timer = threading.Timer(0.3, other.rollback)
    timer.start()
    assert auth.register().status_code == 303
    timer.join()
    other.close()


def test_a_database_that_is_none_is_said_plainly(
    make_app: Callable[..., Flask], settings: Settings
) -> None:
    place = settings.instance_dir / "marrow-find.sqlite3"
    place.write_bytes(b"this is no database" * 1000)
    with pytest.raises(StorageFailed, match="damaged"):
        make_app()


def test_programming_faults_are_not_explained_away() -> None:
    assert explain_database_error(sqlite3.ProgrammingError("no such thing")) is None
    assert explain_database_error(KeyError("x")) is None
    busy = sqlite3.OperationalError("database is locked")
    busy.sqlite_errorcode = sqlite3.SQLITE_BUSY_SNAPSHOT
    assert isinstance(explain_database_error(busy), DatabaseBusy)


_START = "from app import create_app; create_app()"


def test_many_workers_that_start_at_once_agree_on_one_schema_and_one_secret(tmp_path) -> None:
    environment = os.environ | {"MARROW_FIND_INSTANCE_DIR": str(tmp_path / "fresh")}
    workers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", _START], cwd=PROJECT_ROOT, env=environment
        )
        for _ in range(3)
    ]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    kept = sqlite3.connect(tmp_path / "fresh" / "marrow-find.sqlite3")
    newest = ScriptDirectory(str(MIGRATIONS_DIR)).get_current_head()
    assert kept.execute("SELECT version_num FROM alembic_version").fetchall() == [(newest,)]
    assert kept.execute("SELECT count(*) FROM audit_head").fetchone() == (1,)
    kept.close()
    secret = tmp_path / "fresh" / "secret_key"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert len(secret.read_text()) >= 32


def test_the_history_is_paged_by_an_index(app: Flask) -> None:
    queries = {
        "owner_id = 1": "ix_analyses_owner_id_created_at_id",
        "label_code = 'Pre'": "ix_analyses_label_code_created_at_id",
        "review_state = 'confirmed'": "ix_analyses_review_state_created_at_id",
        "reviewed_by_id = 1": "ix_analyses_reviewed_by_id_created_at_id",
        "1 = 1": "ix_analyses_created_at_id",
    }
    with app.app_context():
        for condition, index in queries.items():
            plan = db.session.execute(
                sa.text(
                    f"EXPLAIN QUERY PLAN SELECT id FROM analyses WHERE {condition} "
                    "AND (created_at, id) < ('2026-01-01', 5) "
                    "ORDER BY created_at DESC, id DESC LIMIT 50"
                )
            ).all()
            assert index in str(plan)
            assert "TEMP B-TREE" not in str(plan)


def test_now_has_a_zone() -> None:
    assert utc_now().tzinfo is UTC


def test_settings_of_tests_are_those_of_the_program(tmp_path) -> None:
    assert make_settings(tmp_path, tmp_path).effective_database_url.startswith("sqlite:///")
