"""The tutor's pages: ask with and without a script, read on, export, delete; nobody else's."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.conftest import Auth
from tests.tutor.language_server import Handler, language_server, says
from tests.web.test_upload import text_of
from utils.imaging.morphometry import COLUMNS
from utils.records import TutorConversation, TutorTurn, db
from utils.records.users import ROLES
from utils.tutor import passages
from utils.tutor.passages import shipped_corpus
from utils.web.tutor import explain_measure
from utils.workflow import wording

QUESTION = "How big is a promyelocyte?"
JSON = {"Accept": "application/json"}


def ask(person: Auth, question: str = QUESTION, **fields: str) -> str:
    """Ask by the form; give the address of the conversation."""
    answer = person.post("/tutor/questions", {"question": question, **fields})
    assert answer.status_code == 303, answer.get_data(as_text=True)
    return answer.headers["Location"].split("#")[0]


def _script(person: Auth, question: str = QUESTION, **fields: Any) -> Any:
    headers = {**JSON, "X-CSRFToken": person.token()}
    return person.client.post(
        "/tutor/questions", json={"question": question, **fields}, headers=headers
    )


def test_a_question_by_the_form(auth: Auth) -> None:
    auth.enter()
    address = ask(auth)
    page = text_of(auth.client.get(address))
    assert QUESTION in page
    assert "Promyelocyte: Size" in page
    assert "For Research Use Only" in page
    again = ask(auth, "And its nucleus?", conversation=address.rsplit("/", 1)[1])
    assert again == address
    assert "Promyelocyte: Nucleus" in text_of(auth.client.get(address))


def test_a_question_by_the_script_gives_the_same(auth: Auth) -> None:
    auth.enter()
    said = _script(auth, key="k1").get_json()
    assert said["rewrite"] is None
    assert "Promyelocyte: Size" in html.unescape(said["turn"])
    page = auth.client.get(said["url"]).get_data(as_text=True)
    assert re.sub(r"\s+", " ", said["turn"]) in re.sub(r"\s+", " ", page)


def test_sent_twice_is_asked_once(app: Flask, auth: Auth) -> None:
    auth.enter()
    first, second = (_script(auth, key="same").get_json() for _ in range(2))
    assert first == second
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.count(TutorTurn.id))) == 1
    stranger = auth.as_role("trainee")
    assert _script(stranger, key="same").status_code == 404


def test_the_same_key_with_another_question_is_refused_and_not_lost(auth: Auth) -> None:
    auth.enter()
    assert _script(auth, key="k").status_code == 200
    answer = _script(auth, "What is a blast?", key="k")
    assert answer.status_code == 409
    assert answer.get_json()["code"] == "key_used"


@pytest.mark.parametrize("field", ["key", "conversation"])
@pytest.mark.parametrize("value", ["\ud800", "a\x00b", "a/b", "k" * 65])
def test_crafted_fields_are_refused(auth: Auth, field: str, value: str) -> None:
    auth.enter()
    assert _script(auth, **{field: value}).status_code == 422


def test_a_question_of_odd_characters_is_kept_without_them(auth: Auth) -> None:
    auth.enter()
    said = _script(auth, "How big\x00 is a \ud800promyelocyte?", key="k")
    assert said.status_code == 200
    assert QUESTION in text_of(auth.client.get(said.get_json()["url"]))


@pytest.mark.parametrize(
    ("question", "code"),
    [("", "no_question"), ("   ", "no_question"), ("a" * 501, "question_too_long")],
)
def test_no_question_and_too_long_a_one(auth: Auth, question: str, code: str) -> None:
    auth.enter()
    answer = _script(auth, question)
    assert answer.status_code == 422
    assert answer.get_json()["code"] == code


def test_a_body_that_is_none_is_refused(auth: Auth) -> None:
    auth.enter()
    headers = {**JSON, "X-CSRFToken": auth.token(), "Content-Type": "application/json"}
    for body in ("[1]", "{", "null"):
        answer = auth.client.post("/tutor/questions", data=body, headers=headers)
        assert answer.status_code in (400, 422), body
    assert auth.client.post("/tutor/questions", data={"question": "x"}).status_code == 400


@pytest.mark.parametrize("role", ROLES)
def test_a_conversation_is_its_owners_alone(auth: Auth, role: str) -> None:
    auth.enter()
    other = auth.as_role(role)
    address = ask(other)
    assert other.client.get(address).status_code == 200
    identity = address.rsplit("/", 1)[1]
    assert auth.client.get(address).status_code == 404
    for kind in ("md", "json"):
        assert auth.client.get(f"{address}/export.{kind}").status_code == 404
        assert other.client.get(f"{address}/export.{kind}").status_code == 200
    assert auth.post(f"{address}/delete").status_code == 404
    fields = {"question": QUESTION, "conversation": identity}
    assert auth.post("/tutor/questions", fields).status_code == 404
    assert identity not in text_of(auth.client.get("/tutor"))


def test_it_is_deleted_for_good(app: Flask, auth: Auth) -> None:
    auth.enter()
    first, second = ask(auth), ask(auth, "What is a blast?")
    assert auth.post(f"{first}/delete").status_code == 303
    assert auth.client.get(first).status_code == 404
    assert auth.client.get(second).status_code == 200
    stranger = auth.as_role("trainee")
    kept = ask(stranger)
    assert auth.post("/tutor/conversations/delete").status_code == 303
    assert auth.client.get(second).status_code == 404
    assert stranger.client.get(kept).status_code == 200
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.count(TutorConversation.id))) == 1
        assert db.session.scalar(sa.select(sa.func.count(TutorTurn.id))) == 1


def test_it_is_exported_whole(auth: Auth) -> None:
    auth.enter()
    address = ask(auth)
    ask(auth, "Does my son have leukemia?", conversation=address.rsplit("/", 1)[1])
    answer = auth.client.get(f"{address}/export.json")
    assert "attachment" in answer.headers["Content-Disposition"]
    data = answer.get_json()
    assert [turn["kind"] for turn in data["turns"]] == ["answer", "refused"]
    assert data["turns"][0]["passages"][0]["title"] == "Promyelocyte: Size"
    written = text_of(auth.client.get(f"{address}/export.md"))
    assert QUESTION in written
    assert "Promyelocyte: Size" in written
    assert auth.client.get(f"{address}/export.pdf").status_code == 404


def test_older_conversations_are_reached_by_paging(auth: Auth) -> None:
    auth.enter()
    for number in range(53):
        assert (
            _script(auth, f"What is a blast, number {number}?", key=f"k{number}").status_code == 200
        )
    first = text_of(auth.client.get("/tutor"))
    assert "Delete all 53" in first
    assert first.count("talks__row") == 50
    further = re.search(r'href="(/tutor\?before=\d+)"', first)
    assert further
    assert text_of(auth.client.get(further[1])).count("talks__row") == 3


def test_a_refusal_and_what_is_not_known(auth: Auth) -> None:
    auth.enter()
    page = text_of(auth.client.get(ask(auth, "Does this patient have leukaemia?")))
    assert "I do not say what a patient has" in page
    page = text_of(auth.client.get(ask(auth, "Who won the world cup in football?")))
    assert "I don't know" in html.unescape(page)


@pytest.mark.parametrize("name", sorted(shipped_corpus().topics))
def test_every_topic_has_its_page(reader: Auth, name: str) -> None:
    answer = reader.client.get(f"/tutor/topics/{name}")
    assert answer.status_code == 200
    page = answer.get_data(as_text=True)
    for passage in shipped_corpus().topics[name].passages:
        assert f'id="{passage.section}"' in page


@pytest.fixture(scope="module")
def reader(request: pytest.FixtureRequest) -> Iterator[Auth]:
    """One signed-in person for all topics: signing in costs more than a page."""
    from app import create_app
    from tests.conftest import close_app, make_settings

    folder = request.getfixturevalue("tmp_path_factory").mktemp("reader")
    app = create_app(make_settings(folder, request.getfixturevalue("models_dir")))
    person = Auth(app, app.test_client())
    person.enter()
    yield person
    close_app(app)


def test_a_topic_that_is_none(auth: Auth) -> None:
    auth.enter()
    assert auth.client.get("/tutor/topics/unicorn").status_code == 404


def test_the_start_page_lists_every_topic_and_fills_in_a_question(auth: Auth) -> None:
    auth.enter()
    page = text_of(auth.client.get("/tutor?q=What+is+a+blast%3F"))
    assert 'value="What is a blast?"' in page
    for topic in shipped_corpus().topics.values():
        assert f"/tutor/topics/{topic.name}" in page


def test_a_page_of_an_analysis_leads_to_the_passages(
    auth: Auth, add_analysis: Callable[..., str]
) -> None:
    auth.enter()
    analysis = add_analysis(auth.user_id, flags=sorted(wording.known_flags()))
    page = auth.client.get(f"/analyses/{analysis}").get_data(as_text=True)
    links = set(re.findall(r'class="explain" href="([^"]+)"', page))
    assert {"/tutor/topics/pre_b", "/tutor/topics/flags#out_of_focus"} <= links
    assert {"/tutor/topics/calibration#summary", "/tutor/topics/field_count#summary"} <= links
    for link in links:
        address, _, section = link.partition("#")
        answer = auth.client.get(address)
        assert answer.status_code == 200, link
        assert f'id="{section}"' in answer.get_data(as_text=True) or not section, link


def test_a_faulty_corpus_takes_no_result_away(
    auth: Auth, add_analysis: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    auth.enter()
    analysis = add_analysis(auth.user_id, flags=["out_of_focus"])
    (tmp_path / "sources.toml").write_text("")
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "blast.md").write_text("no head")
    monkeypatch.setattr(passages, "CORPUS", tmp_path)
    passages.shipped_corpus.cache_clear()
    try:
        page = auth.client.get(f"/analyses/{analysis}")
        assert page.status_code == 200
        assert "explain" not in page.get_data(as_text=True)
        assert auth.client.get("/tutor").status_code == 500
    finally:
        passages.shipped_corpus.cache_clear()


@pytest.mark.parametrize("column", [column.name for column in COLUMNS])
def test_each_measurement_is_explained(app: Flask, column: str) -> None:
    with app.test_request_context():
        assert explain_measure(column), column


def test_too_many_questions_are_throttled(make_app: Callable[..., Flask]) -> None:
    app = make_app(tutor_questions_per_minute=2)
    person = Auth(app, app.test_client())
    person.enter()
    statuses = [_script(person, key=f"k{i}").status_code for i in range(3)]
    assert statuses == [200, 200, 429]


class TestWithALanguageNetwork:
    """A real server on this machine writes the answer, or fails to."""

    def _app(self, make_app: Callable[..., Flask], address: str) -> Auth:
        app = make_app(tutor_endpoint=address, tutor_network="small", tutor_seconds=2)
        person = Auth(app, app.test_client())
        person.enter()
        return person

    def test_it_writes_for_the_form(self, make_app: Callable[..., Flask]) -> None:
        with language_server(says("It is a large cell [1].")) as (address, asked):
            person = self._app(make_app, address)
            page = text_of(person.client.get(ask(person)))
        assert "It is a large cell." in page
        assert "Written by the language network small" in page
        assert len(asked) == 1

    def test_it_streams_for_the_script(self, make_app: Callable[..., Flask]) -> None:
        with language_server(says("It is large [1]. It is round [2].")) as (address, _):
            person = self._app(make_app, address)
            said = _script(person, key="k").get_json()
            assert "Promyelocyte: Size" in html.unescape(said["turn"])
            headers = {"X-CSRFToken": person.token()}
            answer = person.client.post(said["rewrite"], json={}, headers=headers)
            events = re.findall(r"event: (\w+)\ndata: (.*)\n\n", answer.get_data(as_text=True))
        assert [name for name, _ in events] == ["sentence", "sentence", "turn"]
        assert json.loads(events[0][1]) == {"text": "It is large."}
        whole = html.unescape(json.loads(events[2][1])["turn"])
        assert "It is large." in whole
        assert "Written by the language network small" in whole
        # Asked again it is not written again.
        again = person.client.post(said["rewrite"], json={}, headers=headers)
        assert again.get_data(as_text=True).count("event:") == 1

    def test_its_failure_is_said_and_the_passages_answer(
        self, make_app: Callable[..., Flask]
    ) -> None:
        with language_server(says("It is large [44].")) as (address, _):
            person = self._app(make_app, address)
            page = text_of(person.client.get(ask(person)))
        assert "by itself" in page
        assert "Promyelocyte: Size" in page
        person = self._app(make_app, "http://127.0.0.1:9/v1")
        page = text_of(person.client.get(ask(person)))
        assert "cannot be reached" in page
        assert "Promyelocyte: Size" in page

    def test_what_is_deleted_while_it_is_written_stays_deleted(
        self, make_app: Callable[..., Flask]
    ) -> None:
        app_of: list[Auth] = []

        def speak(handler: Handler) -> None:
            person = app_of[0]
            assert person.post("/tutor/conversations/delete").status_code == 303
            _script(person, "What is a myelocyte?", key="other")
            says("It is large [1].")(handler)

        with language_server(speak) as (address, _):
            person = self._app(make_app, address)
            app_of.append(Auth(person.app, person.client))
            said = _script(person, key="k").get_json()
            headers = {"X-CSRFToken": person.token()}
            answer = person.client.post(said["rewrite"], json={}, headers=headers)
            assert "event: turn" not in answer.get_data(as_text=True)
        with person.app.app_context():
            turn = db.session.scalars(sa.select(TutorTurn)).one()
            assert turn.question == "What is a myelocyte?"
            assert turn.answer["writer"] == "embedded"

    def test_it_is_not_asked_what_is_refused_or_not_known(
        self, make_app: Callable[..., Flask]
    ) -> None:
        with language_server(says("Yes [1].")) as (address, asked):
            person = self._app(make_app, address)
            ask(person, "Does this patient have leukaemia?")
            ask(person, "Who won the world cup in football?")
            said = _script(person, "Has my daughter cancer?", key="k").get_json()
        assert asked == []
        assert said["rewrite"] is None

    def test_nothing_of_a_case_is_ever_sent(
        self, make_app: Callable[..., Flask], upload: Callable[[Auth], str]
    ) -> None:
        with language_server(says("It is large [1].")) as (address, asked):
            person = self._app(make_app, address)
            analysis = upload(person)
            ask(person, "What is the blast threshold for Smithers, accession B26-4711?")
            ask(person, "How is the report of a case made?")
        sent = json.dumps(asked, ensure_ascii=False)
        assert asked
        for word in ("Smithers", "4711", analysis, person.email, "Ada"):
            assert word not in sent

    def test_the_key_stands_in_no_page_and_no_log(
        self,
        make_app: Callable[..., Flask],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        app = make_app(
            tutor_endpoint="http://127.0.0.1:9/v1", tutor_network="small", tutor_key="sesame-open"
        )
        person = Auth(app, app.test_client())
        person.enter()
        address = ask(person)
        for page in ("/tutor", address):
            assert "sesame" not in text_of(person.client.get(page))
        assert "sesame" not in caplog.text
        assert "promyelocyte" not in caplog.text
        assert "sesame" not in repr(app.extensions["marrow_find"].settings)


def test_reference_cells_of_a_class_are_those_one_may_see(
    app: Flask, auth: Auth, add_analysis: Callable[..., str], tmp_path: Path
) -> None:
    from tests.workflow.conftest import cell_values
    from utils.records import Analysis, Cell

    auth.enter()
    trainee = auth.as_role("trainee")
    analysis_id = add_analysis(auth.user_id)
    with app.app_context():
        analysis = db.session.scalars(
            sa.select(Analysis).where(Analysis.public_id == analysis_id)
        ).one()
        row = cell_values(analysis, "PMO")
        row |= {"review_state": "confirmed", "reviewed_code": "PMO"}
        db.session.add(Cell(number=1, **row))
        db.session.commit()
    place = f"/analyses/{analysis_id}/cells/1.jpg"
    assert place in auth.client.get("/tutor/topics/promyelocyte").get_data(as_text=True)
    assert place not in trainee.client.get("/tutor/topics/promyelocyte").get_data(as_text=True)
