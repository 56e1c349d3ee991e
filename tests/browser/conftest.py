"""Browsers at a running application, and a picture to send it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from flask import Flask
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browsing import DESK, serving, sign_in
from tests.conftest import DATASETS
from utils.networks.registry import CURRENT
from utils.records import db
from utils.settings import PROJECT_ROOT


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
        sign_in(self.page, self.address)

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

    with serving(app) as address:
        yield start
        for context in opened:
            context.close()


@pytest.fixture
def picture(request: pytest.FixtureRequest, smear: bytes, tmp_path: Path) -> Path:
    """A real field where the data are at hand, a synthetic one elsewhere.

    Parametrised indirectly, it is the field at that place in the folder.
    """
    real = sorted((DATASETS / "all4" / "Pre").glob("*.jpg"))
    if real:
        return real[getattr(request, "param", 0)]
    place = tmp_path / "field.jpg"
    place.write_bytes(smear)
    return place
