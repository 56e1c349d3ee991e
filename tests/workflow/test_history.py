"""Finding analyses again: every one once, in order, only one's own where the role says so."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa

from tests.workflow.conftest import MakeAnalysis, MakeUser
from utils.errors import InvalidInput
from utils.records import Analysis, Case, User, db
from utils.workflow import history, review
from utils.workflow.history import Filters, Sort

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@contextmanager
def _counted() -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    sa.event.listen(db.engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        sa.event.remove(db.engine, "before_cursor_execute", note)


def _ids(user: User, filters: Filters | None = None, **more: object) -> list[int]:
    page = history.search(db.session(), user, filters, **more)  # type: ignore[arg-type]
    return [row.id for row in page.rows]


@pytest.mark.parametrize("sort", list(history.SORTS))
def test_paging_shows_each_row_once_forwards_and_back(
    make_user: MakeUser, make_analysis: MakeAnalysis, sort: Sort
) -> None:
    user = make_user()
    for place in range(11):
        # Equal times and equal probabilities: only the number tells them apart.
        make_analysis(
            user,
            created_at=NOON + timedelta(minutes=place // 4),
            probability=0.5 + (place % 3) / 10,
        )
    whole = _ids(user, sort=sort, rows=100)
    assert sorted(whole) == sorted(set(whole))
    assert len(whole) == 11
    forwards: list[list[int]] = []
    page = history.search(db.session(), user, sort=sort, rows=4)
    assert page.before == ""
    while True:
        forwards.append([row.id for row in page.rows])
        if not page.after:
            break
        page = history.search(db.session(), user, sort=sort, rows=4, after=page.after)
    assert [row_id for part in forwards for row_id in part] == whole
    assert [len(part) for part in forwards] == [4, 4, 3]
    backwards: list[list[int]] = []
    while page.before:
        page = history.search(db.session(), user, sort=sort, rows=4, before=page.before)
        backwards.insert(0, [row.id for row in page.rows])
    assert backwards == forwards[:-1]


def test_new_analyses_do_not_shift_the_list_under_the_reader(
    make_user: MakeUser, make_analysis: MakeAnalysis
) -> None:
    user = make_user()
    for place in range(4):
        make_analysis(user, created_at=NOON + timedelta(minutes=place))
    first = history.search(db.session(), user, rows=2)
    make_analysis(user, created_at=NOON + timedelta(hours=1))
    second = history.search(db.session(), user, rows=2, after=first.after)
    assert {row.id for row in first.rows}.isdisjoint(row.id for row in second.rows)


def test_sorting_by_certainty(make_user: MakeUser, make_analysis: MakeAnalysis) -> None:
    user = make_user()
    sure = make_analysis(user, probability=0.99).id
    unsure = make_analysis(user, probability=0.41).id
    assert _ids(user, sort="least_certain") == [unsure, sure]
    assert _ids(user, sort="most_certain") == [sure, unsure]


def test_the_label_that_stands_is_searched_not_the_networks(
    make_user: MakeUser, make_analysis: MakeAnalysis
) -> None:
    user = make_user()
    corrected, plain = make_analysis(user, label_code="Pre"), make_analysis(user, label_code="Pre")
    abstained = make_analysis(user, label_code=None)
    review.correct(corrected, user, "Pro", "flow")
    assert _ids(user, Filters(label="Pre")) == [plain.id]
    assert _ids(user, Filters(label="Pro")) == [corrected.id]
    assert _ids(user, Filters(label=history.UNCLASSIFIABLE_FILTER)) == [abstained.id]
    assert _ids(user, Filters(review="corrected")) == [corrected.id]
    assert _ids(user, Filters(reviewer=user.public_id)) == [corrected.id]
    assert _ids(user, Filters(reviewer="nobody")) == []


def test_days_are_included_at_both_ends(make_user: MakeUser, make_analysis: MakeAnalysis) -> None:
    user = make_user()
    early = make_analysis(user, created_at=datetime(2026, 3, 1, 0, 0, tzinfo=UTC)).id
    late = make_analysis(user, created_at=datetime(2026, 3, 2, 23, 59, 59, tzinfo=UTC)).id
    assert _ids(user, Filters(since=date(2026, 3, 1), until=date(2026, 3, 2))) == [late, early]
    assert _ids(user, Filters(until=date(2026, 3, 1))) == [early]
    assert _ids(user, Filters(since=date(2026, 3, 2))) == [late]


@pytest.mark.parametrize(
    ("text", "found"),
    [("H-77", True), ("h-77", True), ("77", True), ("%", False), ("_", False), ("müller", True)],
)
def test_text_is_looked_for_literally_in_accession_and_reference(
    make_user: MakeUser, make_analysis: MakeAnalysis, text: str, found: bool
) -> None:
    user = make_user()
    case = Case(owner_id=user.id, accession="H-77/26", patient_reference="müller-3")
    db.session.add(case)
    db.session.flush()
    make_analysis(user, case)
    make_analysis(user)
    assert (len(_ids(user, Filters(text=text))) == 1) is found


def test_trainees_see_their_own_only(make_user: MakeUser, make_analysis: MakeAnalysis) -> None:
    trainee, other, chief = make_user("trainee"), make_user("trainee"), make_user("pathologist")
    mine, theirs = make_analysis(trainee).id, make_analysis(other).id
    assert _ids(trainee) == [mine]
    assert sorted(_ids(chief)) == [mine, theirs]
    assert theirs not in _ids(trainee, Filters(text="A-"))
    told = "".join(history.csv_lines(db.session(), trainee))
    assert len(list(csv.reader(io.StringIO(told)))) == 2


def test_a_page_is_one_query_however_many_rows(
    make_user: MakeUser, make_analysis: MakeAnalysis
) -> None:
    user = make_user()
    for _ in range(12):
        review.confirm(make_analysis(user), user)
    db.session.expire_all()
    user = db.session.scalars(sa.select(User)).one()
    assert user.role
    with _counted() as statements:
        page = history.search(db.session(), user)
        for row in page.rows:
            assert row.case.accession
            assert row.owner.name
            assert row.reviewed_by is not None
            assert row.reviewed_by.name
    assert len(statements) == 1
    assert "cams" not in statements[0], "maps are not loaded for a list"


@pytest.mark.parametrize("key", ["x", "", "WzEsMl0", "bnVsbA", "WyJhIiwxXQ", "💥", "W10="])
def test_made_up_keys_are_refused_in_a_sentence(make_user: MakeUser, key: str) -> None:
    user = make_user()
    if key == "":
        assert history.search(db.session(), user, after=key).rows == ()
        return
    with pytest.raises(InvalidInput, match="first page"):
        history.search(db.session(), user, after=key)


def test_the_table_for_spreadsheets_runs_nothing(
    make_user: MakeUser, make_analysis: MakeAnalysis
) -> None:
    user = make_user(name="@cmd")
    case = Case(owner_id=user.id, accession='=HYPERLINK("http://example.org")')
    db.session.add(case)
    db.session.flush()
    analysis = make_analysis(user, case, flags=["too_dark", "duplicate"], heat_on_cells=0.25)
    review.confirm(analysis, user)
    rows = list(csv.DictReader(io.StringIO("".join(history.csv_lines(db.session(), user)))))
    assert len(rows) == 1
    assert rows[0]["accession"].startswith("'=HYPERLINK")
    assert rows[0]["reviewed_by"] == "'@cmd"
    assert rows[0]["flags"] == "too_dark duplicate"
    assert rows[0]["heat_on_cells"] == "0.2500"
    assert rows[0]["analysis"] == analysis.public_id


@pytest.mark.parametrize(
    ("text", "guarded"),
    [
        ("=1+1", "'=1+1"),
        ("+44", "+44"),
        ("-0.5", "-0.5"),
        ("-1+2", "'-1+2"),
        ("@x", "'@x"),
        ("\t=1", "'\t=1"),
        ("plain", "plain"),
        ("", ""),
    ],
)
def test_formulas_are_guarded_and_numbers_stay_numbers(text: str, guarded: str) -> None:
    assert history.guard_formula(text) == guarded


def test_the_table_is_streamed_in_batches(
    make_user: MakeUser, make_analysis: MakeAnalysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "CSV_BATCH_ROWS", 2)
    user = make_user()
    for _ in range(5):
        make_analysis(user)
    parts = list(history.csv_lines(db.session(), user))
    assert len(parts) == 3
    assert "".join(parts).count("\r\n") == 6


@pytest.mark.parametrize("text", ["2026-13-01", "yesterday", "01.02.2026"])
def test_days_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput, match="YYYY-MM-DD"):
        history.parse_day(text)


def test_counting_does_not_touch_the_rows(make_user: MakeUser, make_analysis: MakeAnalysis) -> None:
    user = make_user()
    make_analysis(user)
    before = db.session.scalar(sa.select(sa.func.count()).select_from(Analysis))
    _ids(user, Filters(text="A-", label="Early", review="unreviewed"))
    assert not db.session.dirty
    assert db.session.scalar(sa.select(sa.func.count()).select_from(Analysis)) == before
