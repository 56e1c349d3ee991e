"""The scale of a field on its pages: said with its source, set by those who may."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask, render_template_string

from tests.conftest import Auth
from tests.web.test_cells_pages import do_the_work
from tests.web.test_upload import text_of
from utils.imaging.morphometry import COLUMNS
from utils.records import Analysis, AuditEntry, Cell, db
from utils.records.users import ROLES
from utils.settings import Settings
from utils.web.scale import describe_scale

_SEES_ALL = {"administrator", "pathologist", "technician"}
_CHANGES_ALL = {"administrator", "pathologist"}


def column(name: str) -> str:
    return next(column.header for column in COLUMNS if column.name == name)


def scale_of(app: Flask, analysis_id: str) -> tuple[float | None, str]:
    with app.app_context():
        asked = sa.select(Analysis.um_per_px, Analysis.um_per_px_source)
        row = db.session.execute(asked.where(Analysis.public_id == analysis_id)).one()
        return row.um_per_px, row.um_per_px_source


@pytest.fixture
def analysis_id(auth: Auth, upload: Callable[[Auth], str]) -> str:
    auth.enter()
    return upload(auth)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "Not known: neither the file nor red cells that lie free have told it."),
        (
            {"um_per_px": 0.1, "um_per_px_source": "metadata"},
            "0.1 µm per pixel, as the file states.",
        ),
        (
            {"um_per_px": 0.123456, "um_per_px_source": "user"},
            "0.123 µm per pixel, set by a person.",
        ),
        (
            {
                "um_per_px": 0.0941235,
                "um_per_px_source": "red_cells",
                "um_per_px_spread": 0.081,
                "um_per_px_cells": 23,
            },
            "0.0941 µm per pixel, estimated from 23 red cells taken as 7.2 µm, ±8 %.",
        ),
    ],
)
def test_the_scale_is_said_with_its_source(
    app: Flask,
    auth: Auth,
    add_analysis: Callable[..., str],
    values: dict[str, Any],
    sentence: str,
) -> None:
    auth.register()
    public_id = add_analysis(auth.user_id, **values)
    with app.test_request_context():
        analysis = db.session.scalars(
            sa.select(Analysis).where(Analysis.public_id == public_id)
        ).one()
        scale = describe_scale(analysis)
        assert scale["sentence"] == sentence
        assert scale["known"] == bool(values)
        template = (
            '{% import "_macros.html" as ui with context %}{% include "analyses/_scale.html" %}'
        )
        given = {"analysis": analysis, "scale": scale}
        shown = render_template_string(template, may_review=True, **given)
        assert sentence in shown
        assert f'action="/analyses/{public_id}/scale"' in shown
        assert 'name="csrf_token"' in shown
        assert "<form" not in render_template_string(template, may_review=False, **given)


def test_red_cells_give_the_pages_micrometres(
    app: Flask, auth: Auth, settings: Settings, analysis_id: str
) -> None:
    place = f"/analyses/{analysis_id}"
    do_the_work(app, settings)
    um_per_px, source = scale_of(app, analysis_id)
    assert source == "red_cells"
    # Red cells are drawn with a radius of 4 % of the height; where they crowd the smaller lie free.
    assert um_per_px == pytest.approx(7.2 / (2 * 0.04 * 480), rel=0.08)
    page = text_of(auth.client.get(f"{place}/cells/1"))
    assert "estimated from" in page
    for name in ("cell_area_px", "cell_area_um2", "equivalent_diameter_um"):
        assert column(name) in page
    rows = list(csv.DictReader(io.StringIO(text_of(auth.client.get(f"{place}/cells.csv")))))
    with app.app_context():
        cells = db.session.scalars(sa.select(Cell).order_by(Cell.number)).all()
        for row, cell in zip(rows, cells, strict=True):
            assert (float(row["um_per_px"]), row["um_per_px_source"]) == (um_per_px, "red_cells")
            in_pixels = cell.measures["cell_area_px"]
            assert float(row[column("cell_area_px")]) == in_pixels
            in_um2 = float(row[column("cell_area_um2")])
            assert in_um2 == pytest.approx(in_pixels * um_per_px**2, abs=0.01)


def test_without_a_scale_nothing_is_said_in_micrometres(
    app: Flask, auth: Auth, settings: Settings, analysis_id: str
) -> None:
    place = f"/analyses/{analysis_id}"
    do_the_work(app, settings)
    with app.app_context():
        db.session.execute(sa.update(Analysis).values(um_per_px=None, um_per_px_source=""))
        db.session.commit()
    page = text_of(auth.client.get(f"{place}/cells/1"))
    assert "µm" not in page
    assert "its scale in micrometres is not known" in page
    row = next(csv.DictReader(io.StringIO(text_of(auth.client.get(f"{place}/cells.csv")))))
    assert (row["um_per_px"], row["um_per_px_source"], row[column("cell_area_um2")]) == ("", "", "")


@pytest.mark.parametrize(("given", "kept"), [("0.094", 0.094), (" 0,25 ", 0.25), ("2", 2.0)])
def test_a_person_sets_the_scale(
    app: Flask, auth: Auth, analysis_id: str, given: str, kept: float
) -> None:
    answer = auth.post(f"/analyses/{analysis_id}/scale", {"um_per_px": given})
    assert (answer.status_code, answer.location) == (303, f"/analyses/{analysis_id}#scale")
    assert scale_of(app, analysis_id) == (kept, "user")
    with app.app_context():
        asked = sa.select(AuditEntry).where(AuditEntry.action == "analysis.scale")
        entry = db.session.scalars(asked).one()
        assert entry.details["new"] == {"um_per_px": kept, "source": "user"}


@pytest.mark.parametrize("given", [None, "", "wide", "0", "-1", "0.01", "2.5", "nan", "1e999"])
def test_anything_else_is_refused_with_a_sentence(
    app: Flask, auth: Auth, analysis_id: str, given: str | None
) -> None:
    form = {} if given is None else {"um_per_px": given}
    answer = auth.post(f"/analyses/{analysis_id}/scale", form)
    assert answer.status_code == 422
    assert "icrometres per pixel" in text_of(answer)
    assert scale_of(app, analysis_id) == (None, "")


def test_a_form_without_its_token_changes_nothing(app: Flask, auth: Auth, analysis_id: str) -> None:
    answer = auth.client.post(f"/analyses/{analysis_id}/scale", data={"um_per_px": "0.1"})
    assert answer.status_code == 400
    assert scale_of(app, analysis_id) == (None, "")


@pytest.mark.parametrize("role", ROLES)
def test_only_who_may_correct_a_field_sets_its_scale(
    app: Flask, auth: Auth, upload: Callable[[Auth], str], role: str
) -> None:
    auth.enter()
    person = auth.as_role(role)
    own, other = upload(person), upload(auth)
    refused = 403 if role in _SEES_ALL else 404
    for public_id, may in ((own, True), (other, role in _CHANGES_ALL)):
        answer = person.post(f"/analyses/{public_id}/scale", {"um_per_px": "0.1"})
        assert answer.status_code == (303 if may else refused)
        assert scale_of(app, public_id) == ((0.1, "user") if may else (None, ""))
