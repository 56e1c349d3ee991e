"""What the bench reports of cells; how fast they are is for `flask bench` to say."""

from __future__ import annotations

import pytest
from flask import Flask

from utils.cli.benchmark import cells as bench_cells
from utils.records import Cell, db
from utils.settings import Settings
from utils.web.services import services
from utils.workflow import accounts


def test_the_cells_of_a_field_are_read_by_the_job_that_serves(
    app: Flask, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(bench_cells.FIELDS, 9, (500, 500))
    with app.app_context():
        user = accounts.create(
            db.session,
            settings,
            name="Bench",
            email="bench@example.org",
            password="correct horse battery",
            role="pathologist",
        )
        report = bench_cells.measure_cells(settings, user, services().blobs, cells=9)
        kept = db.session.query(Cell).count()
    assert report["cells"] == report["found"] == 9
    assert kept == 2 * 9
    assert report["named"] is False
    assert report["read_s"] > 0
    assert report["peak_rss_mb"] > 50
