"""Work for later: who can do it, how it is asked for, and what it is given while it runs.

A workflow module registers a kind of work and asks for it::

    @handles("cells.read")
    def read_cells(context: JobContext) -> None:
        for number, cell in enumerate(cells, 1):
            ...
            context.progress(number, len(cells))

    enqueue(session, "cells.read", {"analysis": analysis.public_id}, owner=user)
    session.commit()

What a handler leaves uncommitted is committed together with the job's end, or not at all: that is
the way to have an effect exactly once. What it commits on the way must bear being done again.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from utils.errors import Conflict, DatabaseBusy, MarrowFindError, NotFound
from utils.records.analyses import Analysis
from utils.records.database import BUSY_SENTENCE, AnySession, new_public_id
from utils.records.jobs import Job
from utils.records.users import User
from utils.settings import Settings
from utils.workflow import job_states
from utils.workflow.job_states import JobCancelled, JobLost, JobReturned, JobStopped, Turn

__all__ = [
    "HANDLERS",
    "LONG",
    "TO_WAKE",
    "Handler",
    "JobCancelled",
    "JobContext",
    "JobLost",
    "JobReturned",
    "JobStopped",
    "Turn",
    "cancel",
    "enqueue",
    "find",
    "handles",
    "newest",
    "perform",
]

# Key of a session's `info`: public ids of the jobs that workers are woken for after the commit.
TO_WAKE: Final = "jobs_to_wake"
_PROGRESS_PAUSE_S: Final = 0.5
_MOST_TRIES: Final = 10
_UNFORESEEN: Final = "The work ended with an unforeseen error; the worker's log says which."

_log = logging.getLogger("marrow_find.jobs")


class JobContext:
    """What a handler is given.

    Attributes
    ----------
    session : Session
        The handler's own; see the module's text for what becomes of uncommitted writes. SQLite
        has one write lock: keep the time from the first write to the commit short.
    settings : Settings
    turn : Turn
        Which attempt of which worker this is.
    """

    def __init__(
        self,
        session: AnySession,
        settings: Settings,
        turn: Turn,
        *,
        must_return: Callable[[], bool] = lambda: False,
    ) -> None:
        self.session = session
        self.settings = settings
        self.turn = turn
        self._must_return = must_return
        self._next_report = 0.0

    @property
    def job(self) -> Job:
        """The job's row, to read; the workflow writes it."""
        return self.session.get_one(Job, self.turn.job_id)

    @property
    def parameters(self) -> dict[str, Any]:
        """What the work was asked for with."""
        return dict(self.job.parameters)

    def progress(self, done: int, total: int, message: str = "") -> None:
        """Say how far the work is. Call it often: it writes at most twice a second.

        Parameters
        ----------
        done, total : int
            Steps; total is 0 where it is not known.
        message : str
            One sentence for the person who waits, without patient data.

        Raises
        ------
        JobCancelled
            If somebody cancelled the job.
        JobReturned
            If the worker has to stop.
        JobLost
            If another worker has the job now.
        """
        if self._must_return():
            raise JobReturned
        if time.monotonic() < self._next_report and not 0 < total <= done:
            return
        self._next_report = time.monotonic() + _PROGRESS_PAUSE_S
        # Asked before the engine is: a connection of its own would wait for this session's lock.
        locked = _holds_write_lock(self.session)
        # A database that is busy for a moment is no reason to end the work.
        with suppress(DatabaseBusy), Session(self.session.get_bind()) as own:
            if locked:
                job_states.check(own, self.turn)
            else:
                job_states.report_progress(own, self.turn, done, total, message)


Handler = Callable[[JobContext], None]
HANDLERS: Final[dict[str, Handler]] = {}
# Kinds that take minutes to days: done one at a time beside the others, which never wait for them.
LONG: Final[set[str]] = set()


def handles(kind: str, *, long: bool = False) -> Callable[[Handler], Handler]:
    """Register a handler for a kind of work: ``@handles("cells.read")``.

    Work that is `long` is done one at a time beside the rest, and goes back to the queue at once
    when the worker is told to stop. Only code registers. A row names a kind and nothing that
    could be imported or run.

    Raises
    ------
    ValueError
        If the kind has a handler already, or no name that fits the table.
    """
    if kind in HANDLERS or not 1 <= len(kind) <= 64:
        raise ValueError(f"a new kind of work was expected, not {kind!r}")

    def register(handler: Handler) -> Handler:
        HANDLERS[kind] = handler
        if long:
            LONG.add(kind)
        return handler

    return register


def enqueue(
    session: AnySession,
    kind: str,
    parameters: Mapping[str, Any],
    *,
    owner: User | None,
    analysis: Analysis | None = None,
    dedupe_key: str | None = None,
) -> Job:
    """Ask for work within the caller's transaction; the caller commits.

    A worker is woken after the commit. Where that fails the job is found by polling.

    Parameters
    ----------
    kind : str
        One that a handler is registered for.
    parameters : mapping
        JSON: identifiers and numbers, no names and no patient data.
    owner : User or None
        Who asked; None for the program itself.
    analysis : Analysis, optional
        The field that the work is about.
    dedupe_key : str, optional
        Names the work, such as ``cells.read:<analysis>:<network version>``. While a job of that
        key waits or runs, and after one ended well, that job is given instead of a new one.

    Returns
    -------
    job : Job
        The new one, or the one of the same key.

    Raises
    ------
    ValueError
        If the kind is unknown or the parameters are no JSON: faults of the program.
    """
    if kind not in HANDLERS:
        raise ValueError(f"no handler is registered for {kind!r}")
    session.flush()
    values = {
        "public_id": new_public_id(),
        "kind": kind,
        "parameters": json.loads(json.dumps(dict(parameters), allow_nan=False)),
        "owner_id": owner.id if owner else None,
        "analysis_id": analysis.id if analysis else None,
        "dedupe_key": dedupe_key,
    }
    job = _insert(session, values)
    if job.public_id == values["public_id"]:
        session.info.setdefault(TO_WAKE, []).append(job.public_id)
    return job


def _insert(session: AnySession, values: dict[str, Any]) -> Job:
    # One statement decides who is first; a savepoint would do on PostgreSQL, but on SQLite it
    # can commit what the caller has not.
    on_postgresql = session.get_bind().dialect.name == "postgresql"
    insert = postgresql.insert(Job) if on_postgresql else sqlite.insert(Job)
    statement = insert.values(**values).on_conflict_do_nothing(index_elements=["dedupe_key"])
    either = sa.or_(
        Job.public_id == values["public_id"],
        sa.and_(Job.dedupe_key.is_not(None), Job.dedupe_key == values["dedupe_key"]),
    )
    for _ in range(_MOST_TRIES):
        session.execute(statement)
        # None: the other job failed this moment and gave its key back; the next insert goes in.
        if (job := session.scalar(sa.select(Job).where(either))) is not None:
            return job
    raise DatabaseBusy(BUSY_SENTENCE)


def find(session: AnySession, public_id: str) -> Job:
    """Find a job.

    Raises
    ------
    NotFound
        If there is none.
    """
    job = session.scalar(sa.select(Job).where(Job.public_id == public_id))
    if job is None:
        raise NotFound("There is no job with this identifier.")
    return job


def newest(session: AnySession, *, limit: int, state: str | None = None) -> list[Job]:
    """List jobs, newest first."""
    statement = sa.select(Job).order_by(Job.id.desc()).limit(limit)
    if state is not None:
        statement = statement.where(Job.state == state)
    return list(session.scalars(statement))


def cancel(session: AnySession, job: Job) -> None:
    """Cancel a job that waits or runs; a running one ends at its next report of progress.

    Raises
    ------
    Conflict
        If it has ended already.
    """
    if not job_states.cancel(session, job.public_id):
        session.refresh(job)
        raise Conflict(f"This job has ended already; its state is {job.state}.")


def perform(
    session: AnySession,
    settings: Settings,
    turn: Turn,
    *,
    must_return: Callable[[], bool] = lambda: False,
) -> str:
    """Do a claimed job and write its end into the table.

    Parameters
    ----------
    must_return : callable
        Whether the worker has to stop; asked at each report of progress.

    Returns
    -------
    outcome : str
        The job's state now, or ``lost`` where it is another worker's.

    Raises
    ------
    DatabaseBusy, StorageFull, StorageFailed
        If the end cannot be written; the job is taken back later.
    """
    try:
        HANDLERS[turn.kind](JobContext(session, settings, turn, must_return=must_return))
        job_states.finish(session, turn)
    except JobCancelled:
        session.rollback()
        return "cancelled"
    except JobLost:
        session.rollback()
        return "lost"
    except JobReturned:
        session.rollback()
        return _outcome(job_states.give_back(session, turn, counts=False), "queued")
    except (Exception, SystemExit) as error:
        session.rollback()
        return _end_badly(session, settings, turn, error)
    return "done"


def _end_badly(session: AnySession, settings: Settings, turn: Turn, error: BaseException) -> str:
    if isinstance(error, DatabaseBusy) and turn.attempt < settings.job_attempts:
        return _outcome(job_states.give_back(session, turn, counts=True), "queued")
    if isinstance(error, MarrowFindError):
        code, message = error.code, error.message
    else:
        # What an exception says may hold anything: it goes into the log and never into the row.
        _log.error("unforeseen error in job %s (%s)", turn.public_id, turn.kind, exc_info=error)
        code, message = "unforeseen", _UNFORESEEN
    return _outcome(job_states.fail(session, turn, code=code, message=message), "failed")


def _outcome(changed: bool, state: str) -> str:
    return state if changed else "lost"


def _holds_write_lock(session: AnySession) -> bool:
    """Whether the session has written on SQLite and not committed yet."""
    own = job_states.plain(session)
    if not own.in_transaction():
        return False
    connection = own.connection()
    if connection.dialect.name != "sqlite":
        return False
    driver: Any = connection.connection.driver_connection
    return bool(driver.in_transaction)
