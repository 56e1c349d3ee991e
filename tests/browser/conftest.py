"""Browsers at a running application, and a picture to send it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from flask import Flask
from playwright.sync_api import Browser, BrowserContext, Page
from werkzeug.serving import make_server

from tests.conftest import DATASETS, PASSWORD
from utils.networks.registry import CURRENT
from utils.records import db
from utils.settings import PROJECT_ROOT

DESK = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}


@dataclass
class Visit:
    """One person at one browser, and what its console complained of."""

    app: Flask
    address: str
    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)
    posts: list[str] = field(default_factory=list)

    def enter(self) -> None:
        """Register the first account and sign in."""
        page = self.page
        page.goto(f"{self.address}/register")
        page.fill("[name=name]", "Ada Lovelace")
        page.fill("[name=email]", "ada@example.org")
        page.fill("[name=password]", PASSWORD)
        page.fill("[name=password_again]", PASSWORD)
        page.click("main button[type=submit]")
        page.fill("[name=email]", "ada@example.org")
        page.fill("[name=password]", PASSWORD)
        page.click("main button[type=submit]")
        page.wait_for_url(f"{self.address}/")

    def count(self, record: type) -> int:
        """Rows of a record."""
        with self.app.app_context():
            return db.session.scalar(sa.select(sa.func.count()).select_from(record)) or 0


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """The application with the trained network where there is one, else with the tests' own."""
    trained = PROJECT_ROOT / "models"
    return make_app(models_dir=trained) if (trained / "all4" / CURRENT).is_file() else make_app()


@pytest.fixture
def visit(app: Flask, browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Open browsers at the running application: ``visit(viewport=PHONE)``."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    opened: list[BrowserContext] = []

    def start(**options: Any) -> Visit:
        context = browser.new_context(**({"viewport": DESK, "accept_downloads": True} | options))
        opened.append(context)
        made = Visit(app, address, context, context.new_page())
        context.on(
            "console",
            lambda said: made.complaints.append(said.text) if said.type == "error" else None,
        )
        context.on("weberror", lambda error: made.complaints.append(str(error.error)))
        context.on(
            "request",
            lambda asked: (
                made.posts.append(urlsplit(asked.url).path) if asked.method == "POST" else None
            ),
        )
        return made

    yield start
    for context in opened:
        context.close()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def picture(smear: bytes, tmp_path: Path) -> Path:
    """A real field where the data are at hand, a synthetic one elsewhere."""
    real = sorted((DATASETS / "all4" / "Pre").glob("*.jpg"))
    if real:
        return real[0]
    place = tmp_path / "field.jpg"
    place.write_bytes(smear)
    return place
