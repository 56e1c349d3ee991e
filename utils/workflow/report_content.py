"""What a report of one field says, drawn up from a stored analysis or from one that is not."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from utils.imaging import overlay
from utils.reports.content import (
    FieldReport,
    Identity,
    ProbabilityRow,
    Result,
    ReviewRow,
    ReviewState,
    Specimen,
)
from utils.reports.theme import percent, utc_time
from utils.workflow import wording
from utils.workflow.report_figures import cells_figure, field_figure, heat_figure

if TYPE_CHECKING:
    from utils.networks.manifest import LabelClass, Manifest
    from utils.workflow.analyse import AnalysisResult
    from utils.workflow.review import TimelineEntry

PENDING_STUDIES: Final = ("Flow cytometry", "Cytogenetics and FISH", "Molecular genetics")
DIFFERENTIAL: Final = (
    "Differential: not made. It takes 500 nucleated cells where a percentage decides, at least "
    "300 otherwise, over two smears or more (ICSH 2008)."
)
_HEAT_FLAGS: Final = frozenset({"heat_off_cells", "no_evidence"})
_NOT_KNOWN: Final = "not known: this version is no longer installed"


@dataclass(frozen=True)
class Reading:
    """What was seen in a field, stored or not.

    Attributes
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB.
    cams : (C, h, w) ndarray of float32
        In the order of `probabilities`.
    outlines : sequence of polygons
        Corners (x, y) of each nucleated cell, pixels of the original.
    heat_share, by_chance : float or None
        Share of the top class's heat on cells; share of the field that cells cover.
    manifest : Manifest or None
        None where the network's folder is gone.
    hashed : str
        What `picture_sha256` is the hash of: the stored picture or its pixels.
    """

    pixels: NDArray[np.uint8]
    picture_sha256: str
    picture_format: str
    cams: NDArray[np.float32]
    outlines: Sequence[Sequence[Sequence[float]]]
    probabilities: dict[str, float]
    label_code: str | None
    top_code: str
    reasons: Sequence[str]
    flags: Sequence[str]
    heat_share: float | None
    by_chance: float | None
    nuclei_count: int
    ood_distance: float
    network_name: str
    network_version: str
    network_sha256: str
    program_version: str
    manifest: Manifest | None
    hashed: str = "Picture"

    @property
    def abstained(self) -> bool:
        """Whether the network named no pattern."""
        return self.label_code is None

    def label(self, code: str | None) -> LabelClass | None:
        """Look a class up in the manifest."""
        if self.manifest is None or code is None:
            return None
        return next((label for label in self.manifest.classes if label.code == code), None)

    def name(self, code: str | None) -> str | None:
        """Display name of a class, its code where the manifest is gone; None for None."""
        label = self.label(code)
        return label.display_name if label else code

    def headline(self, code: str | None) -> str:
        """The one line for a class, or for none."""
        return wording.headline(self.name(code))


@dataclass(frozen=True)
class Review:
    """Where the review stands, and everything that was said on the way."""

    state: ReviewState = "unreviewed"
    code: str | None = None
    who: str = ""
    at: datetime | None = None
    entries: Sequence[TimelineEntry] = ()


def unstored_reading(result: AnalysisResult, program_version: str) -> Reading:
    """Take what an analysis says that was not stored."""
    manifest, reading = result.manifest, result.reading
    return Reading(
        pixels=result.decoded.pixels,
        picture_sha256=hashlib.sha256(result.decoded.pixels.tobytes()).hexdigest(),
        picture_format=result.decoded.format,
        cams=np.asarray(reading.cams, dtype=np.float32),
        outlines=[
            np.asarray(outline).tolist() for outline in overlay.outlines(result.segmentation)
        ],
        probabilities=result.probabilities,
        label_code=result.verdict.label_code,
        top_code=reading.top_code,
        reasons=result.verdict.reasons,
        flags=result.flags,
        heat_share=result.attention.heat_on_cells[reading.top_code],
        by_chance=result.attention.by_chance,
        nuclei_count=result.segmentation.count,
        ood_distance=float(reading.ood_distance),
        network_name=manifest.name,
        network_version=manifest.version,
        network_sha256=manifest.weights_sha256,
        program_version=program_version,
        manifest=manifest,
        # No file is kept: what is hashed are the decoded pixels, row by row, RGB.
        hashed="RGB pixels",
    )


def field_report(
    reading: Reading,
    *,
    identity: Identity,
    specimen: Specimen,
    review: Review,
    provenance: Sequence[tuple[str, str]],
) -> FieldReport:
    """Draw up everything a report says of one field.

    Parameters
    ----------
    specimen : Specimen
        What the laboratory recorded; the lines on the picture are added here.
    provenance : sequence of (label, value)
        Further lines for the block of the network: operator, times.
    """
    return FieldReport(
        identity=identity,
        specimen=_with_picture(specimen, reading),
        result=_result(reading, review),
        figures=_figures(reading),
        review=tuple(_review_row(entry, reading) for entry in review.entries),
        reading=(*_reading_facts(reading, review), *provenance),
        network=_network_facts(reading),
    )


def _with_picture(specimen: Specimen, reading: Reading) -> Specimen:
    height_px, width_px = reading.pixels.shape[:2]
    flags = wording.flag_texts(
        code for code in reading.flags if code not in _HEAT_FLAGS and code not in reading.reasons
    )
    notes = [flag.sentence or flag.title for flag in flags if flag.severity == "note"]
    warnings = [_said(flag) for flag in flags if flag.severity == "warning"]
    fault = "" if warnings or reading.reasons else "No fault found in focus, light or stain."
    picture = f"Picture: {reading.picture_format}, {width_px} × {height_px} px."
    return Specimen(
        site=specimen.site,
        specimen_date=specimen.specimen_date,
        indication=specimen.indication,
        quality=specimen.quality,
        image=" ".join(part for part in (picture, fault, *notes) if part),
        image_flags=tuple(warnings),
    )


def _result(reading: Reading, review: Review) -> Result:
    reviewed = review.state != "unreviewed"
    code = review.code if reviewed else reading.label_code
    label = reading.label(code)
    attention, off_cells = _attention(reading)
    return Result(
        eyebrow=_EYEBROWS[review.state],
        headline=reading.headline(code),
        subline=_subline(reading, review),
        review_state=review.state,
        abstained=reading.abstained,
        reasons=tuple(_said(flag) for flag in wording.flag_texts(reading.reasons)),
        probabilities=_probability_rows(reading),
        abstain_below=reading.manifest.abstain_below if reading.manifest else None,
        caveats=wording.statements(
            label_code=code,
            # Without a manifest nobody knows; the sentence on flow cytometry then stays.
            is_blast=label.is_blast if label else code is not None,
            note=label.note if label else "",
            class_count=len(reading.probabilities),
        ),
        attention=attention,
        attention_warning=off_cells,
        count=f"Nucleated cells found by watershed: {reading.nuclei_count}. {wording.FIELD_COUNT}",
        differential=DIFFERENTIAL,
    )


_EYEBROWS: Final[dict[ReviewState, str]] = {
    "unreviewed": "NETWORK’S READING — NOT REVIEWED BY A PERSON",
    "confirmed": "NETWORK’S READING — CONFIRMED BY A PERSON",
    "corrected": "CORRECTED BY A PERSON",
}


def _subline(reading: Reading, review: Review) -> str:
    if review.state == "unreviewed" or review.at is None:
        return ""
    if review.state == "confirmed":
        return f"Confirmed by {review.who}, {utc_time(review.at)}."
    network = f"The network read: {reading.headline(reading.label_code)}"
    if not reading.abstained:
        network += f", {percent(reading.probabilities[reading.top_code])}"
    return f"{network}. Corrected by {review.who}, {utc_time(review.at)}."


def _attention(reading: Reading) -> tuple[str, bool]:
    """Say where the heat of the highest class lies, and whether that is a warning."""
    warnings = [flag for flag in wording.flag_texts(reading.flags) if flag.code in _HEAT_FLAGS]
    said = " ".join(_said(flag) for flag in warnings)
    if reading.heat_share is None:
        return said or "The heatmap of the highest class is empty.", True
    share = f"{100 * reading.heat_share:.0f} % of the heat lies on nucleated cells"
    if reading.by_chance is not None:
        share += f", which cover {100 * reading.by_chance:.0f} % of the field"
    return f"{share}. {said}".strip(), bool(warnings)


def _said(flag: wording.Flag) -> str:
    return f"{flag.title}. {flag.sentence}".strip()


def _probability_rows(reading: Reading) -> tuple[ProbabilityRow, ...]:
    rows = (
        ProbabilityRow(reading.name(code) or code, probability, code == reading.top_code)
        for code, probability in reading.probabilities.items()
    )
    return tuple(sorted(rows, key=lambda row: -row.probability))


def _figures(reading: Reading) -> tuple[Any, ...]:
    height_px, width_px = reading.pixels.shape[:2]
    cam = reading.cams[list(reading.probabilities).index(reading.top_code)]
    name = reading.name(reading.top_code)
    heat = f"Grad-CAM of {name}, jet at 40 %, one scale for all classes."
    if not float(cam.max(initial=0.0)) > 0:
        heat = f"Grad-CAM of {name}: empty, no evidence anywhere."
    return (
        field_figure(reading.pixels, f"As read, {width_px} × {height_px} px; metadata removed."),
        heat_figure(
            reading.pixels, cam, ceiling=float(reading.cams.max(initial=0.0)), caption=heat
        ),
        cells_figure(
            reading.pixels,
            reading.outlines,
            f"Nucleated cells: {reading.nuclei_count}. Boundaries by watershed in red.",
        ),
    )


def _review_row(entry: TimelineEntry, reading: Reading) -> ReviewRow:
    old = reading.name(entry.old_code) or wording.UNCLASSIFIABLE
    new = reading.name(entry.new_code) or wording.UNCLASSIFIABLE
    what = {
        "read": f"Read by the network: {new}",
        "confirm": f"Confirmed: {new}",
        "correct": f"Corrected: {old} → {new}",
        "undo": f"Taken back: {old} → {new}",
    }.get(entry.action, entry.action)
    return ReviewRow(entry.at, entry.who, what, entry.reason)


def _reading_facts(reading: Reading, review: Review) -> list[tuple[str, str]]:
    probabilities = "; ".join(
        f"{row.name} {percent(row.probability)}" for row in _probability_rows(reading)
    )
    reasons = ", ".join(flag.title.lower() for flag in wording.flag_texts(reading.reasons))
    calls = {"confirmed": 0, "corrected": 0, "unreviewed": 0, review.state: 1}
    return [
        ("Calibrated probabilities", probabilities),
        ("Abstained", f"Yes: {reasons}" if reading.abstained else "No"),
        ("Distance from training", f"{reading.ood_distance:.2f}{_distance_limit(reading)}"),
        (
            "Calls of the network",
            f"{calls['confirmed']} confirmed, {calls['corrected']} changed, "
            f"{calls['unreviewed']} unreviewed",
        ),
        (f"{reading.hashed}, SHA-256", reading.picture_sha256),
    ]


def _distance_limit(reading: Reading) -> str:
    if reading.manifest is None:
        return ""
    return f" (limit {reading.manifest.out_of_distribution.threshold:.2f})"


def _network_facts(reading: Reading) -> tuple[tuple[str, str], ...]:
    manifest = reading.manifest
    domain, thresholds = _NOT_KNOWN, _NOT_KNOWN
    if manifest is not None:
        domain = str(manifest.training.get("domain") or "not recorded")
        thresholds = (
            f"Abstains where the highest probability is below {percent(manifest.abstain_below)} "
            f"or the distance above {manifest.out_of_distribution.threshold:.2f}; "
            f"temperature {manifest.temperature:.3f}"
        )
    return (
        ("Network", f"{reading.network_name}, version {reading.network_version}"),
        ("Weights, SHA-256", reading.network_sha256),
        ("Training domain", domain),
        ("Thresholds", thresholds),
        ("Read by", f"Marrow-Find {reading.program_version}"),
    )
