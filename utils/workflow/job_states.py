"""From queued to done: each change of a job's state, safe among several workers.

Every change is one UPDATE whose condition names the state that it starts from, so that of two
workers one wins and the other sees that no row was changed; SQLite and PostgreSQL agree on that.
A worker that lost its job meanwhile (it slept, another took over) cannot end it either: its
`Turn` no longer fits the row. Each function here ends the session's transaction.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from utils.records.database import AnySession, utc_now
from utils.records.jobs import LONGEST_MESSAGE, Job

# Three beats that did not come, of twelve within the time after which any job counts as stale.
BEATS: Final = 12
_QUIET_BEATS: Final = 3
_LOST_SENTENCE: Final = (
    "The work was started {attempts} times and its worker died each time before it was done. "
    "It was given up; tell the administrator."
)


class JobStopped(BaseException):
    """Ends a handler from within. No Exception, so that a handler does not catch it by mistake."""


class JobCancelled(JobStopped):
    """Somebody cancelled the job."""


class JobLost(JobStopped):
    """The job was taken back and is another worker's now, or done already."""


class JobReturned(JobStopped):
    """The worker is told to stop: the job goes back to the queue."""


@dataclass(frozen=True)
class Turn:
    """One worker's attempt at one job; whoever holds it may change the row as long as it fits.

    Attributes
    ----------
    job_id : int
        Primary key of the job.
    worker : str
        ``host:pid``.
    attempt : int
        1 for the first start.
    """

    job_id: int
    public_id: str
    kind: str
    worker: str
    attempt: int


def plain(session: AnySession) -> Session:
    """Give the session itself where it comes from a registry of sessions."""
    return session if isinstance(session, Session) else session()


def worker_name() -> str:
    """Name this process as workers are named in the table: ``host:pid``."""
    return f"{socket.gethostname()[:100]}:{os.getpid()}"


def claim(session: AnySession, *, worker: str, kinds: Collection[str]) -> Turn | None:
    """Take the oldest queued job of some kinds; None where none waits.

    A worker takes only what it can do, so that one without TensorFlow leaves trainings alone.
    """
    waiting = (
        sa.select(Job.id, Job.public_id, Job.kind, Job.attempts)
        .where(Job.state == "queued", Job.kind.in_(sorted(kinds)))
        .order_by(Job.id)
        .limit(1)
    )
    while (found := session.execute(waiting).one_or_none()) is not None:
        now = utc_now()
        taken = _change(
            session,
            [Job.id == found.id, Job.state == "queued"],
            state="running",
            worker=worker,
            attempts=found.attempts + 1,
            done=0,
            total=0,
            message="",
            started_at=now,
            heartbeat_at=now,
        )
        if taken:
            return Turn(found.id, found.public_id, found.kind, worker, found.attempts + 1)
    session.rollback()
    return None


def beat(session: AnySession, *, worker: str, public_ids: Collection[str]) -> None:
    """Say that these jobs of `worker` are being worked on."""
    _change(
        session,
        [Job.worker == worker, Job.state == "running", Job.public_id.in_(sorted(public_ids))],
        heartbeat_at=utc_now(),
    )


def report_progress(session: AnySession, turn: Turn, done: int, total: int, message: str) -> None:
    """Keep how far a job is.

    Parameters
    ----------
    session : Session
        One of its own: the transaction ends here, and the handler's must not.
    done, total : int
        Total is 0 where it is not known.

    Raises
    ------
    JobCancelled, JobLost
        If the job is no longer this turn's.
    """
    counts = {"done": done, "total": total, "message": message[:LONGEST_MESSAGE]}
    if not _change(session, _fits(turn), **counts, heartbeat_at=utc_now()):
        check(session, turn)


def check(session: AnySession, turn: Turn) -> None:
    """Pass if the job is still this turn's; nothing is written.

    Raises
    ------
    JobCancelled, JobLost
    """
    state, worker, attempts = session.execute(
        sa.select(Job.state, Job.worker, Job.attempts).where(Job.id == turn.job_id)
    ).one()
    session.rollback()
    if state == "cancelled":
        raise JobCancelled
    if (state, worker, attempts) != ("running", turn.worker, turn.attempt):
        raise JobLost


def finish(session: AnySession, turn: Turn) -> None:
    """End a job well, together with what the session holds uncommitted: both, or neither.

    Raises
    ------
    JobCancelled, JobLost
        If the job is no longer this turn's; what was uncommitted is rolled back.
    """
    session.flush()
    if not _change(session, _fits(turn), state="done", finished_at=utc_now()):
        check(session, turn)
        raise JobLost


def fail(session: AnySession, turn: Turn, *, code: str, message: str) -> bool:
    """End a job badly, with a stable code and a sentence that holds no patient data.

    Returns
    -------
    changed : bool
        False if the job is no longer this turn's.
    """
    return bool(_change(session, _fits(turn), **_failed(code, message)))


def give_back(session: AnySession, turn: Turn, *, counts: bool) -> bool:
    """Put a job back into the queue.

    Parameters
    ----------
    counts : bool
        Whether the attempt counts; a worker that was told to stop is not the job's fault.
    """
    attempts = turn.attempt if counts else turn.attempt - 1
    return bool(_change(session, _fits(turn), **_queued_again(), attempts=attempts))


def cancel(session: AnySession, public_id: str) -> bool:
    """Cancel a job that waits or runs.

    A running one ends at its next report of progress; what it would still commit is refused.

    Returns
    -------
    changed : bool
        False if it had ended already.
    """
    pending = [Job.public_id == public_id, Job.state.in_(("queued", "running"))]
    return bool(
        _change(session, pending, state="cancelled", dedupe_key=None, finished_at=utc_now())
    )


def requeue_stale(
    session: AnySession,
    *,
    worker: str,
    held: Collection[str] = (),
    stale_after_s: float,
    most_attempts: int,
) -> int:
    """Take running jobs back whose worker is gone; give up those that were started too often.

    Parameters
    ----------
    worker : str
        Name of the process that asks.
    held : collection of str
        Public ids of the jobs that it is working on itself.
    stale_after_s : float
        Longest silence of a heartbeat, seconds. A quarter of it is enough where the worker ran on
        this machine and its process is gone; not less, because machines may share a name.

    Returns
    -------
    count : int
        Jobs that wait again.
    """
    now, requeued = utc_now(), 0
    running = session.execute(
        sa.select(Job.id, Job.public_id, Job.worker, Job.attempts, Job.heartbeat_at).where(
            Job.state == "running"
        )
    ).all()
    session.rollback()
    for job in running:
        silence = now - cast(datetime, job.heartbeat_at)
        gone = job.public_id not in held and _is_gone(job.worker, asking=worker)
        limit_s = stale_after_s * _QUIET_BEATS / BEATS if gone else stale_after_s
        if silence < timedelta(seconds=limit_s):
            continue
        unchanged = [
            Job.id == job.id,
            Job.state == "running",
            Job.worker == job.worker,
            Job.heartbeat_at == job.heartbeat_at,
        ]
        if job.attempts >= most_attempts:
            sentence = _LOST_SENTENCE.format(attempts=job.attempts)
            _change(session, unchanged, **_failed("worker_lost", sentence))
        else:
            requeued += _change(session, unchanged, **_queued_again())
    return requeued


def _is_gone(worker: str, *, asking: str) -> bool:
    """Whether a worker's process ran on this machine and is no more.

    The asking process itself is another one than the row means: it would hold the job.
    """
    host, _, pid = worker.rpartition(":")
    if host != asking.rpartition(":")[0]:
        return False
    if worker == asking:
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, ValueError, OverflowError):
        return False
    return False


def _fits(turn: Turn) -> list[sa.ColumnElement[bool]]:
    return [
        Job.id == turn.job_id,
        Job.state == "running",
        Job.worker == turn.worker,
        Job.attempts == turn.attempt,
    ]


def _failed(code: str, message: str) -> dict[str, Any]:
    return {
        "state": "failed",
        "error_code": code[:64],
        "message": message[:LONGEST_MESSAGE],
        "dedupe_key": None,
        "finished_at": utc_now(),
    }


def _queued_again() -> dict[str, Any]:
    return {"state": "queued", "worker": None, "heartbeat_at": None, "started_at": None}


def _change(
    session: AnySession, conditions: Collection[sa.ColumnElement[bool]], **values: Any
) -> int:
    """Change the rows that fit and commit; without one the transaction is rolled back."""
    own = plain(session)
    statement = sa.update(Job).where(*conditions).values(**values)
    try:
        answer = own.execute(statement, execution_options={"synchronize_session": False})
        count = cast("sa.CursorResult[Any]", answer).rowcount
        if count:
            own.commit()
        else:
            own.rollback()
    except BaseException:
        own.rollback()
        raise
    return count
