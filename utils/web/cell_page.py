"""What pages say of a field's cells: where their reading stands, each cell, the count by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from flask import url_for

from utils.imaging.morphometry import COLUMNS
from utils.records import Analysis, Cell, Job, db
from utils.web.labels import LabelSet, cell_label_set
from utils.web.services import services
from utils.web.views import me
from utils.workflow import access, read, wording

# The key of cells that were found and not named.
UNNAMED: Final = ""
_WAITING: Final = ("queued", "running")


def cell_section(analysis: Analysis) -> dict[str, Any]:
    """Gather what the section's template expects."""
    return {
        "cells": describe_cells(analysis),
        "field_count": wording.FIELD_COUNT,
        "cells_by_network": wording.CELLS_BY_NETWORK,
        "may_review": access.can_correct(me(), analysis),
    }


def describe_cells(analysis: Analysis) -> dict[str, Any]:
    """Gather what the section on cells says; two queries."""
    cells = read.list_cells(db.session(), analysis)
    labels = cell_label_set(cells)
    return {
        "state": describe_state(analysis, read.newest_job(db.session(), analysis), cells),
        "rows": [cell_row(analysis, cell, labels) for cell in cells],
        "classes": _classes(cells, labels),
        "network": _network(cells),
        "at_border": sum(cell.touches_border for cell in cells),
        "csv_url": url_for("cells.table", public_id=analysis.public_id),
        "again": read.can_read_again(cells, services().settings),
    }


def describe_state(analysis: Analysis, job: Job | None, cells: Sequence[Cell]) -> dict[str, Any]:
    """Say where the reading stands.

    Returns
    -------
    state : dict
        ``name`` ("none", "queued", "running", "done", "failed", "cancelled"), ``done``,
        ``total``, ``sentence`` and ``waiting``.
    """
    waits = job is not None and job.state in _WAITING
    name = "done" if cells and not waits else (job.state if job else "none")
    sentences = {
        "none": "The cells of this field were not read yet.",
        "queued": "The cells wait to be read.",
        "running": (job.message if job else "") or "The cells are being read.",
        "done": "" if cells else "No nucleated cell was found.",
        "failed": (job.message if job else "") or "The cells could not be read.",
        "cancelled": "The reading of the cells was cancelled.",
    }
    return {
        "name": name,
        "done": job.done if job else 0,
        "total": job.total if job else 0,
        "sentence": sentences[name],
        "waiting": name in _WAITING,
        "url": url_for("cells.state", public_id=analysis.public_id),
    }


def cell_row(analysis: Analysis, cell: Cell, labels: LabelSet) -> dict[str, Any]:
    """One cell as a gallery shows it."""
    label = labels.label(cell.code)
    return {
        "number": cell.number,
        "url": url_for("cells.show", public_id=analysis.public_id, number=cell.number),
        "crop_url": url_for("cells.crop", public_id=analysis.public_id, number=cell.number),
        "code": cell.code or UNNAMED,
        "name": _name(cell, labels),
        "short_name": label.short_name if label else _name(cell, labels),
        "probability": cell.probability,
        "read": cell.network_name is not None,
        "at_border": cell.touches_border,
        "nc_ratio": cell.measures.get("nc_ratio"),
    }


def describe_cell(analysis: Analysis, cell: Cell) -> dict[str, Any]:
    """Everything that the page of one cell says."""
    labels = cell_label_set([cell])
    flags = [*cell.reasons, *(["cell_at_border"] if cell.touches_border else [])]
    return {
        "row": cell_row(analysis, cell, labels),
        "labels": labels,
        "flags": wording.flag_texts(flags),
        "bars": labels.bars(cell.probabilities, cell.top_code),
        "measures": [
            (column.header, _shown(cell.measures[column.name]), column.definition)
            for column in COLUMNS
            if cell.measures.get(column.name) is not None
        ],
        "evidence": sorted(cell.field_evidence.items(), key=lambda item: -item[1]),
    }


def _name(cell: Cell, labels: LabelSet) -> str:
    if cell.network_name is None:
        return "Not classified"
    return labels.name(cell.code)


def _classes(cells: Sequence[Cell], labels: LabelSet) -> list[dict[str, Any]]:
    if not labels.labels:
        return []
    counts = Counter(cell.code or UNNAMED for cell in cells)
    rows = [
        {"name": label.name, "colour": label.colour, "count": counts[label.code]}
        for label in labels.labels
    ]
    return [*rows, {"name": wording.UNCLASSIFIABLE, "colour": None, "count": counts[UNNAMED]}]


def _network(cells: Sequence[Cell]) -> str:
    read_by = next((cell for cell in cells if cell.network_name), None)
    return f"{read_by.network_name} {read_by.network_version}" if read_by else ""


def _shown(value: float | int) -> str:
    return f"{value:d}" if isinstance(value, int) else f"{value:.4g}"
