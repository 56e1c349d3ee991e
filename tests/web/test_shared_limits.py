"""Attempts counted together by several workers, on a real Redis of its own."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from flask import Flask

from tests.conftest import Auth
from tests.need import program


@dataclass
class Redis:
    """A Redis server on a free port of the loopback."""

    process: subprocess.Popen[bytes]
    address: str

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    server_program = program(
        ("redis-server",),
        "Redis",
        "limits in memory are tested all the same; on Debian, apt-get install redis-server",
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            server_program,
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(tmp_path),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    server = Redis(process, f"redis://127.0.0.1:{port}/0")
    yield server
    server.stop()


def test_workers_count_together(redis: Redis, make_app: Callable[..., Flask]) -> None:
    limits = {"rate_limit_storage": redis.address, "login_attempts_per_minute": 3}
    statuses = []
    for _ in range(2):  # each application is a worker of its own
        app = make_app(**limits)
        auth = Auth(app, app.test_client())
        statuses += [auth.login(password="wrong password").status_code for _ in range(2)]
    assert statuses == [403, 403, 403, 429]


def test_a_counter_that_went_away_stops_nobody(
    redis: Redis, make_app: Callable[..., Flask]
) -> None:
    app = make_app(rate_limit_storage=redis.address, login_attempts_per_minute=3)
    auth = Auth(app, app.test_client())
    auth.register()
    redis.stop()
    tries = [auth.login(password="wrong password").status_code for _ in range(4)]
    assert tries == [403, 403, 403, 429]  # each worker counts for itself
    assert auth.login(email="grace@example.org").status_code == 403
