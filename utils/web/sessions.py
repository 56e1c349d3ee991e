"""Signed-in sessions: who is asking, since when, and when it ends."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from flask import Flask, Response, g, redirect, request, session, url_for
from flask_login import LoginManager, current_user, login_user, logout_user

from utils.errors import NotAllowed
from utils.records.database import db
from utils.records.users import User
from utils.web.errors import Problem, respond, wants_json
from utils.web.services import services
from utils.workflow import accounts

# Seconds between two notes of activity: not every answer needs a new cookie.
_NOTE_EVERY_S = 30.0

login_manager = LoginManager()
login_manager.session_protection = None  # addresses change in hospitals; the sign-in row decides


def init_sessions(app: Flask) -> None:
    """Let `app` know who is asking."""
    login_manager.init_app(app)


@login_manager.user_loader
def load_user(public_id: str) -> User | None:
    """Give the person of the session's cookie, if the session still holds."""
    sign_in_id, seen_at = session.get("sign_in"), session.get("seen_at", 0.0)
    now = time.time()
    if not sign_in_id or now - seen_at > services().settings.session_idle_minutes * 60:
        return None
    user = accounts.find_session(db.session, services().settings, sign_in_id)
    if user is None or user.public_id != public_id:
        return None
    if now - seen_at > _NOTE_EVERY_S:
        session["seen_at"] = now
    return user


@login_manager.unauthorized_handler
def ask_to_sign_in() -> Response:
    """Send a stranger to the sign-in page, or tell a program so."""
    if wants_json():
        return respond(Problem(401, "sign_in_first", "Please sign in first."))
    wanted = request.full_path.rstrip("?") if request.method == "GET" else None
    if wanted == "/":
        wanted = None
    return redirect(url_for("accounts.login", next=wanted), 303)  # type: ignore[return-value]


def begin(user: User) -> None:
    """Start a session for `user` with a fresh cookie: nothing of the older one is kept."""
    sign_in_id = accounts.open_session(db.session, user)
    session.clear()
    g.pop("csrf_token", None)
    session["sign_in"] = sign_in_id
    session["seen_at"] = time.time()
    if not login_user(user):
        raise NotAllowed("This account is not active.")


def end() -> None:
    """End the session of the person who asks."""
    accounts.sign_out(db.session, current_user, session.get("sign_in", ""))
    logout_user()
    session.clear()


def safe_next(target: str | None) -> str:
    """Give `target` if it is an address within this site, else the start page."""
    start = url_for("start.index")
    if not target or not target.startswith("/") or target.startswith(("//", "/\\")):
        return start
    if any(ord(c) < 0x21 or c == "\\" for c in target):
        return start
    parts = urlsplit(target)
    return start if parts.scheme or parts.netloc else target
