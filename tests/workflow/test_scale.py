"""The scale of a field: by its file, by a person, else by its red cells."""

from __future__ import annotations

import io

import numpy as np
import pytest
import sqlalchemy as sa
from PIL import Image

from tests.workflow.conftest import MakeAnalysis, MakeUser
from utils.errors import InvalidInput, NotAllowed, NotFound
from utils.imaging.decode import encode_png
from utils.imaging.pixel_size import RED_CELL_UM, PixelSize
from utils.imaging.synthesis import field
from utils.networks.registry import load_classifier
from utils.records import Analysis, AuditEntry, User, audit, db
from utils.records.blobs import BlobStore
from utils.settings import Settings
from utils.workflow import job_states, jobs, read
from utils.workflow.analyse import analyse_image, store_analysis
from utils.workflow.scale import keep_estimate, set_scale

RADIUS_PX = 12.5
ESTIMATE = PixelSize(um_per_px=0.0941234567, spread=0.081, red_cells=23, diameter_px=76.5)


def entries() -> list[AuditEntry]:
    asked = sa.select(AuditEntry).where(AuditEntry.action == "analysis.scale")
    return list(db.session.scalars(asked.order_by(AuditEntry.id)))


def scale_of(analysis: Analysis) -> tuple[float | None, str, float | None, int | None]:
    db.session.expire_all()
    return (
        analysis.um_per_px,
        analysis.um_per_px_source,
        analysis.um_per_px_spread,
        analysis.um_per_px_cells,
    )


def stored(data: bytes, user: User, settings: Settings) -> Analysis:
    classifier = load_classifier(settings.models_dir, "all4")
    result = analyse_image(data, classifier=classifier, settings=settings)
    blobs = BlobStore(settings.blobs_dir)
    return store_analysis(result, user=user, upload_key="k" * 12, blobs=blobs)


def read_cells(settings: Settings) -> None:
    turn = job_states.claim(db.session, worker="host:1", kinds=[read.KIND])
    assert turn is not None
    assert jobs.perform(db.session, settings, turn) == "done"


def smear() -> np.ndarray:
    return field(3, height=320, width=420, cells=6, red_cell_radius_px=RADIUS_PX).pixels


def test_red_cells_tell_the_scale_when_the_cells_are_read(
    make_user: MakeUser, settings: Settings
) -> None:
    analysis = stored(encode_png(smear()), make_user(), settings)
    assert scale_of(analysis) == (None, "", None, None)
    read_cells(settings)
    um_per_px, source, spread, cells = scale_of(analysis)
    assert um_per_px == pytest.approx(RED_CELL_UM / (2 * RADIUS_PX), rel=0.06)
    assert source == "red_cells"
    assert spread is not None
    assert 0.07 <= spread <= 0.2
    assert cells is not None
    assert cells >= 20
    assert entries() == []


def test_what_the_file_states_stands_before_the_estimate(
    make_user: MakeUser, settings: Settings
) -> None:
    buffer = io.BytesIO()
    Image.fromarray(smear()).save(buffer, "TIFF", resolution=50_000, resolution_unit="cm")
    analysis = stored(buffer.getvalue(), make_user(), settings)
    stated = (0.2, "metadata", None, None)
    assert scale_of(analysis) == stated
    read_cells(settings)
    assert scale_of(analysis) == stated


def test_a_field_whose_red_cells_tell_nothing_has_no_scale(
    make_user: MakeUser, settings: Settings
) -> None:
    pixels = field(3, height=320, width=420, red_cells=False).pixels
    analysis = stored(encode_png(pixels), make_user(), settings)
    read_cells(settings)
    assert scale_of(analysis) == (None, "", None, None)


def test_a_later_estimate_takes_the_place_of_an_earlier_one(
    make_user: MakeUser, make_analysis: MakeAnalysis
) -> None:
    analysis = make_analysis(make_user())
    keep_estimate(db.session, analysis, ESTIMATE)
    db.session.commit()
    assert scale_of(analysis) == (0.0941235, "red_cells", 0.081, 23)
    keep_estimate(db.session, analysis, None)
    db.session.commit()
    assert scale_of(analysis) == (None, "", None, None)


def test_a_person_sets_the_scale_and_the_trail_holds_both_values(
    make_user: MakeUser, make_analysis: MakeAnalysis
) -> None:
    user = make_user()
    analysis = make_analysis(user)
    keep_estimate(db.session, analysis, ESTIMATE)
    db.session.commit()
    set_scale(analysis, user, 0.1)
    assert scale_of(analysis) == (0.1, "user", None, None)
    set_scale(analysis, user, 0.11)
    first, second = entries()
    assert first.object_id == analysis.public_id
    assert first.actor_id == user.id
    assert first.details == {
        "old": {"um_per_px": 0.0941235, "source": "red_cells"},
        "new": {"um_per_px": 0.1, "source": "user"},
    }
    assert second.details["old"] == {"um_per_px": 0.1, "source": "user"}
    assert audit.verify(db.session) == []


def test_the_same_value_again_changes_nothing(
    make_user: MakeUser, make_analysis: MakeAnalysis
) -> None:
    user = make_user()
    analysis = make_analysis(user)
    set_scale(analysis, user, 0.1)
    set_scale(analysis, user, 0.1)
    assert len(entries()) == 1


def test_an_estimate_never_takes_the_place_of_what_a_person_said(
    make_user: MakeUser, make_analysis: MakeAnalysis
) -> None:
    user = make_user()
    analysis = make_analysis(user)
    # Loaded before the person spoke, as a job's row is.
    assert analysis.um_per_px_source == ""
    set_scale(analysis, user, 0.1)
    keep_estimate(db.session, analysis, ESTIMATE)
    db.session.commit()
    assert scale_of(analysis) == (0.1, "user", None, None)


@pytest.mark.parametrize("wrong", [0.0, -0.1, 0.0199, 2.01, float("nan"), float("inf")])
def test_what_no_microscope_has_is_refused(
    make_user: MakeUser, make_analysis: MakeAnalysis, wrong: float
) -> None:
    user = make_user()
    analysis = make_analysis(user)
    with pytest.raises(InvalidInput) as caught:
        set_scale(analysis, user, wrong)
    assert caught.value.code == "um_per_px"
    assert scale_of(analysis) == (None, "", None, None)
    assert entries() == []


def test_only_who_may_correct_may_set_it(make_user: MakeUser, make_analysis: MakeAnalysis) -> None:
    analysis = make_analysis(make_user())
    with pytest.raises(NotAllowed):
        set_scale(analysis, make_user("technician"), 0.1)
    with pytest.raises(NotFound):
        set_scale(analysis, make_user("trainee"), 0.1)
    assert scale_of(analysis) == (None, "", None, None)


def test_the_database_knows_the_sources(make_user: MakeUser, make_analysis: MakeAnalysis) -> None:
    make_analysis(make_user())
    with pytest.raises(sa.exc.IntegrityError):
        db.session.execute(sa.text("UPDATE analyses SET um_per_px_source = 'guess'"))
    db.session.rollback()
