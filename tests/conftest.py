"""Fixtures of every room: a real application on a real SQLite file in a folder of its own."""

from __future__ import annotations

import io
import itertools
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner
from werkzeug.test import TestResponse

from app import create_app
from tests.need import program
from tests.redis_server import Redis, start_redis
from utils.records.database import db
from utils.records.users import User
from utils.settings import PROJECT_ROOT, Settings
from utils.workflow import accounts

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PASSWORD = "correct horse battery"
FAST_ROUNDS = 1_000
DATASETS = PROJECT_ROOT.parent / "shared" / "datasets"


def make_settings(instance_dir: Path, models_dir: Path, **overrides: Any) -> Settings:
    """Give settings for tests: own folders, cheap password hashes, no limit in the way."""
    values: dict[str, Any] = {
        "instance_dir": instance_dir,
        "models_dir": models_dir,
        "testing": True,
        "password_rounds": FAST_ROUNDS,
        "lowest_free_bytes": 0,
        "login_attempts_per_minute": 1_000,
        "login_attempts_per_address": 1_000,
        "verifications_per_minute": 1_000,
        "tutor_questions_per_minute": 1_000,
    }
    return Settings(**(values | overrides))


def close_app(app: Flask) -> None:
    """Close the application's database connections."""
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MARROW_FIND_") or name in {"DATABASE_URL", "SECRET_KEY"}:
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one small network of random weights: quick, and of the real shape."""
    from tests.untrained import write_random_network

    folder = tmp_path_factory.mktemp("models")
    write_random_network(folder, name="all4")
    # Classes of single cells are listed before a network has learned them.
    (folder / "marrow7").mkdir()
    shutil.copy(PROJECT_ROOT / "models" / "marrow7" / "labels.json", folder / "marrow7")
    return folder


@pytest.fixture(scope="session")
def _empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    app = create_app(make_settings(folder, folder / "models"))
    with app.app_context():
        db.session.execute(db.text("PRAGMA wal_checkpoint(TRUNCATE)"))
        db.session.commit()
    close_app(app)
    return folder / "marrow-find.sqlite3"


@pytest.fixture
def settings(tmp_path: Path, models_dir: Path, _empty_database: Path) -> Settings:
    """Settings of an instance of its own, whose database is migrated and empty."""
    instance = tmp_path / "instance"
    instance.mkdir()
    shutil.copy(_empty_database, instance / _empty_database.name)
    return make_settings(instance, models_dir)


@pytest.fixture
def make_app(settings: Settings) -> Iterator[Callable[..., Flask]]:
    """Make applications with other settings: ``make_app(registration="open")``."""
    made: list[Flask] = []

    def make(**overrides: Any) -> Flask:
        made.append(create_app(settings.model_copy(update=overrides)))
        return made[-1]

    yield make
    for app in made:
        close_app(app)


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """The application."""
    return make_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A browser without scripts."""
    return app.test_client()


@pytest.fixture
def runner(app: Flask) -> FlaskCliRunner:
    """The command line."""
    return app.test_cli_runner()


@dataclass
class Auth:
    """One person at one browser.

    Attributes
    ----------
    client : FlaskClient
        The browser.
    """

    app: Flask
    client: FlaskClient
    email: str = "ada@example.org"
    password: str = PASSWORD

    def token(self) -> str:
        """Read the CSRF token out of a form that this browser is shown."""
        page = self.client.get("/account", follow_redirects=True).get_data(as_text=True)
        found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
        assert found, "no form with a CSRF token"
        return found.group(1)

    def post(self, address: str, data: dict[str, Any] | None = None, **more: Any) -> TestResponse:
        """Send a form of this site."""
        return self.client.post(address, data={"csrf_token": self.token(), **(data or {})}, **more)

    def register(self, **values: str) -> TestResponse:
        """Register through the form."""
        form = {"name": "Ada Lovelace", "email": self.email, "password": self.password}
        form |= values
        return self.post("/register", {"password_again": form["password"], **form})

    def login(self, email: str | None = None, password: str | None = None) -> TestResponse:
        """Sign in through the form."""
        form = {"email": email or self.email, "password": password or self.password}
        return self.post("/login", form)

    def logout(self) -> TestResponse:
        """Sign out through the form."""
        return self.post("/logout")

    def enter(self) -> None:
        """Register (the first one is the administrator) and sign in."""
        assert self.register().status_code == 303
        assert self.login().status_code == 303

    def as_role(self, role: str) -> Auth:
        """Make another person of a role, signed in at another browser."""
        email = f"{role}-{secrets.token_hex(4)}@example.org"
        with self.app.app_context():
            accounts.create(
                db.session,
                self.app.extensions["marrow_find"].settings,
                name=f"Person {role}",
                email=email,
                password=self.password,
                role=role,
            )
        other = Auth(self.app, self.app.test_client(), email)
        assert other.login().status_code == 303
        return other

    @property
    def user_id(self) -> int:
        """Number of this person's row."""
        with self.app.app_context():
            return db.session.scalars(db.select(User.id).where(User.email == self.email)).one()


@pytest.fixture
def auth(app: Flask, client: FlaskClient) -> Auth:
    """A person at `client`: ``auth.enter()`` registers and signs in."""
    return Auth(app, client)


@pytest.fixture(scope="session")
def smear() -> bytes:
    """A synthetic field as JPEG: always the same one."""
    from utils.imaging.decode import encode_jpeg
    from utils.imaging.synthesis import field

    synthetic = field(7, height=480, width=640, cells=14, touching_share=0.3)
    return encode_jpeg(synthetic.pixels)


@pytest.fixture
def real_image() -> Callable[[str], Path]:
    """Give the first real image of a class of all4; skips where the data are not at hand."""

    def find(code: str) -> Path:
        folder = DATASETS / "all4"
        if not folder.is_dir():
            pytest.skip(
                "the real images are not part of the project: put shared/datasets beside this copy"
            )
        found = sorted(path for path in folder.rglob("*") if path.parent.name == code)
        assert found, f"{folder} holds no image of the class {code}"
        return found[0]

    return find


@pytest.fixture
def upload(smear: bytes) -> Callable[[Auth], str]:
    """Upload the synthetic field as a person does; give the analysis's public id."""
    numbers = itertools.count(1)

    def send(person: Auth) -> str:
        answer = person.post(
            "/upload",
            {
                "images": (io.BytesIO(smear), "smear.jpg"),
                "upload_key": f"upload-key-{next(numbers)}",
            },
            content_type="multipart/form-data",
        )
        assert answer.status_code == 303, answer.get_data(as_text=True)
        found = re.search(r"/analyses/([\w-]+)", answer.location)
        assert found, answer.location
        return found.group(1)

    return send


@pytest.fixture
def add_analysis(app: Flask) -> Callable[..., str]:
    """Put an analysis with plausible values straight into the database; give its public id."""
    numbers = itertools.count(1)

    def add(owner_id: int, **overrides: Any) -> str:
        from utils.records import Analysis, Case

        with app.app_context():
            case = Case(owner_id=owner_id)
            db.session.add(case)
            db.session.flush()
            values = _analysis_values(case.id, owner_id, f"key-{next(numbers)}") | overrides
            analysis = Analysis(**values)
            db.session.add(analysis)
            db.session.commit()
            return analysis.public_id

    return add


def _analysis_values(case_id: int, owner_id: int, upload_key: str) -> dict[str, Any]:
    probabilities = {"Benign": 0.05, "Early": 0.1, "Pre": 0.8, "Pro": 0.05}
    return {
        "case_id": case_id,
        "owner_id": owner_id,
        "number": 1,
        "upload_key": upload_key,
        "original_sha256": "a" * 64,
        "original_media_type": "image/png",
        "clahe_sha256": "b" * 64,
        "boundaries_sha256": "c" * 64,
        "thumbnail_sha256": "d" * 64,
        "width_px": 640,
        "height_px": 480,
        "format": "PNG",
        "decode_notes": [],
        "network_name": "all4",
        "network_version": "1",
        "network_sha256": "e" * 64,
        "logits": [0.1, 0.2, 2.0, 0.1],
        "probabilities": probabilities,
        "cams": [[[0.0] * 7] * 7] * 4,
        "label_code": "Pre",
        "top_code": "Pre",
        "probability": 0.8,
        "abstained": False,
        "reasons": [],
        "flags": [],
        "ood_distance": 1.0,
        "heat_on_cells": 0.7,
        "nuclei_count": 12,
        "nuclei": [],
        "quality": {},
        "timings_ms": {},
        "program_version": "0.1.0",
    }


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    """A Redis server of the test's own."""
    server = start_redis(tmp_path)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    from playwright.sync_api import sync_playwright

    found = program(
        ("chromium", "chromium-browser", "google-chrome"),
        "Chromium",
        "the pages are looked at in it; on Debian, apt-get install chromium",
    )
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=found,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield chromium
        chromium.close()
