"""All cells of a case on one page, by class, with histograms of their measurements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from flask import Blueprint, render_template, request, url_for

from utils.imaging.morphometry import COLUMNS
from utils.records import Case, db
from utils.web.labels import LabelSet, cell_choices
from utils.web.views import case_of, note_view
from utils.workflow import wording
from utils.workflow.case_gallery import CaseCell, cells_of_case

blueprint = Blueprint("gallery", __name__)

BINS: Final = 32
DEFAULT_MEASURE: Final = "nc_ratio"
# Order of the columns' groups; cells without a class come last.
_STATES: Final = {"unreviewed": "Not reviewed", "confirmed": "Confirmed", "corrected": "Corrected"}


@blueprint.get("/cases/<public_id>/cells")
def show(public_id: str) -> str:
    """Show the cells of all fields of a case, the least certain of each class first."""
    case = case_of(public_id)
    note_view("case", public_id)
    cells = cells_of_case(db.session(), case)
    labels = cell_choices()
    state = request.args.get("state", "")
    shown = [cell for cell in cells if state not in _STATES or cell.review_state == state]
    measure = request.args.get("measure", "")
    columns = {column.name: column for column in COLUMNS}
    measured = [name for name in columns if any(c.measures.get(name) is not None for c in cells)]
    if measure not in measured:
        measure = DEFAULT_MEASURE if DEFAULT_MEASURE in measured else next(iter(measured), "")
    return render_template(
        "cases/cells.html",
        case=case,
        total=len(cells),
        shown=len(shown),
        reviewed=sum(cell.review_state != "unreviewed" for cell in cells),
        groups=_groups(case, shown, labels),
        state=state,
        states=[("", "All"), *_STATES.items()],
        measure=columns.get(measure),
        measures=[(name, columns[name].header) for name in measured],
        histograms=_histograms(shown, labels, measure) if measure else None,
    )


def _groups(case: Case, cells: Sequence[CaseCell], labels: LabelSet) -> list[dict[str, Any]]:
    codes = [label.code for label in labels.labels]
    others = sorted({cell.code for cell in cells if cell.code and cell.code not in codes})
    groups = []
    for code in [*codes, *others, None]:
        members = [cell for cell in cells if cell.code == code]
        if not members:
            continue
        label = labels.label(code)
        # The least certain come first: they are those that a person should look at.
        members.sort(key=lambda c: (c.review_state != "unreviewed", c.probability or 0.0))
        read = any(cell.by_network for cell in members)
        unnamed = wording.UNCLASSIFIABLE if read else "Not classified"
        groups.append(
            {
                "name": labels.name(code) if code else unnamed,
                "colour": label.colour if label else None,
                "cells": [_tile(cell) for cell in members],
            }
        )
    return groups


def _tile(cell: CaseCell) -> dict[str, Any]:
    place = {"public_id": cell.field_id, "number": cell.number}
    return {
        "url": url_for("cells.show", **place),  # type: ignore[arg-type]
        "crop_url": url_for("cells.crop", **place),  # type: ignore[arg-type]
        "number": cell.number,
        "field": cell.field_number,
        "probability": cell.probability,
        "state": cell.review_state,
    }


def _histograms(cells: Sequence[CaseCell], labels: LabelSet, measure: str) -> dict[str, Any] | None:
    """One histogram a class on one axis; counts scaled to the highest bar of all."""
    values = {
        code: [float(c.measures[measure]) for c in cells if c.code == code and _has(c, measure)]
        for code in dict.fromkeys([*(label.code for label in labels.labels), None])
    }
    every = [value for members in values.values() for value in members]
    if len(every) < 2:
        return None
    low, high = min(every), max(every)
    if math.isclose(low, high):
        low, high = low - 0.5, high + 0.5
    rows: list[dict[str, Any]] = []
    for code, members in values.items():
        if not members:
            continue
        label = labels.label(code)
        counts = np.histogram(members, bins=BINS, range=(low, high))[0]
        rows.append(
            {
                "name": labels.name(code) if code else "No class",
                "colour": label.colour if label else None,
                "n": len(members),
                "median": float(np.median(members)),
                "counts": [int(count) for count in counts],
            }
        )
    highest = max(max(row["counts"]) for row in rows)
    return {"low": low, "high": high, "bins": BINS, "highest": highest, "rows": rows}


def _has(cell: CaseCell, measure: str) -> bool:
    value = cell.measures.get(measure)
    return isinstance(value, int | float) and math.isfinite(value)
