"""The main job in a real browser, from registering to the paper's QR code."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from pypdf import PdfReader

from tests.browser.conftest import Visit
from tests.browsing import DESK, PHONE
from tests.web.axe import assert_accessible
from utils.records import Analysis, LabelEvent
from utils.settings import PROJECT_ROOT, Settings

pytestmark = pytest.mark.browser

LAYERS = ("original", "clahe", "heatmap")


def pixels(page: Page) -> str:
    """What the viewer shows now, as the browser encodes it."""
    page.wait_for_timeout(400)
    page.wait_for_load_state("networkidle")
    return str(
        page.evaluate(
            """() => [...document.querySelectorAll('.stage canvas')]
                .map((canvas) => canvas.toDataURL()).join('|')"""
        )
    )


def test_the_main_job(visit: Callable[..., Visit], picture: Path) -> None:
    at = visit()
    at.enter()
    page = at.page
    page.set_input_files("#images", picture)
    page.wait_for_url("**/analyses/*")
    field_url = page.url
    assert at.count(Analysis) == 1
    _switch_each_layer(page)
    assert_accessible(page)
    old = _correct_in_two_keystrokes(page)
    expect(page.locator(".timeline__entry")).to_have_count(2)
    assert old in page.inner_text(".fieldhead__voice")
    posted = list(at.posts)
    page.reload()
    expect(page.locator(".timeline__entry")).to_have_count(2)
    assert at.posts == posted, "a reload posts nothing"
    assert (at.count(Analysis), at.count(LabelEvent)) == (1, 1)
    verification = _download_report(at, page)
    _verify(at, verification)
    assert page.url.startswith(field_url)
    assert at.complaints == []


def _switch_each_layer(page: Page) -> None:
    deep = (PROJECT_ROOT / "static/vendor/openseadragon/openseadragon.min.js").is_file()
    expect(page.locator(".openseadragon-canvas")).to_have_count(1 if deep else 0)
    expect(page.locator(".outlines")).to_be_visible()
    page.keyboard.press("4")
    expect(page.locator(".outlines")).to_be_hidden()
    page.keyboard.press("b")
    expect(page.locator(".outlines")).to_be_visible()
    if not deep:
        return
    seen = {"original": pixels(page)}
    page.keyboard.press("2")
    seen["clahe"] = pixels(page)
    page.keyboard.press("1")
    assert pixels(page) == seen["original"]
    page.keyboard.press("3")
    expect(page.locator(".heatbar")).to_be_visible()
    seen["jet"] = pixels(page)
    page.keyboard.press("m")
    seen["viridis"] = pixels(page)
    page.fill("[data-heat-opacity]", "0.9")
    seen["opaque"] = pixels(page)
    page.keyboard.press("h")
    expect(page.locator(".heatbar")).to_be_hidden()
    assert pixels(page) == seen["original"]
    assert len(set(seen.values())) == len(seen), "each layer shows something else"
    assert all(seen.values())


def _correct_in_two_keystrokes(page: Page) -> str:
    old = page.inner_text("h1")
    page.keyboard.press("Shift+Digit1")
    expect(page.locator("[data-reason]:checked")).to_be_focused()
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert page.inner_text("h1") != old
    expect(page.locator("#review .badge").first).to_have_text("Corrected")
    return old.removeprefix("Pattern resembling: ").removesuffix(" (image class)")


def _download_report(at: Visit, page: Page) -> str:
    page.click("#report button[type=submit]")
    page.wait_for_url("**#report")
    with page.expect_download() as waiting:
        page.click("#report .versions a")
    data = Path(waiting.value.path()).read_bytes()
    assert data.startswith(b"%PDF")
    reader = PdfReader(io.BytesIO(data))
    text = "\n".join(part.extract_text() for part in reader.pages)
    assert "PRELIMINARY" in text
    links = [
        str(note.get_object()["/A"]["/URI"])
        for part in reader.pages
        for note in part.get("/Annots", [])
        if "/A" in note.get_object()
    ]
    (verification,) = {link for link in links if "/verify/" in link}
    assert verification.startswith(at.address)
    return verification


def _verify(at: Visit, verification: str) -> None:
    stranger = at.context.browser
    assert stranger is not None
    other = stranger.new_context()
    page = other.new_page()
    answer = page.goto(verification)
    assert answer is not None
    assert answer.status == 200
    said = page.inner_text("main").lower()
    assert "current" in said
    assert "lovelace" not in said
    other.close()


def test_many_images_one_of_them_bad_one_retried(
    visit: Callable[..., Visit], picture: Path, smear: bytes, tmp_path: Path
) -> None:
    at = visit()
    at.enter()
    page = at.page
    bad, second = tmp_path / "notes.jpg", tmp_path / "second.jpg"
    bad.write_bytes(b"no image at all")
    second.write_bytes(smear)
    refuse = True

    def once(route: Any) -> None:
        nonlocal refuse
        if refuse:
            refuse = False
            route.abort()
        else:
            route.continue_()

    page.route("**/upload", once)
    page.set_input_files("#images", [picture, bad, second])
    expect(page.locator(".queue__item")).to_have_count(3)
    first = page.locator(".queue__item").nth(0)
    expect(first).to_contain_text("Nothing is lost: retry")
    expect(page.locator(".queue__item").nth(1)).to_contain_text("JPEG, PNG")
    expect(page.locator(".queue__item").nth(2)).to_have_attribute("data-state", "done")
    assert_accessible(page)
    first.locator("[data-retry]").click()
    expect(first).to_have_attribute("data-state", "done")
    expect(page.locator("[data-queue-summary]")).to_have_text("2 of 3 analysed, 1 not.")
    page.click("[data-queue-actions] a")
    page.wait_for_url("**/cases/*")
    expect(page.locator(".fieldcard")).to_have_count(2)
    assert at.count(Analysis) == 2
    assert_accessible(page)


def test_an_answer_that_got_lost_is_not_analysed_again(
    visit: Callable[..., Visit], picture: Path
) -> None:
    at = visit()
    at.enter()
    page = at.page
    lose = True

    def lost(route: Any) -> None:
        nonlocal lose
        if lose:
            lose = False
            route.fetch()  # it reached the server; its answer does not come back
            route.abort()
        else:
            route.continue_()

    page.route("**/upload", lost)
    page.set_input_files("#images", picture)
    page.locator("[data-retry]:visible").click()
    page.wait_for_url("**/analyses/*")
    assert at.count(Analysis) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_the_pages_are_accessible_at_every_width(
    visit: Callable[..., Visit], picture: Path, scheme: str, viewport: dict[str, int]
) -> None:
    at = visit(viewport=viewport, color_scheme=scheme)
    at.enter()
    page = at.page
    looked = [page.url]
    _look(page)
    page.set_input_files("#images", picture)
    page.wait_for_url("**/analyses/*")
    page.keyboard.press("3")
    page.locator("[data-correct] summary").click()
    _look(page)
    page.keyboard.press("Escape")
    page.locator("h1").click()
    page.keyboard.press("?")
    expect(page.locator("dialog[data-shortcuts]")).to_be_visible()
    _look(page)
    page.keyboard.press("Escape")
    looked.append(page.url)
    page.locator(".trail a").click()
    page.wait_for_url("**/cases/*")
    _look(page)
    looked.append(page.url)
    assert len(set(looked)) == 3
    assert at.complaints == []


def _look(page: Page) -> None:
    page.wait_for_load_state("networkidle")
    assert_accessible(page, strict=True)
    wide, shown = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= shown, f"{page.url} scrolls sideways: {wide} px in {shown} px"


def test_single_keys_can_be_switched_off(visit: Callable[..., Visit], picture: Path) -> None:
    at = visit()
    at.enter()
    page = at.page
    page.set_input_files("#images", picture)
    page.wait_for_url("**/analyses/*")
    page.click("[data-shortcuts-open]")
    page.uncheck("[data-keys-on]")
    page.keyboard.press("Escape")
    page.keyboard.press("3")
    expect(page.locator("[data-layer=heat]")).not_to_be_checked()
    page.reload()
    page.keyboard.press("h")
    expect(page.locator("[data-layer=heat]")).not_to_be_checked()
    page.keyboard.press("?")
    page.check("[data-keys-on]")
    page.keyboard.press("Escape")
    page.keyboard.press("h")
    expect(page.locator("[data-layer=heat]")).to_be_checked()


def test_everything_works_without_scripts(visit: Callable[..., Visit], picture: Path) -> None:
    at = visit(java_script_enabled=False)
    at.enter()
    page = at.page
    page.set_input_files("#images", picture)
    page.click("[data-submit]")
    page.wait_for_url("**/analyses/*")
    expect(page.locator(".pictures__base--original")).to_be_visible()
    expect(page.locator(".outlines")).to_be_visible()
    page.check("[data-layer=heat]", force=True)
    expect(page.locator("[data-heat-image]")).to_be_visible()
    page.select_option("[data-heat-class]", index=0)
    page.click("[data-fallback]")
    assert "heat=on" in page.url
    page.locator("[data-correct] summary").click()
    page.check("[data-target='1']")
    page.click("[data-save-correction]")
    expect(page.locator(".timeline__entry")).to_have_count(2)
    page.click("[data-undo]")
    expect(page.locator(".timeline__entry")).to_have_count(3)
    assert at.complaints == []


def test_without_the_viewer_the_same_keys_switch_plain_pictures(
    visit: Callable[..., Visit], picture: Path, settings: Settings
) -> None:
    at = visit()
    at.enter()
    page = at.page
    page.route("**/openseadragon.min.js", lambda route: route.fulfill(body="", status=200))
    page.set_input_files("#images", picture)
    page.wait_for_url("**/analyses/*")
    expect(page.locator(".openseadragon-canvas")).to_have_count(0)
    expect(page.locator(".pictures__base--original")).to_be_visible()
    page.keyboard.press("c")
    expect(page.locator(".pictures__base--clahe")).to_be_visible()
    page.keyboard.press("h")
    expect(page.locator("[data-heat-image]")).to_be_visible()
    before = page.get_attribute("[data-heat-image]", "src")
    page.keyboard.press("m")
    assert page.get_attribute("[data-heat-image]", "src") != before
    assert at.complaints == []
