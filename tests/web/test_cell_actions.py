"""The address for what a person does to cells: with script and without, for each role."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from tests.conftest import Auth
from tests.web.test_cells_pages import do_the_work
from tests.web.test_upload import send, text_of
from utils.records import Cell, CellEvent, db
from utils.records.users import ROLES
from utils.settings import Settings

_SEES_ALL = {"administrator", "pathologist", "technician"}
_CHANGES_ALL = {"administrator", "pathologist"}
_keys = itertools.count(1)


@pytest.fixture
def place(app: Flask, auth: Auth, settings: Settings, smear: bytes) -> str:
    """The page of a field whose cells were found."""
    auth.enter()
    address = str(send(auth, (smear, "field.jpg")).location)
    do_the_work(app, settings)
    return address


def act(auth: Auth, place: str, **body: Any) -> TestResponse:
    row = {"key": f"key-{next(_keys):08d}"} | body
    return send_json(auth, place, row)


def send_json(auth: Auth, place: str, body: Any) -> TestResponse:
    headers = {"Accept": "application/json", "X-CSRFToken": auth.token()}
    return auth.client.post(f"{place}/cells/act", json=body, headers=headers)


def test_naming_splitting_and_undoing_by_script(app: Flask, auth: Auth, place: str) -> None:
    answer = act(auth, place, action="correct", code="BLA", cells=[1, 2], seen=0)
    assert answer.status_code == 200
    assert answer.json is not None
    assert answer.json["sentence"] == "Cells 1 and 2 called Blast."
    seen = answer.json["seen"]
    section = text_of(auth.client.get(f"{place}/cells"))
    assert section.count("cells__cell--corrected") == 2
    assert f'data-seen="{seen}"' in section
    answer = act(auth, place, action="split", cells=[3], seen=seen)
    assert answer.json is not None
    assert answer.json["sentence"].startswith("Cell 3 split into ")
    assert len(answer.json["added"]) == 2
    gone = text_of(auth.client.get(f"{place}/cells"))
    assert 'id="cell-3"' not in gone
    assert "drawn" in gone
    answer = act(auth, place, action="undo", seen=answer.json["seen"])
    assert answer.status_code == 200
    assert 'id="cell-3"' in text_of(auth.client.get(f"{place}/cells"))


def test_the_same_without_script(app: Flask, auth: Auth, place: str) -> None:
    page = text_of(auth.client.get(place))
    for word in ("Confirm", "Split", "Merge", "Remove", "Undo", "Blast", "Lymphocyte"):
        assert word in page
    form = {"do": "correct:LYT", "cells": ["1", "4"], "key": "form-key-0001", "seen": "0"}
    answer = auth.post(f"{place}/cells/act", form)
    assert (answer.status_code, answer.location) == (303, f"{place}#cells")
    page = text_of(auth.client.get(place))
    assert "Cells 1 and 4 called Lymphocyte." in page
    assert page.count("cells__cell--corrected") == 2
    # Sent again by a second click on an old page: nothing happens twice.
    assert auth.post(f"{place}/cells/act", form).status_code == 303
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.count(CellEvent.id))) == 1


def test_what_was_done_meanwhile_is_said(auth: Auth, place: str) -> None:
    act(auth, place, action="correct", code="BLA", cells=[1], seen=0)
    answer = act(auth, place, action="correct", code="MON", cells=[1], seen=0)
    assert answer.status_code == 409
    assert "changed the cells of this field" in answer.get_data(as_text=True)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"action": "explode", "cells": [1]},
        {"action": "correct", "code": "BLA", "cells": "1"},
        {"action": "correct", "code": "BLA", "cells": ["one"]},
        {"action": "correct", "code": "BLA", "cells": [True]},
        {"action": "correct", "code": "", "cells": [1]},
        {"action": "correct", "code": "BLA", "cells": list(range(1, 6000))},
        {"action": "split", "cells": [1, 2]},
        {"action": "add", "x": "far", "y": 3},
        {"action": "add", "x": 1e12, "y": 3},
        {"action": "find_again", "distance": 0},
        {"action": "find_again", "distance": "12.5"},
        {"action": "undo", "key": "short"},
        {"action": "undo", "seen": "now"},
        {"action": "confirm", "cells": [1], "reason": "x" * 1001},
    ],
)
def test_nonsense_is_refused_in_a_sentence(
    app: Flask, auth: Auth, place: str, body: dict[str, Any]
) -> None:
    answer = act(auth, place, **body)
    assert answer.status_code == 422
    assert answer.json is not None
    assert answer.json["message"].endswith(".")
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.count(CellEvent.id))) == 0


def test_no_json_object_is_refused(auth: Auth, place: str) -> None:
    assert send_json(auth, place, ["undo"]).status_code == 422


@pytest.mark.parametrize("role", ROLES)
def test_each_role(app: Flask, auth: Auth, place: str, role: str) -> None:
    person = auth.as_role(role)
    wanted = 404 if role not in _SEES_ALL else 200 if role in _CHANGES_ALL else 403
    assert act(person, place, action="remove", cells=[1]).status_code == wanted
    preview = person.client.get(f"{place}/cells/preview?distance=12")
    assert preview.status_code == wanted


def test_a_preview_keeps_nothing(app: Flask, auth: Auth, place: str) -> None:
    with app.app_context():
        before = db.session.scalar(sa.select(sa.func.count(Cell.id)))
    few = auth.client.get(f"{place}/cells/preview?distance=90").json
    many = auth.client.get(f"{place}/cells/preview?distance=4").json
    assert few is not None
    assert many is not None
    assert 0 < few["count"] <= many["count"]
    assert len(many["outlines"]) == many["count"]
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.count(Cell.id))) == before
    assert auth.client.get(f"{place}/cells/preview?distance=many").status_code == 422


def test_a_cell_page_names_confirms_and_tells_its_history(auth: Auth, place: str) -> None:
    page = text_of(auth.client.get(f"{place}/cells/2"))
    assert "Give this cell a class" in page
    act(auth, place, action="correct", code="MON", cells=[2], reason="folded nucleus")
    page = text_of(auth.client.get(f"{place}/cells/2"))
    assert "Cell 2 called Monocyte." in page
    assert "folded nucleus" in page
    act(auth, place, action="remove", cells=[2])
    page = text_of(auth.client.get(f"{place}/cells/2"))
    assert "not in this field any more" in page
    assert "Give this cell a class" not in page
