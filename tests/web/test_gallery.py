"""All cells of a case on one page, and the confirmed cells that look like one."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import sqlalchemy as sa
from flask import Flask

from tests.conftest import Auth
from tests.untrained import write_random_network
from tests.web.test_cell_actions import act
from tests.web.test_cells_pages import do_the_work
from tests.web.test_upload import send, text_of
from utils.imaging.decode import encode_png
from utils.imaging.preprocess import PreprocessSpec
from utils.records import Analysis, Case, Cell, db
from utils.records.users import ROLES
from utils.settings import Settings

_SEES_ALL = {"administrator", "pathologist", "technician"}


@pytest.fixture
def auth(make_app: Callable[..., Flask], settings: Settings) -> Auth:
    """A person at an application with a cell network of random weights."""
    spec = PreprocessSpec(input_px=64, cell_context=1.5)
    own = settings.instance_dir / "models"
    write_random_network(own, name="all4")
    write_random_network(own, name="marrow7", spec=spec)
    app = make_app(models_dir=own)
    person = Auth(app, app.test_client())
    person.enter()
    return person


@pytest.fixture
def place(auth: Auth, settings: Settings, smear: bytes) -> str:
    address = str(send(auth, (smear, "field.jpg")).location)
    own = settings.instance_dir / "models"
    do_the_work(auth.app, settings.model_copy(update={"models_dir": own}))
    return address


def case_address(app: Flask) -> str:
    with app.app_context():
        return f"/cases/{db.session.scalars(sa.select(Case.public_id)).one()}"


def test_the_gallery_groups_all_cells_of_the_case(auth: Auth, place: str) -> None:
    address = case_address(auth.app)
    page = text_of(auth.client.get(f"{address}/cells"))
    with auth.app.app_context():
        count = db.session.scalar(sa.select(sa.func.count(Cell.id)))
    assert count
    assert page.count('class="gallery__cell"') == count
    assert "histogram__bars" in page
    assert "For Research Use Only" in page
    act(auth, place, action="correct", code="Pro", cells=[1, 2])
    page = text_of(auth.client.get(f"{address}/cells?state=corrected&measure=cell_area_px"))
    assert page.count('class="gallery__cell"') <= 2
    assert "Cell area (px)" in page
    # What is not known is not asked of the database.
    page = text_of(auth.client.get(f"{address}/cells?state=wild&measure=wild"))
    assert page.count('class="gallery__cell"') == count


def tile(nucleus: int) -> bytes:
    """Draw one cell, filling its picture."""
    pixels = np.full((160, 160, 3), (236, 232, 240), np.uint8)
    cv2.circle(pixels, (80, 80), 44, (205, 190, 222), -1)
    cv2.circle(pixels, (76, 82), nucleus, (105, 55, 145), -1)
    return encode_png(pixels)


def test_pictures_of_single_cells_become_one_gallery(auth: Auth, settings: Settings) -> None:
    send(auth, *((tile(28 + step), f"{step}.png") for step in range(3)))
    own = settings.instance_dir / "models"
    do_the_work(auth.app, settings.model_copy(update={"models_dir": own}))
    address = case_address(auth.app)
    page = text_of(auth.client.get(address))
    assert "3 of these pictures show a single cell each" in page
    assert f"{address}/cells" in page
    page = text_of(auth.client.get(f"{address}/cells"))
    assert page.count('class="gallery__cell"') == 3


def test_an_empty_case_says_so(auth: Auth, smear: bytes) -> None:
    send(auth, (smear, "field.jpg"))
    page = text_of(auth.client.get(f"{case_address(auth.app)}/cells"))
    assert "were not read yet" in page


def test_confirmed_cells_are_shown_as_references(auth: Auth, place: str) -> None:
    page = text_of(auth.client.get(f"{place}/cells/1"))
    assert "No cell was confirmed yet." in page
    act(auth, place, action="correct", code="Pro", cells=[2, 3])
    page = text_of(auth.client.get(f"{place}/cells/1"))
    assert page.count('class="gallery__cell"') == 2
    # A cell is no reference for itself.
    page = text_of(auth.client.get(f"{place}/cells/2"))
    assert page.count('class="gallery__cell"') == 1
    with auth.app.app_context():
        vectors = list(db.session.scalars(sa.select(Cell.embedding)))
    assert all(vectors)


@pytest.mark.parametrize("role", ROLES)
def test_nobody_sees_the_cells_of_others(auth: Auth, place: str, role: str) -> None:
    act(auth, place, action="correct", code="Pro", cells=[2])
    person = auth.as_role(role)
    sees = role in _SEES_ALL
    answer = person.client.get(f"{case_address(auth.app)}/cells")
    assert answer.status_code == (200 if sees else 404)


def test_references_are_only_what_a_person_may_see(
    auth: Auth, place: str, settings: Settings, smear: bytes
) -> None:
    act(auth, place, action="correct", code="Pro", cells=[2])
    trainee = auth.as_role("trainee")
    own = str(send(trainee, (smear, "own.jpg")).location)
    do_the_work(
        auth.app, settings.model_copy(update={"models_dir": settings.instance_dir / "models"})
    )
    with auth.app.app_context():
        assert db.session.scalar(sa.select(sa.func.count(Analysis.id))) == 2
    assert "No cell was confirmed yet." in text_of(trainee.client.get(f"{own}/cells/1"))
    act(trainee, own, action="correct", code="Pre", cells=[4])
    assert text_of(trainee.client.get(f"{own}/cells/1")).count('class="gallery__cell"') == 1
