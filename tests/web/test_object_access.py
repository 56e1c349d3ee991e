"""Each route of an analysis, for each role, at one's own and at another's: nobody reads more."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

from tests.conftest import Auth
from utils.records import Analysis, Case, db
from utils.records.users import ROLES

_LAYERS = ("original", "clahe", "boundaries.png", "heatmap-Pre-jet.png", "thumbnail.jpg")
_SEES_ALL = {"administrator", "pathologist", "technician"}
_CHANGES_ALL = {"administrator", "pathologist"}


def _case_id(app: Flask, analysis_id: str) -> str:
    with app.app_context():
        return db.session.scalars(
            db.select(Case.public_id).join(Analysis).where(Analysis.public_id == analysis_id)
        ).one()


@pytest.mark.parametrize("role", ROLES)
def test_reading(app: Flask, auth: Auth, upload: Callable[[Auth], str], role: str) -> None:
    auth.enter()
    person = auth.as_role(role)
    own, other = upload(person), upload(auth)
    for analysis_id, seen in ((own, True), (other, role in _SEES_ALL)):
        addresses = [f"/analyses/{analysis_id}", f"/cases/{_case_id(app, analysis_id)}"]
        addresses += [f"/analyses/{analysis_id}/layers/{layer}" for layer in _LAYERS]
        for address in addresses:
            answer = person.client.get(address)
            assert answer.status_code == (200 if seen else 404), address
            answer.close()
        history = person.client.get("/analyses").get_data(as_text=True)
        assert (analysis_id in history) is seen
        rows = person.client.get("/analyses.csv").get_data(as_text=True)
        assert (analysis_id in rows) is seen


@pytest.mark.parametrize("role", ROLES)
def test_changing(app: Flask, auth: Auth, upload: Callable[[Auth], str], role: str) -> None:
    auth.enter()
    person = auth.as_role(role)
    own, other = upload(person), upload(auth)
    refused = 403 if role in _SEES_ALL else 404
    for analysis_id, may in ((own, True), (other, role in _CHANGES_ALL)):
        place = f"/analyses/{analysis_id}"
        answers = [
            person.post(f"{place}/label", {"action": "confirm"}),
            person.post(f"{place}/report"),
        ]
        statuses = [answer.status_code for answer in answers]
        assert statuses == [303 if may else refused] * 2


def test_a_strangers_report_cannot_be_downloaded(auth: Auth, upload: Callable[[Auth], str]) -> None:
    auth.enter()
    made = auth.post(f"/analyses/{upload(auth)}/report")
    trainee = auth.as_role("trainee")
    page = auth.client.get(made.location, follow_redirects=True)
    address = page.request.path if page.is_json or "pdf" in page.content_type else None
    if address is None:
        import re

        found = re.search(r'href="(/reports/[^"]+\.pdf)"', page.get_data(as_text=True))
        assert found, "the page names no report to download"
        address = found.group(1)
    page.close()
    own = auth.client.get(address)
    assert own.status_code == 200
    assert own.data.startswith(b"%PDF")
    assert trainee.client.get(address).status_code == 404
    assert auth.app.test_client().get(address).status_code == 303
