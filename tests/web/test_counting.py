"""A case's differential and the counter by hand: what they say, who may, without scripts too."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from playwright.sync_api import Browser, Route

from tests.browsing import DESK, PHONE, serving, sign_in
from tests.conftest import Auth
from tests.untrained import write_random_network
from tests.web.axe import assert_accessible
from tests.web.test_accessibility_pages import complaints
from tests.web.test_upload import text_of
from tests.workflow.conftest import cell_values
from utils.records import Analysis, AuditEntry, Case, Cell, HandCount, User, db
from utils.records.users import ROLES
from utils.settings import PROJECT_ROOT
from utils.workflow.calls import BORDER_RULE
from utils.workflow.wording import RESEARCH_USE_ONLY

_SEES_ALL = {"administrator", "pathologist", "technician"}
_CHANGES_ALL = {"administrator", "pathologist"}
JSON = {"Accept": "application/json"}


@pytest.fixture
def models(tmp_path: Path, models_dir: Path) -> Path:
    """The small networks, and the label set that cells are counted by."""
    folder = tmp_path / "models"
    shutil.copytree(models_dir, folder)
    (folder / "marrow7").mkdir(exist_ok=True)
    shutil.copy(PROJECT_ROOT / "models" / "marrow7" / "labels.json", folder / "marrow7")
    return folder


@pytest.fixture
def app(make_app: Callable[..., Flask], models: Path) -> Flask:
    return make_app(models_dir=models)


@pytest.fixture
def case_of(app: Flask, add_analysis: Callable[..., str]) -> Callable[[int], str]:
    """Open a case with one field for a person; give its public id."""

    def make(owner_id: int) -> str:
        analysis_id = add_analysis(owner_id)
        with app.app_context():
            return db.session.scalars(
                sa.select(Case.public_id).join(Analysis).where(Analysis.public_id == analysis_id)
            ).one()

    return make


@pytest.fixture
def case_id(auth: Auth, case_of: Callable[[int], str]) -> str:
    auth.enter()
    return case_of(auth.user_id)


def add_cells(app: Flask, case_id: str, code: str | None, count: int, **values: Any) -> None:
    """Put cells of a class into the first field of a case."""
    with app.app_context():
        analysis = db.session.scalars(
            sa.select(Analysis).join(Case).where(Case.public_id == case_id)
        ).first()
        assert analysis is not None
        first = db.session.scalar(sa.select(sa.func.count(Cell.id))) or 0
        row = cell_values(analysis, code) | values
        db.session.add_all(Cell(number=first + place, **row) for place in range(count))
        db.session.commit()


def section(page: str, key: str) -> str:
    """One section's words, without tags and with single spaces."""
    found = re.search(rf'<section[^>]*id="{key}">(.*?)</section>', page, flags=re.DOTALL)
    assert found, key
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", found.group(1))).split())


def tile_value(page: str, code: str) -> str:
    found = re.search(rf'value="({code} \w+)"', page)
    assert found, code
    return found.group(1)


def send(auth: Auth, case_id: str, events: list[Any], person: str | None = None) -> Any:
    if person is None:
        with auth.app.app_context():
            person = db.session.get_one(User, auth.user_id).public_id
    return auth.client.post(
        f"/cases/{case_id}/count",
        json={"person": person, "events": events},
        headers=JSON | {"X-CSRFToken": auth.token()},
    )


def press(number: int, code: str = "BLA", step: int = 1) -> dict[str, Any]:
    return {"key": f"request-key-{number:08d}", "code": code, "step": step}


def hand_counts(app: Flask) -> list[tuple[str, int]]:
    with app.app_context():
        rows = db.session.scalars(sa.select(HandCount).order_by(HandCount.id))
        return [(row.code, row.step) for row in rows]


# ---------------------------------------------------------------- differential


def test_three_counts_stand_apart(app: Flask, auth: Auth, case_id: str) -> None:
    add_cells(app, case_id, "BLA", 20)
    add_cells(app, case_id, "LYT", 75)
    add_cells(app, case_id, "LYT", 4, review_state="confirmed", reviewed_code="LYT")
    add_cells(app, case_id, "LYT", 1, review_state="corrected", reviewed_code="BLA")
    add_cells(app, case_id, None, 3)
    send(auth, case_id, [press(1), press(2, "NGS"), press(3, "NIF")])
    page = text_of(auth.client.get(f"/cases/{case_id}/differential"))
    confirmed, network, hand = (section(page, key) for key in ("confirmed", "network", "hand"))
    assert "5 of 500 cells, 495 to go" in confirmed
    assert "1 of 5" in confirmed
    assert "100 of 500 cells, 400 to go" in network
    # CLINICAL.md, 9: 20 of 100.
    assert "20 of 100, 13.3–28.9" in network
    assert "Nobody confirmed these calls" in network
    assert "Nobody confirmed these calls" not in confirmed + hand
    assert "Left unclassifiable by the network: 3." in network
    assert "2 of 500 cells, 498 to go" in hand
    assert "1 more is of classes outside the denominator." in hand
    assert "98 cells are not reviewed yet" in confirmed
    for text in (RESEARCH_USE_ONLY, BORDER_RULE, "Laboratories differ in this.", "ICSH 2008"):
        assert text in page
    assert "not counted: Not identifiable" in page
    assert "a field count, not a differential" in page
    assert "style=" not in page


def test_thresholds_say_below_above_or_how_many_more(app: Flask, auth: Auth, case_id: str) -> None:
    add_cells(app, case_id, "BLA", 20)
    add_cells(app, case_id, "LYT", 80)
    page = text_of(auth.client.get(f"/cases/{case_id}/differential?threshold=50"))
    network = section(page, "network")
    assert re.search(r" 5 % after therapy.*? Above 20 %", network)
    assert re.search(
        r"20 % acute leukaemia by convention Indeterminate More than 100 000", network
    ), network
    assert re.search(
        r"25 % many ALL protocols Indeterminate About \d+ more cells would settle it if the share "
        "held",
        network,
    )
    assert "50 % your own Below" in network


def test_target_and_threshold_come_from_the_address(auth: Auth, case_id: str) -> None:
    send(auth, case_id, [press(1)])
    place = f"/cases/{case_id}/differential"
    assert "1 of 200 cells, 199 to go" in section(
        text_of(auth.client.get(f"{place}?target=200&threshold=12,5")), "hand"
    )
    assert "12.5 % your own" in section(text_of(auth.client.get(f"{place}?threshold=12,5")), "hand")
    for query, field in (
        ("target=7", "target"),
        ("threshold=0", "threshold"),
        ("threshold=100", "threshold"),
        ("threshold=-3", "threshold"),
        ("threshold=nan", "threshold"),
        ("threshold=many", "threshold"),
    ):
        answer = auth.client.get(f"{place}?{query}")
        assert answer.status_code == 422
        assert f'id="f-{field}-error"' in text_of(answer)


def test_the_networks_errors_are_corrected_for_in_its_own_section_alone(
    app: Flask, auth: Auth, models: Path, case_id: str
) -> None:
    shutil.rmtree(models / "marrow7")
    folder = write_random_network(models, name="marrow7", version="1")
    confusion = [[90, 10, 0, 0], [0, 100, 0, 0], [0, 0, 100, 0], [5, 0, 0, 95]]
    (folder / "metrics.json").write_text(json.dumps({"confusion": confusion}))
    add_cells(app, case_id, "Early", 30)
    add_cells(app, case_id, "Benign", 70, review_state="confirmed", reviewed_code="Benign")
    page = text_of(auth.client.get(f"/cases/{case_id}/differential"))
    assert "Blasts corrected for the network’s errors: 22." in section(page, "network")
    assert "90.0 % of 100 others" in section(page, "network")
    assert "corrected for" not in section(page, "confirmed") + section(page, "hand")
    add_cells(app, case_id, "Early", 1, network_version="0")
    page = text_of(auth.client.get(f"/cases/{case_id}/differential"))
    assert "several versions read these cells" in section(page, "network")


def test_classes_that_the_label_set_does_not_know_are_said(
    app: Flask, auth: Auth, case_id: str
) -> None:
    add_cells(app, case_id, "OLD", 2)
    add_cells(app, case_id, "BLA", 1)
    page = text_of(auth.client.get(f"/cases/{case_id}/differential"))
    assert "2 cells have a class that the present label set does not know" in section(
        page, "network"
    )


def test_a_case_without_counts_says_so(auth: Auth, case_id: str) -> None:
    page = text_of(auth.client.get(f"/cases/{case_id}/differential"))
    assert "No cell of this case is reviewed yet." in section(page, "confirmed")
    assert "The network named no cell" in section(page, "network")
    assert "Nobody counted cells of this case by hand." in section(page, "hand")
    assert f'href="/cases/{case_id}/count"' in page


def test_looking_leaves_a_trace(app: Flask, auth: Auth, case_id: str) -> None:
    for name in ("differential", "count"):
        assert auth.client.get(f"/cases/{case_id}/{name}").status_code == 200
    with app.app_context():
        statement = sa.select(AuditEntry).where(AuditEntry.action == "case.view")
        assert [row.object_id for row in db.session.scalars(statement)] == [case_id] * 2


def test_without_a_label_set_the_page_says_what_is_missing(
    auth: Auth, models: Path, case_id: str
) -> None:
    shutil.rmtree(models / "marrow7")
    answer = auth.client.get(f"/cases/{case_id}/differential")
    assert answer.status_code == 503
    assert "models/marrow7/labels.json" in text_of(answer)


# ---------------------------------------------------------------- counter


def test_each_class_has_a_tile_and_those_outside_the_total_come_last(
    auth: Auth, case_id: str
) -> None:
    page = text_of(auth.client.get(f"/cases/{case_id}/count"))
    tiles = re.findall(r'data-tile="(\w+)"', page)
    assert tiles == ["BLA", "EOS", "LYT", "MON", "NGS", "PMO", "NIF"]
    assert re.findall(r'data-key="(\w)"', page) == list("1234567")
    assert RESEARCH_USE_ONLY in page
    assert auth.client.get(f"/cases/{case_id}/count?target=7").status_code == 422


def test_the_form_counts_without_scripts(app: Flask, auth: Auth, case_id: str) -> None:
    place = f"/cases/{case_id}/count"
    page = text_of(auth.client.get(f"{place}?target=200"))
    value = tile_value(page, "LYT")
    for _ in range(2):  # a double click is one cell
        answer = auth.post(place, {"press": value, "target": "200"})
        assert (answer.status_code, answer.location) == (303, f"{place}?target=200#counter")
    auth.post(place, {"press": tile_value(page, "NIF")})
    page = text_of(auth.client.get(place))
    assert re.search(r"data-total>1<", page)
    assert re.search(r"data-apart>1<", page)
    found = re.search(r'name="take_back" value="(NIF \w+)"', page)
    assert found
    assert auth.post(place, {"take_back": found.group(1)}).status_code == 303
    assert hand_counts(app) == [("LYT", 1), ("NIF", 1), ("NIF", -1)]
    # A page that is out of date takes nothing back twice.
    key = "take-back-once-more"
    assert auth.post(place, {"take_back": f"NIF {key}"}).status_code == 303
    assert "is left to take back" in text_of(auth.client.get(place))
    assert len(hand_counts(app)) == 3
    assert auth.post(place, {}).status_code == 422


def test_the_script_sends_several_and_sends_them_again(
    app: Flask, auth: Auth, case_id: str
) -> None:
    events = [press(1), press(2, "LYT"), press(3, "LYT"), press(4, "LYT", -1), press(5, "MON", -1)]
    answer = send(auth, case_id, events)
    assert answer.status_code == 200
    assert answer.json["stored"] == [event["key"] for event in events[:4]]
    assert [(row["key"], row["code"]) for row in answer.json["refused"]] == [
        (events[4]["key"], "nothing_to_take_back")
    ]
    assert answer.json["own"] == {"BLA": 1, "LYT": 1}
    assert answer.json["last"] == ["BLA", "LYT"]
    again = send(auth, case_id, events[:4])
    assert again.json["stored"] == answer.json["stored"]
    assert len(hand_counts(app)) == 4
    with app.app_context():
        statement = sa.select(AuditEntry).where(AuditEntry.action == "case.hand_count")
        assert len(db.session.scalars(statement).all()) == 1


@pytest.mark.parametrize(
    "events",
    [
        None,
        "BLA",
        [press(number) for number in range(501)],
        ["BLA"],
        [{"code": "BLA", "step": 1}],
        [press(1) | {"step": True}],
        [press(1) | {"step": "1"}],
    ],
)
def test_what_is_no_list_of_counts_is_refused(
    app: Flask, auth: Auth, case_id: str, events: Any
) -> None:
    answer = send(auth, case_id, events)
    assert answer.status_code == 422
    assert answer.json["message"]
    assert hand_counts(app) == []


def test_counts_that_waited_go_to_whoever_made_them(app: Flask, auth: Auth, case_id: str) -> None:
    other = auth.as_role("pathologist")
    with app.app_context():
        mine = db.session.get_one(User, auth.user_id).public_id
    answer = send(other, case_id, [press(1)], person=mine)
    assert (answer.status_code, answer.json["code"]) == (409, "other_person")
    assert hand_counts(app) == []


def test_a_post_without_the_forms_token_is_refused(app: Flask, auth: Auth, case_id: str) -> None:
    answer = auth.client.post(f"/cases/{case_id}/count", json={"events": []}, headers=JSON)
    assert (answer.status_code, answer.json["code"]) == (400, "form_expired")


@pytest.mark.parametrize("role", ROLES)
def test_rights(auth: Auth, case_id: str, case_of: Callable[[int], str], role: str) -> None:
    person = auth.as_role(role)
    own = case_of(person.user_id)
    for each, seen, may in (
        (own, True, True),
        (case_id, role in _SEES_ALL, role in _CHANGES_ALL),
    ):
        refused = 403 if seen else 404
        page = person.client.get(f"/cases/{each}/differential")
        assert page.status_code == (200 if seen else 404)
        assert person.client.get(f"/cases/{each}/count").status_code == (200 if may else refused)
        value = "BLA request-key-of-" + role
        answer = person.post(f"/cases/{each}/count", {"press": f"{value}-{may}-{each[:6]}"})
        assert answer.status_code == (303 if may else refused)
        key = abs(hash((role, each))) % 10**8
        assert send(person, each, [press(key)]).status_code == (200 if may else refused)
        case_page = text_of(person.client.get(f"/cases/{each}"))
        assert (f'href="/cases/{each}/differential"' in case_page) is seen
        assert (f'href="/cases/{each}/count"' in case_page) is may


def test_strangers_and_wrong_numbers_see_nothing(app: Flask, auth: Auth, case_id: str) -> None:
    stranger = app.test_client()
    for name in ("differential", "count"):
        assert stranger.get(f"/cases/{case_id}/{name}").status_code == 303
        assert auth.client.get(f"/cases/nobody/{name}").status_code == 404
    assert auth.post("/cases/nobody/count", {"press": "BLA " + "k" * 20}).status_code == 404


# ---------------------------------------------------------------- in a browser


@pytest.fixture
def address(app: Flask) -> Iterator[str]:
    """The application behind a real socket."""
    with serving(app) as address:
        yield address


def _open_case(app: Flask, case_of: Callable[[int], str]) -> str:
    with app.app_context():
        owner_id = db.session.scalars(sa.select(User.id)).one()
    return case_of(owner_id)


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_pages_are_accessible(
    browser: Browser,
    app: Flask,
    address: str,
    case_of: Callable[[int], str],
    scheme: str,
    viewport: dict[str, int],
) -> None:
    context = browser.new_context(viewport=viewport, color_scheme=scheme)
    said = complaints(context)
    page = context.new_page()
    sign_in(page, address)
    empty, full = _open_case(app, case_of), _open_case(app, case_of)
    for code, count in (("BLA", 20), ("LYT", 40), ("NGS", 140), ("NIF", 5)):
        add_cells(app, full, code, count)
        add_cells(app, full, code, 3, review_state="confirmed", reviewed_code=code)
    for path in (
        f"/cases/{empty}/differential",
        f"/cases/{full}/differential?threshold=101",
        f"/cases/{full}/differential?threshold=10",
        f"/cases/{full}/count",
        f"/cases/{full}",
    ):
        page.goto(address + path)
        assert_accessible(page, strict=True)
        wide, shown = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide <= shown, f"{path} scrolls sideways: {wide} px in {shown} px"
    context.close()
    assert said == []


@pytest.mark.browser
def test_keys_count_and_nothing_is_lost_while_the_server_is_away(
    browser: Browser, app: Flask, address: str, case_of: Callable[[int], str]
) -> None:
    context = browser.new_context()
    said = complaints(context)
    page = context.new_page()
    sign_in(page, address)
    case_id = _open_case(app, case_of)
    page.goto(f"{address}/cases/{case_id}/count")

    def away(route: Route) -> None:
        if route.request.method == "POST":
            route.abort()
        else:
            route.continue_()

    context.route("**/count", away)
    for key in ("1", "1", "3", "7", "u", "3", "Backspace", "1"):
        page.keyboard.press(key)
    assert page.inner_text("[data-total]") == "4"
    assert page.inner_text("[data-tape]") == "Blast, Lymphocyte, Blast, Blast"
    page.wait_for_selector(".counter__state--away")
    assert "8 waiting" in page.inner_text("[data-state]")
    assert hand_counts(app) == []
    page.reload()
    assert page.inner_text("[data-total]") == "4"
    context.unroute("**/count")
    page.evaluate("dispatchEvent(new Event('online'))")
    page.wait_for_selector("[data-state]:text-is('Saved')")
    assert sum(step for _, step in hand_counts(app)) == 4
    assert len(hand_counts(app)) == 8
    assert page.evaluate("localStorage.length") == 0
    # What was pressed last is there before the next page is asked for.
    page.keyboard.press("2")
    page.click("text=Differential")
    page.wait_for_url("**/differential")
    assert page.inner_text("#hand .tally__count").startswith("5 of 500 cells")
    context.close()
    assert said == []


@pytest.mark.browser
def test_keys_can_be_switched_off_and_tiles_still_count(
    browser: Browser, app: Flask, address: str, case_of: Callable[[int], str]
) -> None:
    context = browser.new_context()
    page = context.new_page()
    sign_in(page, address)
    place = f"{address}/cases/{_open_case(app, case_of)}/count"
    page.goto(place)
    page.uncheck("[data-keys]")
    page.uncheck("[data-sound]")
    page.keyboard.press("1")
    assert page.inner_text("[data-total]") == "0"
    assert page.is_hidden("[data-tile=BLA] kbd")
    page.reload()
    assert not page.is_checked("[data-keys]")
    assert not page.is_checked("[data-sound]")
    page.click("[data-tile=BLA]")
    assert page.inner_text("[data-total]") == "1"
    page.wait_for_selector("[data-state]:text-is('Saved')")
    assert hand_counts(app) == [("BLA", 1)]
    context.close()
