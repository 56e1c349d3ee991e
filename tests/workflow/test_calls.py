"""The cells of a case by class: which count, where, and what a person's word changes."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest
import sqlalchemy as sa

from tests.workflow.conftest import MakeAnalysis, MakeCells, MakeUser
from utils.records import Analysis, Cell, db
from utils.workflow.calls import calls_of_case, counts_here


@dataclass(frozen=True)
class _Cut:
    touches_border: bool
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class _Frame:
    width_px: int
    height_px: int


FIELD = _Frame(width_px=64, height_px=48)


@pytest.fixture
def field(make_user: MakeUser, make_analysis: MakeAnalysis) -> Analysis:
    return make_analysis(make_user(), width_px=64, height_px=48)


@pytest.mark.parametrize(
    ("box", "counts"),
    [
        ((0, 10, 9, 20), True),  # top
        ((10, 0, 20, 9), True),  # left
        ((39, 10, 48, 20), False),  # bottom
        ((10, 55, 20, 64), False),  # right
        ((0, 0, 9, 9), True),  # top left
        ((0, 55, 9, 64), False),  # top right
        ((39, 0, 48, 9), False),  # bottom left
        ((39, 10, 46.6, 20), False),  # within the tolerance of the edge
        ((39, 10, 46.4, 20), True),
        ((0, 0, 48, 64), False),  # larger than the field
    ],
)
def test_a_cut_cell_counts_at_the_top_and_at_the_left(
    box: tuple[float, float, float, float], counts: bool
) -> None:
    assert counts_here(_Cut(True, box), FIELD) is counts


def test_a_whole_cell_counts_however_near_the_edge() -> None:
    assert counts_here(_Cut(False, (30, 50, 47.9, 63.9)), FIELD)


@pytest.mark.parametrize("row", [10.0, 48.0])
@pytest.mark.parametrize("column", [10.0, 64.0])
def test_a_cell_anywhere_on_four_neighbouring_fields_counts_once(row: float, column: float) -> None:
    size, counted = 8.0, 0
    box = (row - size, column - size, row + size, column + size)
    for down in (0, 48):
        for right in (0, 64):
            top, left = max(box[0] - down, 0.0), max(box[1] - right, 0.0)
            bottom, end = min(box[2] - down, 48.0), min(box[3] - right, 64.0)
            if bottom <= top or end <= left:
                continue
            cut = top == 0.0 or left == 0.0 or bottom == 48.0 or end == 64.0
            counted += counts_here(_Cut(cut, (top, left, bottom, end)), FIELD)
    assert counted == 1


def test_network_and_people_are_counted_apart(field: Analysis, make_cells: MakeCells) -> None:
    make_cells(field, "BLA", 3)
    make_cells(field, "LYT", 2, review_state="confirmed", reviewed_code="LYT")
    make_cells(field, "LYT", 1, review_state="corrected", reviewed_code="BLA")
    make_cells(field, "NGS", 1, review_state="corrected", reviewed_code=None)
    make_cells(field, None, 4)
    make_cells(field, None, 1, review_state="corrected", reviewed_code="PMO")
    make_cells(field, "BLA", 5, present=False)
    make_cells(field, None, 2, network_name=None, network_version=None, origin="person")
    calls = calls_of_case(db.session, field.case)
    assert calls.by_network == {"BLA": 3, "LYT": 3, "NGS": 1}
    assert calls.confirmed == {"LYT": 2, "BLA": 1, "PMO": 1}
    assert (calls.unclassifiable, calls.not_read) == (5, 2)
    assert (calls.unreviewed, calls.set_aside) == (9, 1)
    assert calls.networks == (("marrow7", "1"),)
    assert (calls.fields, calls.fields_with_cells) == (1, 1)


def test_cut_cells_are_left_out_of_every_count(field: Analysis, make_cells: MakeCells) -> None:
    bottom, top = [39, 10, 48, 20], [0, 10, 9, 20]
    make_cells(field, "BLA", 2, touches_border=True, box=bottom)
    make_cells(
        field, "BLA", 1, touches_border=True, box=bottom,
        review_state="confirmed", reviewed_code="BLA",
    )  # fmt: skip
    make_cells(field, "BLA", 4, touches_border=True, box=top)
    make_cells(field, "BLA", 8)
    calls = calls_of_case(db.session, field.case)
    assert calls.by_network == {"BLA": 12}
    assert calls.confirmed == {}
    assert (calls.cut_and_left_out, calls.unreviewed) == (3, 12)


def test_a_case_is_counted_over_its_fields_and_no_others(
    make_user: MakeUser, make_analysis: MakeAnalysis, make_cells: MakeCells
) -> None:
    user = make_user()
    first, other = make_analysis(user), make_analysis(user)
    second = make_analysis(user, case=first.case)
    make_analysis(user, case=first.case)
    make_cells(first, "BLA", 2)
    make_cells(second, "BLA", 3, network_version="2")
    make_cells(other, "BLA", 100)
    calls = calls_of_case(db.session, first.case)
    assert calls.by_network == {"BLA": 5}
    assert (calls.fields, calls.fields_with_cells) == (3, 2)
    assert calls.networks == (("marrow7", "1"), ("marrow7", "2"))


def test_the_same_picture_twice_counts_once_and_the_reviewed_copy_stays(
    make_user: MakeUser, make_analysis: MakeAnalysis, make_cells: MakeCells
) -> None:
    first = make_analysis(make_user(), original_sha256="a" * 64)
    copy = make_analysis(first.owner, case=first.case, original_sha256="a" * 64)
    make_cells(first, "BLA", 3)
    make_cells(copy, "BLA", 2)
    make_cells(copy, "BLA", 1, review_state="confirmed", reviewed_code="BLA")
    calls = calls_of_case(db.session, first.case)
    assert (calls.by_network, calls.confirmed) == ({"BLA": 3}, {"BLA": 1})
    assert calls.repeats_left_out == 1
    assert calls.fields_with_cells == 1


def test_a_case_without_cells(field: Analysis) -> None:
    calls = calls_of_case(db.session, field.case)
    assert (calls.by_network, calls.confirmed, calls.networks) == ({}, {}, ())
    assert (calls.fields, calls.fields_with_cells, calls.unreviewed) == (1, 0, 0)


def test_thousands_of_cells_are_counted_without_their_pictures(
    field: Analysis, make_cells: MakeCells
) -> None:
    make_cells(field, "LYT", 2000, crop=b"\0" * 4096, measures={"nc_ratio": 0.5})
    make_cells(field, "BLA", 200, touches_border=True, box=[0, 10, 9, 20])
    case, asked = field.case, list[str]()

    def note(*event: object) -> None:
        asked.append(str(event[2]))

    sa.event.listen(db.engine, "before_cursor_execute", note)
    try:
        started = time.perf_counter()
        calls = calls_of_case(db.session, case)
        seconds = time.perf_counter() - started
    finally:
        sa.event.remove(db.engine, "before_cursor_execute", note)
    assert calls.by_network == {"LYT": 2000, "BLA": 200}
    statements = [text for text in asked if "cells" in text]
    assert len(statements) == 3
    assert not any("crop" in text or "measures" in text for text in statements)
    assert seconds < 2.0
    assert db.session.scalar(sa.select(sa.func.count(Cell.id))) == 2200
