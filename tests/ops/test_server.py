"""The real gunicorn: serves, survives the death of a worker, loses nothing."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.conftest import Auth, close_app
from utils.records import Analysis, Case, audit, db
from utils.settings import PROJECT_ROOT, Settings


@dataclass
class Server:
    """A gunicorn of its own, with two workers."""

    process: subprocess.Popen[bytes]
    address: str
    log: Path

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def status(self, path: str) -> int:
        try:
            with urllib.request.urlopen(self.address + path, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except OSError:
            return 0

    def wait(self, path: str = "/health", seconds: float = 60) -> float:
        start = time.monotonic()
        while time.monotonic() - start < seconds:
            if self.status(path) == 200:
                return time.monotonic() - start
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())


@pytest.fixture
def server(tmp_path: Path, models_dir: Path) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "MARROW_FIND_INSTANCE_DIR": str(tmp_path / "instance"),
        "MARROW_FIND_MODELS_DIR": str(models_dir),
        "MARROW_FIND_LOWEST_FREE_BYTES": "0",
        "MARROW_FIND_BIND": f"127.0.0.1:{port}",
        "MARROW_FIND_WORKERS": "2",
        "MARROW_FIND_ACCESS_LOG": "1",
    }
    log = tmp_path / "server.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn"], cwd=PROJECT_ROOT, env=environment,
            stdout=sink, stderr=sink,
        )  # fmt: skip
    try:
        yield Server(process, f"http://127.0.0.1:{port}", log)
    finally:
        process.terminate()
        process.wait(30)


def test_it_serves_and_a_killed_worker_is_replaced(server: Server) -> None:
    server.wait()
    before = server.workers()
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    deadline = time.monotonic() + 30
    while len(set(server.workers()) - set(before)) < 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(server.workers()) == 2
    server.wait()
    assert {server.status("/health") for _ in range(6)} == {200}


def test_the_log_holds_neither_queries_nor_addresses(server: Server) -> None:
    server.wait()
    assert server.status("/login?next=/analyses?q=Mustermann") == 200
    deadline = time.monotonic() + 10
    while "/login" not in server.log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    lines = [line for line in server.log.read_text().splitlines() if "/login" in line]
    assert lines
    assert not any("Mustermann" in line for line in lines)
    assert re.search(r"\] GET /login 200 \d+ms$", lines[0])


_DIE_BETWEEN_BLOB_AND_ROW = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import event
from app import create_app
from tests.conftest import make_settings
from utils.records import Analysis, db
from utils.records.database import db
from utils.records.users import User
from utils.workflow.analyse import analyse_image, store_analysis
from utils.workflow import analyse
settings = make_settings(Path(sys.argv[1]), Path(sys.argv[2]))
app = create_app(settings)
event.listen(Analysis, "after_insert", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
with app.app_context():
    client = app.test_client()
    from tests.conftest import Auth
    auth = Auth(app, client)
    auth.login()
    import io
    auth.post("/upload", {"images": (io.BytesIO(Path(sys.argv[3]).read_bytes()), "a.jpg"),
                          "upload_key": "upload-key-1"}, content_type="multipart/form-data")
raise SystemExit("was not killed")
"""


def test_a_worker_killed_between_blob_and_row_leaves_nothing_half_written(
    settings: Settings, app: Flask, auth: Auth, smear: bytes, tmp_path: Path
) -> None:
    auth.register()
    picture = tmp_path / "smear.jpg"
    picture.write_bytes(smear)
    died = subprocess.run(
        [sys.executable, "-c", _DIE_BETWEEN_BLOB_AND_ROW, str(settings.instance_dir),
         str(settings.models_dir), str(picture)],
        cwd=PROJECT_ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert died.returncode == -signal.SIGKILL, died.stderr
    blobs = [path for path in settings.blobs_dir.rglob("*") if path.is_file()]
    assert blobs, "the pictures were written before the row"
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.count(Analysis.id))) == 0
        assert db.session.scalar(sa.select(sa.func.count(Case.id))) == 0
        assert audit.verify(db.session) == []
    auth.login()
    history = auth.client.get("/analyses")
    assert history.status_code == 200
    assert "/layers/thumbnail" not in history.get_data(as_text=True)


def test_after_such_a_death_the_same_upload_goes_through(
    app: Flask, auth: Auth, upload: Callable[[Auth], str]
) -> None:
    auth.enter()
    analysis_id = upload(auth)
    close_app(app)  # as if the worker had been replaced
    assert auth.client.get(f"/analyses/{analysis_id}").status_code == 200
