"""Long work in a process of its own: with bounds, without the database, watched by its job.

The child is a command of ``flask`` that prints its progress as JSON lines. It may die of anything:
the job's row is written by the worker that watches it, and a worker that dies takes it along.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

from utils.errors import WorkFailed
from utils.settings import PROJECT_ROOT, Settings
from utils.workflow.job_states import JobStopped
from utils.workflow.jobs import JobContext

# Told by the environment: the child bounds itself before it imports anything large.
COMMAND: Final = (sys.executable, "-m", "flask")
PARENT_VARIABLE: Final = "WORKER_PROCESS"
_LOOK_S: Final = 0.5
# A training writes its checkpoint in that time.
_LAST_WORD_S: Final = 30.0
_MOST_LINE: Final = 10_000
_SPOKEN_EXITS: Final = (1, 2)

_log = logging.getLogger("marrow_find.jobs")


def run(arguments: Sequence[str], context: JobContext, log: Path) -> None:
    """Run a command of ``flask`` to its end, and report its progress as the job's.

    Parameters
    ----------
    arguments : sequence of str
        After ``flask``; the command prints progress as JSON lines on standard output.
    context : JobContext
    log : Path
        What it says on standard error is added there.

    Raises
    ------
    WorkFailed
        If it ended badly, took too much memory, or too long.
    JobStopped
        If the job was cancelled or must go back; the child has written what it could.
    """
    settings = context.settings
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as errors:
        child = subprocess.Popen(  # noqa: S603  (a command of our own, its words checked before)
            [*COMMAND, *arguments],
            cwd=PROJECT_ROOT,
            env=_environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        try:
            _watch(child, context)
        except JobStopped:
            child.terminate()
            with suppress(subprocess.TimeoutExpired):
                child.wait(_LAST_WORD_S)
            raise
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()
            if child.stdout is not None:
                child.stdout.close()
    if child.returncode != 0:
        raise WorkFailed(_sentence(child.returncode, log))


def _watch(child: subprocess.Popen[bytes], context: JobContext) -> None:
    started, settings = time.monotonic(), context.settings
    assert child.stdout is not None
    lines = _Lines(child.stdout)
    at: tuple[int, int, str] = (0, 0, "")
    while child.poll() is None or lines.open:
        for line in lines.read(_LOOK_S):
            at = _progress_of(line) or at
        # The last step is the job's end, which the row's state says.
        done, total, message = at
        context.progress(min(done, max(total - 1, 0)), total, message)
        if child.poll() is not None:
            continue
        used = _resident_bytes(child.pid)
        if used > settings.long_job_memory_bytes:
            raise WorkFailed(
                f"The work needed {used / 1e9:.1f} GB of memory and was ended; "
                f"{settings.long_job_memory_bytes / 1e9:.1f} GB are allowed."
            )
        if time.monotonic() - started > 3600 * settings.long_job_hours:
            raise WorkFailed(f"The work took longer than {settings.long_job_hours:g} hours.")


class _Lines:
    """Whole lines of a pipe, without waiting for the next one."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.open = True
        self._number = pipe.fileno()
        self._rest = b""
        os.set_blocking(self._number, False)
        self._ready = selectors.DefaultSelector()
        self._ready.register(pipe, selectors.EVENT_READ)

    def read(self, timeout_s: float) -> list[bytes]:
        if not self.open:
            return []
        if not self._ready.select(timeout_s):
            return []
        content = os.read(self._number, 65_536)
        if not content:
            self.open = False
            self._ready.close()
            return []
        *lines, self._rest = (self._rest + content).split(b"\n")
        self._rest = self._rest[-_MOST_LINE:]
        return lines


def _progress_of(line: bytes) -> tuple[int, int, str] | None:
    """What a line says of the progress; None where it is something else, such as a library's."""
    with suppress(ValueError, KeyError, TypeError):
        values: dict[str, Any] = json.loads(line)
        return int(values["done"]), int(values["total"]), str(values["message"])[:200]
    return None


def _environment(settings: Settings) -> dict[str, str]:
    threads = str(settings.long_job_threads or os.cpu_count() or 1)
    return {
        **os.environ,
        PARENT_VARIABLE: str(os.getpid()),
        "MARROW_FIND_INSTANCE_DIR": str(settings.instance_dir),
        "MARROW_FIND_MODELS_DIR": str(settings.models_dir),
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "PYTHONUNBUFFERED": "1",
    }


def _resident_bytes(process: int) -> int:
    """Memory of a process; 0 where the system does not tell (it has ended, or is no Linux)."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


def _sentence(code: int, log: Path) -> str:
    """Why it ended: its own last words where it spoke them, its signal otherwise."""
    if code in _SPOKEN_EXITS:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if lines and lines[-1].endswith("."):
            return lines[-1][:300]
    _log.warning("long work ended with %s", code)
    return "The work ended unexpectedly; its log says more, and it can go on from where it was."
