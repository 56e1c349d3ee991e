"""Administration: accounts and the audit trail."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from sqlalchemy.orm import joinedload

from utils.errors import InvalidInput
from utils.records.audit import AuditEntry
from utils.records.database import db
from utils.records.users import ROLES, User
from utils.workflow import access, accounts

blueprint = Blueprint("administration", __name__, url_prefix="/admin")
ENTRIES_PER_PAGE: Final = 100
USERS_PER_PAGE: Final = 100


@blueprint.before_request
def only_administrators() -> None:
    """Refuse everybody else before any view runs."""
    access.require_administer(current_user)


@blueprint.get("/users")
def users() -> ResponseReturnValue:
    """List the accounts, those that wait first."""
    after = _number("after")
    waiting = db.session.scalars(
        sa.select(User).where(User.state == "pending").order_by(User.id).limit(USERS_PER_PAGE)
    ).all()
    rows = db.session.scalars(
        sa.select(User)
        .where(User.state != "pending", User.id > (after or 0))
        .order_by(User.id)
        .limit(USERS_PER_PAGE + 1)
    ).all()
    shown = rows[:USERS_PER_PAGE]
    next_url = None
    if len(rows) > USERS_PER_PAGE:
        next_url = url_for("administration.users", after=shown[-1].id)
    return render_template(
        "administration/users.html", waiting=waiting, users=shown, roles=ROLES, next_url=next_url
    )


@blueprint.post("/users/<public_id>/<any(approve, disable, enable, role):action>")
def change_user(public_id: str, action: str) -> ResponseReturnValue:
    """Approve, disable, enable, or give another role (`role`)."""
    user = accounts.find_by_public_id(db.session, public_id)
    if action == "role":
        accounts.set_role(db.session, current_user, user, request.form.get("role", ""))
        flash(f"{user.name} is now {user.role}.", "success")
    else:
        change = {
            "approve": accounts.approve,
            "disable": accounts.disable,
            "enable": accounts.enable,
        }.get(action)
        if change is None:
            abort(404)
        change(db.session, current_user, user)
        flash(f"The account of {user.name} is now {user.state}.", "success")
    return redirect(url_for("administration.users"), 303)


@blueprint.get("/audit")
def audit() -> ResponseReturnValue:
    """Show the trail, newest first; narrowed to one thing by `object`, to one person by `actor`."""
    statement = sa.select(AuditEntry).options(joinedload(AuditEntry.actor))
    before, thing, actor = _number("before"), request.args.get("object"), request.args.get("actor")
    if before is not None:
        statement = statement.where(AuditEntry.id < before)
    if thing:
        statement = statement.where(AuditEntry.object_id == thing)
    if actor:
        person = accounts.find_by_public_id(db.session, actor)
        statement = statement.where(AuditEntry.actor_id == person.id)
    rows = db.session.scalars(
        statement.order_by(AuditEntry.id.desc()).limit(ENTRIES_PER_PAGE + 1)
    ).all()
    shown = rows[:ENTRIES_PER_PAGE]
    next_url = None
    if len(rows) > ENTRIES_PER_PAGE:
        next_url = url_for(
            "administration.audit", before=shown[-1].id, object=thing or None, actor=actor or None
        )
    return render_template(
        "administration/audit.html", entries=shown, next_url=next_url, object_id=thing
    )


def _number(name: str) -> int | None:
    text = request.args.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise InvalidInput("The page's address is not as expected.", code="page_key")
    return int(text)
