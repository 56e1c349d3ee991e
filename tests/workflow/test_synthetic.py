"""Trainings of generators: who may, what is refused, what a child process is bound by."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.workflow.conftest import MakeUser
from utils.errors import Conflict, InvalidInput, NotAllowed, NotFound, WorkFailed
from utils.records import Job, SyntheticRun, User, db
from utils.settings import Settings
from utils.workflow import child, jobs, synthetic
from utils.workflow.job_states import JobCancelled, Turn
from utils.workflow.jobs import JobContext


@pytest.fixture
def sets(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with one set of two classes, and a folder that is none."""
    folder = tmp_path / "datasets"
    for name in ("all4/Benign/1.png", "all4/Pre/1.png", "all4/Pre/2.png", "other/images/1.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    (folder / "notes.txt").write_text("")
    return settings.model_copy(update={"datasets_dir": folder})


@pytest.fixture
def in_app(app: Flask) -> Iterator[Flask]:
    with app.app_context():
        yield app


@pytest.fixture
def admin(in_app: Flask, make_user: MakeUser) -> User:
    return make_user("administrator")


def start(admin: User, settings: Settings, **changes: Any) -> SyntheticRun:
    values: dict[str, Any] = {
        "source": "all4",
        "codes": ["Pre", "Benign"],
        "preset": "smoke",
        "epochs": None,
    }
    run = synthetic.start(db.session(), admin, settings, **(values | changes))
    db.session.commit()
    return run


def end(job: Job | None, state: str) -> None:
    assert job is not None
    job.state = state
    job.dedupe_key = None if state != "done" else job.dedupe_key
    db.session.commit()


def test_sets_are_folders_of_class_folders(sets: Settings) -> None:
    (found,) = synthetic.sources(sets)
    assert (found.name, found.counts) == ("all4", {"Benign": 1, "Pre": 2})
    assert synthetic.sources(sets.model_copy(update={"datasets_dir": Path("/nowhere")})) == []


def test_a_training_is_queued_with_its_presets_epochs(admin: User, sets: Settings) -> None:
    run = start(admin, sets)
    assert (run.codes, run.epochs) == (["Benign", "Pre"], 2)
    assert run.train_job is not None
    assert (run.train_job.kind, run.train_job.state) == ("gan.train", "queued")
    assert synthetic.find(db.session(), run.public_id) is run


@pytest.mark.parametrize(
    "wrong",
    [
        {"source": "../all4"},
        {"codes": ["Pre"]},
        {"codes": ["Pre", "Benign", "Pro"]},
        {"preset": "none"},
        {"epochs": 0},
        {"epochs": 100_000},
    ],
)
def test_what_is_not_listed_is_refused(admin: User, sets: Settings, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        start(admin, sets, **wrong)


@pytest.mark.parametrize("role", ["pathologist", "technician", "trainee"])
def test_only_administrators_change_anything(
    admin: User, make_user: MakeUser, sets: Settings, role: str
) -> None:
    other, run = make_user(role), start(admin, sets)
    session = db.session()
    for refused in (
        lambda: start(other, sets),
        lambda: synthetic.pause(session, other, run),
        lambda: synthetic.go_on(session, other, run),
        lambda: synthetic.evaluate(session, other, run),
        lambda: synthetic.sample(session, other, run, code="Pre", count=1, seed=1),
        lambda: synthetic.delete(session, other, run, sets),
    ):
        with pytest.raises(NotAllowed):
            refused()


def test_paused_gone_on_with_and_given_more_epochs(admin: User, sets: Settings) -> None:
    run, session = start(admin, sets), db.session()
    with pytest.raises(Conflict):
        synthetic.go_on(session, admin, run)
    synthetic.pause(session, admin, run)
    first = run.train_job
    session.refresh(run)
    assert first is not None
    session.refresh(first)
    assert first.state == "cancelled"
    with pytest.raises(Conflict):
        synthetic.pause(session, admin, run)
    synthetic.go_on(session, admin, run)
    session.commit()
    assert run.train_job is not None
    assert run.train_job.id != first.id
    end(run.train_job, "done")
    with pytest.raises(Conflict, match="more epochs"):
        synthetic.go_on(session, admin, run)
    with pytest.raises(InvalidInput):
        synthetic.go_on(session, admin, run, epochs=2)
    synthetic.go_on(session, admin, run, epochs=5)
    session.commit()
    assert run.epochs == 5
    assert run.train_job.state == "queued"


def test_only_what_is_finished_is_sampled_and_judged(admin: User, sets: Settings) -> None:
    run, session = start(admin, sets), db.session()
    with pytest.raises(Conflict):
        synthetic.sample(session, admin, run, code="Pre", count=5, seed=1)
    with pytest.raises(Conflict):
        synthetic.evaluate(session, admin, run)
    end(run.train_job, "done")
    with pytest.raises(InvalidInput):
        synthetic.sample(session, admin, run, code="Pro", count=5, seed=1)
    with pytest.raises(InvalidInput):
        synthetic.sample(session, admin, run, code="Pre", count=10**6, seed=1)
    drawn = synthetic.sample(session, admin, run, code="Pre", count=5, seed=1)
    synthetic.evaluate(session, admin, run)
    session.commit()
    assert synthetic.finished_samples(run) == []
    with pytest.raises(Conflict):
        synthetic.evaluate(session, admin, run)
    end(drawn.job, "done")
    assert synthetic.finished_samples(run) == [drawn]


def test_deleted_whole_and_not_while_it_works(admin: User, sets: Settings) -> None:
    run, session = start(admin, sets), db.session()
    folder, public_id = synthetic.folder_of(run, sets), run.public_id
    folder.mkdir(parents=True)
    (folder / "log.jsonl").write_text('{"epoch": 1}\n')
    assert synthetic.rows_of(folder) == [{"epoch": 1}]
    with pytest.raises(Conflict):
        synthetic.delete(session, admin, run, sets)
    end(run.train_job, "failed")
    synthetic.delete(session, admin, run, sets)
    assert not folder.exists()
    with pytest.raises(NotFound):
        synthetic.find(session, public_id)


# -- a process of its own -------------------------------------------------------------------


def context_for(settings: Settings) -> JobContext:
    job = jobs.enqueue(db.session(), "gan.train", {"run": "x"}, owner=None)
    job.state, job.worker, job.attempts = "running", "host:1", 1
    db.session.commit()
    return JobContext(db.session(), settings, Turn(job.id, job.public_id, job.kind, "host:1", 1))


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children are lines of Python in place of commands of flask."""
    monkeypatch.setattr(child, "COMMAND", (sys.executable, "-c"))


@pytest.mark.usefixtures("script", "in_app")
def test_a_childs_progress_is_the_jobs(settings: Settings, tmp_path: Path) -> None:
    context = context_for(settings)
    line = json.dumps({"done": 3, "total": 9, "message": "Epoch 1"})
    lines = f"import time; print('noise'); print('{line}', flush=True); time.sleep(1.5)"
    child.run([lines], context, tmp_path / "log")
    db.session.expire_all()
    assert (context.job.done, context.job.total, context.job.message) == (3, 9, "Epoch 1")


@pytest.mark.usefixtures("script", "in_app")
@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("import sys; print('The set is empty.', file=sys.stderr); sys.exit(1)", "set is empty"),
        ("raise RuntimeError('secret')", "ended unexpectedly"),
        ("import os; os.kill(os.getpid(), 9)", "ended unexpectedly"),
    ],
)
def test_a_child_that_ends_badly_says_so(
    settings: Settings, tmp_path: Path, lines: str, says: str
) -> None:
    with pytest.raises(WorkFailed, match=says) as failed:
        child.run([lines], context_for(settings), tmp_path / "log")
    assert "secret" not in failed.value.message


@pytest.mark.usefixtures("script", "in_app")
def test_a_child_that_takes_too_much_is_ended(settings: Settings, tmp_path: Path) -> None:
    small = settings.model_copy(update={"long_job_memory_bytes": 200_000_000})
    lines = "import time; held = b'x' * 400_000_000; time.sleep(60)"
    started = time.monotonic()
    with pytest.raises(WorkFailed, match="GB of memory"):
        child.run([lines], context_for(small), tmp_path / "log")
    late = settings.model_copy(update={"long_job_hours": 0.0002})
    with pytest.raises(WorkFailed, match="longer than"):
        child.run(["import time; time.sleep(60)"], context_for(late), tmp_path / "log")
    assert time.monotonic() - started < 30


@pytest.mark.usefixtures("script", "in_app")
def test_a_cancelled_jobs_child_may_say_its_last_word(settings: Settings, tmp_path: Path) -> None:
    context, kept = context_for(settings), tmp_path / "kept"
    jobs.cancel(db.session(), context.job)
    lines = (
        "import pathlib, signal, sys, time\n"
        f"def stop(*_): pathlib.Path({str(kept)!r}).touch(); sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "time.sleep(60)"
    )
    # It may be told before it listens: then it ends without a word, as any process would.
    context.progress = _later(context.progress, 2.0)  # type: ignore[method-assign]
    with pytest.raises(JobCancelled):
        child.run([lines], context, tmp_path / "log")
    assert kept.exists()


def _later(report: Any, seconds: float) -> Any:
    started = time.monotonic()
    return lambda *values: report(*values) if time.monotonic() - started > seconds else None
