"""Marrow-Find: the application factory. Wiring only."""

from __future__ import annotations

import os

# numpy's own threads fight the inference engine's (PERFORMANCE: 1.65 to 2.3 times slower); they
# are counted when numpy is first imported, so this stands before every other import.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from flask import Flask

from utils import cli, jobs, web
from utils.records.database import init_database
from utils.settings import Settings, ensure_secret_key, load_settings


def create_app(settings: Settings | None = None) -> Flask:
    """Make the application.

    Parameters
    ----------
    settings : Settings, optional
        Read from the environment where not given.

    Raises
    ------
    InvalidInput
        If a setting is not as expected.
    StorageFailed
        If the instance folder cannot be written.
    """
    settings = settings or load_settings()
    app = Flask(__name__, instance_path=str(settings.instance_dir))
    app.config.update(SECRET_KEY=ensure_secret_key(settings), TESTING=settings.testing)
    init_database(app, settings)
    web.register(app, settings)
    jobs.register(app, settings)
    cli.register(app)
    return app
