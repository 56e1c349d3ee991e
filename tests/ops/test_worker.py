"""Real worker processes, killed, stopped, several at once: nothing is lost and nothing doubled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests import job_kinds
from tests.redis_server import Redis, free_port
from utils.records import AuditEntry, Job, audit, db
from utils.settings import PROJECT_ROOT, Settings
from utils.workflow import jobs

POLLING = {"job_poll_seconds": 0.2, "job_stale_seconds": 2.0, "job_stop_seconds": 1.0}
# Such a worker looks at the table at its start, and then only when it is woken.
WOKEN = POLLING | {"job_poll_seconds": 600.0}
StartWorker = Callable[..., subprocess.Popen[bytes]]


def wait_until(true: Callable[[], Any], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def start_worker(settings: Settings, tmp_path: Path) -> Iterator[StartWorker]:
    """Start a worker and wait until it is ready: ``start_worker(**settings)``."""
    started: list[subprocess.Popen[bytes]] = []

    def start(ready: bool = True, **overrides: Any) -> subprocess.Popen[bytes]:
        log = tmp_path / f"worker-{len(started)}.log"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                job_kinds.command(settings, **(POLLING | overrides)),
                cwd=PROJECT_ROOT, stdout=sink, stderr=sink,
            )  # fmt: skip
        started.append(process)
        if ready:
            wait_until(lambda: " at once" in log.read_text() or process.poll() is not None)
        return process

    yield start
    for number, process in enumerate(started):
        process.kill()
        process.wait()
        print((tmp_path / f"worker-{number}.log").read_text())


@pytest.fixture
def in_app(app: Flask) -> Iterator[Flask]:
    with app.app_context():
        yield app


def ask(kind: str = "test.quick", number: int = 0, **values: Any) -> Job:
    job = jobs.enqueue(db.session, kind, {"number": number}, owner=None, **values)
    db.session.commit()
    return job


def again(job: Job) -> Job:
    db.session.rollback()
    db.session.expire_all()
    return job


def wait_for(job: Job, state: str) -> None:
    wait_until(lambda: again(job).state == state)


def wait_until_it_works(job: Job) -> None:
    wait_until(lambda: again(job).done >= 1)


def effects() -> Counter[str]:
    found = db.session.scalars(
        sa.select(AuditEntry.object_id).where(AuditEntry.action == job_kinds.EFFECT)
    )
    return Counter(found)


def give_go(settings: Settings) -> None:
    job_kinds.go_file(settings.instance_dir).touch()


def runs(settings: Settings) -> list[list[str]]:
    place = job_kinds.runs_file(settings.instance_dir)
    return [line.split() for line in place.read_text().splitlines()] if place.exists() else []


@pytest.mark.parametrize("store", ["file", "redis"])
def test_a_worker_is_woken_and_gives_way(
    store: str,
    request: pytest.FixtureRequest,
    make_app: Callable[..., Flask],
    start_worker: StartWorker,
) -> None:
    where = {"jobs_url": request.getfixturevalue("redis").address} if store == "redis" else {}
    with make_app(**where).app_context():
        worker = start_worker(**WOKEN, **where)
        time.sleep(0.5)  # its first look at the table is over
        job = ask()
        wait_for(job, "done")
        assert job.worker.endswith(f":{worker.pid}")  # type: ignore[union-attr]
        assert effects() == {job.public_id: 1}
    assert os.getpriority(os.PRIO_PROCESS, worker.pid) >= 10
    worker.terminate()
    assert worker.wait(20) == 0


def test_a_killed_worker_and_a_lost_queue_lose_nothing(
    in_app: Flask, settings: Settings, start_worker: StartWorker
) -> None:
    killed = start_worker()
    job = ask("test.slow")
    wait_until_it_works(job)
    killed.kill()
    killed.wait()
    waiting = [ask(number=number) for number in range(3)]
    settings.queue_file.unlink()
    give_go(settings)
    start_worker(job_poll_seconds=1.0)
    for each in (job, *waiting):
        wait_for(each, "done")
    assert again(job).attempts == 2
    assert effects() == {each.public_id: 1 for each in (job, *waiting)}
    assert len({pid for kind, _, _, pid in runs(settings) if kind == "test.slow"}) == 2
    assert audit.verify(db.session) == []


def test_a_worker_that_slept_does_not_double_what_another_did(
    in_app: Flask, settings: Settings, start_worker: StartWorker, tmp_path: Path
) -> None:
    sleeper = start_worker()
    job = ask("test.slow")
    wait_until_it_works(job)
    sleeper.send_signal(signal.SIGSTOP)
    start_worker()
    wait_until(lambda: again(job).attempts == 2)
    give_go(settings)
    wait_for(job, "done")
    sleeper.send_signal(signal.SIGCONT)
    wait_until(lambda: "lost" in (tmp_path / "worker-0.log").read_text())
    assert (again(job).state, effects()) == ("done", {job.public_id: 1})


@pytest.mark.parametrize(
    ("kind", "signum", "go", "state"),
    [
        ("test.slow", signal.SIGTERM, True, "done"),
        ("test.slow", signal.SIGTERM, False, "queued"),
        ("test.slow", signal.SIGINT, False, "queued"),
        ("test.slow", signal.SIGHUP, False, "queued"),
        ("test.deaf", signal.SIGTERM, False, "queued"),
    ],
)
def test_a_worker_that_is_stopped_ends_its_job_or_returns_it(
    in_app: Flask,
    settings: Settings,
    start_worker: StartWorker,
    kind: str,
    signum: signal.Signals,
    go: bool,
    state: str,
) -> None:
    worker = start_worker(job_stop_seconds=10 if go else 1)
    job = ask(kind)
    wait_until(lambda: runs(settings))
    ask()  # is not begun any more
    worker.send_signal(signum)
    if go:
        time.sleep(1)
        worker.send_signal(signum)  # as a process group passes it on; it cuts nothing short
        time.sleep(0.5)
        give_go(settings)
    assert worker.wait(20) == 0
    assert again(job).state == state
    assert job.attempts == (1 if state == "done" else 0)
    assert len(effects()) == (1 if state == "done" else 0)
    assert len(runs(settings)) == 1


def test_a_worker_outlives_its_jobs_troubles(
    in_app: Flask, start_worker: StartWorker, tmp_path: Path
) -> None:
    worker = start_worker()
    cancelled = ask("test.slow")
    wait_until_it_works(cancelled)
    fault, refusal, last = ask("test.fault"), ask("test.refusal"), ask()
    done = in_app.test_cli_runner().invoke(args=["jobs", "cancel", cancelled.public_id])
    assert (done.exit_code, done.output) == (0, "The job is cancelled.\n")
    wait_for(last, "done")
    assert again(cancelled).state == "cancelled"
    assert (fault.state, fault.error_code) == ("failed", "unforeseen")
    assert (refusal.state, refusal.error_code) == ("failed", "no_field")
    assert effects() == {last.public_id: 1}
    assert worker.poll() is None
    assert "does not answer" not in (tmp_path / "worker-0.log").read_text()


def test_a_job_that_kills_its_workers_is_given_up(in_app: Flask, start_worker: StartWorker) -> None:
    job = ask("test.deadly")
    for _ in range(2):
        assert start_worker(ready=False, job_attempts=2).wait(40) == -signal.SIGKILL
    last = ask()
    start_worker(job_attempts=2)
    wait_for(job, "failed")
    wait_for(last, "done")
    assert (job.error_code, job.attempts) == ("worker_lost", 2)
    assert effects() == {last.public_id: 1}


def test_two_workers_do_fifty_jobs_once_each(
    in_app: Flask, settings: Settings, start_worker: StartWorker
) -> None:
    start_worker(job_workers=2)
    start_worker()
    made = [ask(number=number, dedupe_key=f"key {number}") for number in range(50)]
    for job in made:
        wait_for(job, "done")
    assert Counter(number for _, number, _, _ in runs(settings)) == {
        str(number): 1 for number in range(50)
    }
    assert effects() == {job.public_id: 1 for job in made}
    assert {job.attempts for job in made} == {1}


def test_work_goes_on_while_redis_is_away(
    redis: Redis, make_app: Callable[..., Flask], start_worker: StartWorker, tmp_path: Path
) -> None:
    with make_app(jobs_url=redis.address).app_context():
        start_worker(jobs_url=redis.address)
        redis.stop()
        wait_for(ask(), "done")
        wait_for(ask(), "done")
    log = (tmp_path / "worker-0.log").read_text()
    assert log.count("the queue does not answer (ConnectionError)") <= 1
    assert "127.0.0.1" not in log


def test_the_table_can_be_read_by_programs(in_app: Flask) -> None:
    run = in_app.test_cli_runner().invoke
    assert run(args=["jobs", "list"]).output == "There are no jobs.\n"
    first, second = ask(), ask("test.slow")
    listed = json.loads(run(args=["jobs", "list", "--json"]).output)["jobs"]
    assert [job["id"] for job in listed] == [second.public_id, first.public_id]
    assert (listed[0]["kind"], listed[0]["state"]) == ("test.slow", "queued")
    run(args=["jobs", "cancel", first.public_id])
    only = run(args=["jobs", "list", "--state", "cancelled", "--json"]).output
    assert [job["id"] for job in json.loads(only)["jobs"]] == [first.public_id]
    twice = run(args=["jobs", "cancel", first.public_id])
    assert (twice.exit_code, twice.stderr) == (
        1,
        "This job has ended already; its state is cancelled.\n",
    )
    assert run(args=["jobs", "cancel", "nothing"]).exit_code == 1
    assert run(args=["jobs", "list", "--state", "dreaming"]).exit_code == 2


# --- make run -------------------------------------------------------------------------------------


def _children(pid: int) -> dict[str, int]:
    """Give the children of a process by what they are: server, worker."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        line = Path(f"/proc/{child}/cmdline").read_bytes().decode().replace("\0", " ")
        found["worker" if "jobs work" in line else "server"] = int(child)
    return found


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=20) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_server_and_worker_start_and_end_together(
    tmp_path: Path, models_dir: Path, signum: signal.Signals
) -> None:
    port = free_port()
    environment = os.environ | {
        "MARROW_FIND_INSTANCE_DIR": str(tmp_path / "instance"),
        "MARROW_FIND_MODELS_DIR": str(models_dir),
        "MARROW_FIND_LOWEST_FREE_BYTES": "0",
        "MARROW_FIND_BIND": f"127.0.0.1:{port}",
        "MARROW_FIND_WORKERS": "1",
    }
    log = tmp_path / "log"
    with log.open("wb") as sink:
        both = subprocess.Popen(
            [sys.executable, "-m", "utils.jobs.together"],
            cwd=PROJECT_ROOT, env=environment, stdout=sink, stderr=sink,
        )  # fmt: skip
    try:
        wait_until(lambda: _answers(port) and " at once" in log.read_text())
        first = _children(both.pid)
        assert set(first) == {"server", "worker"}
        if signum == signal.SIGTERM:
            os.kill(first["worker"], signal.SIGKILL)
            wait_until(lambda: _children(both.pid).get("worker") not in {first["worker"], None})
            wait_until(lambda: log.read_text().count(" at once") == 2)
            assert _children(both.pid)["server"] == first["server"]
        last = _children(both.pid)
        both.send_signal(signum)
        assert both.wait(40) == (0 if signum == signal.SIGTERM else -signum)
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in last.values()))
        assert not _answers(port)
    finally:
        both.kill()
        both.wait()
        print(log.read_text())


def test_make_run_starts_both() -> None:
    makefile = (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8")
    run = makefile[makefile.index("\nrun:") :].split("\n\n")[0]
    assert "exec $(BIN)/python -m utils.jobs.together" in run
    assert 'command: ["flask", "jobs", "work"]' in (PROJECT_ROOT / "compose.yaml").read_text()
