"""Accounts: register, sign in, sign out, one's own account."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from passlib.hash import pbkdf2_sha256

from tests.conftest import PASSWORD, Auth
from utils.records import AuditEntry, SignIn, User, audit, db
from utils.settings import Settings
from utils.workflow import accounts


def _other(auth: Auth, email: str = "grace@example.org") -> Auth:
    return Auth(auth.app, auth.app.test_client(), email)


def _actions(app: Flask) -> list[str]:
    with app.app_context():
        return list(db.session.scalars(sa.select(AuditEntry.action).order_by(AuditEntry.id)))


def _user(app: Flask, email: str) -> User:
    with app.app_context():
        return db.session.scalars(sa.select(User).where(User.email == email)).one()


def test_the_first_account_is_an_active_administrator(app: Flask, auth: Auth) -> None:
    answer = auth.register()
    assert (answer.status_code, answer.location) == (303, "/login")
    user = _user(app, auth.email)
    assert (user.role, user.state) == ("administrator", "active")


def test_later_accounts_wait_and_are_told_so(app: Flask, auth: Auth) -> None:
    auth.register()
    other = _other(auth)
    page = other.client.get(other.register().location).get_data(as_text=True)
    assert re.search("wait|approv", page)
    assert _user(app, other.email).state == "pending"
    refused = other.login()
    assert refused.status_code == 403
    assert "waits for an administrator" in refused.get_data(as_text=True)


def test_open_registration_lets_people_in_as_trainees(make_app: Callable[..., Flask]) -> None:
    app = make_app(registration="open")
    auth = Auth(app, app.test_client())
    auth.register()
    other = _other(auth)
    other.register()
    assert other.login().status_code == 303
    assert _user(app, other.email).role == "trainee"


def test_closed_registration_still_lets_the_first_one_in(make_app: Callable[..., Flask]) -> None:
    app = make_app(registration="closed")
    auth = Auth(app, app.test_client())
    auth.enter()
    other = _other(auth)
    assert other.register().status_code == 403
    assert other.login().status_code == 403


def test_registering_a_known_address_tells_nothing_and_changes_nothing(
    app: Flask, auth: Auth
) -> None:
    auth.register()
    other = _other(auth)
    first = other.register()
    again = _other(auth)
    second = again.register(name="Somebody Else", password="another long password")
    assert (first.status_code, first.location) == (second.status_code, second.location)
    assert _user(app, other.email).name == "Ada Lovelace"
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.count(User.id))) == 2


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("password", "elevenchars", "at least 12 characters"),
        ("password", "x" * 257, "at most 256"),
        ("password", "aaaaaaaaaaaaaaaa", "repeat so few"),
        ("password", "ada@example.org", "must not be the e-mail"),
        ("password", "ADA@EXAMPLE.ORG", "must not be the e-mail"),
        ("email", "no address", "e-mail address"),
        ("email", "", "e-mail address"),
        ("name", "   ", "1 to 120"),
        ("name", "x" * 121, "1 to 120"),
        ("password_again", "something else entirely", "passwords differ"),
    ],
)
def test_what_cannot_be_used_is_said_beside_what_was_typed(
    app: Flask, auth: Auth, field: str, value: str, sentence: str
) -> None:
    answer = auth.register(**{field: value})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422
    assert sentence in page
    assert PASSWORD not in page
    if field not in {"name", "email"}:
        assert 'value="Ada Lovelace"' in page
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.count(User.id))) == 0


def test_names_of_any_script_are_kept_and_escaped(app: Flask, auth: Auth) -> None:
    auth.register(name="Łucja <b>Öztürk</b> Ψ Жук\x00\n")
    assert _user(app, auth.email).name == "Łucja <b>Öztürk</b> Ψ Жук"
    auth.login()
    page = auth.client.get("/account").get_data(as_text=True)
    assert "<b>Öztürk" not in page
    assert "&lt;b&gt;Öztürk" in page


def test_the_address_is_the_same_in_any_case(auth: Auth) -> None:
    auth.register(email="Ada@Example.ORG")
    assert auth.login(email=" ADA@example.org ").status_code == 303


def test_production_hashes_have_six_hundred_thousand_rounds(settings: Settings) -> None:
    rounds = Settings.model_fields["password_rounds"].default
    assert rounds >= 600_000
    start = time.process_time()
    hashed = accounts.hash_password(PASSWORD, rounds)
    assert time.process_time() - start > 0.02
    assert hashed.startswith(f"$pbkdf2-sha256${rounds}$")
    assert pbkdf2_sha256.verify(PASSWORD, hashed)
    assert hashed != accounts.hash_password(PASSWORD, rounds)


def test_a_hash_of_fewer_rounds_is_renewed_at_sign_in(make_app: Callable[..., Flask]) -> None:
    old = make_app(password_rounds=1_000)
    Auth(old, old.test_client()).register()
    new = make_app(password_rounds=2_000)
    auth = Auth(new, new.test_client())
    assert auth.login(password="not the password").status_code == 403
    assert "$1000$" in _user(new, auth.email).password_hash
    assert auth.login().status_code == 303
    assert "$2000$" in _user(new, auth.email).password_hash
    auth.logout()
    assert auth.login().status_code == 303


@pytest.mark.parametrize("email", ["ada@example.org", "nobody@example.org", "no address", ""])
def test_a_wrong_password_and_an_unknown_address_sound_alike(auth: Auth, email: str) -> None:
    auth.register()
    answer = auth.client.post(
        "/login", data={"csrf_token": auth.token(), "email": email, "password": "wrong password"}
    )
    assert answer.status_code == 403
    assert "The e-mail address or the password is not right." in answer.get_data(as_text=True)


def test_an_unknown_address_takes_as_long_as_a_known_one(app: Flask, settings: Settings) -> None:
    slow = settings.model_copy(update={"password_rounds": 200_000})
    with app.app_context():
        accounts.register(db.session, slow, name="A", email="a@b.org", password=PASSWORD)

        def seconds(email: str) -> float:
            start = time.process_time()
            with pytest.raises(Exception, match="not right"):
                accounts.authenticate(db.session, slow, email=email, password="wrong password")
            return time.process_time() - start

        seconds("nobody@b.org")  # makes the decoy
        known = min(seconds("a@b.org") for _ in range(3))
        unknown = min(seconds("nobody@b.org") for _ in range(3))
    assert 0.5 < unknown / known < 2


def test_signing_in_and_out_is_in_the_audit_trail_without_names(app: Flask, auth: Auth) -> None:
    auth.register()
    auth.login(password="wrong password")
    auth.login(email="nobody@example.org")
    auth.login()
    auth.logout()
    assert _actions(app) == [
        "account.register",
        "account.sign_in_failed",
        "account.sign_in_failed",
        "account.sign_in",
        "account.sign_out",
    ]
    with app.app_context():
        rows = db.session.execute(sa.select(AuditEntry.__table__)).all()
        assert not re.search(r"\bada\b|lovelace|nobody|@", str(rows), re.IGNORECASE)
        assert audit.verify(db.session) == []


def test_signing_out_needs_a_form_of_this_site(auth: Auth) -> None:
    auth.enter()
    assert auth.client.get("/logout").status_code == 405
    assert auth.client.post("/logout").status_code == 400
    assert auth.client.get("/account").status_code == 200
    auth.logout()
    assert auth.client.get("/account").status_code == 303


def test_a_stolen_cookie_is_worthless_after_signing_out(app: Flask, auth: Auth) -> None:
    auth.enter()
    cookie = auth.client.get_cookie("marrow-find")
    assert cookie is not None
    thief = app.test_client()
    thief.set_cookie("marrow-find", cookie.value)
    assert thief.get("/account").status_code == 200
    auth.logout()
    assert thief.get("/account").status_code == 303


def test_the_cookie_changes_at_sign_in(auth: Auth) -> None:
    auth.register()
    auth.token()
    before = auth.client.get_cookie("marrow-find")
    old_token = auth.token()
    auth.login()
    after = auth.client.get_cookie("marrow-find")
    assert before is not None
    assert after is not None
    assert before.value != after.value
    stale = auth.client.post("/account", data={"csrf_token": old_token, "name": "X"})
    assert stale.status_code == 400


def test_a_forged_cookie_is_nobody(client: FlaskClient) -> None:
    client.set_cookie("marrow-find", "eyJzaWduX2luIjoiMSJ9.aaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbb")
    assert client.get("/account").status_code == 303


def test_changing_the_password_ends_every_other_session(auth: Auth) -> None:
    auth.enter()
    elsewhere = Auth(auth.app, auth.app.test_client())
    elsewhere.login()
    assert elsewhere.client.get("/account").status_code == 200
    new = "a new and longer password"
    form = {"action": "password", "current_password": PASSWORD}
    answer = auth.post("/account", form | {"password": new, "password_again": new})
    assert answer.status_code == 303
    assert auth.client.get("/account").status_code == 200
    assert elsewhere.client.get("/account").status_code == 303
    assert elsewhere.login().status_code == 403
    assert elsewhere.login(password=new).status_code == 303


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"current_password": "wrong password", "password": "a new and longer password"}, 403),
        ({"current_password": PASSWORD, "password": "short"}, 422),
        ({"current_password": PASSWORD, "password": PASSWORD}, 422),
        ({"current_password": PASSWORD, "password": "ada@example.org"}, 422),
        ({"current_password": PASSWORD, "password": "a new long one", "password_again": "x"}, 422),
    ],
)
def test_a_password_is_not_changed_carelessly(
    auth: Auth, form: dict[str, str], status: int
) -> None:
    auth.enter()
    assert auth.post("/account", {"action": "password"} | form).status_code == status
    auth.logout()
    assert auth.login().status_code == 303


def test_the_name_can_be_changed(app: Flask, auth: Auth) -> None:
    auth.enter()
    assert auth.post("/account", {"action": "name", "name": "Augusta Ada"}).status_code == 303
    assert _user(app, auth.email).name == "Augusta Ada"
    assert auth.post("/account", {"action": "name", "name": ""}).status_code == 422
    assert _user(app, auth.email).name == "Augusta Ada"


def test_a_session_ends_when_nobody_uses_it(app: Flask, auth: Auth) -> None:
    auth.enter()
    minutes = app.extensions["marrow_find"].settings.session_idle_minutes
    with auth.client.session_transaction() as kept:
        kept["seen_at"] = time.time() - minutes * 60 + 30
    assert auth.client.get("/account").status_code == 200
    with auth.client.session_transaction() as kept:
        assert time.time() - kept["seen_at"] < 10  # use prolongs it
        kept["seen_at"] = time.time() - minutes * 60 - 1
    assert auth.client.get("/account").status_code == 303


def test_a_session_ends_after_its_hours_however_busy(app: Flask, auth: Auth) -> None:
    from datetime import timedelta

    from utils.records.database import utc_now

    auth.enter()
    hours = app.extensions["marrow_find"].settings.session_hours
    with app.app_context():
        db.session.execute(
            sa.update(SignIn).values(started_at=utc_now() - timedelta(hours=hours, seconds=1))
        )
        db.session.commit()
    assert auth.client.get("/account").status_code == 303


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("/account", "/account"),
        ("/analyses?state=confirmed", "/analyses?state=confirmed"),
        ("", "/"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("/\\evil.example/", "/"),
        ("\\\\evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("/ok\r\nSet-Cookie: a=b", "/"),
        ("javascript:alert(1)", "/"),
        ("account", "/"),
    ],
)
def test_signing_in_leads_only_to_this_site(auth: Auth, target: str, place: str) -> None:
    auth.register()
    form = {"email": auth.email, "password": PASSWORD, "next": target}
    answer = auth.post("/login", form)
    assert (answer.status_code, answer.location) == (303, place)


def test_a_stranger_comes_back_to_where_they_wanted_to_go(auth: Auth) -> None:
    auth.register()
    sent = auth.client.get("/admin/audit?object=x")
    assert sent.status_code == 303
    form_page = auth.client.get(sent.location).get_data(as_text=True)
    assert 'value="/admin/audit?object=x"' in form_page


def test_who_is_signed_in_needs_no_sign_in_page(auth: Auth) -> None:
    auth.enter()
    assert auth.client.get("/login").status_code == 303
    assert auth.client.get("/register").status_code == 303


def test_a_disabled_account_is_out_at_once(app: Flask, auth: Auth) -> None:
    auth.enter()
    other = auth.as_role("technician")
    assert other.client.get("/account").status_code == 200
    public_id = _user(app, other.email).public_id
    assert auth.post(f"/admin/users/{public_id}/disable").status_code == 303
    assert other.client.get("/account").status_code == 303
    refused = other.login()
    assert refused.status_code == 403
    assert "disabled" in refused.get_data(as_text=True)
    assert auth.post(f"/admin/users/{public_id}/enable").status_code == 303
    assert other.login().status_code == 303
