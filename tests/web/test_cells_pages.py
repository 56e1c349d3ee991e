"""The cells of a field on its page: they arrive, each has a page, nobody else's are seen."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.conftest import Auth
from tests.untrained import write_random_network
from tests.web.test_upload import send, text_of
from utils.imaging.morphometry import COLUMNS
from utils.imaging.preprocess import PreprocessSpec
from utils.records import Analysis, AuditEntry, Cell, Job, db
from utils.records.users import ROLES
from utils.settings import Settings
from utils.workflow import job_states, jobs, read

_SEES_ALL = {"administrator", "pathologist", "technician"}
_CHANGES_ALL = {"administrator", "pathologist"}


def do_the_work(app: Flask, settings: Settings) -> list[str]:
    """Do what a worker would do, until nothing waits."""
    outcomes = []
    with app.app_context():
        while True:
            turn = job_states.claim(db.session, worker="host:1", kinds=[read.KIND])
            if turn is None:
                return outcomes
            outcomes.append(jobs.perform(db.session, settings, turn))


@pytest.fixture
def place(auth: Auth, smear: bytes) -> str:
    auth.enter()
    return str(send(auth, (smear, "field.jpg")).location)


def test_cells_arrive_on_the_page(app: Flask, auth: Auth, settings: Settings, place: str) -> None:
    page = text_of(auth.client.get(place))
    assert 'data-cells="queued"' in page
    assert "The cells wait to be read." in page
    state = auth.client.get(f"{place}/cells/state").json
    assert state["waiting"]
    assert do_the_work(app, settings) == ["done"]
    state = auth.client.get(f"{place}/cells/state").json
    assert (state["name"], state["waiting"]) == ("done", False)
    section = text_of(auth.client.get(f"{place}/cells"))
    page = text_of(auth.client.get(place))
    with app.app_context():
        count = db.session.scalar(sa.select(sa.func.count(Cell.id)))
    assert count
    for shown in (section, page):
        assert f"{count} outlined" in shown
        assert shown.count('class="cells__item"') == count
        assert "No network for single cells is installed" in shown
    assert "<html" not in section


def test_the_network_names_cells_and_says_that_nobody_confirmed_them(
    app: Flask, auth: Auth, settings: Settings, place: str
) -> None:
    spec = PreprocessSpec(input_px=64, cell_context=1.5)
    own = settings.instance_dir / "models"
    write_random_network(own, name="marrow7", spec=spec)
    do_the_work(app, settings.model_copy(update={"models_dir": own}))
    page = text_of(auth.client.get(place))
    assert "Read by the network alone; nobody has confirmed them." in page
    assert "A count of one field, not a differential." in page
    cell = text_of(auth.client.get(f"{place}/cells/1"))
    assert "nobody has confirmed it" in cell
    assert "For Research Use Only" in cell
    assert "marrow7 0-untrained" in cell


def test_a_heatmap_of_a_cell_is_drawn_when_it_is_asked_for(
    make_app: Callable[..., Flask], settings: Settings, smear: bytes
) -> None:
    spec = PreprocessSpec(input_px=64, cell_context=1.5)
    own = settings.instance_dir / "models"
    write_random_network(own, name="all4")
    write_random_network(own, name="marrow7", spec=spec)
    app = make_app(models_dir=own)
    auth = Auth(app, app.test_client())
    auth.enter()
    place = str(send(auth, (smear, "field.jpg")).location)
    do_the_work(app, settings.model_copy(update={"models_dir": own}))
    page = text_of(auth.client.get(f"{place}/cells/1"))
    assert "Heat for" in page
    assert "onecell__heat" not in page
    page = text_of(auth.client.get(f"{place}/cells/1?heat=Pre&map=viridis"))
    assert f"{place}/cells/1/heatmap-Pre-viridis.png" in page
    answer = auth.client.get(f"{place}/cells/1/heatmap-Pre-viridis.png")
    assert (answer.status_code, answer.mimetype) == (200, "image/png")
    for wrong in ("heatmap-XYZ-jet.png", "heatmap-Pre-pink.png"):
        assert auth.client.get(f"{place}/cells/1/{wrong}").status_code == 404
    assert auth.client.get(f"{place}/cells/999/heatmap-Pre-jet.png").status_code == 404


def test_one_cell_has_a_page_a_picture_and_its_measurements(
    app: Flask, auth: Auth, settings: Settings, place: str
) -> None:
    do_the_work(app, settings)
    page = text_of(auth.client.get(f"{place}/cells/1"))
    for name in ("cell_area_px", "nc_ratio", "nucleus_circularity"):
        assert next(column.header for column in COLUMNS if column.name == name) in page
    picture = auth.client.get(f"{place}/cells/1.jpg")
    assert picture.mimetype == "image/jpeg"
    assert picture.data.startswith(b"\xff\xd8")
    assert "private" in picture.headers["Cache-Control"]
    assert auth.client.get(f"{place}/cells/9999").status_code == 404
    assert auth.client.get(f"{place}/cells/9999.jpg").status_code == 404


def test_the_table_holds_every_cell_and_leaves_a_trace(
    app: Flask, auth: Auth, settings: Settings, place: str
) -> None:
    do_the_work(app, settings)
    answer = auth.client.get(f"{place}/cells.csv")
    rows = list(csv.DictReader(io.StringIO(answer.get_data(as_text=True))))
    with app.app_context():
        cells = db.session.scalars(sa.select(Cell).order_by(Cell.number)).all()
        exported = sa.select(AuditEntry).where(AuditEntry.action == "analysis.export")
        assert db.session.scalar(exported) is not None
        assert [int(row["cell"]) for row in rows] == [cell.number for cell in cells]
        header = next(c.header for c in COLUMNS if c.name == "nc_ratio")
        assert [float(row[header]) for row in rows] == [c.measures["nc_ratio"] for c in cells]


def test_an_older_field_or_a_failed_reading_can_be_asked_for(
    app: Flask, auth: Auth, settings: Settings, place: str
) -> None:
    with app.app_context():
        job = db.session.scalars(sa.select(Job)).one()
        jobs.cancel(db.session, job)
        db.session.commit()
    page = text_of(auth.client.get(place))
    assert "The reading of the cells was cancelled." in page
    assert "Read the cells" in page
    answer = auth.post(f"{place}/cells")
    assert (answer.status_code, answer.location) == (303, f"{place}#cells")
    assert do_the_work(app, settings) == ["done"]


@pytest.mark.parametrize("role", ROLES)
def test_cells_are_as_private_as_their_field(
    app: Flask,
    auth: Auth,
    settings: Settings,
    upload: Callable[[Auth], str],
    role: str,
) -> None:
    auth.enter()
    person = auth.as_role(role)
    own, other = upload(person), upload(auth)
    do_the_work(app, settings)
    for analysis_id, seen in ((own, True), (other, role in _SEES_ALL)):
        for name in ("cells", "cells/state", "cells/1", "cells/1.jpg", "cells.csv"):
            address = f"/analyses/{analysis_id}/{name}"
            assert person.client.get(address).status_code == (200 if seen else 404), address
    refused = 403 if role in _SEES_ALL else 404
    for analysis_id, may in ((own, True), (other, role in _CHANGES_ALL)):
        answer = person.post(f"/analyses/{analysis_id}/cells")
        assert answer.status_code == (303 if may else refused)


def test_a_hundred_cells_take_no_more_queries_than_one(
    app: Flask, auth: Auth, settings: Settings, place: str
) -> None:
    do_the_work(app, settings)

    def queries() -> int:
        told = 0

        def note(*_: object) -> None:
            nonlocal told
            told += 1

        with app.app_context():
            engine = db.engine
        sa.event.listen(engine, "before_cursor_execute", note)
        try:
            assert auth.client.get(f"{place}/cells").status_code == 200
        finally:
            sa.event.remove(engine, "before_cursor_execute", note)
        return told

    few = queries()
    with app.app_context():
        first = db.session.scalars(sa.select(Cell)).first()
        analysis = db.session.scalars(sa.select(Analysis)).one()
        assert first is not None
        columns = ("row_px", "col_px", "diameter_px", "box", "outline", "nucleus", "measures")
        values = {name: getattr(first, name) for name in (*columns, "touches_border", "crop")}
        for number in range(1000, 1100):
            db.session.add(Cell(analysis_id=analysis.id, number=number, **values))
        db.session.commit()
    assert queries() == few
