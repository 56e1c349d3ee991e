"""What a report says, as plain frozen values: no rows, no clock, no files.

The workflow fills these in, :func:`utils.reports.pdf.render_report` prints them. Every sentence
about a result comes in from the workflow's wording, so that screen and paper say the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from typing import Any, Literal

PageSize = Literal["A4", "Letter"]
ReviewState = Literal["unreviewed", "confirmed", "corrected"]

STATUS_PRELIMINARY = "PRELIMINARY — NOT SIGNED"
HASH_PREFIX_CHARACTERS = 16


@dataclass(frozen=True)
class Issue:
    """Who issued which version when, and where it can be verified.

    Parameters
    ----------
    version : int or None
        Number of the version; None for a report that is not stored.
    issued_at : datetime
        UTC, with its time zone.
    issued_by : str
        Name of the person; "" where nobody was signed in.
    verification_address : str or None
        Absolute address behind the QR code; None for a report that is not stored.
    replaces : str
        Sentence about the version that this one replaces; "" for the first.
    """

    version: int | None
    issued_at: datetime
    issued_by: str = ""
    verification_address: str | None = None
    replaces: str = ""


@dataclass(frozen=True)
class Identity:
    """Whose specimen it is, in the words of the laboratory; empty text where not recorded."""

    accession: str = ""
    patient_reference: str = ""
    field_number: str = ""


@dataclass(frozen=True)
class Specimen:
    """Where the specimen comes from, why it was taken and how good it is."""

    site: str = ""
    specimen_date: date | None = None
    indication: str = ""
    quality: str = ""
    image: str = ""
    image_flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProbabilityRow:
    """One bar: the display name of a class and its calibrated probability in [0, 1]."""

    name: str
    probability: float
    highest: bool = False


@dataclass(frozen=True)
class Result:
    """What the network read, and what a person made of it.

    Parameters
    ----------
    eyebrow : str
        The line above the headline: who speaks ("Network's reading, unreviewed").
    headline : str
        "Pattern resembling: …" or "Unclassifiable — review"; never a diagnosis.
    subline : str
        The other voice where person and network differ, else "".
    review_state : {"unreviewed", "confirmed", "corrected"}
    abstained : bool
        Whether the network abstained.
    reasons : tuple of str
        Why it abstained, a sentence each.
    probabilities : tuple of ProbabilityRow
    abstain_below : float or None
        Threshold on the highest probability, marked on the bars.
    caveats : tuple of str
        What CLINICAL.md wants beside the result.
    attention : str
        Sentence on the share of the heat that lies on cells.
    attention_warning : bool
        Whether that sentence is a warning.
    count : str
        Sentence on the field count.
    differential : str
        Sentence on the differential, or on why there is none.
    """

    eyebrow: str
    headline: str
    subline: str
    review_state: ReviewState
    abstained: bool
    reasons: tuple[str, ...]
    probabilities: tuple[ProbabilityRow, ...]
    abstain_below: float | None
    caveats: tuple[str, ...]
    attention: str
    attention_warning: bool
    count: str
    differential: str


@dataclass(frozen=True)
class Figure:
    """A picture with its caption. `jpeg` holds no metadata; `legend` are RGB stops, low to high."""

    title: str
    caption: str
    jpeg: bytes
    width_px: int
    height_px: int
    legend: tuple[tuple[int, int, int], ...] = ()
    legend_low: str = ""
    legend_high: str = ""


@dataclass(frozen=True)
class ReviewRow:
    """One entry of the timeline: when (UTC), who, what, why."""

    at: datetime
    who: str
    what: str
    reason: str = ""


@dataclass(frozen=True)
class FieldReport:
    """Everything about one field of view.

    `reading` and `network` are pairs of label and value: how this field was read, and by which
    network and program. Fields of one document that share their `network` print it once.
    """

    identity: Identity
    specimen: Specimen
    result: Result
    figures: tuple[Figure, ...]
    review: tuple[ReviewRow, ...]
    reading: tuple[tuple[str, str], ...]
    network: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ReportContent:
    """A whole report: one field of a stored case, or several that are not stored.

    Parameters
    ----------
    reports : tuple of FieldReport
        At least one.
    issue : Issue
    research_use_only : str
        The sentence of :mod:`utils.workflow.wording`; printed on each page.
    program : str
        Name and version of the program.
    laboratory_name : str
    pending_studies : tuple of str
        Offered as boxes to tick; an empty one for others follows.
    status : str
        Printed across each page and in its head; "" once a report is signed.
    page_size : {"A4", "Letter"}
    """

    reports: tuple[FieldReport, ...]
    issue: Issue
    research_use_only: str
    program: str
    laboratory_name: str = ""
    pending_studies: tuple[str, ...] = ()
    status: str = STATUS_PRELIMINARY
    page_size: PageSize = "A4"

    def __post_init__(self) -> None:
        if not self.reports:
            raise ValueError("a report of at least one field was expected, none came")
        if not self.research_use_only.strip():
            raise ValueError("the research-use sentence was expected, an empty text came")


def content_hash(content: ReportContent) -> str:
    """Hash what a report says, apart from the circumstances of its issue.

    Two reports with the same hash say the same about the same field, whoever printed them and
    when. The issue is left out because it carries the hash itself (in the verification address).

    Returns
    -------
    sha256 : str
        64 hexadecimal digits.
    """
    values = {
        field.name: getattr(content, field.name)
        for field in fields(content)
        if field.name not in {"issue", "reports"}
    }
    values["reports"] = [asdict(report) for report in content.reports]
    text = json.dumps(values, default=_plain, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    raise TypeError(f"a plain value was expected, {type(value).__name__} came")


def short_code(sha256: str) -> str:
    """Give the first 16 digits of a content hash in groups of four, to be read aloud."""
    prefix = sha256[:HASH_PREFIX_CHARACTERS]
    return " ".join(prefix[start : start + 4] for start in range(0, len(prefix), 4))


def every_text(content: ReportContent) -> Iterator[str]:
    """Walk all text of a report."""
    yield from _texts(asdict(content))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)
