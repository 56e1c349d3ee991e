"""The server and one worker together: what ``make run`` starts.

Both end when this process is told to (Ctrl-C, SIGTERM, a closed terminal), when the server ends,
or, on Linux, when this process is killed. A worker that ends by itself is started again.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import signal
import subprocess
import sys
import time
from typing import Final

from utils.settings import PROJECT_ROOT

SERVER: Final = [sys.executable, "-m", "gunicorn"]
WORKER: Final = [sys.executable, "-m", "flask", "jobs", "work"]

_LOOK_S: Final = 0.25
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0
_GOOD_LIFE_S: Final = 60.0  # a worker that lived this long is started again soon
_LONGEST_END_S: Final = 45.0  # gunicorn gives its requests 30 s
# make passes on a SIGTERM that its whole group has got already: that is one and not two.
_INSISTED_AFTER_S: Final = 1.0
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)

_log = logging.getLogger("marrow_find.jobs")


class Pair:
    """The two processes."""

    def __init__(self) -> None:
        self._stopping = False  # no Event: a signal may come while its lock is held
        self._told_at = 0.0
        self.server: subprocess.Popen[bytes] | None = None
        self.worker: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._start_at = 0.0
        self._pause_s = _FIRST_PAUSE_S

    def run(self) -> int:
        """Start both and watch over them until the end; give the exit code."""
        self.server = _start(SERVER)
        self._start_worker()
        while not self._stopping and self.server.poll() is None:
            if self.worker is None and time.monotonic() >= self._start_at:
                self._start_worker()
            elif self.worker is not None and self.worker.poll() is not None:
                self._put_off(self.worker.returncode)
            time.sleep(_LOOK_S)
        code = 0 if self._stopping else self.server.wait()
        self._end()
        return code

    def tell(self, signum: int, frame: object) -> None:
        """Stop; who says so again a moment later wants it at once."""
        if not self._stopping:
            self._told_at = time.monotonic()
            self._stopping = True
        elif time.monotonic() - self._told_at > _INSISTED_AFTER_S:
            self._send(signal.SIGKILL)

    def _start_worker(self) -> None:
        self.worker = _start(WORKER)
        self._started_at = time.monotonic()

    def _put_off(self, code: int) -> None:
        """Start the worker again in a while: sooner where it had lived for long."""
        lived_s = time.monotonic() - self._started_at
        if lived_s >= _GOOD_LIFE_S:
            self._pause_s = _FIRST_PAUSE_S
        _log.warning("the worker ended (%s) and is started again", code)
        self.worker = None
        self._start_at = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def _end(self) -> None:
        self._send(signal.SIGTERM)
        deadline = time.monotonic() + _LONGEST_END_S
        for process in self._both():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _send(self, signum: signal.Signals) -> None:
        for process in self._both():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signum)

    def _both(self) -> list[subprocess.Popen[bytes]]:
        return [process for process in (self.server, self.worker) if process is not None]


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, cwd=PROJECT_ROOT, preexec_fn=_end_with_parent)


def _end_with_parent() -> None:
    with contextlib.suppress(OSError, AttributeError):  # not on macOS
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def main() -> int:
    """Start both, and end both."""
    logging.basicConfig(format="[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s")
    pair = Pair()
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, pair.tell)
    return pair.run()


if __name__ == "__main__":
    raise SystemExit(main())
