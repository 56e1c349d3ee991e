"""Measures, colours and paragraph styles of the report. All measures in points (1/72 inch)."""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import lru_cache
from xml.sax.saxutils import escape

from reportlab.lib.colors import Color, HexColor
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4, LETTER
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.platypus import Paragraph

from utils.reports.content import PageSize
from utils.reports.fonts import BOLD, OBLIQUE, REGULAR, printable, register_fonts

PAGE_SIZES: dict[PageSize, tuple[float, float]] = {"A4": A4, "Letter": LETTER}
MARGIN = 17 * mm
TOP_MARGIN = 27 * mm
BOTTOM_MARGIN = 20 * mm
RAIL = 31 * mm
LABEL_COLUMN = 38 * mm
TIME_COLUMN = 43 * mm

INK: Color = HexColor(0x1C1A24)
MUTED: Color = HexColor(0x625E6E)
HAIRLINE: Color = HexColor(0xD3CFDC)
ACCENT: Color = HexColor(0x5B3FA0)
WARNING: Color = HexColor(0xA3275A)
BAR_TRACK: Color = HexColor(0xECEAF1)
BAR_QUIET: Color = HexColor(0xA39DB3)
WATERMARK: Color = HexColor(0xEBE9EF)
DARK_MODULE: Color = HexColor(0x000000)

HAIRLINE_WIDTH = 0.5


@lru_cache(maxsize=1)
def styles() -> dict[str, ParagraphStyle]:
    """Give the paragraph styles by name; the fonts are registered on the way."""
    register_fonts()
    body = ParagraphStyle(
        "body",
        fontName=REGULAR,
        fontSize=8.6,
        leading=12.4,
        textColor=INK,
        splitLongWords=1,
        bulletFontName=REGULAR,
        bulletColor=MUTED,
    )
    label = ParagraphStyle("label", body, fontSize=7, leading=9.4, textColor=MUTED)
    return {
        "body": body,
        "label": label,
        "note": ParagraphStyle("note", body, fontSize=7.6, leading=10.8, textColor=MUTED),
        "oblique": ParagraphStyle("oblique", body, fontName=OBLIQUE, textColor=MUTED),
        "warning": ParagraphStyle("warning", body, textColor=WARNING),
        "title": ParagraphStyle(
            "title", body, fontName=BOLD, fontSize=18, leading=23, spaceAfter=4
        ),
        "kicker": ParagraphStyle("kicker", label, fontSize=8, leading=11),
        "eyebrow": ParagraphStyle("eyebrow", label, fontName=BOLD, textColor=ACCENT),
        "eyebrow-warning": ParagraphStyle(
            "eyebrow-warning", label, fontName=BOLD, textColor=WARNING
        ),
        "headline": ParagraphStyle(
            "headline", body, fontName=BOLD, fontSize=14, leading=18, spaceAfter=3
        ),
        "rail": ParagraphStyle(
            "rail", body, fontName=BOLD, fontSize=8, leading=10.6, textColor=ACCENT
        ),
        "number": ParagraphStyle("number", body, alignment=TA_RIGHT),
        "figure": ParagraphStyle("figure", body, fontName=BOLD, fontSize=8, leading=11),
        "row": ParagraphStyle(
            "row", body, leftIndent=TIME_COLUMN, bulletFontSize=8.6, spaceAfter=2
        ),
        "fact": ParagraphStyle(
            "fact",
            body,
            fontSize=7.6,
            leading=10.6,
            leftIndent=LABEL_COLUMN,
            spaceAfter=1.6,
            bulletFontSize=7.6,
        ),
    }


def markup(text: str) -> str:
    """Make plain text safe for a Paragraph: printable letters, no mark-up, line breaks kept."""
    return escape(printable(text)).replace("\n", "<br/>")


def paragraph(text: str, style: str = "body") -> Paragraph:
    """Set plain text as a paragraph."""
    return Paragraph(markup(text), styles()[style])


def labelled(label: str, value: str, style: str = "fact") -> Paragraph:
    """Set a label in a left column beside a value that wraps and may cross pages."""
    return Paragraph(markup(value), styles()[style], bulletText=printable(label))


def utc_time(moment: datetime) -> str:
    """Write a time as "21 Nov 2026, 08:10 UTC". A time without a zone is taken as UTC."""
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return f"{day(moment)}, {moment:%H:%M} UTC"


def day(moment: date) -> str:
    """Write a day as "21 Nov 2026", without the locale of the machine."""
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    return f"{moment.day} {months[moment.month - 1]} {moment.year}"


def percent(probability: float) -> str:
    """Write a probability as a percentage that claims neither certainty nor impossibility."""
    if probability > 0.999:
        return "> 99.9 %"
    if probability < 0.001:
        return "< 0.1 %"
    return f"{100 * probability:.1f} %"
