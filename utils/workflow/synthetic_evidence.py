"""What a generator was found to be worth, in words and numbers for the page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

# As `flask gan evaluate` writes them.
REPORT: Final = "evaluation.json"
VERDICT: Final = "gate.json"


@dataclass(frozen=True)
class Evidence:
    """Measurements of one generator.

    Attributes
    ----------
    report : dict
        As `utils.networks.gan.evaluation.evaluate` gives it.
    sentences : tuple of str
        What the figures mean.
    verdict : dict or None
        Of the gate; ``sentence`` says it in plain words.
    """

    report: dict[str, Any]
    sentences: tuple[str, ...]
    verdict: dict[str, Any] | None


def evidence_of(folder: Path) -> Evidence | None:
    """Read what was measured; None where nothing was.

    The verdict counts only for the weights that are measured beside it.
    """
    path = folder / REPORT
    if not path.is_file():
        return None
    report = json.loads(path.read_text(encoding="utf-8"))
    judged = folder / VERDICT
    verdict = json.loads(judged.read_text(encoding="utf-8")) if judged.is_file() else None
    if verdict is not None and verdict["weights_sha256"] != report["weights_sha256"]:
        verdict = None
    return Evidence(report, _sentences(report), verdict)


def _sentences(report: dict[str, Any]) -> tuple[str, ...]:
    copied, probe, alone = report["memorised"], report["probe"], report["trained_on"]
    near = (
        "No more of them lie close to a training picture than real pictures do."
        if copied["share"] <= 0.05
        else f"{100 * copied['share']:.0f} % lie closer to a training picture than 95 % of unseen "
        "real pictures do: look at the pairs below."
    )
    told = (
        "A simple rule tells them from real pictures without fail."
        if probe["auroc"] > 0.99
        else f"A simple rule tells them from real pictures with an AUROC of {probe['auroc']:.2f} "
        f"(two sets of real pictures: {probe['floor']:.2f})."
    )
    taught = (
        f"A rule that saw synthetic pictures alone names {100 * alone['synthetic']:.0f} % of "
        f"unseen real fields; one that saw real ones, {100 * alone['real']:.0f} %."
    )
    return near, told, taught
