"""What the program is for, what it is not for, and on whose work it stands."""

from __future__ import annotations

from flask import Blueprint, render_template

from utils import __version__
from utils.web.services import services

blueprint = Blueprint("about", __name__)


@blueprint.get("/about")
def index() -> str:
    """Show purpose, limits, privacy and licences; open to everybody."""
    return render_template("about.html")


@blueprint.app_context_processor
def imprint() -> dict[str, str]:
    """Give every page what stands at its foot."""
    return {
        "program_version": __version__,
        "laboratory_name": services().settings.laboratory_name,
    }
