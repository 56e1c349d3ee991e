"""The scale of a field: what the page says of it, and the form that sets it."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from utils.errors import InvalidInput
from utils.imaging.pixel_size import RED_CELL_UM
from utils.imaging.stated_scale import LARGEST_UM, SMALLEST_UM
from utils.records import Analysis
from utils.web.views import analysis_of, me
from utils.workflow import access
from utils.workflow.scale import set_scale

blueprint = Blueprint("scale", __name__)

_LONGEST: Final = 20


@blueprint.post("/analyses/<public_id>/scale")
def save(public_id: str) -> ResponseReturnValue:
    """Keep what a person says of a field's scale."""
    analysis = analysis_of(public_id)
    access.require_correct(me(), analysis)
    set_scale(analysis, me(), _number(request.form.get("um_per_px", "")))
    flash("The scale of this field is set.", "ok")
    return redirect(url_for("analyses.show", public_id=public_id) + "#scale", 303)


def describe_scale(analysis: Analysis) -> dict[str, Any]:
    """Say what is known of a field's scale, and by what.

    Returns
    -------
    scale : dict
        ``known``, ``um_per_px`` (None where it is not known), ``sentence``, and for the form
        ``value``, ``url``, ``low`` and ``high``.
    """
    um_per_px = analysis.um_per_px
    return {
        "known": um_per_px is not None,
        "um_per_px": um_per_px,
        "sentence": _sentence(analysis),
        "value": "" if um_per_px is None else f"{um_per_px:.4g}",
        "url": url_for("scale.save", public_id=analysis.public_id),
        "low": f"{SMALLEST_UM:g}",
        "high": f"{LARGEST_UM:g}",
    }


def _sentence(analysis: Analysis) -> str:
    if analysis.um_per_px is None:
        return "Not known: neither the file nor red cells that lie free have told it."
    size = f"{analysis.um_per_px:.3g} µm per pixel"
    if analysis.um_per_px_source == "metadata":
        return f"{size}, as the file states."
    if analysis.um_per_px_source == "user":
        return f"{size}, set by a person."
    return (
        f"{size}, estimated from {analysis.um_per_px_cells} red cells taken as "
        f"{RED_CELL_UM:g} µm, ±{100 * (analysis.um_per_px_spread or 0.0):.0f} %."
    )


def _number(text: str) -> float:
    """Read a number with a decimal point or a decimal comma."""
    try:
        return float(text[:_LONGEST].strip().replace(",", "."))
    except ValueError:
        raise InvalidInput(
            "Micrometres per pixel were expected as a number, such as 0.094.", code="um_per_px"
        ) from None
