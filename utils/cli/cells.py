"""``flask cells``: how well cells are found, on sets that people have drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from utils.cli.command import new_group, print_json

group = new_group("cells", "Measure how cells are found and outlined.")

FIGURES = (
    "count_mae",
    "count_bias",
    "precision",
    "recall",
    "f1",
    "nucleus_dice",
    "cell_dice",
    "nc_ratio_mae",
    "ms_per_megapixel",
)


@group.command("evaluate")
@click.option(
    "--dataset",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with images and masks, or with images, annotations and nucleus_masks.",
)
@click.option("--controls/--no-controls", default=True, help="Also the published ways.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate(dataset: Path, controls: bool, as_json: bool) -> None:
    """Compare counts, boxes, masks and N:C ratios with what people drew."""
    from utils.networks.cell_sets import read_cell_set
    from utils.networks.finding import evaluate_finding

    report = evaluate_finding(
        read_cell_set(dataset), controls=controls, say=lambda line: click.echo(line, err=True)
    )
    if as_json:
        print_json(report)
        return
    ways = {"this program": report, **report.get("controls", {})}
    click.echo(f"{report['n']} pictures; a detection is right by {report['detection_rule']}.")
    click.echo(f"{'':<18}" + "".join(f"{name.replace('_', ' '):>20}" for name in ways))
    for figure in FIGURES:
        cells = "".join(f"{_shown(way, figure):>20}" for way in ways.values())
        click.echo(f"{figure.replace('_', ' '):<18}{cells}")


def _shown(report: dict[str, Any], figure: str) -> str:
    value = report["detection"].get(figure, report.get(figure))
    return "not known" if value is None else f"{value:.3f}"
