"""The same migrations and the same guards on a real PostgreSQL of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import alembic.autogenerate
import flask_migrate
import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from flask import Flask

from tests import job_kinds
from tests.conftest import Auth
from tests.need import lacking
from utils.errors import DatabaseBusy
from utils.records import AuditEntry, AuditHead, Job, audit, db
from utils.records.database import utc_now
from utils.settings import Settings
from utils.workflow import job_states, jobs


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    beside = shutil.which("initdb")
    return found[-1].parent if found else Path(beside).parent if beside else None


def _as_server(command: list[str]) -> list[str]:
    # PostgreSQL refuses to run as root: its own account runs it there.
    return (
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
        if (os.geteuid() == 0)
        else command
    )


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    programs = _programs()
    if programs is None:
        lacking("PostgreSQL", "SQLite is tested all the same; on Debian, install postgresql")
    place = Path(tempfile.mkdtemp(prefix="marrow-find-"))  # a socket's path must be short
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        os.chown(place, account.pw_uid, account.pw_gid)
    data = place / "data"
    options = f"-k {place} -c listen_addresses='' -c fsync=off"
    subprocess.run(
        _as_server([str(programs / "initdb"), "-D", str(data), "-A", "trust", "-U", "postgres"]),
        check=True, capture_output=True, cwd="/",
    )  # fmt: skip
    control = [str(programs / "pg_ctl"), "-D", str(data), "-w"]
    subprocess.run(
        _as_server([*control, "-o", options, "-l", str(place / "log"), "start"]),
        check=True, capture_output=True, cwd="/",
    )  # fmt: skip
    try:
        yield f"postgresql://postgres@/postgres?host={place}"
    finally:
        subprocess.run(
            _as_server([*control, "-m", "immediate", "stop"]), check=True, capture_output=True,
            cwd="/",
        )  # fmt: skip
        shutil.rmtree(place)


@pytest.fixture
def app(make_app: Callable[..., Flask], postgresql: str) -> Flask:
    address = postgresql.replace("postgresql://", "postgresql+psycopg://")
    app = make_app(database_url=address)
    with app.app_context():
        db.session.execute(sa.text("DROP SCHEMA public CASCADE"))
        db.session.execute(sa.text("CREATE SCHEMA public"))
        db.session.commit()
        flask_migrate.upgrade()
    return app


def test_the_migrations_give_exactly_the_schema(app: Flask) -> None:
    with app.app_context(), db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert alembic.autogenerate.compare_metadata(context, db.metadata) == []


def test_people_sign_in(auth: Auth) -> None:
    auth.enter()
    assert auth.client.get("/account").status_code == 200
    checks = auth.client.get("/health").json["checks"]
    assert checks["database"] == "ok"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entries SET action = 'x'",
        "DELETE FROM audit_entries",
        "TRUNCATE audit_entries",
    ],
)
def test_the_trail_is_append_only(app: Flask, auth: Auth, statement: str) -> None:
    auth.register()
    with app.app_context():
        with pytest.raises(sa.exc.DBAPIError, match="append-only"):
            db.session.execute(sa.text(statement))
        db.session.rollback()
        assert audit.verify(db.session) == []


def test_writers_at_once_never_fork_the_chain(app: Flask) -> None:
    def write(writer: int) -> None:
        with app.app_context():
            for number in range(20):
                audit.append(
                    db.session,
                    action="race",
                    object_type="w",
                    object_id=f"{writer}.{number}",
                    details={"share": 0.1},
                )
                db.session.commit()

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    with app.app_context():
        assert audit.verify(db.session) == []
        assert db.session.scalars(sa.select(AuditHead.count)).one() == 80
        assert db.session.scalar(sa.select(sa.func.count(AuditEntry.id))) == 80


def test_of_several_workers_one_gets_each_job(app: Flask) -> None:
    claimed: list[int] = []

    def ask_and_work(worker: int) -> None:
        with app.app_context():
            for number in range(20):
                jobs.enqueue(db.session, "test.quick", {}, owner=None, dedupe_key=f"work {number}")
                db.session.commit()
            while turn := job_states.claim(
                db.session, worker=f"host:{worker}", kinds=jobs.HANDLERS
            ):
                claimed.append(turn.job_id)
                job_kinds.leave_effect(db.session, turn)
                job_states.finish(db.session, turn)

    workers = [threading.Thread(target=ask_and_work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with app.app_context():
        assert sorted(claimed) == sorted(set(claimed))
        assert len(claimed) == 20
        assert db.session.scalars(sa.select(Job.state).distinct()).all() == ["done"]
        assert db.session.scalars(sa.select(AuditHead.count)).one() == 20


def test_a_job_is_taken_back_and_its_first_worker_ends_nothing(
    app: Flask, settings: Settings
) -> None:
    with app.app_context():
        job = jobs.enqueue(db.session, "test.quick", {"x": 1}, owner=None, dedupe_key="work")
        db.session.commit()
        slept = job_states.claim(db.session, worker="elsewhere:1", kinds=jobs.HANDLERS)
        assert slept is not None
        db.session.execute(sa.update(Job).values(heartbeat_at=utc_now() - timedelta(seconds=61)))
        db.session.commit()
        limits = {"stale_after_s": 60, "most_attempts": 3}
        assert job_states.requeue_stale(db.session, worker="here:1", **limits) == 1
        working = jobs.JobContext(db.session, settings, slept)
        with pytest.raises(jobs.JobLost):
            working.progress(1, 2)
        job_kinds.leave_effect(db.session, slept)
        with pytest.raises(jobs.JobLost):
            job_states.finish(db.session, slept)
        assert db.session.scalars(sa.select(AuditHead.count)).one() == 0
        jobs.cancel(db.session, job)
        assert jobs.find(db.session, job.public_id).dedupe_key is None


def test_a_server_that_is_gone_is_said_plainly(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    address = f"postgresql+psycopg://postgres@/postgres?host={tmp_path}"
    app = make_app(database_url=address)
    with app.app_context(), pytest.raises(DatabaseBusy, match="cannot be reached"):
        audit.verify(db.session)
    answer = Auth(app, app.test_client()).client.get("/health")
    assert answer.status_code == 503
    assert answer.json["checks"]["database"] == "database_unreachable"
