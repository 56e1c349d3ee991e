"""Whether this worker is fit to serve: database, disk and network, one word each."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, jsonify

from utils.errors import MarrowFindError
from utils.records.database import database_is_writable, db
from utils.web.security import limiter
from utils.web.services import services

blueprint = Blueprint("health", __name__)


@blueprint.get("/health")
@limiter.exempt
def show() -> Response:
    """Answer 200 when all is well and 503 naming what is not; no secret, no path, no address."""
    checks = {"database": _database(), "disk": _disk(), "network": _network()}
    well = all(answer == "ok" for answer in checks.values())
    response = jsonify(status="ok" if well else "unfit", checks=checks)
    response.status_code = 200 if well else 503
    return response


def _database() -> str:
    try:
        database_is_writable(db.session)
    except MarrowFindError as error:
        return error.code
    except Exception as error:
        current_app.logger.error("the database check failed", exc_info=error)
        return "database_failed"
    return "ok"


def _disk() -> str:
    try:
        enough = services().blobs.free_bytes() >= services().settings.lowest_free_bytes
    except OSError:
        return "storage_failed"
    return "ok" if enough else "storage_full"


def _network() -> str:
    try:
        _ = services().classifier
    except MarrowFindError as error:
        return error.code
    return "ok"
