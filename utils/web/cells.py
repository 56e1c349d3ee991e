"""The cells of a field: where their reading stands, each cell, its picture, the table."""

from __future__ import annotations

import csv
import io

from flask import (
    Blueprint,
    Response,
    flash,
    jsonify,
    redirect,
    render_template,
    request,
    url_for,
)
from flask.typing import ResponseReturnValue

from utils.errors import NotFound
from utils.imaging.morphometry import COLUMNS
from utils.records import audit, db
from utils.web.cell_page import cell_section, describe_cell, describe_state
from utils.web.labels import cell_label_set
from utils.web.security import limiter
from utils.web.services import services
from utils.web.views import analysis_of, me, note_view
from utils.workflow import access, cell_heat, pictures, read
from utils.workflow.scale import in_micrometres

blueprint = Blueprint("cells", __name__)

# A cell's picture never changes; it stays in the browser for a day, and in no shared cache.
_KEEP = "private, max-age=86400, immutable"
# Each is a pass through the cell network.
_HEATMAPS = "120 per minute"


@blueprint.get("/analyses/<public_id>/cells/state")
def state(public_id: str) -> Response:
    """Say how far the reading of a field's cells is; the page asks while it waits."""
    analysis = analysis_of(public_id)
    session = db.session()
    job, cells = read.newest_job(session, analysis), read.list_cells(session, analysis)
    response = jsonify(describe_state(analysis, job, cells))
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("/analyses/<public_id>/cells")
def section(public_id: str) -> str:
    """Give the analysis page's section on cells alone: the page fetches it when they are read."""
    analysis = analysis_of(public_id)
    return render_template("analyses/_cells.html", analysis=analysis, **cell_section(analysis))


@blueprint.post("/analyses/<public_id>/cells")
def ask(public_id: str) -> ResponseReturnValue:
    """Ask for the cells of a field that has none yet, or that a newer network may read."""
    analysis = analysis_of(public_id)
    access.require_correct(me(), analysis)
    version = read.serving_version(services().settings)
    known = read.list_cells(db.session(), analysis)
    read.ask_for_cells(db.session(), analysis, me(), version=version if known else None)
    db.session.commit()
    flash("The cells of this field are read in the background.", "ok")
    return redirect(url_for("analyses.show", public_id=public_id) + "#cells", 303)


@blueprint.get("/analyses/<public_id>/cells/<int:number>")
def show(public_id: str, number: int) -> str:
    """Show one cell: its picture, its class, its measurements, the field's evidence for it."""
    analysis = analysis_of(public_id)
    cell = read.find_cell(db.session(), analysis, number)
    page = render_template(
        "cells/show.html",
        analysis=analysis,
        cell=cell,
        **describe_cell(analysis, cell, request.args),
    )
    note_view("analysis", public_id)
    return page


@blueprint.get("/analyses/<public_id>/cells/<int:number>/heatmap-<code>-<colour_map>.png")
@limiter.limit(_HEATMAPS)
def heatmap(public_id: str, number: int, code: str, colour_map: str) -> Response:
    """Give where the cell network looked for a class on one cell; computed now, in float32."""
    analysis = analysis_of(public_id)
    cell = read.find_cell(db.session(), analysis, number)
    if code not in cell.probabilities or colour_map not in pictures.COLOUR_MAPS:
        raise NotFound("There is no such heatmap of this cell.")
    cams, share = cell_heat.maps_of(analysis, cell, services().settings)
    drawn = pictures.heatmap_png(
        cams[list(cell.probabilities).index(code)],
        ceiling=pictures.shared_ceiling(cams),
        width_px=pictures.HEATMAP_SIDE_PX,
        height_px=pictures.HEATMAP_SIDE_PX,
        colour_map=colour_map,
        share=share,
    )
    response = Response(drawn, mimetype="image/png")
    response.headers["Cache-Control"] = _KEEP
    return response


@blueprint.get("/analyses/<public_id>/cells/<int:number>.jpg")
def crop(public_id: str, number: int) -> Response:
    """Give a cell's picture, at its own scale on a balanced background."""
    cell = read.find_cell(db.session(), analysis_of(public_id), number)
    response = Response(cell.crop, mimetype="image/jpeg")
    response.headers["Cache-Control"] = _KEEP
    return response


@blueprint.get("/analyses/<public_id>/cells.csv")
def table(public_id: str) -> Response:
    """Give all cells with their calls and measurements for spreadsheets."""
    analysis = analysis_of(public_id)
    cells = read.list_cells(db.session(), analysis)
    labels = cell_label_set(cells)
    codes = [label.code for label in labels.labels]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(
        ["cell", "row_px", "col_px", "at_border", "network", "class", "probability"]
        + [f"p_{code}" for code in codes]
        + ["um_per_px", "um_per_px_source"]
        + [column.header for column in COLUMNS]
    )
    for cell in cells:
        measures = in_micrometres(cell.measures, analysis.um_per_px)
        network = f"{cell.network_name} {cell.network_version}" if cell.network_name else ""
        writer.writerow(
            [cell.number, cell.row_px, cell.col_px, int(cell.touches_border), network]
            + [cell.code or "", "" if cell.probability is None else round(cell.probability, 4)]
            + [round(cell.probabilities.get(code, 0.0), 4) for code in codes]
            + [analysis.um_per_px, analysis.um_per_px_source]
            + [measures.get(column.name) for column in COLUMNS]
        )
    audit.append(
        db.session(),
        action="analysis.export",
        object_type="analysis",
        object_id=analysis.public_id,
        actor_id=me().id,
    )
    db.session.commit()
    response = Response(text.getvalue(), mimetype="text/csv")
    response.headers["Content-Disposition"] = 'attachment; filename="cells.csv"'
    return response
