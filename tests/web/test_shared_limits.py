"""Attempts counted together by several workers, on a real Redis of its own."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask

from tests.conftest import Auth
from tests.redis_server import Redis


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
