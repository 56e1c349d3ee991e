"""People and analyses for the workflow's tests, written straight into the database."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from utils.records import Analysis, Case, Cell, User, db

MakeUser = Callable[..., User]
MakeAnalysis = Callable[..., Analysis]
MakeCells = Callable[..., list[Cell]]


@pytest.fixture
def context(app: Flask) -> Iterator[Flask]:
    """The application's context, for a whole test."""
    with app.app_context():
        yield app


@pytest.fixture
def make_user(context: Flask) -> MakeUser:
    """Make an active person: ``make_user("trainee")``."""
    numbers = itertools.count(1)

    def make(role: str = "pathologist", **values: Any) -> User:
        number = next(numbers)
        row = {
            "name": f"Person {number}",
            "email": f"person{number}@example.org",
            "password_hash": "x",
            "role": role,
            "state": "active",
        } | values
        user = User(**row)
        db.session.add(user)
        db.session.commit()
        return user

    return make


@pytest.fixture
def make_analysis(context: Flask) -> MakeAnalysis:
    """Make a stored analysis without an image: ``make_analysis(owner, label_code="Pre")``."""
    numbers = itertools.count(1)

    def make(owner: User, case: Case | None = None, **values: Any) -> Analysis:
        number = next(numbers)
        if case is None:
            case = Case(owner_id=owner.id, accession=f"A-{number:04d}")
            db.session.add(case)
            db.session.flush()
        code = values.pop("label_code", "Early")
        row: dict[str, Any] = {
            "case_id": case.id,
            "owner_id": owner.id,
            "number": number,
            "upload_key": f"key-{number:08d}",
            "original_sha256": f"{number:064x}",
            "original_media_type": "image/jpeg",
            "clahe_sha256": "0" * 64,
            "boundaries_sha256": "0" * 64,
            "thumbnail_sha256": "0" * 64,
            "width_px": 64,
            "height_px": 48,
            "format": "JPEG",
            "network_name": "all4",
            "network_version": "0-untrained",
            "network_sha256": "0" * 64,
            "logits": [0.0, 1.0, 0.0, 0.0],
            "probabilities": {"Benign": 0.1, "Early": 0.7, "Pre": 0.1, "Pro": 0.1},
            "cams": [[[0.0]]] * 4,
            "label_code": code,
            "top_code": code or "Early",
            "probability": 0.7,
            "abstained": code is None,
            "ood_distance": 1.0,
            "heat_on_cells": None,
            "nuclei_count": 3,
            "nuclei": {},
            "program_version": "test",
        }
        analysis = Analysis(**(row | values))
        db.session.add(analysis)
        db.session.commit()
        return analysis

    return make


@pytest.fixture
def make_cells(context: Flask) -> MakeCells:
    """Make stored cells of a field: ``make_cells(analysis, "BLA", 3, box=[0, 5, 9, 14])``."""

    def make(
        analysis: Analysis, code: str | None = None, count: int = 1, **values: Any
    ) -> list[Cell]:
        row = cell_values(analysis, code) | values
        first = len(db.session.scalars(db.select(Cell.id)).all()) + 1
        cells = [Cell(number=first + place, **row) for place in range(count)]
        db.session.add_all(cells)
        db.session.commit()
        return cells

    return make


def cell_values(analysis: Analysis, code: str | None) -> dict[str, Any]:
    """Plausible columns of a whole cell that the network called `code`, or abstained on."""
    return {
        "analysis_id": analysis.id,
        "row_px": 20.0,
        "col_px": 20.0,
        "diameter_px": 10.0,
        "box": [15.0, 15.0, 25.0, 25.0],
        "outline": [[15.0, 15.0], [25.0, 15.0], [25.0, 25.0]],
        "nucleus": [],
        "touches_border": False,
        "measures": {},
        "crop": b"",
        "network_name": "marrow7",
        "network_version": "1",
        "network_sha256": "0" * 64,
        "code": code,
        "top_code": code,
        "probability": 0.9,
    }
