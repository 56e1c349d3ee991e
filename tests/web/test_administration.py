"""Administration: who lets whom in, and who sees the trail."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.conftest import Auth
from utils.records import AuditEntry, User, audit, db


def _public_id(auth: Auth, email: str) -> str:
    with auth.app.app_context():
        return db.session.scalars(sa.select(User.public_id).where(User.email == email)).one()


@pytest.fixture
def waiting(auth: Auth) -> Auth:
    auth.enter()
    other = Auth(auth.app, auth.app.test_client(), "grace@example.org")
    other.register(name="Grace Hopper")
    return other


def test_an_administrator_lets_people_in(auth: Auth, waiting: Auth) -> None:
    assert "Grace Hopper" in auth.client.get("/admin/users").get_data(as_text=True)
    place = f"/admin/users/{_public_id(auth, waiting.email)}"
    assert auth.post(f"{place}/approve").status_code == 303
    assert waiting.login().status_code == 303
    assert auth.post(f"{place}/role", {"role": "pathologist"}).status_code == 303
    assert auth.post(f"{place}/approve").status_code == 409
    with auth.app.app_context():
        entry = db.session.scalars(
            sa.select(AuditEntry).where(AuditEntry.action == "account.role")
        ).one()
        assert entry.details == {"old": "trainee", "new": "pathologist"}
        assert entry.actor_id == auth.user_id
        assert audit.verify(db.session) == []


@pytest.mark.parametrize("role", ["pathologist", "technician", "trainee"])
@pytest.mark.parametrize("address", ["/admin/users", "/admin/audit"])
def test_nobody_else_sees_the_administration(auth: Auth, role: str, address: str) -> None:
    auth.enter()
    assert auth.client.get(address).status_code == 200
    other = auth.as_role(role)
    assert other.client.get(address).status_code == 403


@pytest.mark.parametrize("action", ["approve", "disable", "enable", "role"])
def test_nobody_else_changes_accounts(auth: Auth, action: str) -> None:
    auth.enter()
    other = auth.as_role("pathologist")
    place = f"/admin/users/{_public_id(auth, other.email)}/{action}"
    assert other.post(place, {"role": "administrator"}).status_code == 403
    assert auth.client.post(place, data={"role": "trainee"}).status_code == 400  # no token


def test_a_role_that_is_none_is_refused(auth: Auth) -> None:
    auth.enter()
    other = auth.as_role("trainee")
    place = f"/admin/users/{_public_id(auth, other.email)}/role"
    assert auth.post(place, {"role": "root"}).status_code == 422
    assert auth.post(place, {}).status_code == 422
    assert auth.post("/admin/users/nobody/approve").status_code == 404
    assert auth.post(f"/admin/users/{_public_id(auth, other.email)}/delete").status_code == 404


def test_the_last_administrator_stays(auth: Auth) -> None:
    auth.enter()
    own = f"/admin/users/{_public_id(auth, auth.email)}"
    assert auth.post(f"{own}/disable").status_code == 409
    assert auth.post(f"{own}/role", {"role": "trainee"}).status_code == 409
    auth.as_role("administrator")
    assert auth.post(f"{own}/role", {"role": "trainee"}).status_code == 303
    assert auth.client.get("/admin/users").status_code == 403


def test_the_trail_is_shown_newest_first_in_pages(app: Flask, auth: Auth) -> None:
    auth.enter()
    with app.app_context():
        for number in range(120):
            audit.append(
                db.session,
                action="analysis.view",
                object_type="analysis",
                object_id=f"thing-{number:03d}",
                actor_id=1,
            )
        db.session.commit()
    first = auth.client.get("/admin/audit").get_data(as_text=True)
    assert "thing-119" in first
    assert "thing-010" not in first
    assert "before=" in first
    second = auth.client.get("/admin/audit?before=23").get_data(as_text=True)
    assert "thing-010" in second
    one = auth.client.get("/admin/audit?object=thing-050").get_data(as_text=True)
    assert "thing-050" in one
    assert "thing-051" not in one


@pytest.mark.parametrize("query", ["before=x", "before=-1", "before=" + "9" * 30, "before=%C2%B2"])
def test_a_page_key_that_is_none_is_refused(auth: Auth, query: str) -> None:
    auth.enter()
    assert auth.client.get(f"/admin/audit?{query}").status_code == 422


def test_many_accounts_are_paged(app: Flask, auth: Auth) -> None:
    auth.enter()
    with app.app_context():
        db.session.add_all(
            User(name=f"Person {n}", email=f"p{n}@example.org", password_hash="x", state="active")
            for n in range(130)
        )
        db.session.commit()
    page = auth.client.get("/admin/users").get_data(as_text=True)
    assert "Person 90" in page
    assert "Person 129" not in page
    assert "Person 129" in auth.client.get("/admin/users?after=100").get_data(as_text=True)
