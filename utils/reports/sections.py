"""The sections of the report, each a list of flowables that may cross pages."""

from __future__ import annotations

from collections.abc import Iterable

from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.platypus import CondPageBreak, Flowable, KeepTogether, Spacer, Table

from utils.reports.content import (
    HASH_PREFIX_CHARACTERS,
    FieldReport,
    Figure,
    Identity,
    ReportContent,
    Result,
    ReviewRow,
    Specimen,
    every_text,
    short_code,
)
from utils.reports.flowables import (
    SECTION_GAP,
    FittedSection,
    FullWidth,
    Legend,
    Picture,
    ProbabilityBar,
    QrCode,
    RailHeading,
    TickBox,
    WritingLines,
)
from utils.reports.fonts import REGULAR, REPLACEMENT, printable
from utils.reports.theme import MARGIN, RAIL, day, labelled, paragraph, percent, styles, utc_time

NOT_RECORDED = "not recorded"
GRID_COLUMNS = 3
# The narrower of the two papers, A4, less margins, rail and the gap between columns.
GRID_COLUMN_WIDTH = (A4[0] - 2 * MARGIN - RAIL) / GRID_COLUMNS - 10
# The head of the page shortens a longer name; it then stands in full under the title.
LONGEST_IN_HEAD = 56
UNPRINTABLE_NOTE = (
    f"{REPLACEMENT} stands for a letter that this report cannot print. The record holds it."
)
QR_SIDE = 32 * mm
FIGURE_GAP = 5 * mm
# Width over height from which three pictures in a row would be mere strips.
WIDE = 2.2
WIDE_HEIGHTS = (44 * mm, 36 * mm, 28 * mm)
ROW_HEIGHTS = (62 * mm, 54 * mm, 48 * mm, 43 * mm)
# ReportLab names Helvetica, which is not embedded, in every cell that does not name another font.
PLAIN_TABLE = [
    ("FONTNAME", (0, 0), (-1, -1), REGULAR),
    ("LEFTPADDING", (0, 0), (-1, -1), 0),
    ("RIGHTPADDING", (0, 0), (-1, -1), 0),
    ("TOPPADDING", (0, 0), (-1, -1), 0),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 0),
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
]


def section(heading: str, body: Iterable[Flowable], *, least: float = 60.0) -> list[Flowable]:
    """Put a heading into the rail beside a body that may cross pages.

    At least `least` points of the body stay with the heading.
    """
    return [CondPageBreak(SECTION_GAP + least), RailHeading(heading), *body]


def whole_section(heading: str, body: Iterable[Flowable]) -> Flowable:
    """Put a heading into the rail beside a body that stays on one page."""
    return KeepTogether([RailHeading(heading), *body])


def title_block(content: ReportContent) -> list[Flowable]:
    """Set the title, the facts of the issue and, at the right, the QR code with its caption."""
    issue = content.issue
    facts = [paragraph("Bone marrow smear", "kicker"), paragraph("Image report", "title")]
    if issue.version:
        facts.append(
            paragraph(f"Version {issue.version}, issued {utc_time(issue.issued_at)}", "body")
        )
    else:
        facts.append(paragraph(f"Made {utc_time(issue.issued_at)}, not stored", "body"))
    if issue.issued_by:
        facts.append(paragraph(f"Issued by {issue.issued_by}", "body"))
    if issue.replaces:
        facts.append(paragraph(issue.replaces, "warning"))
    if REPLACEMENT in "".join(map(printable, every_text(content))):
        facts.append(paragraph(UNPRINTABLE_NOTE, "warning"))
    if len(content.laboratory_name) > LONGEST_IN_HEAD:
        facts.append(paragraph(content.laboratory_name, "note"))
    table = Table([[facts, _verification(content)]], colWidths=["*", 55 * mm])
    table.setStyle([*PLAIN_TABLE, ("LEFTPADDING", (1, 0), (1, 0), 12)])
    return [FullWidth(table)]


def _verification(content: ReportContent) -> list[Flowable]:
    address = content.issue.verification_address
    if address is None:
        return [
            paragraph("Not stored: cannot be verified", "eyebrow-warning"),
            paragraph("This sheet was printed without a record. Nobody can look it up.", "note"),
        ]
    code = short_code(address.rpartition("h=")[2][:HASH_PREFIX_CHARACTERS])
    caption: list[Flowable] = [
        Spacer(0, 3),
        paragraph("Scan to verify", "eyebrow"),
        *(paragraph(half, "label") for half in (code[:9], code[10:])),
    ]
    table = Table([[QrCode(address, QR_SIDE), caption]], colWidths=[QR_SIDE, "*"])
    table.setStyle([*PLAIN_TABLE, ("VALIGN", (0, 0), (-1, -1), "TOP")])
    return [table]


def field_sections(report: FieldReport) -> list[Flowable]:
    """Set everything about one field of a stored case, up to the review."""
    return [
        *section("Identity", _identity(report.identity)),
        *section("Specimen", _specimen(report.specimen)),
        *section("Aspirate quality", _quality(report.specimen), least=40),
        *section("Result", _result(report.result), least=190),
        *_figures(report.figures),
        *section("Review", _review(report.review), least=50),
    ]


def unstored_field_sections(report: FieldReport) -> list[Flowable]:
    """Set everything about one field that belongs to no case and cannot be reviewed."""
    return [
        *section("Field of view", _picture_facts(report)),
        *section("Result", _result(report.result), least=190),
        *_figures(report.figures),
        *section("Reading", [labelled(label, value) for label, value in report.reading]),
    ]


def _picture_facts(report: FieldReport) -> list[Flowable]:
    return [paragraph(report.identity.field_number), *_image_lines(report.specimen)]


def _grid(pairs: list[tuple[str, str]]) -> list[Flowable]:
    """Set labelled values in three columns; those that are long get the whole width."""
    short = [pair for pair in pairs if _fits_in_grid(pair[1])]
    cells = [[paragraph(label, "label"), _value(value)] for label, value in short]
    while len(cells) % GRID_COLUMNS:
        cells.append([])
    grid: list[Flowable] = []
    if cells:
        starts = range(0, len(cells), GRID_COLUMNS)
        table = Table(
            [cells[start : start + GRID_COLUMNS] for start in starts],
            colWidths=[f"{100 / GRID_COLUMNS:.4f}%"] * GRID_COLUMNS,
        )
        table.setStyle(
            [
                *PLAIN_TABLE,
                ("RIGHTPADDING", (0, 0), (-2, -1), 10),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 4),
            ]
        )
        grid.append(table)
    for label, value in pairs:
        if not _fits_in_grid(value):
            grid += [paragraph(label, "label"), paragraph(value), Spacer(0, 4)]
    return grid


def _fits_in_grid(value: str) -> bool:
    """Whether a value takes two lines at most in its column, with no word broken."""
    body = styles()["body"]
    words = printable(value).split() or [""]
    widest = max(stringWidth(word, body.fontName, body.fontSize) for word in words)
    whole = stringWidth(" ".join(words), body.fontName, body.fontSize)
    return bool(widest <= GRID_COLUMN_WIDTH and whole <= 1.7 * GRID_COLUMN_WIDTH)


def _value(text: str) -> Flowable:
    return paragraph(text) if text.strip() else paragraph(NOT_RECORDED, "oblique")


def _identity(identity: Identity) -> list[Flowable]:
    return _grid(
        [
            ("Accession", identity.accession),
            ("Patient reference", identity.patient_reference),
            ("Field of view", identity.field_number),
        ]
    )


def _specimen(specimen: Specimen) -> list[Flowable]:
    return _grid(
        [
            ("Site", specimen.site),
            ("Date of specimen", day(specimen.specimen_date) if specimen.specimen_date else ""),
            ("Indication", specimen.indication),
        ]
    )


def _quality(specimen: Specimen) -> list[Flowable]:
    return [_value(specimen.quality), *_image_lines(specimen)]


def _image_lines(specimen: Specimen) -> list[Flowable]:
    lines = [paragraph(specimen.image, "note")] if specimen.image else []
    return [*lines, *(paragraph(flag, "warning") for flag in specimen.image_flags)]


def _result(result: Result) -> list[Flowable]:
    unnamed = result.abstained and result.review_state != "corrected"
    eyebrow = "eyebrow-warning" if unnamed else "eyebrow"
    lines: list[Flowable] = [
        paragraph(result.eyebrow, eyebrow),
        paragraph(result.headline, "headline"),
    ]
    if result.subline:
        lines.append(paragraph(result.subline))
    lines += [paragraph(f"—  {reason}", "warning") for reason in result.reasons]
    lines += [Spacer(0, 6), *_probabilities(result), Spacer(0, 6)]
    if result.attention:
        lines.append(paragraph(result.attention, "warning" if result.attention_warning else "body"))
    lines += [paragraph(text) for text in (result.count, result.differential) if text]
    if result.caveats:
        lines.append(Spacer(0, 4))
        lines += [paragraph(caveat, "note") for caveat in result.caveats]
    return lines


def _probabilities(result: Result) -> list[Flowable]:
    rows = []
    for row in result.probabilities:
        strong = row.highest and not result.abstained
        bar = ProbabilityBar(row.probability, strong=strong, tick=result.abstain_below)
        rows.append([paragraph(row.name), bar, paragraph(percent(row.probability), "number")])
    if not rows:
        return []
    table = Table(rows, colWidths=["36%", "49%", "15%"])
    table.setStyle(
        [
            *PLAIN_TABLE,
            ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
            ("RIGHTPADDING", (0, 0), (0, -1), 10),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
        ]
    )
    note = "Calibrated probabilities of the network's image classes."
    if result.abstain_below is not None:
        note += f" Tick: below {percent(result.abstain_below)} the network abstains."
    return [table, paragraph(note, "note")]


def _figures(figures: tuple[Figure, ...]) -> list[Flowable]:
    """Set the pictures side by side; pictures much wider than high one under another."""
    if not figures:
        return section("Images", [paragraph("No picture is kept with this report.", "oblique")])
    if max(figure.width_px / figure.height_px for figure in figures) > WIDE:
        return [FittedSection("Images", lambda height: _one_column(figures, height), WIDE_HEIGHTS)]
    return [FittedSection("Images", lambda height: _one_row(figures, height), ROW_HEIGHTS)]


def _one_column(figures: tuple[Figure, ...], height: float) -> Flowable:
    table = Table([[_panel(figure, height)] for figure in figures], colWidths=["*"])
    table.setStyle([*PLAIN_TABLE, ("BOTTOMPADDING", (0, 0), (-1, -1), 6)])
    return table


def _one_row(figures: tuple[Figure, ...], height: float) -> Flowable:
    count = len(figures)
    table = Table(
        [[_panel(figure, height) for figure in figures]],
        colWidths=[f"{100 / count:.4f}%"] * count,
    )
    commands = list(PLAIN_TABLE)
    for column in range(count):
        # Equal shares of the gaps, so that the outer edges meet the margins and the panels match.
        share = FIGURE_GAP / count
        commands += [
            ("LEFTPADDING", (column, 0), (column, 0), column * share),
            ("RIGHTPADDING", (column, 0), (column, 0), (count - 1 - column) * share),
        ]
    table.setStyle(commands)
    return table


def _panel(figure: Figure, most_height: float) -> list[Flowable]:
    picture = Picture(figure, most_height)
    picture.hAlign = "LEFT"
    panel: list[Flowable] = [paragraph(figure.title, "figure"), Spacer(0, 2), picture]
    if figure.legend:
        panel += [Spacer(0, 2), Legend(picture)]
    return [*panel, Spacer(0, 2), paragraph(figure.caption, "note")]


def _review(rows: tuple[ReviewRow, ...]) -> list[Flowable]:
    if not rows:
        return [paragraph("No person has confirmed or corrected this reading yet.", "oblique")]
    lines: list[Flowable] = []
    for row in rows:
        lines.append(labelled(utc_time(row.at), f"{row.what}\n{row.who}", "row"))
        if row.reason:
            lines.append(labelled("", f"Reason: {row.reason}", "row"))
        lines.append(Spacer(0, 3))
    return lines


def closing_sections(pending_studies: tuple[str, ...]) -> list[Flowable]:
    """Set what the pathologist fills in: interpretation, pending studies, signature."""
    hint = "By the pathologist, from morphology, clinical findings and all other studies."
    boxes = [[TickBox(), paragraph(study)] for study in (*pending_studies, "Other:")]
    pending = Table(boxes, colWidths=[15, "*"])
    pending.setStyle(
        [
            *PLAIN_TABLE,
            ("TOPPADDING", (0, 0), (0, -1), 2.2),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
        ]
    )
    return [
        whole_section("Interpretation", [paragraph(hint, "note"), WritingLines(5), Spacer(0, 4)]),
        whole_section("Pending studies", [pending]),
        whole_section("Signatory", [_signature_lines()]),
    ]


def _signature_lines() -> Flowable:
    labels = ("Name", "Signature", "Date and time (UTC)")
    table = Table(
        [
            [WritingLines(1, 26) for _ in labels],
            [paragraph(label, "label") for label in labels],
        ],
        colWidths=["36%", "36%", "28%"],
    )
    table.setStyle(
        [
            *PLAIN_TABLE,
            ("RIGHTPADDING", (0, 0), (1, -1), 14),
            ("TOPPADDING", (0, 1), (-1, 1), 3),
        ]
    )
    return table


def network_section(facts: tuple[tuple[str, str], ...]) -> list[Flowable]:
    """Set the block of the network, small: for those who ask how the reading was made."""
    lines = [labelled(label, value) for label, value in facts]
    return [whole_section("Network and provenance", lines)]
