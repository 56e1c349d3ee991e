"""The web: guards, error answers and one blueprint a subject."""

from __future__ import annotations

from flask import Flask

from utils.settings import Settings
from utils.web import (
    about,
    accounts,
    administration,
    analyses,
    cases,
    cell_actions,
    cells,
    counting,
    gallery,
    health,
    networks,
    reports,
    scale,
    start,
    synthetic,
    tutor,
)
from utils.web.errors import init_errors
from utils.web.security import init_security
from utils.web.services import EXTENSION, Services
from utils.web.sessions import init_sessions

_SUBJECTS = (
    start,
    accounts,
    administration,
    analyses,
    cases,
    cells,
    cell_actions,
    counting,
    gallery,
    scale,
    reports,
    networks,
    synthetic,
    tutor,
    about,
    health,
)


def register(app: Flask, settings: Settings) -> None:
    """Wire the web into `app`."""
    app.extensions[EXTENSION] = Services(settings)
    init_sessions(app)
    init_security(app, settings)
    init_errors(app)
    for subject in _SUBJECTS:
        app.register_blueprint(subject.blueprint)
