"""What pages say of a field's cells: where their reading stands, each cell, the count by class."""

from __future__ import annotations

import math
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from flask import url_for

from utils.imaging.morphometry import COLUMNS
from utils.imaging.watershed import LEAST_DISTANCE
from utils.records import Analysis, Cell, CellEvent, Job, db
from utils.web.labels import LabelSet, cell_choices, cell_label_set
from utils.web.paths import smooth_path
from utils.web.scale import describe_scale
from utils.web.services import services
from utils.web.views import me
from utils.workflow import access, cell_events, cell_heat, cell_repair, read, wording
from utils.workflow.case_gallery import similar_cells
from utils.workflow.pictures import COLOUR_MAPS
from utils.workflow.scale import in_micrometres

# The key of cells that were found and not named.
UNNAMED: Final = ""
_WAITING: Final = ("queued", "running")
# Numbers of cells that a sentence lists.
_LISTED: Final = 6


def cell_section(analysis: Analysis) -> dict[str, Any]:
    """Gather what the section's template expects."""
    return {
        "cells": describe_cells(analysis),
        "key": secrets.token_urlsafe(16),
        "scale": describe_scale(analysis),
        "field_count": wording.FIELD_COUNT,
        "cells_by_network": wording.CELLS_BY_NETWORK,
        "may_review": access.can_correct(me(), analysis),
    }


def describe_cells(analysis: Analysis) -> dict[str, Any]:
    """Gather what the section on cells says; three queries."""
    session = db.session()
    cells = read.list_cells(session, analysis)
    events = cell_events.load_events(session, analysis.id)
    labels = cell_choices(cells)
    stands = cell_events.replay(events)
    return {
        "state": describe_state(analysis, read.newest_job(session, analysis), cells),
        "rows": [cell_row(analysis, cell, labels) for cell in cells],
        "outlines": [_outline(cell, labels) for cell in cells],
        "labels": labels.labels,
        "classes": _classes(cells, labels),
        "reviewed": sum(cell.review_state != "unreviewed" for cell in cells),
        "seen": cell_events.last_id(events),
        "undo": describe_event(stands.done[-1]) if stands.done else "",
        "redo": describe_event(stands.undone[-1]) if stands.undone else "",
        "distance": _distance(analysis, cells),
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
    code = cell_events.standing_code(cell)
    label = labels.label(code)
    changed = cell.review_state == "corrected" and cell.network_name is not None
    return {
        "number": cell.number,
        "url": url_for("cells.show", public_id=analysis.public_id, number=cell.number),
        "crop_url": url_for("cells.crop", public_id=analysis.public_id, number=cell.number),
        "code": code or UNNAMED,
        "name": _name(cell, labels),
        "short_name": label.short_name if label else _name(cell, labels),
        "colour": label.colour if label else None,
        "state": cell.review_state,
        "by_network": labels.name(cell.code) if changed else "",
        "drawn": cell.origin == "person",
        "probability": cell.probability,
        "read": cell.network_name is not None,
        "at_border": cell.touches_border,
        "nc_ratio": cell.measures.get("nc_ratio"),
    }


def describe_cell(analysis: Analysis, cell: Cell, query: Mapping[str, str]) -> dict[str, Any]:
    """Everything that the page of one cell says; `query` chooses its heatmap."""
    labels = cell_label_set([cell])
    events = cell_events.load_events(db.session(), analysis.id)
    flags = [*cell.reasons, *(["cell_at_border"] if cell.touches_border else [])]
    measures = in_micrometres(cell.measures, analysis.um_per_px)
    return {
        "scale": describe_scale(analysis),
        "row": cell_row(analysis, cell, cell_choices([cell])),
        "labels": labels,
        "choices": cell_choices([cell]).labels,
        "heat": _heat(analysis, cell, labels, query),
        "alike": _alike(cell),
        "events": [
            event
            for event in cell_events.replay(events).done
            if cell.number in cell_events.touched(event)
        ],
        "sentence_of": describe_event,
        "seen": cell_events.last_id(events),
        "key": secrets.token_urlsafe(16),
        "may_review": access.can_correct(me(), analysis) and cell.present,
        "flags": wording.flag_texts(flags),
        "bars": labels.bars(cell.probabilities, cell.top_code),
        "measures": [
            (column.name, column.header, _shown(value), column.definition)
            for column in COLUMNS
            if (value := measures.get(column.name)) is not None
        ],
        "evidence": sorted(cell.field_evidence.items(), key=lambda item: -item[1]),
    }


def _alike(cell: Cell) -> list[dict[str, Any]]:
    """Reference pictures: the confirmed cells that look most like this one."""
    labels = cell_choices([cell])
    return [
        {
            "url": url_for("cells.show", public_id=other.field_id, number=other.number),
            "crop_url": url_for("cells.crop", public_id=other.field_id, number=other.number),
            "name": labels.name(other.code),
            "similarity": other.similarity,
        }
        for other in similar_cells(db.session(), me(), cell)
    ]


def _heat(
    analysis: Analysis, cell: Cell, labels: LabelSet, query: Mapping[str, str]
) -> dict[str, Any]:
    """Which heatmaps the cell has, and which one is asked for."""
    if not cell_heat.has_maps(cell, services().settings):
        return {"classes": [], "chosen": ""}
    wanted = query.get("heat", "")
    chosen = wanted if wanted in cell.probabilities else ""
    colours = query.get("map", "jet")
    colours = colours if colours in COLOUR_MAPS else "jet"
    address = ""
    if chosen:
        address = url_for(
            "cells.heatmap",
            public_id=analysis.public_id,
            number=cell.number,
            code=chosen,
            colour_map=colours,
        )
    return {
        "classes": [("", "None"), *((code, labels.name(code)) for code in cell.probabilities)],
        "chosen": chosen,
        "name": labels.name(chosen) if chosen else "",
        "map": colours,
        "url": address,
    }


def describe_event(event: CellEvent) -> str:
    """Say in a sentence what an action did."""
    changes = event.changes
    said = [cell["number"] for cell in changes.get("cells", ())]
    gone, new = changes.get("removed", []), changes.get("added", [])
    codes = {cell["new"] for cell in changes.get("cells", ())}
    name = cell_choices().name(codes.pop()) if len(codes) == 1 else "several classes"
    sentences = {
        "confirm": f"{_cells(said)} confirmed",
        "correct": f"{_cells(said)} called {name}",
        "split": f"{_cells(gone)} split into {_listed(new)}",
        "merge": f"{_cells(gone)} merged into {_listed(new)}",
        "remove": f"{_cells(gone)} removed",
        "add": f"{_cells(new)} added",
        "find_again": f"Found again: {len(gone)} gone, {len(new)} new",
        "undo": "Undone",
        "redo": "Done again",
    }
    return sentences[event.action] + "."


def _cells(numbers: Sequence[int]) -> str:
    if len(numbers) > _LISTED:
        return f"{len(numbers)} cells"
    return f"{'Cell' if len(numbers) == 1 else 'Cells'} {_listed(numbers)}"


def _listed(numbers: Sequence[int]) -> str:
    if len(numbers) < 2:
        return "".join(map(str, numbers))
    return f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _name(cell: Cell, labels: LabelSet) -> str:
    if cell.network_name is None and cell.review_state == "unreviewed":
        return "Not classified"
    return labels.name(cell_events.standing_code(cell))


def _outline(cell: Cell, labels: LabelSet) -> dict[str, Any]:
    """One cell as the viewer draws it over the field."""
    label = labels.label(cell_events.standing_code(cell))
    return {
        "number": cell.number,
        "path": smooth_path(cell.outline) if cell.outline else "",
        "colour": label.colour if label else None,
        "name": _name(cell, labels),
    }


def _classes(cells: Sequence[Cell], labels: LabelSet) -> list[dict[str, Any]]:
    """Cells by class: as the network named them and as people confirmed them, apart."""
    read_any = any(cell.network_name for cell in cells)
    reviewed = [cell for cell in cells if cell.review_state != "unreviewed"]
    if not read_any and not reviewed:
        return []
    counts = Counter(cell.code or UNNAMED for cell in cells if cell.network_name)
    confirmed = Counter(cell.reviewed_code for cell in reviewed)
    rows = [
        {
            "code": label.code,
            "name": label.name,
            "colour": label.colour,
            "network": counts[label.code],
            "confirmed": confirmed[label.code],
        }
        for label in labels.labels
    ]
    unnamed = {"code": None, "name": wording.UNCLASSIFIABLE, "colour": None}
    return [*rows, unnamed | {"network": counts[UNNAMED], "confirmed": 0}]


def _distance(analysis: Analysis, cells: Sequence[Cell]) -> dict[str, int]:
    """Bounds of the slider, and where it stands: about what the program chose by itself."""
    areas = [cell.measures.get("nucleus_area_px") or 0.0 for cell in cells]
    typical = math.sqrt(float(np.median(areas)) / math.pi) if areas else 0.0
    if typical <= 0.0:
        typical = 0.03 * min(analysis.width_px, analysis.height_px)
    low, high = cell_repair.DISTANCES
    return {
        "low": max(low, round(0.2 * typical)),
        "high": min(high, max(low + 4, round(4 * typical))),
        "value": min(high, max(low, round(LEAST_DISTANCE * typical))),
    }


def _network(cells: Sequence[Cell]) -> str:
    read_by = next((cell for cell in cells if cell.network_name), None)
    return f"{read_by.network_name} {read_by.network_version}" if read_by else ""


def _shown(value: float | int) -> str:
    return f"{value:d}" if isinstance(value, int) else f"{value:.4g}"
