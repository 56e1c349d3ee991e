"""What stands on every page: head, foot, the word across it, "page x of y", the outline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

from utils.reports.content import ReportContent
from utils.reports.fonts import BOLD, REGULAR, printable
from utils.reports.theme import (
    ACCENT,
    HAIRLINE,
    HAIRLINE_WIDTH,
    INK,
    MARGIN,
    MUTED,
    WARNING,
    WATERMARK,
)

HEAD_LINE = 52.0
FOOT_LINE = 40.0
# Turns of the status across the page in degrees, and heights of its middle as shares of the
# page's, in the order in which they are tried.
STATUS_TURNS = (35, 28, 22, 16)
STATUS_SAMPLES = 60
STATUS_HEIGHTS = (0.57, 0.62, 0.52, 0.67, 0.72, 0.47, 0.4, 0.33, 0.27)


@dataclass(frozen=True)
class Place:
    """Where the status lies across a page: its middle, points, and its turn, degrees."""

    x: float
    y: float
    degrees: float
    size: float


class ReportCanvas(Canvas):  # type: ignore[misc]  # ReportLab has no types
    """A canvas that holds its pages back until their number is known.

    ReportLab writes a page when it ends, when nobody knows yet how many follow. The state of each
    page is kept instead, and written at the end, when "page x of y" is added to it, and behind
    everything else the status, where the pictures of the page leave it whole.
    """

    status = ""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        self._held: list[dict[str, Any]] = []
        self._sections: list[tuple[str, float]] = []
        self._opaque: list[tuple[float, float, float, float]] = []
        super().__init__(*args, **keywords)

    def mark_section(self, title: str, top: float) -> None:
        """Remember a section of this page for the outline; `top` is its height on the page."""
        self._sections.append((title, top))

    def mark_opaque(self, width: float, height: float) -> None:
        """Remember that what is drawn here hides what lies behind it."""
        left, bottom = self.absolutePosition(0, 0)
        self._opaque.append((left, bottom, left + width, bottom + height))

    def showPage(self) -> None:
        """Hold this page and start the next."""
        self._held.append(dict(self.__dict__))
        self._sections = []
        self._opaque = []
        self._startPage()

    def save(self) -> None:
        """Write the held pages with their numbers and outline, then the file."""
        held = self._held
        for number, state in enumerate(held, start=1):
            self.__dict__.update(state)
            self._draw_page_number(number, len(held))
            if self.status:
                self._draw_status_behind()
            for place, (title, top) in enumerate(self._sections):
                key = f"section-{number}-{place}"
                self.bookmarkPage(key, fit="FitH", top=top)
                self.addOutlineEntry(printable(title), key, level=0)
            super().showPage()
        super().save()

    def _draw_page_number(self, number: int, total: int) -> None:
        width = self._pagesize[0]
        self.setFont(REGULAR, 7)
        self.setFillColor(MUTED)
        self.drawRightString(width - MARGIN, FOOT_LINE - 11, f"Page {number} of {total}")

    def _draw_status_behind(self) -> None:
        words = printable(self.status)
        place = clear_place(words, self._pagesize, self._opaque)
        drawn_before = len(self._code)
        self.saveState()
        self.translate(place.x, place.y)
        self.rotate(place.degrees)
        self.setFillColor(WATERMARK)
        self.setFont(BOLD, place.size)
        self.drawCentredString(0, -0.36 * place.size, words)
        self.restoreState()
        # What was drawn last is moved to the front of the page's code: behind all the rest.
        status_code = self._code[drawn_before:]
        del self._code[drawn_before:]
        self._code[0:0] = status_code


def clear_place(
    words: str,
    page_size: tuple[float, float],
    opaque: Sequence[tuple[float, float, float, float]],
) -> Place:
    """Find where words from margin to margin are hidden least, steep and near the middle first.

    Parameters
    ----------
    opaque : sequence of (left, bottom, right, top)
        What hides the words, in points from the lower left corner of the page.
    """
    width, height = page_size
    best, least = None, math.inf
    for degrees in STATUS_TURNS:
        turn = math.radians(degrees)
        length = 0.97 * (width - 2 * MARGIN) / math.cos(turn)
        size = length / float(stringWidth(words, BOLD, 1))
        for share in STATUS_HEIGHTS:
            place = Place(width / 2, share * height, degrees, size)
            hidden = _hidden_share(place, length, opaque)
            if hidden < least:
                best, least = place, hidden
    if best is None:
        raise ValueError("no place was tried")
    return best


def _hidden_share(
    place: Place, length: float, opaque: Sequence[tuple[float, float, float, float]]
) -> float:
    """Share of points along and across the words that lie under something opaque."""
    cosine, sine = math.cos(math.radians(place.degrees)), math.sin(math.radians(place.degrees))
    hidden = 0
    for step in range(STATUS_SAMPLES):
        along = length * ((step + 0.5) / STATUS_SAMPLES - 0.5)
        for across in (-0.4 * place.size, 0.0, 0.4 * place.size):
            x = place.x + along * cosine - across * sine
            y = place.y + along * sine + across * cosine
            hidden += any(
                left <= x <= right and bottom <= y <= top for left, bottom, right, top in opaque
            )
    return hidden / (3 * STATUS_SAMPLES)


def draw_page(canvas: ReportCanvas, content: ReportContent) -> None:
    """Draw what each page carries in its head and foot."""
    canvas.status = content.status
    canvas.saveState()
    _draw_head(canvas, content)
    _draw_foot(canvas, content)
    canvas.restoreState()


def _draw_head(canvas: Canvas, content: ReportContent) -> None:
    width, height = canvas._pagesize
    top = height - HEAD_LINE
    right_words = printable(content.status)
    right = stringWidth(right_words, BOLD, 8) + 20
    canvas.setFont(BOLD, 9.5)
    canvas.setFillColor(INK)
    name = content.laboratory_name or "Marrow-Find"
    room = width - 2 * MARGIN - right
    canvas.drawString(MARGIN, top + 19, fitted(name, BOLD, 9.5, room))
    canvas.setFont(REGULAR, 7)
    canvas.setFillColor(MUTED)
    canvas.drawString(MARGIN, top + 8, fitted(_page_identity(content), REGULAR, 7, room))
    if right_words:
        canvas.setFont(BOLD, 8)
        canvas.setFillColor(WARNING)
        canvas.drawRightString(width - MARGIN, top + 19, right_words)
    canvas.setStrokeColor(ACCENT)
    canvas.setLineWidth(0.9)
    canvas.line(MARGIN, top, width - MARGIN, top)


def _page_identity(content: ReportContent) -> str:
    """Say whose page this is, so that a sheet that gets loose finds its way back."""
    identity = content.reports[0].identity
    parts = [f"Report version {content.issue.version}" if content.issue.version else "Not stored"]
    if len(content.reports) > 1:
        parts.append(f"{len(content.reports)} fields")
    elif identity.accession:
        parts.append(f"Accession {identity.accession}")
    if identity.patient_reference and len(content.reports) == 1:
        parts.append(identity.patient_reference)
    return " · ".join(parts)


def _draw_foot(canvas: Canvas, content: ReportContent) -> None:
    width = canvas._pagesize[0]
    canvas.setStrokeColor(HAIRLINE)
    canvas.setLineWidth(HAIRLINE_WIDTH)
    canvas.line(MARGIN, FOOT_LINE, width - MARGIN, FOOT_LINE)
    canvas.setFont(BOLD, 7)
    canvas.setFillColor(INK)
    canvas.drawString(MARGIN, FOOT_LINE - 11, printable(content.research_use_only))


def fitted(text: str, font: str, size: float, room: float) -> str:
    """Shorten `text` with an ellipsis until it fits into `room` points."""
    words = printable(text).replace("\n", " ")
    if stringWidth(words, font, size) <= room:
        return words
    while words and stringWidth(words + "…", font, size) > room:
        words = words[:-1]
    return words.rstrip() + "…"
