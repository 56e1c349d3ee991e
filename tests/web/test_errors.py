"""Errors: one table decides, a page or JSON tells, nothing leaks."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from flask import Flask, abort

from tests.conftest import Auth
from utils import errors
from utils.errors import MarrowFindError
from utils.web.errors import STATUS, TITLES, problem_of, status_of


def _family(kind: type[MarrowFindError]) -> Iterator[type[MarrowFindError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _family(child)


def test_every_error_has_its_own_code_and_a_status_in_the_table() -> None:
    family = [kind for kind in _family(MarrowFindError) if kind.__module__ == errors.__name__]
    assert set(family) == set(STATUS)
    codes = [kind.default_code for kind in family]
    assert len(codes) == len(set(codes))
    assert all(code.replace("_", "").isalpha() and code.islower() for code in codes)
    assert set(STATUS.values()) <= set(TITLES)


def test_a_subclass_that_is_not_listed_has_the_status_of_the_next_above() -> None:
    class OddImage(errors.TruncatedImage):
        pass

    assert status_of(OddImage("x")) == 422
    assert status_of(errors.StorageFull("x")) == 507


def test_a_finer_code_is_kept() -> None:
    problem = problem_of(errors.Conflict("Twice.", code="case_signed"))
    assert (problem.status, problem.code, problem.message) == (409, "case_signed", "Twice.")


@pytest.fixture
def faulty(app: Flask, auth: Auth) -> Auth:
    """The application with one page for each way of failing."""

    def fail(number: str) -> str:
        kinds = {kind.default_code: kind for kind in _family(MarrowFindError)}
        if number in kinds:
            raise kinds[number]("A sentence <b>for</b> the person.")
        if number == "bug":
            raise RuntimeError("secret: Erika Mustermann")
        abort(int(number))

    app.add_url_rule("/fail/<number>", view_func=fail)
    auth.enter()
    return auth


@pytest.mark.parametrize("kind", list(STATUS), ids=lambda kind: kind.__name__)
def test_the_programs_errors_as_page_and_as_json(faulty: Auth, kind: type[MarrowFindError]) -> None:
    page = faulty.client.get(f"/fail/{kind.default_code}")
    assert page.status_code == STATUS[kind]
    text = page.get_data(as_text=True)
    assert "A sentence &lt;b&gt;for&lt;/b&gt; the person." in text
    assert TITLES[page.status_code] in text
    program = faulty.client.get(
        f"/fail/{kind.default_code}", headers={"Accept": "application/json"}
    )
    assert program.status_code == STATUS[kind]
    assert program.json == {
        "code": kind.default_code, "message": "A sentence <b>for</b> the person."
    }  # fmt: skip


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 408, 413, 415, 422, 429, 500, 503])
def test_the_frameworks_errors_as_page_and_as_json(faulty: Auth, status: int) -> None:
    page = faulty.client.get(f"/fail/{status}")
    assert page.status_code == status
    assert TITLES[status] in page.get_data(as_text=True)
    program = faulty.client.get(f"/fail/{status}", headers={"Accept": "application/json"})
    assert program.status_code == status
    assert set(program.json) == {"code", "message"}


def test_a_fault_of_the_program_tells_nothing_of_itself(
    faulty: Auth, caplog: pytest.LogCaptureFixture
) -> None:
    faulty.app.testing = False
    for accept in ("text/html", "application/json"):
        answer = faulty.client.get("/fail/bug?patient=Mustermann", headers={"Accept": accept})
        assert answer.status_code == 500
        assert "Mustermann" not in answer.get_data(as_text=True)
        assert "Traceback" not in answer.get_data(as_text=True)
    assert "unforeseen error in fail" in caplog.text
    assert "/fail/bug?patient" not in caplog.text


def test_busy_says_when_to_come_back(faulty: Auth) -> None:
    assert faulty.client.get("/fail/database_busy").headers["Retry-After"] == "2"
    assert "Retry-After" not in faulty.client.get("/fail/not_found").headers


def test_a_wrong_method_says_which_are_right(auth: Auth) -> None:
    auth.enter()
    answer = auth.client.get("/logout")
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


def test_the_error_page_survives_a_broken_template(
    app: Flask, auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jinja2 import DictLoader

    def fail() -> str:
        raise errors.StorageFailed("The <disk> is gone.")

    app.add_url_rule("/fail", view_func=fail)
    auth.enter()
    monkeypatch.setattr(app, "jinja_loader", DictLoader({"errors/error.html": "{{ 1 / 0 }}"}))
    app.jinja_env.loader = app.jinja_loader
    if app.jinja_env.cache is not None:
        app.jinja_env.cache.clear()
    answer = auth.client.get("/fail")
    assert answer.status_code == 500
    assert "The &lt;disk&gt; is gone." in answer.get_data(as_text=True)


def test_a_missing_page_is_missing_for_strangers_too(app: Flask) -> None:
    answer = app.test_client().get("/nothing-here", headers={"Accept": "application/json"})
    assert answer.status_code == 404
    assert json.loads(answer.data)["code"] == "not_found"
