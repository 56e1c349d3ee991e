"""Sending images: one, many, again, into a case; with and without scripts."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from tests.conftest import Auth
from utils.records import Analysis, AuditEntry, Case, User, db

JSON = {"Accept": "application/json"}


def send(auth: Auth, *images: tuple[bytes, str], **fields: Any) -> TestResponse:
    """Send the upload form as a browser without scripts does."""
    headers = fields.pop("headers", None)
    data = {"images": [(io.BytesIO(data), name) for data, name in images], **fields}
    return auth.post("/upload", data, content_type="multipart/form-data", headers=headers)


def rows(app: Flask) -> list[Analysis]:
    with app.app_context():
        return list(db.session.scalars(sa.select(Analysis).order_by(Analysis.id)))


def cases(app: Flask) -> list[Case]:
    with app.app_context():
        return list(db.session.scalars(sa.select(Case).order_by(Case.id)))


def text_of(answer: TestResponse) -> str:
    return answer.get_data(as_text=True)


@pytest.fixture
def entered(auth: Auth) -> Auth:
    auth.enter()
    return auth


def test_one_image_opens_a_case_and_leads_to_its_page(
    app: Flask, entered: Auth, smear: bytes
) -> None:
    answer = send(entered, (smear, "field.jpg"))
    (row,) = rows(app)
    assert (answer.status_code, answer.location) == (303, f"/analyses/{row.public_id}")
    assert row.number == 1
    assert len(cases(app)) == 1
    page = entered.client.get(answer.location)
    assert page.status_code == 200
    assert "Pattern resembling: " in text_of(page)


def test_many_images_become_fields_of_one_case_and_the_bad_one_is_told(
    app: Flask, entered: Auth, smear: bytes
) -> None:
    answer = send(
        entered, (smear, "a.jpg"), (b"", "empty.jpg"), (smear, "b.jpg"), (b"hello", "text.jpg")
    )
    (case,) = cases(app)
    assert answer.status_code == 303
    assert answer.location.startswith(f"/cases/{case.public_id}?refused=")
    assert [row.number for row in rows(app)] == [1, 2]
    page = text_of(entered.client.get(answer.location))
    assert "2 images were not analysed" in page
    assert re.search(r"Image 2: [^<]*empty", page)
    assert re.search(r"Image 4: [^<]*JPEG, PNG", page)
    assert page.count("fieldcard__link") == 2
    # The sentences stay when the page is loaded again; made-up ones are not shown.
    assert "2 images were not analysed" in text_of(entered.client.get(answer.location))
    forged = text_of(entered.client.get(f"/cases/{case.public_id}?refused=abc.def"))
    assert "not analysed" not in forged


def test_the_same_form_sent_again_analyses_nothing_twice(
    app: Flask, entered: Auth, smear: bytes
) -> None:
    first = send(entered, (smear, "a.jpg"), upload_key="form-0001")
    again = send(entered, (smear, "a.jpg"), upload_key="form-0001")
    assert first.location == again.location
    assert (len(rows(app)), len(cases(app))) == (1, 1)
    many = [send(entered, (smear, "a"), (smear, "b"), upload_key="form-0002") for _ in range(2)]
    assert many[0].location == many[1].location
    assert len(rows(app)) == 3


def test_a_key_is_ones_own(app: Flask, entered: Auth, smear: bytes) -> None:
    send(entered, (smear, "a.jpg"), upload_key="form-0001")
    send(entered.as_role("trainee"), (smear, "a.jpg"), upload_key="form-0001")
    assert len({row.owner_id for row in rows(app)}) == 2


def test_with_scripts_each_image_is_answered_in_json(
    app: Flask, entered: Auth, smear: bytes
) -> None:
    first = send(entered, (smear, "image"), upload_key="script-1", headers=JSON)
    assert first.status_code == 200
    told = first.get_json()
    assert set(told) == {"analysis", "case"}
    assert told["analysis"]["headline"].startswith("Pattern resembling: ")
    assert sum(told["analysis"]["probabilities"].values()) == pytest.approx(1.0)
    second = send(
        entered, (smear, "image"), upload_key="script-2", case=told["case"]["id"], headers=JSON
    )
    assert second.get_json()["case"] == told["case"]
    assert "duplicate" in second.get_json()["analysis"]["flags"]
    refused = send(entered, (b"", "image"), upload_key="script-3", headers=JSON)
    assert (refused.status_code, refused.get_json()["code"]) == (422, "empty_file")
    again = send(entered, (smear, "image"), upload_key="script-1", headers=JSON)
    assert again.get_json()["analysis"]["id"] == told["analysis"]["id"]
    assert len(rows(app)) == 2


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"upload_key": "x"}, "upload_key"), ({"upload_key": "../../etc/passwd"}, "upload_key")],
)
def test_keys_that_are_none(entered: Auth, smear: bytes, fields: Any, code: str) -> None:
    answer = send(entered, (smear, "image"), headers=JSON, **fields)
    assert (answer.status_code, answer.get_json()["code"]) == (422, code)


def test_no_image_and_too_many_are_told(make_app: Any, smear: bytes) -> None:
    app = make_app(max_images_per_upload=2)
    auth = Auth(app, app.test_client())
    auth.enter()
    nothing = send(auth)
    assert nothing.status_code == 422
    assert "none was chosen" in text_of(nothing)
    many = send(auth, *[(smear, "a.jpg")] * 3)
    assert many.status_code == 422
    assert "At most 2 images" in text_of(many)
    assert rows(app) == []


def test_an_image_over_the_limit_is_refused_by_its_bytes(make_app: Any, smear: bytes) -> None:
    app = make_app(max_image_bytes=len(smear) - 1)
    auth = Auth(app, app.test_client())
    auth.enter()
    answer = send(auth, (smear, "image"), headers=JSON)
    assert (answer.status_code, answer.get_json()["code"]) == (413, "image_too_large")


def test_nobody_adds_to_a_case_of_somebody_else(app: Flask, entered: Auth, smear: bytes) -> None:
    send(entered, (smear, "a.jpg"))
    case = cases(app)[0].public_id
    for role, status in (("trainee", 404), ("technician", 403), ("pathologist", 303)):
        other = entered.as_role(role)
        assert send(other, (smear, "a.jpg"), case=case).status_code == status, role
    assert send(entered, (smear, "a.jpg"), case="nowhere").status_code == 404
    assert len(rows(app)) == 2


def test_strangers_send_nothing(app: Flask, client: Any, smear: bytes) -> None:
    answer = client.post("/upload", data={"images": (io.BytesIO(smear), "a.jpg")})
    assert answer.status_code in (303, 400)
    assert rows(app) == []


def test_names_of_files_are_kept_nowhere(
    app: Flask, entered: Auth, smear: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    name = "Erika-Mustermann-1970.jpg"
    with caplog.at_level("DEBUG"):
        send(entered, (smear, name))
        send(entered, (b"nothing", name))
    assert "Mustermann" not in caplog.text
    (row,) = rows(app)
    page = text_of(entered.client.get(f"/analyses/{row.public_id}"))
    assert "Mustermann" not in page
    settings = app.extensions["marrow_find"].settings
    with app.app_context():
        db.session.execute(sa.text("PRAGMA wal_checkpoint(TRUNCATE)"))
        db.session.commit()
    for place in settings.instance_dir.rglob("*"):
        assert "Mustermann" not in place.name
        if place.is_file():
            assert b"Mustermann" not in place.read_bytes(), place.name


def test_the_start_page_shows_a_drop_zone_and_the_newest(
    app: Flask, entered: Auth, smear: bytes
) -> None:
    empty = text_of(entered.client.get("/"))
    assert 'enctype="multipart/form-data"' in empty
    assert 'capture="environment"' in empty
    assert "Last read" not in empty
    send(entered, (smear, "a.jpg"))
    page = text_of(entered.client.get("/"))
    assert "Last read" in page
    keys = re.findall(r'name="upload_key" value="([^"]+)"', empty + page)
    assert len(set(keys)) == 2, "each form has a key of its own"


def test_details_of_a_case_are_kept_and_the_trail_says_which(
    app: Flask, entered: Auth, smear: bytes
) -> None:
    send(entered, (smear, "a.jpg"))
    case = cases(app)[0].public_id
    form = {
        "accession": "H-77/26",
        "patient_reference": "P-3",
        "site": "iliac crest",
        "specimen_date": "2026-03-01",
        "indication": "pancytopenia",
        "specimen_quality": "particles",
    }
    answer = entered.post(f"/cases/{case}", form)
    assert (answer.status_code, answer.location) == (303, f"/cases/{case}")
    page = text_of(entered.client.get(f"/cases/{case}"))
    for value in form.values():
        assert value in page
    with app.app_context():
        entry = db.session.scalars(
            sa.select(AuditEntry).where(AuditEntry.action == "case.details")
        ).one()
        assert entry.details == {"changed": sorted(form)}
    bad = entered.post(f"/cases/{case}", form | {"accession": "x" * 65, "specimen_date": "soon"})
    assert bad.status_code == 422
    assert "At most 64 characters" in text_of(bad)
    assert "YYYY-MM-DD" in text_of(bad)
    assert cases(app)[0].accession == "H-77/26"


def test_only_who_may_change_a_case_does(app: Flask, entered: Auth, smear: bytes) -> None:
    send(entered, (smear, "a.jpg"))
    case = cases(app)[0].public_id
    form = {"accession": "mine now"}
    assert entered.as_role("technician").post(f"/cases/{case}", form).status_code == 403
    assert entered.as_role("trainee").post(f"/cases/{case}", form).status_code == 404
    assert entered.as_role("trainee").client.get(f"/cases/{case}").status_code == 404
    assert cases(app)[0].accession == ""


def test_history_and_its_table(app: Flask, entered: Auth, smear: bytes) -> None:
    send(entered, (smear, "a.jpg"))
    case = cases(app)[0].public_id
    entered.post(f"/cases/{case}", {"accession": "=cmd"})
    page = text_of(entered.client.get("/analyses?q=cmd&state=unreviewed&sort=least_certain"))
    assert "/layers/thumbnail.jpg" in page
    assert "Nothing fits" in text_of(entered.client.get("/analyses?q=nowhere"))
    answer = entered.client.get("/analyses.csv?q=cmd")
    assert answer.mimetype == "text/csv"
    (line,) = csv.DictReader(io.StringIO(text_of(answer)))
    assert line["accession"] == "'=cmd"
    for wrong in ("sort=x", "state=x", "from=x", "after=x"):
        assert entered.client.get(f"/analyses?{wrong}").status_code == 422, wrong


def test_the_trail_knows_of_views_and_exports(app: Flask, entered: Auth, smear: bytes) -> None:
    location = send(entered, (smear, "a.jpg")).location
    entered.client.get(location)
    entered.client.get(f"/cases/{cases(app)[0].public_id}")
    entered.client.get("/analyses.csv")
    with app.app_context():
        actions = list(db.session.scalars(sa.select(AuditEntry.action).order_by(AuditEntry.id)))
        people = set(db.session.scalars(sa.select(AuditEntry.actor_id)))
        assert db.session.scalars(sa.select(User.id)).one() in people
    assert actions[-5:] == [
        "case.open",
        "analysis.create",
        "analysis.view",
        "case.view",
        "analysis.export",
    ]
