"""The label set that an analysis was read with: names and colours of its classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from utils.errors import MarrowFindError
from utils.records import Analysis, Cell
from utils.web.services import services
from utils.workflow import wording

# Where a network's folder is gone, its classes still have their codes.
_PLAIN_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")


@dataclass(frozen=True)
class Label:
    """One class as pages show it."""

    code: str
    name: str
    short_name: str
    colour: str
    is_blast: bool
    note: str


@dataclass(frozen=True)
class LabelSet:
    """The classes of one network version, in its order.

    Attributes
    ----------
    abstain_below : float or None
        Threshold on the highest probability; None where the network's folder is gone.
    installed : bool
        Whether its model card can be shown.
    """

    labels: tuple[Label, ...]
    abstain_below: float | None
    installed: bool

    def name(self, code: str | None) -> str:
        """Display name of a class; None is "Unclassifiable — review"."""
        if code is None:
            return wording.UNCLASSIFIABLE
        return next((label.name for label in self.labels if label.code == code), code)

    def bars(
        self, probabilities: Mapping[str, float], top_code: str | None
    ) -> list[dict[str, Any]]:
        """One bar a class, as the macro of that name draws them."""
        return [
            {
                "code": label.code,
                "name": label.name,
                "colour": label.colour,
                "probability": probabilities[label.code],
                "top": label.code == top_code,
            }
            for label in self.labels
        ]

    def label(self, code: str | None) -> Label | None:
        """The class with this code."""
        return next((label for label in self.labels if label.code == code), None)


def label_set(analysis: Analysis) -> LabelSet:
    """Give the label set of the network version that read `analysis`."""
    known = _installed(analysis.network_name, analysis.network_version)
    return known or _bare(tuple(analysis.probabilities))


def cell_label_set(cells: Sequence[Cell]) -> LabelSet:
    """Give the label set that the cells of a field were read with; empty where none was."""
    read = next((cell for cell in cells if cell.network_name and cell.network_version), None)
    if read is None or read.network_name is None or read.network_version is None:
        return LabelSet((), None, False)
    known = _installed(read.network_name, read.network_version)
    return known or _bare(tuple(read.probabilities))


def cell_choices(cells: Sequence[Cell] = ()) -> LabelSet:
    """Give the classes that a person may give to cells: theirs, else those of the cell network.

    Parameters
    ----------
    cells : sequence of Cell
        Of a field; where a network read them, its classes come first.
    """
    from utils.networks.registry import label_set as listed

    theirs = cell_label_set(cells)
    if theirs.installed:
        return theirs
    settings = services().settings
    try:
        classes = listed(settings.models_dir, settings.cell_network)
    except MarrowFindError:
        return theirs
    return LabelSet(tuple(map(_label_of, classes)), None, False)


def serving_label_set() -> LabelSet:
    """Give the label set of the network that reads new fields; empty where there is none."""
    try:
        manifest = services().classifier.manifest
    except MarrowFindError:
        return LabelSet((), None, False)
    return _from_manifest(manifest)


def _installed(name: str, version: str) -> LabelSet | None:
    try:
        serving = services().classifier.manifest
        if (serving.name, serving.version) == (name, version):
            return _from_manifest(serving)
    except MarrowFindError:
        pass  # a page about an older analysis does not need the network itself
    place = services().settings.models_dir / name / version / "manifest.json"
    try:
        return _read(place, place.stat().st_mtime_ns)
    except (OSError, MarrowFindError):
        return None


@lru_cache(maxsize=16)
def _read(place: Path, _changed_ns: int) -> LabelSet:
    from utils.networks.manifest import Manifest

    return _from_manifest(Manifest.load(place))


def _from_manifest(manifest: Any) -> LabelSet:
    return LabelSet(tuple(map(_label_of, manifest.classes)), manifest.abstain_below, True)


def _label_of(label: Any) -> Label:
    return Label(
        code=label.code,
        name=label.display_name,
        short_name=label.short_name,
        colour=label.colour,
        is_blast=label.is_blast,
        note=label.note,
    )


def _bare(codes: tuple[str, ...]) -> LabelSet:
    labels = tuple(
        Label(code, code, code, _PLAIN_COLOURS[place % len(_PLAIN_COLOURS)], code != "Benign", "")
        for place, code in enumerate(codes)
    )
    return LabelSet(labels, None, False)
