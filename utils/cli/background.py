"""A command that a worker started: behind everything else, and never longer than the worker."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal

from utils.workflow.child import PARENT_VARIABLE

_LOWEST = 19
_PR_SET_PDEATHSIG = 1  # prctl(2)


def go_behind() -> None:
    """Take only what nobody else wants of the processors; end when the worker is killed."""
    os.nice(_LOWEST - os.nice(0))
    with contextlib.suppress(OSError, AttributeError):  # not on macOS
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is not None and int(parent) != os.getppid():
        raise SystemExit("The worker that started this is gone.")
