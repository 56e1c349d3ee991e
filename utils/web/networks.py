"""Pages about the trained networks: which there are, which serves, what each was shown to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, render_template, send_file, url_for

from utils.errors import NetworkCorrupt, NetworkUnavailable, NotFound
from utils.networks.manifest import Manifest
from utils.networks.registry import MANIFEST, current_version
from utils.web import evidence
from utils.web.markdown import render_markdown
from utils.web.services import services
from utils.web.views import me
from utils.workflow import access

blueprint = Blueprint("networks", __name__)

FIGURE_NAMES = frozenset(name for name, _, _ in evidence.FIGURES)
# Plots carry style elements of their own. An image runs no script, and in its own tab this holds.
FIGURE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


@blueprint.get("/networks")
def index() -> str:
    """List every version, the serving one first; one damaged manifest does not hide the others."""
    rows = [_entry(folder) for folder in _folders()]
    rows.sort(key=lambda row: not row["serving"])
    return render_template(
        "networks/index.html", rows=rows, sees_laboratory=access.can_see_laboratory(me())
    )


def _entry(folder: Path) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": folder.parent.name,
        "version": folder.name,
        "serving": _serves(folder),
        "url": url_for(".show", name=folder.parent.name, version=folder.name),
    }
    try:
        manifest = Manifest.load(folder / MANIFEST)
    except NetworkCorrupt as error:
        return entry | {"fault": error.message}
    table = evidence.evidence_table(_metrics(folder, manifest))
    return entry | {"manifest": manifest, "tests": {row.key: row.network for row in table.rows}}


@blueprint.get("/networks/<name>/<version>")
def show(name: str, version: str) -> str:
    """Show the model card, the table of evidence and the figures of one version."""
    folder = _find(name, version)
    manifest = Manifest.load(folder / MANIFEST)
    metrics = _metrics(folder, manifest)
    classes = [(label.code, label.display_name) for label in manifest.classes]
    confusion = evidence.confusion(metrics, [label.short_name for label in manifest.classes])
    return render_template(
        "networks/show.html",
        name=name,
        version=version,
        manifest=manifest,
        serving=_serves(folder),
        metrics=metrics,
        summary=evidence.summary(metrics),
        table=evidence.evidence_table(metrics),
        meaning=evidence.meaning(metrics),
        class_rows=evidence.class_rows(metrics, classes),
        confusion=confusion,
        figures=_figures(folder, with_confusion=not confusion),
        explanation=evidence.plain_facts(metrics.get("explanation")),
        dataset=evidence.plain_facts(metrics.get("dataset")),
        training=evidence.plain_facts(manifest.training),
        libraries=evidence.plain_facts(manifest.libraries),
        card=_card(folder),
    )


@blueprint.get("/networks/<name>/<version>/figures/<figure>.svg")
def figure(name: str, version: str, figure: str) -> Response:
    """Send one plot that the training wrote beside the network."""
    path = _find(name, version) / f"{figure}.svg"
    if figure not in FIGURE_NAMES or not path.is_file():
        raise NotFound("This version has no such figure.")
    response = send_file(path.resolve(), mimetype="image/svg+xml", conditional=True, max_age=3600)
    response.headers["Content-Security-Policy"] = FIGURE_POLICY
    return response


def _folders() -> list[Path]:
    models_dir = services().settings.models_dir
    return sorted(path.parent for path in models_dir.glob(f"*/*/{MANIFEST}"))


def _find(name: str, version: str) -> Path:
    """Find the version among those installed: a path is never made from the address itself."""
    for folder in _folders():
        if (folder.parent.name, folder.name) == (name, version):
            return folder
    raise NotFound("No network of this name and version is installed.")


def _serves(folder: Path) -> bool:
    try:
        return current_version(folder.parent.parent, folder.parent.name) == folder.name
    except NetworkUnavailable:
        return False


def _metrics(folder: Path, manifest: Manifest) -> Mapping[str, Any]:
    """Read metrics.json, else what the manifest repeats of it; never an error page for either."""
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        metrics = manifest.metrics
    return metrics if isinstance(metrics, Mapping) else {}


def _figures(folder: Path, *, with_confusion: bool) -> list[tuple[str, str, str]]:
    """Name the plots that are there; the matrix is a table on the page where it can be."""
    return [
        (name, title, caption)
        for name, title, caption in evidence.FIGURES
        if (folder / f"{name}.svg").is_file() and (name != "confusion" or with_confusion)
    ]


def _card(folder: Path) -> str:
    try:
        return render_markdown((folder / "card.md").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return ""
