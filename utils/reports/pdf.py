"""A report as a PDF: one pure function from what it says to its bytes.

The order of the sections is that of ICSH 2008 (doi:10.1111/j.1751-553X.2008.01100.x): identity,
specimen, aspirate quality, result, images, review, interpretation, pending studies, signatory;
the block of the network comes last.
"""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO

from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    PageBreak,
    PageTemplate,
)

from utils.reports.content import ReportContent
from utils.reports.fonts import REGULAR, printable
from utils.reports.page import ReportCanvas, draw_page
from utils.reports.sections import (
    closing_sections,
    field_sections,
    network_section,
    title_block,
    unstored_field_sections,
)
from utils.reports.theme import (
    BOTTOM_MARGIN,
    MARGIN,
    PAGE_SIZES,
    RAIL,
    TOP_MARGIN,
    styles,
    utc_time,
)

LANGUAGE = "en"
TITLE = "Bone marrow image report"


def render_report(content: ReportContent) -> bytes:
    """Lay a report out as a PDF.

    Equal content gives equal bytes: no clock, no random identifier, no name of the machine goes
    in. The fonts are embedded as subsets; a letter that they lack is printed as U+FFFD.

    Parameters
    ----------
    content : ReportContent
        Its pictures must carry no metadata: they are embedded as they come.

    Returns
    -------
    pdf : bytes

    Raises
    ------
    StorageFailed
        If the fonts are not installed.
    """
    styles()
    paper = BytesIO()
    width, height = PAGE_SIZES[content.page_size]
    document = BaseDocTemplate(
        paper,
        pagesize=(width, height),
        title=_title(content),
        author=printable(content.laboratory_name) or "Marrow-Find",
        subject=printable(content.research_use_only),
        creator=printable(content.program),
        lang=LANGUAGE,
        displayDocTitle=True,
        invariant=1,
        initialFontName=REGULAR,
        pageCompression=1,
    )
    frame = Frame(
        MARGIN + RAIL,
        BOTTOM_MARGIN,
        width - 2 * MARGIN - RAIL,
        height - TOP_MARGIN - BOTTOM_MARGIN,
        leftPadding=0,
        rightPadding=0,
        topPadding=0,
        bottomPadding=0,
    )
    document.addPageTemplates(
        PageTemplate("page", [frame], onPage=lambda canvas, _: draw_page(canvas, content))
    )
    document.build(_story(content), canvasmaker=_dated_canvas(content.issue.issued_at))
    return paper.getvalue()


def _title(content: ReportContent) -> str:
    """Title for the metadata: no accession, no name, since viewers show it in window lists."""
    version = content.issue.version
    return f"{TITLE}, version {version}" if version else f"{TITLE}, not stored"


def _dated_canvas(issued_at: datetime) -> type[ReportCanvas]:
    """Give a canvas whose file dates are the time of issue, the one date that content knows."""
    moment = issued_at.astimezone(UTC) if issued_at.tzinfo else issued_at.replace(tzinfo=UTC)
    stamp = f"D:{moment:%Y%m%d%H%M%S}+00'00'"

    class DatedCanvas(ReportCanvas):
        def __init__(self, *args: object, **keywords: object) -> None:
            super().__init__(*args, **keywords)
            self.setDateFormatter(lambda *_: stamp)

    return DatedCanvas


def _story(content: ReportContent) -> list[Flowable]:
    stored = content.issue.version is not None
    story: list[Flowable] = title_block(content)
    for number, report in enumerate(content.reports):
        if number:
            story.append(PageBreak())
        story += field_sections(report) if stored else unstored_field_sections(report)
    story += closing_sections(content.pending_studies)
    for report in content.reports if stored else ():
        story += network_section((*report.network, *report.reading, *_issue_facts(content)))
    if not stored:
        for network in dict.fromkeys(report.network for report in content.reports):
            story += network_section(network)
    return story


def _issue_facts(content: ReportContent) -> list[tuple[str, str]]:
    issue = content.issue
    facts = [("Report issued", utc_time(issue.issued_at))]
    if issue.verification_address:
        facts.append(("Verification", issue.verification_address))
    return facts
