"""Jobs without a worker's process: asked for once, claimed by one, ended by whoever holds them."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from tests import job_kinds
from tests.redis_server import free_port
from tests.workflow.conftest import MakeAnalysis, MakeUser
from utils.errors import Conflict, NotFound
from utils.jobs.queue import WakeUpSerializer, open_queue
from utils.records import AuditEntry, Job, User, audit, db
from utils.records.database import utc_now
from utils.settings import PROJECT_ROOT, Settings
from utils.workflow import job_states, jobs
from utils.workflow.job_states import Turn

WORKER = "host:1"


def _ask(kind: str = "test.quick", **values: Any) -> Job:
    job = jobs.enqueue(db.session, kind, {"number": 1}, **({"owner": None} | values))
    db.session.commit()
    return job


def _claim(worker: str = WORKER, kinds: Any = jobs.HANDLERS) -> Turn:
    turn = job_states.claim(db.session, worker=worker, kinds=kinds)
    assert turn is not None
    return turn


def _again(job: Job) -> Job:
    db.session.expire_all()
    return job


def _effects() -> int:
    counted = sa.select(sa.func.count(AuditEntry.id)).where(AuditEntry.action == job_kinds.EFFECT)
    return db.session.scalar(counted) or 0


def _requeue(worker: str = WORKER, held: Any = (), most_attempts: int = 3) -> int:
    return job_states.requeue_stale(
        db.session, worker=worker, held=held, stale_after_s=60, most_attempts=most_attempts
    )


def _silent_for(job: Job, seconds: float) -> None:
    db.session.execute(
        sa.update(Job)
        .where(Job.id == job.id)
        .values(heartbeat_at=utc_now() - timedelta(seconds=seconds))
    )
    db.session.commit()


# --- asking ---------------------------------------------------------------------------------------


def test_a_job_is_asked_for_with_whom_and_what_it_is_about(
    make_user: MakeUser, make_analysis: MakeAnalysis
) -> None:
    user = make_user()
    analysis = make_analysis(user)
    job = _ask(owner=user, analysis=analysis)
    assert (job.state, job.attempts, job.kind) == ("queued", 0, "test.quick")
    assert (job.owner, job.analysis, job.parameters) == (user, analysis, {"number": 1})
    assert jobs.find(db.session, job.public_id) is job
    with pytest.raises(NotFound):
        jobs.find(db.session, "nothing")


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [("test.unknown", {}), ("test.quick", {"x": float("nan")}), ("test.quick", {"x": object()})],
)
def test_faults_of_the_program_are_no_jobs(
    context: Flask, kind: str, parameters: dict[str, Any]
) -> None:
    with pytest.raises((ValueError, TypeError)):
        jobs.enqueue(db.session, kind, parameters, owner=None)
    assert db.session.scalar(sa.select(sa.func.count(Job.id))) == 0


def test_a_kind_has_one_handler() -> None:
    with pytest.raises(ValueError, match=r"test\.quick"):
        jobs.handles("test.quick")(lambda context: None)


def test_what_is_rolled_back_was_never_asked_for(context: Flask) -> None:
    jobs.enqueue(db.session, "test.quick", {}, owner=None)
    db.session.rollback()
    assert job_states.claim(db.session, worker=WORKER, kinds=jobs.HANDLERS) is None
    assert jobs.TO_WAKE not in db.session.info


def test_the_same_work_is_queued_once(context: Flask) -> None:
    first = _ask(dedupe_key="cells:1")
    assert _ask(dedupe_key="cells:1") is first
    assert _ask(dedupe_key="cells:2") is not first
    assert _ask() is not _ask()
    turn = _claim()
    assert _ask(dedupe_key="cells:1").id == turn.job_id
    job_states.finish(db.session, turn)
    assert _ask(dedupe_key="cells:1").id == turn.job_id  # done is done


@pytest.mark.parametrize("ended", ["failed", "cancelled"])
def test_what_ended_badly_can_be_asked_for_again(context: Flask, ended: str) -> None:
    first = _ask(dedupe_key="cells:1")
    if ended == "failed":
        job_states.fail(db.session, _claim(), code="x", message="It failed.")
    else:
        jobs.cancel(db.session, first)
    second = _ask(dedupe_key="cells:1")
    assert second is not first
    assert (_again(first).state, second.state) == (ended, "queued")


def test_a_caller_that_has_written_keeps_its_transaction(
    context: Flask, make_user: MakeUser
) -> None:
    """The second of two equal wishes must neither commit nor undo what was written before it."""
    _ask(dedupe_key="cells:1")
    user = make_user()
    user.name = "Grace"
    jobs.enqueue(db.session, "test.quick", {}, owner=user, dedupe_key="cells:1")
    db.session.rollback()
    assert _again(user).name != "Grace"  # type: ignore[arg-type]


def test_several_threads_that_ask_at_once_get_one_job(context: Flask) -> None:
    found: list[str] = []

    def ask() -> None:
        with context.app_context():
            found.append(_ask(dedupe_key="cells:1").public_id)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1


# --- claiming -------------------------------------------------------------------------------------


def test_the_oldest_is_first_and_only_what_the_worker_can_do(context: Flask) -> None:
    first, second = _ask("test.slow"), _ask("test.quick")
    assert _claim(kinds={"test.quick"}).job_id == second.id
    assert job_states.claim(db.session, worker=WORKER, kinds=()) is None
    turn = _claim()
    assert (turn.job_id, turn.attempt) == (first.id, 1)
    _again(first)
    assert (first.state, first.worker, first.attempts) == ("running", WORKER, 1)
    assert first.started_at is not None
    assert job_states.claim(db.session, worker=WORKER, kinds=jobs.HANDLERS) is None


def test_of_several_workers_one_gets_the_job(context: Flask) -> None:
    for _ in range(24):
        _ask()
    claimed: list[int] = []

    def take(number: int) -> None:
        with context.app_context():
            while turn := job_states.claim(
                db.session, worker=f"host:{number}", kinds=jobs.HANDLERS
            ):
                claimed.append(turn.job_id)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(set(claimed))
    assert len(claimed) == 24


# --- doing ----------------------------------------------------------------------------------------


def test_effect_and_end_are_kept_together(context: Flask, settings: Settings) -> None:
    job = _ask()
    assert jobs.perform(db.session, settings, _claim()) == "done"
    _again(job)
    assert (job.state, job.error_code) == ("done", None)
    assert job.finished_at is not None
    assert _effects() == 1


def test_a_job_that_was_taken_over_leaves_no_effect(context: Flask, settings: Settings) -> None:
    job = _ask()
    slept = _claim("elsewhere:1")
    _silent_for(job, 61)
    assert _requeue() == 1
    assert jobs.perform(db.session, settings, _claim("elsewhere:2")) == "done"
    assert jobs.perform(db.session, settings, slept) == "lost"
    assert _effects() == 1
    assert _again(job).worker == "elsewhere:2"


def test_a_cancelled_job_leaves_no_effect(context: Flask, settings: Settings) -> None:
    job = _ask()
    turn = _claim()
    jobs.cancel(db.session, job)
    assert jobs.perform(db.session, settings, turn) == "cancelled"
    assert (_again(job).state, _effects()) == ("cancelled", 0)
    with pytest.raises(Conflict, match="cancelled"):
        jobs.cancel(db.session, job)


def test_an_unforeseen_fault_shows_no_words_of_its_own(
    context: Flask, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    job = _ask("test.fault")
    with caplog.at_level(logging.ERROR):
        assert jobs.perform(db.session, settings, _claim()) == "failed"
    _again(job)
    assert (job.state, job.error_code) == ("failed", "unforeseen")
    row = db.session.execute(sa.select(Job.__table__)).one()
    assert not {"Mustermann", "Traceback", "RuntimeError"} & set(str(row).split())
    assert "Mustermann" not in str(row)
    assert _effects() == 0
    assert job.public_id in caplog.text


def test_a_foreseen_refusal_shows_its_sentence(context: Flask, settings: Settings) -> None:
    job = _ask("test.refusal")
    assert jobs.perform(db.session, settings, _claim()) == "failed"
    _again(job)
    assert (job.error_code, job.message) == ("no_field", "A field of view was expected.")


def test_a_busy_database_is_tried_again(context: Flask, settings: Settings) -> None:
    job = _ask("test.busy")
    assert jobs.perform(db.session, settings, _claim()) == "queued"
    assert _effects() == 0
    assert jobs.perform(db.session, settings, _claim()) == "done"
    assert (_again(job).attempts, _effects()) == (2, 1)


def test_a_busy_database_is_not_tried_for_ever(context: Flask, settings: Settings) -> None:
    job = _ask("test.busy")
    once = settings.model_copy(update={"job_attempts": 1})
    assert jobs.perform(db.session, once, _claim()) == "failed"
    assert _again(job).error_code == "database_busy"


def test_a_worker_that_stops_returns_the_job_without_counting_it(
    context: Flask, settings: Settings
) -> None:
    job = _ask("test.slow")
    assert jobs.perform(db.session, settings, _claim(), must_return=lambda: True) == "queued"
    _again(job)
    assert (job.state, job.attempts, job.worker) == ("queued", 0, None)


# --- progress -------------------------------------------------------------------------------------


def _context(settings: Settings, turn: Turn) -> jobs.JobContext:
    return jobs.JobContext(db.session, settings, turn)


def test_progress_is_seen_by_others_at_once_and_commits_nothing(
    context: Flask, settings: Settings, make_user: MakeUser
) -> None:
    job, user = _ask(), make_user()
    turn = _claim()
    working = _context(settings, turn)
    user.name = "Not committed"
    working.progress(3, 10, "Three of ten.")
    with Session(db.engine) as other:
        seen = other.get_one(Job, turn.job_id)
        assert other.scalars(sa.select(User.name)).one() != "Not committed"
        assert (seen.done, seen.total, seen.message) == (3, 10, "Three of ten.")
        assert seen.heartbeat_at is not None
    db.session.rollback()
    working.progress(4, 10)  # too soon to be written
    assert _again(job).done == 3
    working.progress(10, 10)
    assert _again(job).done == 10


def test_progress_amid_a_write_does_not_wait_for_itself(
    settings: Settings, make_app: Callable[..., Flask]
) -> None:
    with make_app(database_busy_ms=10_000).app_context():
        job = _ask()
        working = _context(settings, _claim())
        audit.append(db.session, action="x", object_type="x", object_id="x")
        start = utc_now()
        working.progress(1, 2)
        assert utc_now() - start < timedelta(seconds=5)
        db.session.rollback()
        assert _again(job).done == 0


def test_progress_tells_that_the_job_is_no_longer_ones_own(
    context: Flask, settings: Settings
) -> None:
    job = _ask()
    working = _context(settings, _claim("elsewhere:1"))
    _silent_for(job, 61)
    _requeue()
    with pytest.raises(jobs.JobLost):
        working.progress(1, 2)
    working = _context(settings, _claim())
    jobs.cancel(db.session, job)
    with pytest.raises(jobs.JobCancelled):
        working.progress(1, 2)
    assert not issubclass(jobs.JobStopped, Exception)


# --- workers that are gone ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("worker", "silence_s", "taken_back"),
    [
        ("elsewhere:1", 59, False),
        ("elsewhere:1", 61, True),
        ("here:gone", 5, False),
        ("here:gone", 16, True),
        ("here:alive", 59, False),
        ("here:alive", 61, True),
        ("here:self", 16, True),  # an earlier process of the same number
    ],
)
def test_a_silent_job_is_taken_back(
    context: Flask, worker: str, silence_s: float, taken_back: bool
) -> None:
    own = job_states.worker_name()
    host = own.rpartition(":")[0]
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    names = {"here:gone": f"{host}:{gone.pid}", "here:alive": f"{host}:1", "here:self": own}
    job = _ask()
    _claim(names.get(worker, worker))
    _silent_for(job, silence_s)
    assert _requeue(own) == taken_back
    assert _again(job).state == ("queued" if taken_back else "running")


def test_what_one_is_working_on_is_not_taken_from_oneself(context: Flask) -> None:
    own = job_states.worker_name()
    job = _ask()
    turn = _claim(own)
    _silent_for(job, 30)
    assert _requeue(own, held=[turn.public_id]) == 0
    job_states.beat(db.session, worker=own, public_ids=[turn.public_id])
    assert utc_now() - _again(job).heartbeat_at < timedelta(seconds=10)  # type: ignore[operator]


def test_a_job_whose_worker_always_dies_is_given_up(context: Flask) -> None:
    job = _ask(dedupe_key="cells:1")
    for _ in range(2):
        _claim("elsewhere:1")
        _silent_for(job, 61)
        _requeue(most_attempts=2)
    _again(job)
    assert (job.state, job.error_code, job.dedupe_key) == ("failed", "worker_lost", None)
    assert "started 2 times" in job.message


# --- the queue ------------------------------------------------------------------------------------


def test_messages_are_json_with_an_identifier_and_nothing_else(settings: Settings) -> None:
    woken: list[str] = []
    queue, wake = open_queue(settings, on_wake=woken.append)
    wake("a-job_1")
    (message,) = queue.storage.enqueued_items()
    assert b'"a-job_1"]' in bytes(message)
    assert bytes(message).startswith(b'["')
    queue.execute(queue.dequeue())
    assert woken == ["a-job_1"]
    queue.storage.close()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04N.",
        b"{}",
        b'["a", "b"]',
        b'["a", "b", 1]',
        b'["a", "b", "../x"]',
        b"[[],1,2]",
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        WakeUpSerializer().deserialize(data)


def test_a_commit_wakes_and_a_savepoint_does_not(context: Flask, settings: Settings) -> None:
    queue, _ = open_queue(settings)
    jobs.enqueue(db.session, "test.quick", {}, owner=None)
    with db.session.begin_nested():
        pass
    assert queue.pending_count() == 0
    db.session.commit()
    assert queue.pending_count() == 1
    for _ in range(40):
        jobs.enqueue(db.session, "test.quick", {}, owner=None)
    db.session.commit()
    assert queue.pending_count() == 17  # a worker that is awake goes on by itself
    queue.storage.close()


@pytest.mark.parametrize("store", ["redis", "file"])
def test_a_queue_that_is_down_stops_nobody(
    make_app: Callable[..., Flask],
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    store: str,
) -> None:
    overrides = {}
    if store == "redis":
        overrides["jobs_url"] = f"redis://:secretword@127.0.0.1:{free_port()}/0"
    else:
        settings.queue_file.write_bytes(b"this is no database" * 1000)
    with make_app(**overrides).app_context():
        start = utc_now()
        with caplog.at_level(logging.WARNING):
            made = [_ask() for _ in range(3)]
        assert utc_now() - start < timedelta(seconds=3)
        assert [_again(job).state for job in made] == ["queued"] * 3
    warnings = [record for record in caplog.records if record.name == "marrow_find.jobs"]
    assert len(warnings) == 1  # and quiet for a while
    assert "found by polling" in caplog.text
    assert "secretword" not in caplog.text


_ENQUEUE = """
import sys
from pathlib import Path
from app import create_app
from tests.conftest import make_settings
from utils.records import db
from utils.workflow import jobs
app = create_app(make_settings(Path(sys.argv[1]), Path(sys.argv[2])))
assert "huey" not in sys.modules
jobs.handles("test.only")(lambda context: None)
with app.app_context():
    jobs.enqueue(db.session, "test.only", {}, owner=None)
    db.session.commit()
assert "huey" in sys.modules
loaded = sorted({"redis", "psycopg", "tensorflow", "keras"} & set(sys.modules))
assert not loaded, loaded
"""


def test_the_process_that_serves_stays_small(settings: Settings, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ENQUEUE, str(settings.instance_dir), str(tmp_path)],
        cwd=PROJECT_ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
