"""Register, sign in, sign out, one's own account."""

from __future__ import annotations

import hashlib

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_limiter.util import get_remote_address
from flask_login import current_user

from utils.errors import InvalidInput, MarrowFindError
from utils.records.database import db
from utils.web import sessions
from utils.web.errors import status_of
from utils.web.security import limiter
from utils.web.services import services
from utils.workflow import accounts

blueprint = Blueprint("accounts", __name__)


def _per_address() -> str:
    return f"{services().settings.login_attempts_per_address} per minute"


def _per_account() -> str:
    return f"{services().settings.login_attempts_per_minute} per minute"


def _account_key() -> str:
    # The address as typed stays out of the counter's store.
    typed = request.form.get("email", "").strip().lower()
    return "account:" + hashlib.sha256(typed.encode()).hexdigest()


def _own_key() -> str:
    return f"password:{current_user.get_id()}"


def _went_wrong(response: Response) -> bool:
    # Only attempts that failed count, so that nobody is locked out by signing in.
    return response.status_code >= 400


@blueprint.route("/register", methods=["GET", "POST"])
@limiter.limit(_per_address, key_func=get_remote_address, methods=["POST"])
def register() -> ResponseReturnValue:
    """Make an account; say plainly when it has to wait for approval."""
    if current_user.is_authenticated:
        return redirect(url_for("start.index"), 303)
    settings = services().settings
    if request.method == "GET":
        return _register_page(None, 200)
    try:
        made = accounts.register(
            db.session,
            settings,
            name=request.form.get("name", ""),
            email=request.form.get("email", ""),
            password=_repeated_password(),
        )
    except MarrowFindError as error:
        return _register_page(error, status_of(error))
    if made.state == "active":
        flash("Your account is ready. Please sign in.", "success")
        return redirect(url_for("accounts.login"), 303)
    return redirect(url_for("accounts.register", waiting=1), 303)


def _repeated_password() -> str:
    password = request.form.get("password", "")
    if password != request.form.get("password_again", password):
        raise InvalidInput("The two passwords differ.", code="password_again")
    return password


def _register_page(error: MarrowFindError | None, status: int) -> tuple[str, int]:
    db.session.rollback()
    page = render_template(
        "accounts/register.html",
        error=error,
        values={key: request.form.get(key, "") for key in ("name", "email")},
        registration=services().settings.registration,
        first=accounts.is_first(db.session),
        waiting="waiting" in request.args,
    )
    return page, status


@blueprint.route("/login", methods=["GET", "POST"])
@limiter.limit(_per_address, key_func=get_remote_address, methods=["POST"], deduct_when=_went_wrong)
@limiter.limit(_per_account, key_func=_account_key, methods=["POST"], deduct_when=_went_wrong)
def login() -> ResponseReturnValue:
    """Sign in and go where the person wanted to go."""
    target = request.values.get("next")
    if current_user.is_authenticated:
        return redirect(sessions.safe_next(target), 303)
    if request.method == "GET":
        return render_template("accounts/login.html", error=None, email="", next=target)
    email = request.form.get("email", "")
    try:
        user = accounts.authenticate(
            db.session,
            services().settings,
            email=email,
            password=request.form.get("password", ""),
        )
    except MarrowFindError as error:
        page = render_template("accounts/login.html", error=error, email=email, next=target)
        return page, status_of(error)
    sessions.begin(user)
    return redirect(sessions.safe_next(target), 303)


@blueprint.post("/logout")
def logout() -> ResponseReturnValue:
    """Sign out; only a form of this site can ask for it."""
    sessions.end()
    flash("You are signed out.", "success")
    return redirect(url_for("accounts.login"), 303)


@blueprint.route("/account", methods=["GET", "POST"])
@limiter.limit(_per_account, key_func=_own_key, methods=["POST"], deduct_when=_went_wrong)
def profile() -> ResponseReturnValue:
    """Show one's own account; change the name or the password (`action`)."""
    if request.method == "GET":
        return render_template("accounts/profile.html", error=None, action=None)
    action = request.form.get("action", "")
    try:
        if action == "password":
            _change_password()
            flash("The password is changed. Other sessions of yours were ended.", "success")
        else:
            accounts.change_name(db.session, current_user, request.form.get("name", ""))
            flash("The name is changed.", "success")
    except MarrowFindError as error:
        db.session.rollback()
        page = render_template("accounts/profile.html", error=error, action=action)
        return page, status_of(error)
    return redirect(url_for("accounts.profile"), 303)


def _change_password() -> None:
    accounts.change_password(
        db.session,
        services().settings,
        current_user,
        current=request.form.get("current_password", ""),
        new=_repeated_password(),
    )
    sessions.begin(current_user._get_current_object())
