"""Waking workers: a message after each commit that queued a job.

The table of jobs is the truth and is polled as well, so a message may be lost, doubled or forged:
it names a job and makes a worker look at the table, nothing else. That is why it is plain JSON,
and why huey's pickle never reads a byte of it.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from flask import Flask, current_app
from sqlalchemy import event
from sqlalchemy.orm import Session

from utils.records.database import db
from utils.settings import Settings
from utils.workflow.jobs import TO_WAKE

if TYPE_CHECKING:
    from huey import Huey

EXTENSION: Final = "marrow_find_jobs"
# An upload waits no longer than this for a queue that does not answer.
STORE_TIMEOUT_S: Final = 1.0
_NAME: Final = "marrow_find"
_ANSWER_TIMEOUT_S: Final = 5.0  # longer than the second that a worker's blocking read takes
_PAUSE_AFTER_FAILURE_S: Final = 30.0
# More would wake nobody else: a worker that is awake goes on until no job waits.
_MOST_WAKE_UPS: Final = 16
_PUBLIC_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")

_log = logging.getLogger("marrow_find.jobs")


class WakeUpSerializer:
    """Wake-ups as JSON: ``[message id, task name, job's public id]``."""

    def serialize(self, message: Any) -> bytes:
        """Write a message of huey's registry."""
        (public_id,) = message.args
        return json.dumps([message.id, message.name, public_id]).encode()

    def deserialize(self, data: bytes) -> Any:
        """Read a message.

        Raises
        ------
        ValueError
            If it is no wake-up.
        """
        from huey.registry import Message

        parts = json.loads(bytes(data))
        if not (
            isinstance(parts, list)
            and len(parts) == 3
            and all(isinstance(part, str) for part in parts)
            and _PUBLIC_ID.fullmatch(parts[2])
        ):
            raise ValueError("a wake-up was expected")
        return Message(id=parts[0], name=parts[1], args=(parts[2],), kwargs={})


def open_queue(
    settings: Settings, on_wake: Callable[[str], None] = lambda public_id: None
) -> tuple[Huey, Callable[[str], Any]]:
    """Open the queue: a file in the instance folder, or Redis.

    Parameters
    ----------
    on_wake : callable
        What a worker does with a wake-up; it is given the job's public id.

    Returns
    -------
    queue : Huey
    wake : callable
        Sends a wake-up for the job of a public id.
    """
    options = {"results": False, "immediate": False, "serializer": WakeUpSerializer()}
    if settings.jobs_url:
        queue = _on_redis(settings.jobs_url, options)
    else:
        settings.instance_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _hidden("redis", "psycopg"):
            from huey import SqliteHuey
        queue = SqliteHuey(
            _NAME, filename=str(settings.queue_file), timeout=STORE_TIMEOUT_S, cache_mb=0, **options
        )

    @queue.task(name="wake")
    def wake(public_id: str) -> None:
        on_wake(public_id)

    return queue, wake


def _on_redis(address: str, options: dict[str, Any]) -> Huey:
    from redis import ConnectionPool
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    with _hidden("psycopg"):
        import huey.storage
    if huey.storage.Redis is None:  # first imported for a queue in a file, in this same process
        for name in [name for name in sys.modules if name.partition(".")[0] == "huey"]:
            del sys.modules[name]
    from huey import RedisHuey

    pool = ConnectionPool.from_url(
        address,
        socket_connect_timeout=STORE_TIMEOUT_S,
        socket_timeout=_ANSWER_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
    return RedisHuey(_NAME, connection_pool=pool, **options)


@contextmanager
def _hidden(*names: str) -> Iterator[None]:
    """Let huey not find drivers that this queue does not use: 16 MB in each web worker.

    huey imports whatever of them is installed and does without the others.
    """
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None: not importable
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


def close_queue(queue: Huey) -> None:
    """Close the queue's connections; it opens them again when it is used."""
    queue.storage.close()
    if hasattr(queue.storage, "pool"):
        queue.storage.pool.disconnect()


class WakeUps:
    """Sends wake-ups for one application. Whatever goes wrong, the work is queued all the same."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._opened: tuple[Huey, Callable[[str], Any]] | None = None
        self._quiet_until = 0.0

    def send(self, public_ids: Sequence[str]) -> None:
        """Wake workers; after a failure it is not tried again for half a minute."""
        if time.monotonic() < self._quiet_until:
            return
        try:
            self._opened = self._opened or open_queue(self.settings)
            queue, wake = self._opened
            try:
                for public_id in public_ids[:_MOST_WAKE_UPS]:
                    wake(public_id)
            finally:
                close_queue(queue)
        except Exception as error:
            self._opened = None
            self._quiet_until = time.monotonic() + _PAUSE_AFTER_FAILURE_S
            # The error's own text may hold the queue's address and its password.
            _log.warning(
                "no worker could be woken (%s); queued jobs are found by polling",
                type(error).__name__,
            )


def register(app: Flask, settings: Settings) -> None:
    """Let commits of `app` that queue jobs wake workers."""
    app.extensions[EXTENSION] = WakeUps(settings)
    if not event.contains(db.session, "after_commit", _wake_after_commit):
        event.listen(db.session, "after_commit", _wake_after_commit)
        event.listen(db.session, "after_rollback", _forget)


def _wake_after_commit(session: Session) -> None:
    if session.in_nested_transaction():  # a savepoint: not committed yet
        return
    public_ids = session.info.pop(TO_WAKE, None)
    if public_ids:
        current_app.extensions[EXTENSION].send(public_ids)


def _forget(session: Session) -> None:
    if not session.in_nested_transaction():
        session.info.pop(TO_WAKE, None)
