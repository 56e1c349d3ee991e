"""Accessibility in a real browser: axe-core over a page that a test has open."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

from tests.need import lacking
from utils.settings import PROJECT_ROOT

AXE = PROJECT_ROOT / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
GRAVE = frozenset({"serious", "critical"})


def assert_accessible(page: Page, *, strict: bool = False) -> None:
    """Fail where axe finds a serious or critical fault; with `strict`, any fault.

    The script is evaluated by the debugger, which the content security policy does not bind, so
    that the page is looked at under the policy that users get.
    """
    if not AXE.is_file():
        lacking("axe-core", "make test installs it with npm, where the packages can be reached")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    options = {"runOnly": RULES}
    found = page.evaluate("options => axe.run(document, options)", options)
    assert found["passes"], "axe looked at nothing"
    faults = [fault for fault in found["violations"] if strict or fault["impact"] in GRAVE]
    assert not faults, "\n".join(_described(fault) for fault in faults)


def _described(fault: dict[str, Any]) -> str:
    where = "; ".join(node["html"][:160] for node in fault["nodes"][:3])
    return f"{fault['impact']} {fault['id']}: {fault['help']} – {where}"
