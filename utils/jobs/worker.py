"""The worker: one process that does jobs beside the server, and lets the server go first.

huey's consumer brings the threads, the signals and the wake-ups. What is done next is decided by
the table of jobs alone; it is looked at after each wake-up and every few seconds.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from flask import Flask
from huey import BlackHoleHuey
from huey.consumer import BaseProcess, Consumer, Worker

from utils.errors import MarrowFindError
from utils.jobs import kinds  # noqa: F401  (makes every kind of work known)
from utils.jobs.queue import EXTENSION, close_queue, open_queue
from utils.records.database import db
from utils.workflow import job_states, jobs

if TYPE_CHECKING:
    from huey import Huey

    from utils.settings import Settings
    from utils.workflow.job_states import Turn

# Weight 110 of 1024: an analysis on the same core hardly notices, and the work is not starved
# while it holds the database's lock, as it would be at 19.
NICENESS: Final = 10
_LAST_MOMENT_S: Final = 2.0
_LONGEST_PAUSE_S: Final = 1.0  # between two looks into a queue that cannot be waited on

_log = logging.getLogger("marrow_find.jobs")


class Runner:
    """Does jobs of one application, in as many threads as call it.

    Attributes
    ----------
    worker : str
        This process in the table: ``host:pid``.
    """

    def __init__(self, app: Flask, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self.worker = job_states.worker_name()
        self.beat_pause_s = settings.job_stale_seconds / job_states.BEATS
        self.wake_ups = 0
        self._held: dict[str, Turn] = {}
        self._stop_at: float | None = None
        self._trouble = Trouble("the database", traced=True)
        # One for all hands: they wait on the same queue.
        self.queue_trouble = Trouble("the queue", traced=False)

    def wake(self) -> None:
        """Let every hand look at the table: which of them a job is for, its kind decides."""
        self.wake_ups += 1

    def drain(self, *, long: bool = False) -> None:
        """Do queued jobs, oldest first, until none waits or the worker is told to stop."""
        with self._trouble:
            while self._stop_at is None and self._do_next(long):
                pass

    def look_after(self) -> None:
        """Let the hearts of running jobs beat; take back those whose worker is gone."""
        held = list(self._held)
        with self._trouble, self.app.app_context():
            if held:
                job_states.beat(db.session, worker=self.worker, public_ids=held)
            job_states.requeue_stale(
                db.session,
                worker=self.worker,
                held=held,
                stale_after_s=self.settings.job_stale_seconds,
                most_attempts=self.settings.job_attempts,
            )

    def stop(self, after_s: float) -> None:
        """Begin no further job; after some seconds, jobs end at their next report of progress."""
        if self._stop_at is None:
            self._stop_at = time.monotonic() + after_s

    def settle(self) -> bool:
        """Give back what is still running a moment later; say whether all had ended by itself."""
        deadline = time.monotonic() + _LAST_MOMENT_S
        while self._held and time.monotonic() < deadline:
            time.sleep(0.02)
        left = list(self._held.values())
        with self._trouble, self.app.app_context():
            for turn in left:
                job_states.give_back(db.session, turn, counts=False)
                _log.info("job %s (%s): returned to the queue", turn.public_id, turn.kind)
        return not left

    def _do_next(self, long: bool) -> bool:
        able = jobs.LONG if long else jobs.HANDLERS.keys() - jobs.LONG
        with self.app.app_context():
            turn = job_states.claim(db.session, worker=self.worker, kinds=able)
            if turn is None:
                return False
            self._held[turn.public_id] = turn
            start = time.monotonic()
            try:
                # What is long would not end within the time that is left anyway.
                must_return = self._is_stopping if long else self._must_return
                outcome = jobs.perform(db.session, self.settings, turn, must_return=must_return)
            finally:
                del self._held[turn.public_id]
            elapsed_s = time.monotonic() - start
            _log.info("job %s (%s): %s, %.1f s", turn.public_id, turn.kind, outcome, elapsed_s)
            return True

    def _is_stopping(self) -> bool:
        return self._stop_at is not None

    def _must_return(self) -> bool:
        return self._stop_at is not None and time.monotonic() >= self._stop_at


class Trouble:
    """Whatever goes wrong is logged once, until it goes well again; the worker stays."""

    def __init__(self, what: str, *, traced: bool) -> None:
        self.what = what
        self.traced = traced  # not where an error's text may hold an address
        self._told = False
        self._telling = threading.Lock()

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, trace: object) -> bool:
        with self._telling:
            return self._tell(error)

    def _tell(self, error: BaseException | None) -> bool:
        if error is None:
            if self._told:
                _log.warning("%s answers again", self.what)
            self._told = False
            return False
        if not isinstance(error, Exception):
            return False
        if not self._told:
            traced = self.traced and not isinstance(error, MarrowFindError)
            _log.warning(
                "%s does not answer (%s)",
                self.what,
                type(error).__name__,
                exc_info=error if traced else None,
            )
        self._told = True
        return True


class _Hand(Worker):
    """One thread that does jobs: after a wake-up, and every few seconds without one."""

    def __init__(self, runner: Runner, *, long: bool, **options: Any) -> None:
        super().__init__(**options)
        self.runner = runner
        self.long = long
        self._next_look = 0.0
        self._woken = 0

    def loop(self, now: Any = None) -> None:
        """Look at the table when it is time, then wait for a wake-up."""
        if time.monotonic() >= self._next_look or self._woken != self.runner.wake_ups:
            self._woken = self.runner.wake_ups
            self.runner.drain(long=self.long)
            self._next_look = time.monotonic() + self.runner.settings.job_poll_seconds
        with self.runner.queue_trouble:
            task = self.huey.dequeue()
            if task is not None:
                self.delay = self.default_delay
                self.huey.execute(task, now)
            if task is not None or self.huey.storage.blocking:
                return
        self.sleep()


class _Caretaker(BaseProcess):
    """The thread in the place of huey's scheduler."""

    process_name = "Caretaker"

    def __init__(self, runner: Runner, huey: Huey, stop_flag: threading.Event) -> None:
        super().__init__(huey, stop_flag)
        self.runner = runner

    def loop(self, now: Any = None) -> None:
        """Beat, look for jobs whose worker is gone, wait."""
        self.runner.look_after()
        self.stop_flag.wait(self.runner.beat_pause_s)


class _Consumer(Consumer):
    """huey's consumer with hands that look at the table, and a caretaker."""

    _signum: int | None

    def __init__(self, runner: Runner, huey: Huey) -> None:
        self.runner = runner
        self._made = 0
        super().__init__(
            huey,
            workers=runner.settings.job_workers + 1,  # and one for what is long
            periodic=False,
            max_delay=min(_LONGEST_PAUSE_S, runner.settings.job_poll_seconds),
            worker_type="thread",
            graceful_signal="TERM",
            shutdown_timeout=runner.settings.job_stop_seconds,
        )
        # huey would start anew by its command line, which `python -m flask` does not bear.
        self._signal_actions[signal.SIGHUP] = self._signal_actions[signal.SIGTERM]

    def stop(self, graceful: bool = False) -> None:
        """Stop: on SIGTERM jobs may end within the time that is set, on SIGINT they end now."""
        self.runner.stop(self.runner.settings.job_stop_seconds if graceful else 0.0)
        super().stop(graceful=graceful)

    def _handle_signal(self, signum: int, frame: object) -> None:
        # The first one counts: a group's SIGTERM comes again from whoever started the worker, and
        # must not cut short what the first one allowed.
        if self._signum is None:
            self._signum = signum
            self._restart, self._graceful = self._signal_actions[signum]

    def has_ended(self) -> bool:
        """Whether every thread has ended, a moment after the stop."""
        threads = [thread for _, thread in self.worker_threads] + [self.scheduler]
        for thread in threads:
            thread.join(_LAST_MOMENT_S / len(threads))
        return not any(thread.is_alive() for thread in threads)

    def _create_worker(self) -> _Hand:
        self._made += 1
        return _Hand(
            self.runner,
            long=self._made > self.runner.settings.job_workers,
            huey=self.huey,
            stop_flag=self.stop_flag,
            default_delay=self.default_delay,
            max_delay=self.max_delay,
            backoff=self.backoff,
        )

    def _create_scheduler(self) -> _Caretaker:
        return _Caretaker(self.runner, self.huey, self.stop_flag)


def work(app: Flask) -> None:
    """Do jobs until SIGTERM or SIGINT; to be called in the main thread.

    SIGTERM lets running jobs end within ``job_stop_seconds``; what has not ended then, and
    everything on SIGINT, goes back to the queue. SIGHUP, a closed terminal, is as SIGTERM.
    """
    _behave()
    settings: Settings = app.extensions[EXTENSION].settings
    runner = Runner(app, settings)
    queue = _open(settings, runner)
    _log.info("worker %s: %d at once", runner.worker, settings.job_workers)
    consumer = _Consumer(runner, queue)
    consumer.run()
    ended = runner.settle() and consumer.has_ended()
    close_queue(queue)
    _log.info("worker %s: ended", runner.worker)
    if not ended:
        # A thread that takes no notice must not hold up the end; its job was given back.
        logging.shutdown()
        os._exit(0)


def _open(settings: Settings, runner: Runner) -> Huey:
    try:
        return open_queue(settings, on_wake=lambda public_id: runner.wake())[0]
    except Exception as error:
        _log.warning(
            "the queue cannot be opened (%s); jobs are found by polling", type(error).__name__
        )
        return BlackHoleHuey("marrow_find")


def _behave() -> None:
    import cv2

    cv2.setNumThreads(1)
    os.nice(max(0, NICENESS - os.nice(0)))
    level = os.environ.get("MARROW_FIND_LOG_LEVEL", "info").upper()
    logging.basicConfig(
        level=level if level in {"DEBUG", "INFO", "WARNING", "ERROR"} else "INFO",
        format="[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s",
    )
    logging.getLogger("huey").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
