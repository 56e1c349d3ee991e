"""What the analysis page says, gathered for its template in a handful of queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from flask import current_app, url_for
from sqlalchemy.orm import joinedload

from utils.imaging.overlay import colour_map
from utils.records import Analysis, ReportVersion, db
from utils.web.cell_page import cell_section
from utils.web.labels import LabelSet, label_set
from utils.web.paths import smooth_path
from utils.web.views import me
from utils.workflow import access, pictures, review, wording
from utils.workflow.history import UNCLASSIFIABLE_FILTER

DEFAULT_MAP: Final = "jet"
OTHER_MAP: Final = "viridis"
LEGEND_STEPS: Final = 32
VIEWER_SCRIPT: Final = "vendor/openseadragon/openseadragon.min.js"


@dataclass(frozen=True)
class Draft:
    """What a person had filled in when their review could not be taken."""

    action: str = ""
    code: str = ""
    reason: str = ""
    note: str = ""


def describe(
    analysis: Analysis, query: Mapping[str, str], draft: Draft | None = None
) -> dict[str, Any]:
    """Gather everything that ``analyses/show.html`` needs.

    Parameters
    ----------
    analysis : Analysis
        Loaded whole.
    query : mapping
        The address's query: which layers are shown where there is no script.
    """
    labels = label_set(analysis)
    events = review.load_events(db.session(), analysis.id)
    stands = review.standing(analysis, events)
    return {
        "labels": labels,
        "voice": _voice(stands),
        "headline": _headline(labels, stands.code),
        "network_headline": _headline(labels, analysis.label_code),
        "statements": _statements(labels, stands.code),
        "why_not": [wording.flag_text(code) for code in analysis.reasons],
        "flags": wording.flag_texts(analysis.flags),
        "bars": labels.bars(analysis.probabilities, analysis.top_code),
        "heat": _heat(analysis, labels, query),
        "layers": _layers(analysis, query),
        "outlines": _outlines(analysis),
        "stands": stands,
        "timeline": review.timeline(analysis, events),
        "seen": review.last_event_id(events),
        "draft": draft or Draft(),
        "reasons": wording.CORRECTION_REASONS,
        "unclassifiable": UNCLASSIFIABLE_FILTER,
        "targets": _targets(analysis, labels, stands.code),
        "may_report": access.can_report(me(), analysis),
        "reports": _reports(analysis),
        "neighbours": _neighbours(analysis),
        **cell_section(analysis),
        "me_id": me().id,
        "viewer_script": _viewer_script(),
    }


def _viewer_script() -> str:
    """Where the viewer's script lies under ``static``; "" where it was not installed."""
    installed = Path(str(current_app.static_folder)) / VIEWER_SCRIPT
    return VIEWER_SCRIPT if installed.is_file() else ""


def _voice(stands: review.Standing) -> str:
    """Who speaks in the headline: a person's call and the network's are never mixed."""
    if stands.by is None:
        return "The network’s reading, not reviewed"
    did = "Confirmed" if stands.state == "confirmed" else "Corrected"
    return f"{did} by {stands.by.user.name}"


def _headline(labels: LabelSet, code: str | None) -> str:
    return wording.headline(None if code is None else labels.name(code))


def _statements(labels: LabelSet, code: str | None) -> tuple[str, ...]:
    top = labels.label(code)
    return wording.statements(
        label_code=code,
        is_blast=bool(top and top.is_blast),
        note=top.note if top else "",
        class_count=len(labels.labels),
    )


def _heat(analysis: Analysis, labels: LabelSet, query: Mapping[str, str]) -> dict[str, Any]:
    cams = np.asarray(analysis.cams, dtype=np.float32)
    ceiling = pictures.shared_ceiling(cams)
    kept: dict[str, Any] = analysis.nuclei or {}
    shares: Mapping[str, float | None] = kept.get("heat_on_cells", {})
    classes = [
        {
            "code": label.code,
            "name": label.name,
            "share": shares.get(label.code),
            "highest": float(cam.max()),
            "empty": not float(cam.max()) > 0.0,
            "urls": {name: _heat_url(analysis, label.code, name) for name in _maps()},
        }
        for label, cam in zip(labels.labels, cams, strict=True)
    ]
    wanted = query.get("class", analysis.top_code)
    chosen = next((row for row in classes if row["code"] == wanted), None)
    return {
        "classes": classes,
        "chosen": chosen or next(row for row in classes if row["code"] == analysis.top_code),
        "map": query["map"] if query.get("map") in _maps() else DEFAULT_MAP,
        "maps": _maps(),
        "ceiling": ceiling,
        "by_chance": kept.get("by_chance"),
        "at_best": kept.get("at_best"),
        "grid": f"{cams.shape[1]} × {cams.shape[2]}",
        "legends": {name: _legend(name) for name in _maps()},
    }


def _maps() -> tuple[str, str]:
    return DEFAULT_MAP, OTHER_MAP


def _legend(name: str) -> list[str]:
    table = colour_map(name)
    steps = np.linspace(0, len(table) - 1, LEGEND_STEPS).round().astype(int)
    return ["#{:02x}{:02x}{:02x}".format(*map(int, table[step])) for step in steps]


def _heat_url(analysis: Analysis, code: str, name: str) -> str:
    return url_for(
        "analyses.layer", public_id=analysis.public_id, name=f"heatmap-{code}-{name}.png"
    )


def _layers(analysis: Analysis, query: Mapping[str, str]) -> dict[str, Any]:
    def url(name: str) -> str:
        return url_for("analyses.layer", public_id=analysis.public_id, name=name)

    chosen = "base" in query
    return {
        "original": url("original"),
        "clahe": url("clahe"),
        "boundaries": url("boundaries.png"),
        "base": "clahe" if query.get("base") == "clahe" else "original",
        "heat_on": query.get("heat") == "on",
        "cells_on": query.get("cells") == "on" if chosen else True,
    }


def _outlines(analysis: Analysis) -> list[str]:
    """Line around each cell as SVG writes paths, in pixels of the original."""
    kept: dict[str, Any] = analysis.nuclei or {}
    return [smooth_path(corners) for corners in kept.get("outlines", [])]


def _targets(
    analysis: Analysis, labels: LabelSet, standing_code: str | None
) -> list[tuple[str, str]]:
    """Labels that a correction may choose: every one but that which stands."""
    known = [(label.code, label.name) for label in labels.labels if label.code != standing_code]
    if standing_code is not None:
        known.append((UNCLASSIFIABLE_FILTER, wording.UNCLASSIFIABLE))
    return known


def _reports(analysis: Analysis) -> Sequence[ReportVersion]:
    statement = (
        sa.select(ReportVersion)
        .where(ReportVersion.analysis_id == analysis.id)
        .order_by(ReportVersion.number.desc())
        .options(joinedload(ReportVersion.created_by, innerjoin=True))
    )
    return db.session.scalars(statement).all()


def _neighbours(analysis: Analysis) -> dict[str, Any]:
    """Numbers and addresses of the fields around this one in its case, in one query."""
    rows = db.session.execute(
        sa.select(Analysis.number, Analysis.public_id)
        .where(Analysis.case_id == analysis.case_id)
        .order_by(Analysis.number)
    ).all()
    here = next(place for place, row in enumerate(rows) if row.number == analysis.number)

    def url(place: int) -> str | None:
        if not 0 <= place < len(rows):
            return None
        return url_for("analyses.show", public_id=rows[place].public_id)

    return {"place": here + 1, "of": len(rows), "previous": url(here - 1), "next": url(here + 1)}
