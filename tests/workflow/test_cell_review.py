"""What people do to cells: events, their projection, undo and redo, two people at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.untrained import write_random_network
from tests.workflow.conftest import MakeAnalysis, MakeUser
from utils.errors import Conflict, InvalidInput, NotAllowed, NotFound
from utils.imaging.decode import encode_png
from utils.imaging.preprocess import PreprocessSpec
from utils.imaging.synthesis import field
from utils.networks.registry import load_classifier
from utils.records import Analysis, AuditEntry, Cell, CellEvent, User, audit, db
from utils.records.blobs import BlobStore
from utils.settings import Settings
from utils.workflow import cell_events, cell_repair, cell_review, job_states, jobs, read
from utils.workflow.analyse import analyse_image, store_analysis
from utils.workflow.cell_events import Request

KNOWN = ("BLA", "LYT", "MON")
MakeCells = Callable[..., list[Cell]]
_keys = itertools.count(1)


def ask(analysis: Analysis, user: User, **values: Any) -> Request:
    row = {"key": f"key-{next(_keys):08d}"} | values
    return Request(analysis=analysis, user=user, **row)


@pytest.fixture
def make_named(make_analysis: MakeAnalysis) -> Callable[..., Analysis]:
    """Make a field whose cells a network has named: ``make_named(owner, "BLA", None)``."""

    def make(owner: User, *codes: str | None) -> Analysis:
        analysis = make_analysis(owner)
        for number, code in enumerate(codes, start=1):
            db.session.add(
                Cell(
                    analysis_id=analysis.id,
                    number=number,
                    row_px=20.0 * number,
                    col_px=20.0,
                    diameter_px=12.0,
                    box=[20.0 * number - 6, 14.0, 20.0 * number + 6, 26.0],
                    outline=[[14.0, 20.0], [26.0, 20.0], [20.0, 30.0]],
                    nucleus=[[[16.0, 20.0], [24.0, 20.0], [20.0, 26.0]]],
                    touches_border=False,
                    measures={},
                    network_name="marrow7",
                    network_version="1",
                    code=code,
                    crop=b"",
                )
            )
        db.session.commit()
        return analysis

    return make


def cell(analysis: Analysis, number: int) -> Cell:
    db.session.expire_all()
    return read.find_cell(db.session(), analysis, number)


def test_confirming_keeps_the_class_and_says_who(
    make_user: MakeUser, make_named: Callable[..., Analysis]
) -> None:
    user = make_user()
    analysis = make_named(user, "BLA", "LYT")
    event = cell_review.confirm(ask(analysis, user), [1, 2])
    assert event is not None
    assert event.changes["cells"] == [
        {"number": 1, "old": "BLA", "new": "BLA"},
        {"number": 2, "old": "LYT", "new": "LYT"},
    ]
    one = cell(analysis, 1)
    assert (one.review_state, one.reviewed_code, one.reviewed_by_id) == (
        "confirmed",
        "BLA",
        user.id,
    )
    entry = db.session.scalars(sa.select(AuditEntry).order_by(AuditEntry.id.desc())).first()
    assert entry is not None
    assert entry.action == "cells.confirm"
    assert not audit.verify(db.session())


def test_a_second_confirmation_by_the_same_person_is_no_event(
    make_user: MakeUser, make_named: Callable[..., Analysis]
) -> None:
    user, other = make_user(), make_user()
    analysis = make_named(user, "BLA")
    assert cell_review.confirm(ask(analysis, user), [1]) is not None
    assert cell_review.confirm(ask(analysis, user), [1]) is None
    assert cell_review.confirm(ask(analysis, other), [1]) is not None


def test_a_cell_without_a_class_cannot_be_confirmed(
    make_user: MakeUser, make_named: Callable[..., Analysis]
) -> None:
    user = make_user()
    analysis = make_named(user, None)
    with pytest.raises(InvalidInput, match="no class to confirm"):
        cell_review.confirm(ask(analysis, user), [1])


def test_correcting_keeps_what_the_network_said(
    make_user: MakeUser, make_named: Callable[..., Analysis]
) -> None:
    user = make_user()
    analysis = make_named(user, "BLA", None)
    event = cell_review.correct(ask(analysis, user), [1, 2], "MON", KNOWN)
    assert event is not None
    assert [change["old"] for change in event.changes["cells"]] == ["BLA", None]
    for number, code in ((1, "BLA"), (2, None)):
        one = cell(analysis, number)
        assert (one.code, one.review_state, one.reviewed_code) == (code, "corrected", "MON")
    # The class that the network gave, said by a person, confirms it.
    cell_review.correct(ask(analysis, user), [1], "BLA", KNOWN)
    assert cell(analysis, 1).review_state == "confirmed"


def test_undo_and_redo_go_step_by_step_and_a_new_step_ends_the_redoing(
    make_user: MakeUser, make_named: Callable[..., Analysis]
) -> None:
    user = make_user()
    analysis = make_named(user, "BLA")

    def stands() -> tuple[str, str | None]:
        one = cell(analysis, 1)
        return one.review_state, one.reviewed_code

    cell_review.correct(ask(analysis, user), [1], "LYT", KNOWN)
    cell_review.correct(ask(analysis, user), [1], "MON", KNOWN)
    cell_review.undo(ask(analysis, user))
    assert stands() == ("corrected", "LYT")
    cell_review.undo(ask(analysis, user))
    assert stands() == ("unreviewed", None)
    with pytest.raises(Conflict, match="nothing to undo"):
        cell_review.undo(ask(analysis, user))
    cell_review.redo(ask(analysis, user))
    assert stands() == ("corrected", "LYT")
    cell_review.confirm(ask(analysis, make_user()), [1])
    with pytest.raises(Conflict, match="nothing to redo"):
        cell_review.redo(ask(analysis, user))
    actions = [event.action for event in cell_events.load_events(db.session(), analysis.id)]
    assert actions == ["correct", "correct", "undo", "undo", "redo", "confirm"]


def test_the_same_request_twice_is_one_event(
    make_user: MakeUser, make_named: Callable[..., Analysis]
) -> None:
    user = make_user()
    analysis = make_named(user, "BLA")
    request = ask(analysis, user, seen=0)
    first = cell_review.correct(request, [1], "LYT", KNOWN)
    again = cell_review.correct(request, [1], "LYT", KNOWN)
    assert first is not None
    assert again is not None
    assert first.id == again.id
    assert db.session.scalar(sa.select(sa.func.count(CellEvent.id))) == 1
    with pytest.raises(Conflict, match="not one of this page"):
        cell_review.undo(ask(analysis, make_user(), key=request.key))


def test_what_somebody_did_meanwhile_is_a_conflict(
    make_user: MakeUser, make_named: Callable[..., Analysis]
) -> None:
    user, other = make_user(), make_user()
    analysis = make_named(user, "BLA")
    cell_review.correct(ask(analysis, other, seen=0), [1], "LYT", KNOWN)
    with pytest.raises(Conflict, match=other.name):
        cell_review.correct(ask(analysis, user, seen=0), [1], "MON", KNOWN)
    assert cell(analysis, 1).reviewed_code == "LYT"


@pytest.mark.parametrize(
    ("numbers", "code", "error"),
    [([], "LYT", InvalidInput), ([1], "XYZ", InvalidInput), ([1, 9], "LYT", Conflict)],
)
def test_what_cannot_be_done_leaves_no_event(
    make_user: MakeUser,
    make_named: Callable[..., Analysis],
    numbers: list[int],
    code: str,
    error: type[Exception],
) -> None:
    user = make_user()
    analysis = make_named(user, "BLA")
    with pytest.raises(error):
        cell_review.correct(ask(analysis, user), numbers, code, KNOWN)
    assert not cell_events.has_events(db.session(), analysis.id)


def test_roles_decide(make_user: MakeUser, make_named: Callable[..., Analysis]) -> None:
    analysis = make_named(make_user(), "BLA")
    with pytest.raises(NotAllowed):
        cell_review.confirm(ask(analysis, make_user("technician")), [1])
    with pytest.raises(NotFound):
        cell_review.confirm(ask(analysis, make_user("trainee")), [1])


def test_events_are_never_changed(make_user: MakeUser, make_named: Callable[..., Analysis]) -> None:
    user = make_user()
    analysis = make_named(user, "BLA")
    event = cell_review.confirm(ask(analysis, user), [1])
    assert event is not None
    event.reason = "another"
    with pytest.raises(Conflict):
        db.session.commit()
    db.session.rollback()
    with pytest.raises(sa.exc.IntegrityError, match="append-only"):
        db.session.execute(sa.text("DELETE FROM cell_events"))


class TestRepairs:
    """On a synthetic field whose cells are known."""

    @pytest.fixture
    def owner(self, make_user: MakeUser) -> User:
        return make_user()

    @pytest.fixture
    def analysis(self, owner: User, settings: Settings) -> Analysis:
        picture = encode_png(field(3, cells=11, touching_share=0.2).pixels)
        result = analyse_image(
            picture,
            classifier=load_classifier(settings.models_dir, "all4"),
            settings=settings,
        )
        blobs = BlobStore(settings.blobs_dir)
        analysis = store_analysis(result, user=owner, upload_key="k" * 12, blobs=blobs)
        turn = job_states.claim(db.session, worker="host:1", kinds=[read.KIND])
        assert turn is not None
        assert jobs.perform(db.session, settings, turn) == "done"
        return analysis

    def standing(self, analysis: Analysis) -> list[Cell]:
        db.session.expire_all()
        return read.list_cells(db.session(), analysis)

    def test_a_cell_is_split_in_two_and_back(
        self, analysis: Analysis, owner: User, settings: Settings
    ) -> None:
        before = self.standing(analysis)
        whole = max(before, key=lambda one: one.measures["nucleus_area_px"])
        place, area = (whole.row_px, whole.col_px), whole.measures["nucleus_area_px"]
        numbers = [one.number for one in before]
        event = cell_repair.split(db.session(), ask(analysis, owner), settings, whole.number)
        assert event is not None
        assert event.changes["removed"] == [whole.number]
        after = self.standing(analysis)
        drawn = [one for one in after if one.origin == "person"]
        assert [one.number for one in drawn] == event.changes["added"]
        assert len(drawn) == 2
        for one in drawn:
            assert abs(one.row_px - place[0]) + abs(one.col_px - place[1]) < 2 * one.diameter_px
            assert one.crop
        assert sum(one.measures["nucleus_area_px"] for one in drawn) == pytest.approx(area, rel=0.4)
        cell_review.undo(ask(analysis, owner))
        assert [one.number for one in self.standing(analysis)] == numbers
        cell_review.redo(ask(analysis, owner))
        assert [one.number for one in self.standing(analysis)] == [one.number for one in after]

    def test_the_network_names_what_a_person_drew_after_the_answer(
        self, analysis: Analysis, owner: User, settings: Settings, tmp_path: Path
    ) -> None:
        spec = PreprocessSpec(input_px=64, cell_context=1.5)
        write_random_network(tmp_path / "own", name="marrow7", spec=spec)
        own = settings.model_copy(update={"models_dir": tmp_path / "own"})
        whole = max(self.standing(analysis), key=lambda one: one.measures["nucleus_area_px"])
        event = cell_repair.split(db.session(), ask(analysis, owner), own, whole.number)
        assert event is not None
        first, second = event.changes["added"]
        cell_review.correct(ask(analysis, owner), [first], "Pre", ("Pre",))
        assert cell(analysis, second).network_name is None
        turn = job_states.claim(db.session, worker="host:1", kinds=[read.NAME_KIND])
        assert turn is not None
        assert jobs.perform(db.session, own, turn) == "done"
        for number in (first, second):
            named = cell(analysis, number)
            assert named.network_name == "marrow7"
            assert named.probabilities
        # Said by a person before the network spoke: whether it confirms follows from both.
        said = cell(analysis, first)
        assert said.reviewed_code == "Pre"
        assert said.review_state == ("confirmed" if said.code == "Pre" else "corrected")

    def test_merged_halves_are_one_cell_again(
        self, analysis: Analysis, owner: User, settings: Settings
    ) -> None:
        before = self.standing(analysis)
        whole = max(before, key=lambda one: one.measures["nucleus_area_px"])
        area, count = whole.measures["cell_area_px"], len(before)
        event = cell_repair.split(db.session(), ask(analysis, owner), settings, whole.number)
        assert event is not None
        halves = event.changes["added"]
        merged = cell_repair.merge(db.session(), ask(analysis, owner), settings, halves)
        assert merged is not None
        assert len(self.standing(analysis)) == count
        (number,) = merged.changes["added"]
        assert cell(analysis, number).measures["cell_area_px"] == pytest.approx(area, rel=0.25)

    def test_cells_that_lie_apart_are_not_merged(
        self, analysis: Analysis, owner: User, settings: Settings
    ) -> None:
        cells = sorted(self.standing(analysis), key=lambda one: one.row_px + one.col_px)
        ends = [cells[0].number, cells[-1].number]
        with pytest.raises(InvalidInput, match="touch or nearly touch"):
            cell_repair.merge(db.session(), ask(analysis, owner), settings, ends)
        with pytest.raises(InvalidInput, match="From 2"):
            cell_repair.merge(db.session(), ask(analysis, owner), settings, ends[:1])

    def test_a_removed_cell_is_found_again_where_it_is_pointed_at(
        self, analysis: Analysis, owner: User, settings: Settings
    ) -> None:
        cells = self.standing(analysis)
        lonely = next(one for one in cells if not one.touches_border)
        place, diameter = (lonely.row_px, lonely.col_px), lonely.diameter_px
        with pytest.raises(InvalidInput, match="is there already"):
            cell_repair.add(db.session(), ask(analysis, owner), settings, place)
        cell_repair.remove(db.session(), ask(analysis, owner), [lonely.number])
        assert len(self.standing(analysis)) == len(cells) - 1
        event = cell_repair.add(db.session(), ask(analysis, owner), settings, place)
        assert event is not None
        (number,) = event.changes["added"]
        new = cell(analysis, number)
        assert new.diameter_px == pytest.approx(diameter, rel=0.35)
        assert abs(new.row_px - place[0]) + abs(new.col_px - place[1]) < diameter / 2

    @pytest.mark.parametrize("place", [(-1.0, 5.0), (5.0, 1e9), (float("nan"), 5.0)])
    def test_a_place_outside_is_refused(
        self, analysis: Analysis, owner: User, settings: Settings, place: tuple[float, float]
    ) -> None:
        with pytest.raises(InvalidInput, match="within the picture"):
            cell_repair.add(db.session(), ask(analysis, owner), settings, place)

    def test_another_distance_keeps_the_cells_that_stay_the_same(
        self, analysis: Analysis, owner: User, settings: Settings
    ) -> None:
        before = {one.number for one in self.standing(analysis)}
        reviewed = min(before)
        cell_review.correct(ask(analysis, owner), [reviewed], "LYT", KNOWN)
        far = 60
        event = cell_repair.find_again(db.session(), ask(analysis, owner), settings, far)
        assert event is not None
        after = self.standing(analysis)
        found = cell_repair.preview(analysis, settings, far)
        assert len(after) == len(found)
        kept = before & {one.number for one in after}
        assert kept
        assert set(event.changes["removed"]) == before - kept
        again = cell_repair.find_again(db.session(), ask(analysis, owner), settings, far)
        assert again is None, "the same distance again changes nothing"

    def test_a_repair_sent_twice_is_done_once(
        self, analysis: Analysis, owner: User, settings: Settings
    ) -> None:
        number = self.standing(analysis)[0].number
        request = ask(analysis, owner)
        first = cell_repair.split(db.session(), request, settings, number)
        again = cell_repair.split(db.session(), request, settings, number)
        assert first is not None
        assert again is not None
        assert first.id == again.id

    def test_reading_again_leaves_reviewed_cells_alone(
        self, analysis: Analysis, owner: User, settings: Settings
    ) -> None:
        number = self.standing(analysis)[0].number
        cell_repair.remove(db.session(), ask(analysis, owner), [number])
        left = [one.number for one in self.standing(analysis)]
        read.ask_for_cells(db.session(), analysis, owner, version="newer")
        db.session.commit()
        turn = job_states.claim(db.session, worker="host:1", kinds=[read.KIND])
        assert turn is not None
        assert jobs.perform(db.session, settings, turn) == "done"
        assert [one.number for one in self.standing(analysis)] == left
