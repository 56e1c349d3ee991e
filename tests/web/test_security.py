"""The guards: sign-in first, CSRF, headers, cookies, hosts, sizes, attempts."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from tests.conftest import Auth
from utils.web.security import CONTENT_SECURITY_POLICY, MOST_FORM_BYTES, PUBLIC_ENDPOINTS

_SAMPLES = {
    "filename": "css/base.css", "action": "approve", "name": "all4", "version": "1",
    "figure": "curves", "file": "curves", "number": "1", "epoch": "1", "step": "pause",
}  # fmt: skip


def _address(app: Flask, rule: Rule) -> str:
    values = {name: _SAMPLES.get(name, "AAAAAAAAAAAAAAAAAAAAAA") for name in rule.arguments}
    with app.test_request_context():
        from flask import url_for

        return url_for(rule.endpoint, **values)


def _visits(app: Flask) -> list[tuple[str, str, str]]:
    return [
        (rule.endpoint, method, _address(app, rule))
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]


def test_every_route_but_the_few_public_ones_asks_to_sign_in(app: Flask) -> None:
    guarded = [visit for visit in _visits(app) if visit[0] not in PUBLIC_ENDPOINTS]
    assert len(guarded) >= 10
    for endpoint, method, address in guarded:
        page = app.test_client().open(address, method=method)
        assert page.status_code == 303, endpoint
        assert page.location.startswith("/login"), endpoint
        program = app.test_client().open(
            address, method=method, headers={"Accept": "application/json"}
        )
        assert program.status_code == 401, endpoint
        assert program.json["code"] == "sign_in_first"


def test_the_public_routes_exist(app: Flask) -> None:
    there = {rule.endpoint for rule in app.url_map.iter_rules()}
    assert there >= PUBLIC_ENDPOINTS


def test_every_form_needs_a_token(app: Flask, auth: Auth) -> None:
    auth.enter()
    for endpoint, method, address in _visits(app):
        if method != "POST" or endpoint in {"accounts.login", "accounts.register"}:
            continue
        answer = auth.client.post(address, data={"csrf_token": "wrong"})
        assert answer.status_code == 400, endpoint
        assert "reload it" in answer.get_data(as_text=True)
    stranger = app.test_client()
    for address in ("/login", "/register"):
        assert stranger.post(address, data={"email": "a@b.org"}).status_code == 400


@pytest.mark.parametrize(
    "address", ["/login", "/register", "/health", "/about", "/nothing-here", "/verify/unknown"]
)
def test_every_answer_has_the_headers(client: FlaskClient, address: str) -> None:
    headers = client.get(address).headers
    assert headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "camera=()" in headers["Permissions-Policy"]
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert "Strict-Transport-Security" not in headers


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere() -> None:
    directives = dict(part.split(" ", 1) for part in CONTENT_SECURITY_POLICY.split("; "))
    assert directives["default-src"] == "'none'"
    assert directives["frame-ancestors"] == directives["base-uri"] == "'none'"
    assert not re.search(r"unsafe|https?:|\*", CONTENT_SECURITY_POLICY)


def test_no_template_has_inline_script_or_style(app: Flask) -> None:
    from pathlib import Path

    pages = sorted(Path(app.root_path, app.template_folder or "").rglob("*.html"))
    assert len(pages) >= 8
    inline = re.compile(r"\son[a-z]+=|\sstyle=|<style|<script(?![^>]*\ssrc=)|javascript:", re.I)
    for page in pages:
        found = inline.search(page.read_text(encoding="utf-8"))
        assert not found, f"{page.name}: {found.group(0)}"


def test_static_files_may_be_kept_but_are_asked_for(client: FlaskClient) -> None:
    answer = client.get("/static/css/base.css")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.headers["ETag"]
    answer.close()


def test_cookies_over_http(auth: Auth) -> None:
    auth.enter()
    cookie = auth.client.get_cookie("marrow-find")
    assert cookie is not None
    assert cookie.http_only
    assert cookie.same_site == "Lax"
    assert not cookie.secure


def test_an_https_site_has_secure_cookies_and_hsts(make_app: Callable[..., Flask]) -> None:
    app = make_app(public_url="https://marrow.example.org")
    client = app.test_client()
    answer = client.get("/login", base_url="https://marrow.example.org")
    assert answer.status_code == 200
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-marrow-find=")
    assert "Secure" in cookie
    assert "HttpOnly" in cookie
    assert "Domain" not in cookie


def test_only_known_host_names_are_answered(make_app: Callable[..., Flask]) -> None:
    app = make_app(public_url="https://marrow.example.org")
    assert app.test_client().get("/login", base_url="https://evil.example").status_code == 400
    assert app.test_client().get("/health", base_url="http://127.0.0.1:8000").status_code != 400
    listed = make_app(trusted_hosts="a.example, b.example")
    assert listed.test_client().get("/login", base_url="http://b.example").status_code == 200
    assert listed.test_client().get("/login", base_url="http://c.example").status_code == 400


def test_forwarded_headers_count_only_from_trusted_proxies(make_app: Callable[..., Flask]) -> None:
    from flask import request

    said = {"X-Forwarded-For": "9.9.9.9", "X-Forwarded-Proto": "https"}
    for proxies, address, scheme in ((0, "127.0.0.1", "http"), (1, "9.9.9.9", "https")):
        app = make_app(trusted_proxies=proxies)
        seen: list[tuple[str | None, str]] = []
        app.before_request(lambda seen=seen: seen.append((request.remote_addr, request.scheme)))
        app.test_client().get("/health", headers=said)
        assert seen == [(address, scheme)]


def test_only_the_upload_takes_more_than_a_form(auth: Auth) -> None:
    auth.enter()
    token = auth.token()
    large = {"csrf_token": token, "action": "name", "name": "x" * (MOST_FORM_BYTES + 1)}
    answer = auth.client.post("/account", data=large)
    assert answer.status_code == 413
    assert "<h1" in answer.get_data(as_text=True)


def test_a_stranger_cannot_make_the_program_read_an_upload(client: FlaskClient) -> None:
    class Unreadable(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise AssertionError("the body of a stranger's request was read")

        readline = readinto = read  # type: ignore[assignment]

    answer = client.post(
        "/upload", input_stream=Unreadable(), content_length=10_000_000,
        content_type="multipart/form-data; boundary=x",
    )  # fmt: skip
    assert answer.status_code == 303


@pytest.fixture
def strict(make_app: Callable[..., Flask]) -> Auth:
    app = make_app(login_attempts_per_minute=3, login_attempts_per_address=8)
    auth = Auth(app, app.test_client())
    auth.register()
    return auth


def _attempt(auth: Auth, email: str, password: str, address: str) -> int:
    return auth.post(
        "/login", {"email": email, "password": password},
        environ_overrides={"REMOTE_ADDR": address},
    ).status_code  # fmt: skip


def test_attempts_for_one_account_are_limited_from_wherever(strict: Auth) -> None:
    tries = [_attempt(strict, strict.email, "wrong password", f"10.0.0.{n}") for n in range(5)]
    assert tries == [403, 403, 403, 429, 429]
    assert _attempt(strict, strict.email.upper(), strict.password, "10.0.0.9") == 429
    # Another account is not touched by it.
    assert _attempt(strict, "grace@example.org", "wrong password", "10.0.0.9") == 403


def test_attempts_from_one_address_are_limited_whoever(strict: Auth) -> None:
    tries = [_attempt(strict, f"p{n}@example.org", "wrong", "10.0.0.1") for n in range(9)]
    assert tries == [403] * 8 + [429]
    assert _attempt(strict, strict.email, strict.password, "10.0.0.2") == 303


def test_signing_in_is_not_limited_by_signing_in(strict: Auth) -> None:
    for _ in range(6):
        assert strict.login().status_code == 303
        strict.logout()


def test_the_page_of_too_many_attempts(strict: Auth) -> None:
    for _ in range(3):
        strict.login(password="wrong password")
    answer = strict.login()
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "60"
    assert "Too many attempts" in answer.get_data(as_text=True)


def test_guessing_ones_own_password_is_limited(make_app: Callable[..., Flask]) -> None:
    app = make_app(login_attempts_per_minute=3)
    auth = Auth(app, app.test_client())
    auth.enter()
    form = {"action": "password", "current_password": "wrong", "password": "a new long password"}
    assert [auth.post("/account", form).status_code for _ in range(4)] == [403, 403, 403, 429]


def test_registrations_from_one_address_are_limited(make_app: Callable[..., Flask]) -> None:
    app = make_app(login_attempts_per_address=3)
    auth = Auth(app, app.test_client())
    tries = [auth.register(email=f"p{n}@example.org").status_code for n in range(4)]
    assert tries == [303, 303, 303, 429]
