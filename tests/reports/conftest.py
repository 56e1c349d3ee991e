"""Contents of reports, made up: no database and no network behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import pytest
from pypdf import PdfReader

from utils.reports.content import (
    FieldReport,
    Figure,
    Identity,
    Issue,
    ProbabilityRow,
    ReportContent,
    Result,
    ReviewRow,
    Specimen,
)
from utils.reports.qr import verification_address

ISSUED_AT = datetime(2026, 11, 21, 8, 10, tzinfo=UTC)
CONTENT_SHA256 = "9f3a22c177b0e41d" * 4


def make_figure(title: str, width_px: int, height_px: int) -> Figure:
    """Give a picture of coloured noise, blurred so that it is as large as a field's."""
    rng = np.random.default_rng(3)
    pixels = cv2.GaussianBlur(
        rng.integers(90, 255, (height_px, width_px, 3), dtype=np.uint8), (0, 0), 1.5
    )
    _, jpeg = cv2.imencode(".jpg", pixels)
    legend = ((0, 0, 128), (0, 255, 255), (255, 255, 0), (128, 0, 0)) if "network" in title else ()
    words = ("no evidence", "most evidence") if legend else ("", "")
    return Figure(
        title, f"Caption of {title}.", jpeg.tobytes(), width_px, height_px, legend, *words
    )


def make_figures(width_px: int = 480, height_px: int = 480) -> tuple[Figure, ...]:
    """Give the three pictures of a report."""
    titles = ("Field", "Where the network looked", "Cells")
    return tuple(make_figure(title, width_px, height_px) for title in titles)


RESULT = Result(
    eyebrow="NETWORK’S READING — NOT REVIEWED BY A PERSON",
    headline="Pattern resembling: Pre-B ALL (image class)",
    subline="",
    review_state="unreviewed",
    abstained=False,
    reasons=(),
    probabilities=(
        ProbabilityRow("Pre-B ALL", 0.934, True),
        ProbabilityRow("Early pre-B ALL", 0.0518),
        ProbabilityRow("Pro-B ALL", 0.0140),
        ProbabilityRow("Benign (hematogone-rich)", 0.0002),
    ),
    abstain_below=0.7,
    caveats=("Confirm by flow cytometry.", "The network knows 4 image classes and nothing else."),
    attention="78 % of the heat lies on nucleated cells.",
    attention_warning=False,
    count="Nucleated cells found by watershed: 37. A count of one field, not a differential.",
    differential="Differential: not made.",
)
FIELD = FieldReport(
    identity=Identity("BM-2026-0142", "P-7731", "1 of 3"),
    specimen=Specimen(
        "Posterior iliac crest",
        date(2026, 11, 18),
        "Pancytopenia",
        "Particles present",
        "Picture: JPEG, 640 × 480 px.",
    ),
    result=RESULT,
    figures=make_figures(),
    review=(),
    reading=(("Abstained", "No"), ("Operator", "Dr. Ada Example")),
    network=(("Network", "all4, version 1.0.0"), ("Weights, SHA-256", CONTENT_SHA256)),
)
ISSUE = Issue(
    1,
    ISSUED_AT,
    "Dr. Ada Example",
    verification_address("https://marrow.example.org", "Zk3v0dPq8yQm1x2T9aBcDw", CONTENT_SHA256),
)
CONTENT = ReportContent(
    reports=(FIELD,),
    issue=ISSUE,
    research_use_only="For Research Use Only. Not for use in diagnostic procedures.",
    program="Marrow-Find 0.1.0",
    laboratory_name="Haematology Laboratory",
    pending_studies=("Flow cytometry", "Molecular genetics"),
)


def with_field(**changes: Any) -> ReportContent:
    """Give a report whose field differs: its parts, or fields of its result."""
    names = {"identity", "specimen", "figures", "review", "reading", "network", "result"}
    of_result = {name: value for name, value in changes.items() if name not in names}
    of_field = {name: value for name, value in changes.items() if name in names}
    result = replace(of_field.pop("result", RESULT), **of_result)
    return replace(CONTENT, reports=(replace(FIELD, result=result, **of_field),))


def corrected(reason: str) -> ReportContent:
    """Give a report of a corrected result."""
    row = ReviewRow(ISSUED_AT, "Dr. Grace Person", "Corrected: Pre-B ALL → Pro-B ALL", reason)
    return with_field(
        eyebrow="CORRECTED BY A PERSON",
        headline="Pattern resembling: Pro-B ALL (image class)",
        subline="The network read: Pattern resembling: Pre-B ALL (image class), 93.4 %.",
        review_state="corrected",
        review=(row,),
    )


@pytest.fixture
def content() -> ReportContent:
    """The plain report."""
    return CONTENT


@pytest.fixture
def change() -> Callable[..., ReportContent]:
    """Make a report whose field differs: ``change(identity=…, headline=…)``."""
    return with_field


@pytest.fixture
def correct() -> Callable[[str], ReportContent]:
    """Make a report of a corrected result: ``correct(reason)``."""
    return corrected


@pytest.fixture
def figures() -> Callable[[int, int], tuple[Figure, ...]]:
    """Make the three pictures at a size: ``figures(width_px, height_px)``."""
    return make_figures


def page_texts(pdf: bytes) -> list[str]:
    """Text of each page, as a reader of PDF takes it out."""
    return [page.extract_text() for page in PdfReader(BytesIO(pdf)).pages]


@pytest.fixture
def texts() -> Callable[[bytes], list[str]]:
    """Take the text out of a PDF, page by page."""
    return page_texts
