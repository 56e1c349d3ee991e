"""How gunicorn serves Marrow-Find: one sync worker a core, one engine thread each.

Measured on two cores (PERFORMANCE): p95 0.38 s at ten clients, against 0.53 s for one worker with
eight threads; the engine's and numpy's thread pools must not fight, so each has one thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import tempfile
from typing import Any

# Before numpy is imported anywhere: workers inherit the environment.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

wsgi_app = "wsgi:app"
bind = os.environ.get("MARROW_FIND_BIND", "127.0.0.1:8000")
workers = int(os.environ.get("MARROW_FIND_WORKERS", 0)) or len(os.sched_getaffinity(0))
worker_class = "sync"
# Each worker has its own engine and its own database connections: nothing is shared by fork.
preload_app = False

# A hung or killed worker is replaced; a slow upload of 50 images still fits.
timeout = 120
graceful_timeout = 30
keepalive = 5
backlog = 256
limit_request_line = 4094
limit_request_fields = 64

# The heartbeat file in memory where there is such a place: a busy disk must not look like a hang.
_MEMORY = "/dev/shm"  # noqa: S108
worker_tmp_dir = _MEMORY if os.access(_MEMORY, os.W_OK) else tempfile.gettempdir()

# Which proxies may say that the client used https is the application's setting (trusted_proxies).
forwarded_allow_ips = "127.0.0.1"
proc_name = "marrow-find"
control_socket_disable = True  # nothing but signals steers the server

errorlog = "-"
loglevel = os.environ.get("MARROW_FIND_LOG_LEVEL", "info")
# Method, path without its query (searches name accession numbers), status, milliseconds.
access_log_format = "%(t)s %(m)s %(U)s %(s)s %(M)sms"
accesslog = "-" if os.environ.get("MARROW_FIND_ACCESS_LOG", "") == "1" else None


def post_worker_init(worker: Any) -> None:
    """Do what is slow only once before the worker takes its first request."""
    import cv2

    from utils.web.services import EXTENSION

    cv2.setNumThreads(1)
    application = worker.app.callable
    with application.app_context():
        application.extensions[EXTENSION].warm_up()
    _give_back_memory()


def _give_back_memory() -> None:
    """Return what loading the network took and freed: over 100 MB a worker, on glibc."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
