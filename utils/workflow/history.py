"""Finding analyses again: filters, sorting, paging by key, and a table for spreadsheets."""

from __future__ import annotations

import base64
import binascii
import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased, joinedload

from utils.errors import InvalidInput
from utils.records import Analysis, Case, User
from utils.records.database import UtcDateTime
from utils.workflow import access

UNCLASSIFIABLE_FILTER: Final = "unclassifiable"
PAGE_ROWS: Final = 25
CSV_BATCH_ROWS: Final = 500
LONGEST_SEARCH: Final = 100

Sort = Literal["newest", "oldest", "least_certain", "most_certain"]
SORTS: Final[dict[Sort, str]] = {
    "newest": "Newest first",
    "oldest": "Oldest first",
    "least_certain": "Least certain first",
    "most_certain": "Most certain first",
}
CSV_COLUMNS: Final = (
    "analysis",
    "case",
    "accession",
    "field",
    "created_utc",
    "network",
    "network_version",
    "label_network",
    "probability",
    "abstained",
    "review_state",
    "label_reviewed",
    "reviewed_by",
    "reviewed_utc",
    "nucleated_cells_in_field",
    "heat_on_cells",
    "flags",
)


@dataclass(frozen=True)
class Filters:
    """What to look for; an empty value does not filter.

    Attributes
    ----------
    label : str
        Class code of the label that stands, or "unclassifiable".
    review : str
        "unreviewed", "confirmed" or "corrected".
    since, until : date or None
        Days of the analysis, UTC, both included.
    reviewer : str
        Public id of a person.
    text : str
        Part of an accession or of a patient reference.
    """

    label: str = ""
    review: str = ""
    since: date | None = None
    until: date | None = None
    reviewer: str = ""
    text: str = ""

    @property
    def any(self) -> bool:
        """Whether anything is filtered."""
        return self != Filters()


@dataclass(frozen=True)
class Page:
    """One page of a list, and the keys of its neighbours (empty where there is none)."""

    rows: tuple[Analysis, ...]
    after: str = ""
    before: str = ""


def search(
    session: Session,
    user: User,
    filters: Filters | None = None,
    *,
    sort: Sort = "newest",
    after: str = "",
    before: str = "",
    rows: int = PAGE_ROWS,
) -> Page:
    """One page of the analyses that `user` may see, in one query.

    Paging goes by the key of the last row shown and not by a row number, so that page 4,000 costs
    what page 1 costs and a new analysis does not shift the list under the reader.

    Raises
    ------
    InvalidInput
        If a key is not one that this function gave, or the sorting is unknown.
    """
    column, descending = _sort_column(sort)
    backwards = bool(before)
    key = before or after
    statement = (
        access.only_visible(sa.select(Analysis), user)
        .where(*_conditions(filters or Filters()))
        .options(
            joinedload(Analysis.case, innerjoin=True),
            joinedload(Analysis.owner, innerjoin=True),
            joinedload(Analysis.reviewed_by),
        )
        .limit(rows + 1)
    )
    downwards = descending != backwards
    if key:
        statement = statement.where(_beyond(column, _decode_key(sort, key), downwards))
    order = [column.desc(), Analysis.id.desc()] if downwards else [column.asc(), Analysis.id.asc()]
    found = list(session.scalars(statement.order_by(*order)))
    more = len(found) > rows
    found = found[:rows]
    if backwards:
        found.reverse()
    return _page(found, sort, more=more, key=bool(key), backwards=backwards)


def reviewers(session: Session) -> list[User]:
    """People who have reviewed anything, by name."""
    has_reviewed = sa.exists().where(Analysis.reviewed_by_id == User.id)
    return list(session.scalars(sa.select(User).where(has_reviewed).order_by(User.name, User.id)))


def csv_lines(session: Session, user: User, filters: Filters | None = None) -> Iterator[str]:
    """Write the analyses that `user` may see as CSV (RFC 4180), newest first, a batch at a time."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(CSV_COLUMNS)
    reviewer = aliased(User)
    statement = (
        access.only_visible(sa.select(*_csv_source(reviewer)), user)
        .join(Case, Case.id == Analysis.case_id)
        .outerjoin(reviewer, reviewer.id == Analysis.reviewed_by_id)
        .where(*_conditions(filters or Filters()))
        .order_by(Analysis.created_at.desc(), Analysis.id.desc())
        .execution_options(yield_per=CSV_BATCH_ROWS)
    )
    for batch in session.execute(statement).partitions():
        for row in batch:
            writer.writerow([guard_formula(_plain(value)) for value in row])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    if buffer.tell():
        yield buffer.getvalue()


def guard_formula(text: str) -> str:
    """Keep a spreadsheet from running a cell as a formula.

    References
    ----------
    .. [1] OWASP, "CSV Injection": a leading =, +, -, @, tab or return is put after an apostrophe.
    """
    if not text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text  # a negative number is a number


def parse_day(text: str) -> date | None:
    """Read a day as YYYY-MM-DD; an empty text is none.

    Raises
    ------
    InvalidInput
        If the text is no day.
    """
    if not text.strip():
        return None
    try:
        return date.fromisoformat(text.strip())
    except ValueError as error:
        raise InvalidInput("A day as YYYY-MM-DD was expected.", code="day_invalid") from error


def parse_sort(text: str) -> Sort:
    """Read a sorting; an empty text is the newest first.

    Raises
    ------
    InvalidInput
        If there is no such sorting.
    """
    for sort in SORTS:
        if text in (sort, ""):
            return sort
    raise InvalidInput(f"A sorting out of {', '.join(SORTS)} was expected.", code="sort_unknown")


def _sort_column(sort: Sort) -> tuple[InstrumentedAttribute[Any], bool]:
    column = Analysis.probability if sort.endswith("certain") else Analysis.created_at
    return column, sort in ("newest", "most_certain")


def _conditions(filters: Filters) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if filters.label:
        # Spelled out and not as a CASE, so that an index can serve it.
        wanted = None if filters.label == UNCLASSIFIABLE_FILTER else filters.label
        unreviewed = Analysis.review_state == "unreviewed"
        conditions.append(
            sa.or_(
                sa.and_(unreviewed, Analysis.label_code.is_not_distinct_from(wanted)),
                sa.and_(~unreviewed, Analysis.reviewed_code.is_not_distinct_from(wanted)),
            )
        )
    if filters.review:
        conditions.append(Analysis.review_state == filters.review)
    if filters.since:
        conditions.append(Analysis.created_at >= _midnight(filters.since))
    if filters.until:
        conditions.append(Analysis.created_at < _midnight(filters.until + timedelta(days=1)))
    if filters.reviewer:
        person = sa.select(User.id).where(User.public_id == filters.reviewer).scalar_subquery()
        conditions.append(Analysis.reviewed_by_id == person)
    if filters.text.strip():
        part = filters.text.strip()[:LONGEST_SEARCH]
        matching = sa.select(Case.id).where(
            sa.or_(
                Case.accession.icontains(part, autoescape=True),
                Case.patient_reference.icontains(part, autoescape=True),
            )
        )
        conditions.append(Analysis.case_id.in_(matching))
    return conditions


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=UTC)


def _beyond(
    column: InstrumentedAttribute[Any], key: tuple[Any, int], downwards: bool
) -> sa.ColumnElement[bool]:
    kind = UtcDateTime() if column is Analysis.created_at else sa.Float()
    here = sa.tuple_(column, Analysis.id)
    there = sa.tuple_(sa.literal(key[0], kind), sa.literal(key[1], sa.Integer()))
    return here < there if downwards else here > there


def _page(found: Sequence[Analysis], sort: Sort, *, more: bool, key: bool, backwards: bool) -> Page:
    if not found:
        return Page(())
    has_after = backwards or more
    has_before = more if backwards else key
    return Page(
        tuple(found),
        after=_encode_key(sort, found[-1]) if has_after else "",
        before=_encode_key(sort, found[0]) if has_before else "",
    )


def _encode_key(sort: Sort, row: Analysis) -> str:
    column, _ = _sort_column(sort)
    value = row.created_at.isoformat() if column is Analysis.created_at else row.probability
    return base64.urlsafe_b64encode(json.dumps([value, row.id]).encode()).decode().rstrip("=")


def _decode_key(sort: Sort, key: str) -> tuple[Any, int]:
    try:
        value, row_id = json.loads(base64.urlsafe_b64decode(key + "=" * (-len(key) % 4)))
        column, _ = _sort_column(sort)
        if column is Analysis.created_at:
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)), int(row_id)
        return float(value), int(row_id)
    except (binascii.Error, ValueError, TypeError) as error:
        raise InvalidInput(
            "That address does not lead to a page of this list; start at its first page.",
            code="page_key",
        ) from error


def _csv_source(reviewer: type[User]) -> list[Any]:
    return [
        Analysis.public_id,
        Case.public_id.label("case"),
        Case.accession,
        Analysis.number,
        Analysis.created_at,
        Analysis.network_name,
        Analysis.network_version,
        Analysis.label_code,
        Analysis.probability,
        Analysis.abstained,
        Analysis.review_state,
        Analysis.reviewed_code,
        reviewer.name.label("reviewer"),
        Analysis.reviewed_at,
        Analysis.nuclei_count,
        Analysis.heat_on_cells,
        Analysis.flags,
    ]


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.4f}"
    return str(value)
