"""The analysis page: what stands on it, its layers, and reviewing from it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from flask import Flask
from PIL import Image

from tests.conftest import Auth
from tests.web.test_upload import rows, send, text_of
from utils.records import Analysis, LabelEvent, db
from utils.workflow import wording


@pytest.fixture
def place(auth: Auth, smear: bytes) -> str:
    """The address of an analysed field."""
    auth.enter()
    return str(send(auth, (smear, "field.jpg")).location)


def change(app: Flask, **values: Any) -> None:
    """Change the only analysis behind the program's back."""
    with app.app_context():
        db.session.execute(sa.update(Analysis).values(**values))
        db.session.commit()


def events(app: Flask) -> list[LabelEvent]:
    with app.app_context():
        return list(db.session.scalars(sa.select(LabelEvent).order_by(LabelEvent.id)))


@contextmanager
def counted(app: Flask) -> Iterator[list[str]]:
    told: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        told.append(statement)

    with app.app_context():
        engine = db.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield told
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


def test_the_page_says_what_clinical_practice_asks_for(app: Flask, auth: Auth, place: str) -> None:
    page = text_of(auth.client.get(place))
    (row,) = rows(app)
    assert f"Pattern resembling: {row.label_code} (image class)" in page
    assert "The network’s reading, not reviewed" in page
    assert wording.RESEARCH_USE_ONLY in page
    assert "The network knows 4 image classes and nothing else" in page
    assert wording.FIELD_COUNT in page
    assert "diagnosis" not in page.lower().replace("diagnostic", "")
    for code in row.probabilities:
        assert f'data-code="{code}"' in page
    assert page.count('class="outline"') == row.nuclei_count > 5
    assert row.network_sha256[:12] in page
    assert "of the heat for" in page
    assert "by chance" in page
    assert "at best" in page


def test_benign_is_explained_and_blasts_ask_for_flow_cytometry(
    app: Flask, auth: Auth, place: str
) -> None:
    change(app, label_code="Benign", top_code="Benign")
    page = text_of(auth.client.get(place))
    assert "hematogone-rich" in page
    assert "Confirm by flow cytometry" not in page
    change(app, label_code="Pro", top_code="Pro")
    page = text_of(auth.client.get(place))
    assert "Confirm by flow cytometry" in page
    assert "hematogone-rich" not in page


def test_abstaining_is_shown_with_its_reason_in_words(app: Flask, auth: Auth, place: str) -> None:
    change(
        app,
        label_code=None,
        abstained=True,
        reasons=["out_of_distribution"],
        flags=["out_of_distribution", "heat_off_cells"],
    )
    page = text_of(auth.client.get(place))
    assert "Unclassifiable — review" in page
    assert "Pattern resembling" not in page
    assert "does not resemble the smears" in page
    assert "The network did not look at the cells" in page


def test_nothing_on_the_page_breaks_the_policy(auth: Auth, place: str) -> None:
    page = text_of(auth.client.get(place))
    assert not re.search(r"\sstyle=", page)
    assert not re.search(r"\son[a-z]+=", page)
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert "<style" not in page


LAYERS = {
    "original": "image/jpeg",
    "clahe": "image/jpeg",
    "boundaries.png": "image/png",
    "thumbnail.jpg": "image/jpeg",
    "heatmap-Early-jet.png": "image/png",
    "heatmap-Benign-viridis.png": "image/png",
    "heatmap-Pro-cividis.png": "image/png",
}


@pytest.mark.parametrize("name", list(LAYERS))
def test_each_layer_is_a_picture_that_is_fetched_once(auth: Auth, place: str, name: str) -> None:
    answer = auth.client.get(f"{place}/layers/{name}")
    assert (answer.status_code, answer.mimetype) == (200, LAYERS[name])
    assert "private" in answer.headers["Cache-Control"]
    assert "immutable" in answer.headers["Cache-Control"]
    with Image.open(io.BytesIO(answer.data)) as picture:
        assert picture.width / picture.height == pytest.approx(640 / 480, rel=0.02)
        assert not picture.getexif()
    again = auth.client.get(
        f"{place}/layers/{name}", headers={"If-None-Match": answer.headers["ETag"]}
    )
    assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize(
    "name",
    ["secret", "heatmap-Early-rainbow.png", "heatmap-AML-jet.png", "..%2foriginal", "thumbnail"],
)
def test_layers_that_are_none(auth: Auth, place: str, name: str) -> None:
    assert auth.client.get(f"{place}/layers/{name}").status_code == 404


def test_nobody_sees_the_field_of_another_trainee(auth: Auth, place: str) -> None:
    trainee, technician = auth.as_role("trainee"), auth.as_role("technician")
    for address in (place, *(f"{place}/layers/{name}" for name in LAYERS)):
        assert trainee.client.get(address).status_code == 404, address
        assert technician.client.get(address).status_code == 200, address
    assert trainee.post(f"{place}/label", {"action": "confirm"}).status_code == 404
    assert technician.post(f"{place}/label", {"action": "confirm"}).status_code == 403
    assert "Your role lets you read this field" in text_of(technician.client.get(place))


def test_all_heatmaps_share_one_scale(app: Flask, auth: Auth, place: str) -> None:
    weak, strong = np.zeros((7, 7)), np.zeros((7, 7))
    weak[3, 3], strong[3, 3] = 1.0, 4.0
    maps = [weak, strong, np.zeros((7, 7)), np.zeros((7, 7))]
    change(app, cams=[cam.tolist() for cam in maps])

    def highest(code: str) -> int:
        answer = auth.client.get(f"{place}/layers/heatmap-{code}-jet.png")
        with Image.open(io.BytesIO(answer.data)) as picture:
            assert picture.mode == "P"
            return int(np.asarray(picture).max())

    assert highest("Early") > 240
    assert highest("Benign") == pytest.approx(highest("Early") / 4, abs=2)
    page = text_of(auth.client.get(place))
    assert "from 0 to 4," in page
    assert page.count("(no evidence)") == 2


def test_without_scripts_layers_are_chosen_by_the_address(auth: Auth, place: str) -> None:
    page = text_of(auth.client.get(f"{place}?base=clahe&heat=on&class=Pro&map=viridis"))
    assert re.search(r'value="clahe"[^>]*checked', page)
    assert re.search(r'data-layer="heat" checked', page)
    assert not re.search(r'data-layer="cells" checked', page)
    assert "heatmap-Pro-viridis.png" in re.findall(r"<img[^>]*data-heat-image", page)[0]
    odd = auth.client.get(f"{place}?base=x&class=y&map=z")
    assert odd.status_code == 200


def test_confirming_and_undoing_are_events(app: Flask, auth: Auth, place: str) -> None:
    answer = auth.post(f"{place}/label", {"action": "confirm", "seen": "0"})
    assert (answer.status_code, answer.location) == (303, f"{place}#review")
    (first,) = events(app)
    page = text_of(auth.client.get(place))
    assert "Confirmed by Ada Lovelace" in page
    undone = auth.post(f"{place}/label", {"action": "undo", "seen": str(first.id)})
    assert undone.status_code == 303
    assert [event.action for event in events(app)] == ["confirm", "undo"]
    page = text_of(auth.client.get(place))
    assert "not reviewed" in page
    assert "Undone" in page


def test_correcting_shows_both_voices_and_why(app: Flask, auth: Auth, place: str) -> None:
    old = rows(app)[0].label_code
    new = next(code for code in rows(app)[0].probabilities if code != old)
    form = {
        "action": "correct",
        "seen": "0",
        "code": new,
        "reason": "flow_cytometry",
        "note": "<b>CD10</b> −",
    }
    assert auth.post(f"{place}/label", form).status_code == 303
    page = text_of(auth.client.get(place))
    assert f"Pattern resembling: {new} (image class)" in page
    assert f"the network read “{old}”" in page
    assert "Flow cytometry says otherwise — &lt;b&gt;CD10&lt;/b&gt; −" in page
    # The same form again, as a reload or a double click sends it: nothing is said twice.
    assert auth.post(f"{place}/label", form).status_code == 303
    assert len(events(app)) == 1


def test_a_conflict_keeps_what_the_person_had_chosen(app: Flask, auth: Auth, place: str) -> None:
    other = auth.as_role("pathologist")
    other.post(f"{place}/label", {"action": "confirm", "seen": "0"})
    old = rows(app)[0].label_code
    new = next(code for code in rows(app)[0].probabilities if code != old)
    form = {
        "action": "correct",
        "seen": "0",
        "code": new,
        "reason": "clinical_context",
        "note": "after transplant",
    }
    answer = auth.post(f"{place}/label", form)
    assert answer.status_code == 409
    page = text_of(answer)
    assert "Person pathologist reviewed this field after you opened the page" in page
    assert "Your review was not saved" in page
    assert re.search(rf'name="code" value="{new}"[^>]*checked', page)
    assert re.search(r'value="clinical_context"[^>]*checked', page)
    assert 'value="after transplant"' in page
    assert len(events(app)) == 1
    # Sent again from that page, it is taken.
    seen = re.findall(r'name="seen" value="(\d+)"', page)[-1]
    assert auth.post(f"{place}/label", form | {"seen": seen}).status_code == 303


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"action": "sign"},
        {"action": "correct", "code": "", "reason": "morphology"},
        {"action": "correct", "code": "AML", "reason": "morphology"},
        {"action": "correct", "code": "Benign", "reason": "other"},
        {"action": "confirm", "seen": "one"},
        {"action": "confirm", "seen": "9" * 40},
    ],
)
def test_reviews_that_are_none(app: Flask, auth: Auth, place: str, form: dict[str, str]) -> None:
    change(app, label_code="Early", top_code="Early")
    answer = auth.post(f"{place}/label", form)
    assert answer.status_code == 422
    assert "Your review was not saved" in text_of(answer)
    assert events(app) == []


def test_fields_of_a_case_lead_to_each_other(auth: Auth, smear: bytes) -> None:
    auth.enter()
    send(auth, (smear, "a"), (smear, "b"), (smear, "c"))
    ids = [row.public_id for row in rows(auth.app)]
    page = text_of(auth.client.get(f"/analyses/{ids[1]}"))
    assert "field 2 of 3" in page
    assert f'rel="prev" href="/analyses/{ids[0]}"' in page
    assert f'rel="next" href="/analyses/{ids[2]}"' in page
    first = text_of(auth.client.get(f"/analyses/{ids[0]}"))
    assert 'rel="prev"' not in first


def test_the_page_costs_the_same_whatever_was_said(app: Flask, auth: Auth, place: str) -> None:
    auth.client.get(place)
    with counted(app) as few:
        auth.client.get(place)
    seen = 0
    for turn in range(6):
        action = "confirm" if turn % 2 == 0 else "undo"
        auth.post(f"{place}/label", {"action": action, "seen": str(seen)})
        seen = events(app)[-1].id
    with counted(app) as many:
        auth.client.get(place)
    assert len(events(app)) == 6
    assert len(many) == len(few) <= 20


def test_a_network_that_is_gone_leaves_its_analyses_readable(
    app: Flask, auth: Auth, place: str
) -> None:
    change(app, network_version="0-removed")
    page = auth.client.get(place)
    assert page.status_code == 200
    assert "Model card" not in text_of(page)
