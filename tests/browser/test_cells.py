"""The cells of a field in a real browser: they arrive, are named, repaired, and counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browsing import PHONE
from tests.web.axe import assert_accessible
from utils.records import CellEvent, db
from utils.web.services import services
from utils.workflow import job_states, jobs, read

# The real field at this place holds ten cells, some of them touching.
pytestmark = [
    pytest.mark.browser,
    pytest.mark.parametrize("picture", [7], indirect=True, ids=["ten-cells"]),
]


def work(app: Flask) -> None:
    """Do what the worker would do, until nothing waits."""
    with app.app_context():
        while (turn := job_states.claim(db.session, worker="host:1", kinds=read.KINDS)) is not None:
            assert jobs.perform(db.session, services().settings, turn) == "done"


def arrive(at: Visit, picture: Path) -> Page:
    """Upload a field and watch its cells come while the page stays open."""
    at.enter()
    at.page.set_input_files("#images", picture)
    at.page.wait_for_url("**/analyses/*")
    expect(at.page.locator("[data-cells-say] p")).to_have_text("The cells wait to be read.")
    work(at.app)
    at.page.wait_for_selector(".cells__gallery", timeout=15_000)
    return at.page


def said(page: Page, text: str) -> None:
    expect(page.locator("[data-cells-said]")).to_contain_text(text)


def confirmed(page: Page) -> int:
    """Cells that the section's table counts as confirmed."""
    cells = page.locator(".cells__classes tbody td:last-child").all_inner_texts()
    return sum(int(cell) for cell in cells)


def test_cells_are_repaired_and_named_and_the_differential_moves(
    visit: Callable[..., Visit], picture: Path
) -> None:
    at = visit()
    page = arrive(at, picture)
    boxes = page.locator(".cells__box")
    found = boxes.count()
    assert found >= 3
    # In the picture each cell has its outline.
    assert page.locator("[data-outlines] [data-cell]").count() == found

    # Repair two: split one, remove one; and take the second repair back.
    largest = page.locator(".cells__item").first
    number = largest.get_attribute("data-number")
    largest.locator(".cells__box").focus()
    page.keyboard.press("s")
    said(page, f"Cell {number} split into")
    expect(boxes).to_have_count(found + 1)
    assert page.locator("[data-outlines] [data-cell]").count() == found + 1
    page.locator(".cells__box").first.focus()
    page.keyboard.press("Delete")
    said(page, "removed.")
    expect(boxes).to_have_count(found)
    page.keyboard.press("z")
    said(page, "Undone.")
    expect(boxes).to_have_count(found + 1)
    page.keyboard.press("Shift+Z")
    said(page, "Done again.")
    expect(boxes).to_have_count(found)

    # Name three, one key each: the focus goes on by itself.
    before = confirmed(page) if page.locator(".cells__classes").count() else 0
    boxes.first.focus()
    for key in "123":
        page.keyboard.press(key)
    expect(page.locator(".cells__cell--corrected, .cells__cell--confirmed")).to_have_count(3)
    assert confirmed(page) == before + 3
    assert at.count(CellEvent) == 7
    assert_accessible(page)

    # The differential of the case counts what people confirmed, apart from the network.
    page.get_by_role("link", name="Differential of the case").click()
    page.wait_for_url("**/differential")
    expect(page.locator("main")).to_contain_text("Confirmed by people")
    assert_accessible(page)
    page.go_back()

    # Nothing of it is lost with the page.
    page.reload()
    expect(page.locator(".cells__box")).to_have_count(found)
    expect(page.locator(".cells__cell--corrected, .cells__cell--confirmed")).to_have_count(3)
    assert at.complaints == []


def test_a_cell_is_added_where_the_picture_is_clicked(
    visit: Callable[..., Visit], picture: Path
) -> None:
    at = visit()
    page = arrive(at, picture)
    found = page.locator(".cells__box").count()
    # The cell farthest from the edges, so that the click lands well inside the picture.
    place = page.evaluate(
        """() => {
            const size = document.querySelector('[data-viewer]').dataset;
            const paths = [...document.querySelectorAll('[data-outlines] [data-cell]')];
            const width = Number(size.width);
            const middle = (path) => {
                const box = path.getBBox();
                return [box.x + box.width / 2, box.y + box.height / 2];
            };
            const room = ([x, y]) => Math.min(x, y, width - x, size.height - y);
            paths.sort((a, b) => room(middle(b)) - room(middle(a)));
            return { number: paths[0].dataset.cell, at: middle(paths[0]), width };
        }"""
    )
    page.locator(f".cells__box[value='{place['number']}']").focus()
    page.keyboard.press("Delete")
    said(page, "removed.")
    page.keyboard.press("a")
    said(page, "Click on the middle of a nucleus")
    overlay = page.locator("[data-outlines]")
    overlay.scroll_into_view_if_needed()
    frame = overlay.bounding_box()
    assert frame is not None
    scale = frame["width"] / place["width"]
    page.mouse.click(
        frame["x"] + (place["at"][0] + 0.5) * scale, frame["y"] + (place["at"][1] + 0.5) * scale
    )
    said(page, "added.")
    expect(page.locator(".cells__box")).to_have_count(found)
    page.keyboard.press("Escape")
    assert at.complaints == []


def test_the_slider_shows_at_once_what_another_distance_finds(
    visit: Callable[..., Visit], picture: Path
) -> None:
    at = visit()
    page = arrive(at, picture)
    found = page.locator(".cells__box").count()
    page.get_by_text("Too many or too few cells?").click()
    slider = page.locator("#distance")
    most = slider.get_attribute("max")
    slider.fill(str(most))
    expect(page.locator("[data-distance-said]")).to_contain_text("Nothing is kept until")
    few = int(page.inner_text("[data-distance-said]").split()[0])
    assert few <= found
    assert at.count(CellEvent) == 0
    page.get_by_role("button", name="Use these outlines").click()
    said(page, "Saved.")
    expect(page.locator(".cells__box")).to_have_count(few)
    assert at.complaints == []


def test_steps_wait_for_a_server_that_is_away(visit: Callable[..., Visit], picture: Path) -> None:
    at = visit(viewport=PHONE)
    page = arrive(at, picture)
    away = {"is": True}
    page.route("**/cells/act", lambda route: route.abort() if away["is"] else route.continue_())
    page.locator(".cells__box").first.focus()
    page.keyboard.press("1")
    said(page, "Not saved yet")
    page.locator(".cells__box").nth(1).focus()
    page.keyboard.press("2")
    away["is"] = False
    expect(page.locator(".cells__cell--corrected, .cells__cell--confirmed")).to_have_count(
        2, timeout=10_000
    )
    assert at.count(CellEvent) == 2
    assert_accessible(page)
