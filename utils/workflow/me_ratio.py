"""The myeloid : erythroid ratio, with its definition written out from the label set."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from utils.networks.manifest import LabelClass

MYELOID: Final = "myeloid"
ERYTHROID: Final = "erythroid"
# A stage that names a granulocyte or its precursor from the promyelocyte on. A monocyte's stage
# ("mature", "promonocyte") names none, nor does a megakaryocyte's or a mast cell's.
_GRANULOCYTIC: Final = re.compile(
    r"myelocyt|granulocyt|\b(?:band|segmented|neutrophil|eosinophil|basophil)s?\b", re.IGNORECASE
)


def sum_of(calls: Mapping[str, int], labels: Iterable[LabelClass]) -> int:
    """Cells of several classes together."""
    return sum(calls.get(label.code, 0) for label in labels)


def erythroid_classes(labels: Sequence[LabelClass]) -> list[LabelClass]:
    """Erythroblasts of all stages: the counted classes of the erythroid lineage."""
    return [
        label for label in labels if label.counts_in_differential and label.lineage == ERYTHROID
    ]


def _granulocytic(labels: Sequence[LabelClass]) -> list[LabelClass]:
    """Granulocytes and their precursors: myeloid, no blast, and of a stage that names one."""
    return [
        label
        for label in labels
        if label.counts_in_differential
        and label.lineage == MYELOID
        and not label.is_blast
        and _GRANULOCYTIC.search(label.stage)
    ]


def myeloid_erythroid(
    calls: Mapping[str, int], labels: Sequence[LabelClass]
) -> tuple[int | None, int | None, float | None, str]:
    """Both sides of the ratio, the ratio, and its definition in sentences."""
    above, below = _granulocytic(labels), erythroid_classes(labels)
    myeloid = sum_of(calls, above) if above else None
    erythroid = sum_of(calls, below) if below else None
    definition = _define_ratio(above, below, labels)
    if above and erythroid:
        return myeloid, erythroid, sum_of(calls, above) / erythroid, definition
    missing = [name for name, side in (("granulocytic", above), ("erythroid", below)) if not side]
    why = "no erythroid cell was counted"
    if missing:
        why = f"the label set has no {' and no '.join(missing)} class"
    return myeloid, erythroid, None, f"No ratio: {why}. {definition}"


def _define_ratio(
    above: Sequence[LabelClass], below: Sequence[LabelClass], labels: Sequence[LabelClass]
) -> str:
    # Sources differ over monocytes and blasts, so the classes themselves are named.
    left_out = [
        label
        for label in labels
        if label.counts_in_differential
        and label not in (*above, *below)
        and (label.lineage == MYELOID or label.is_blast)
    ]
    text = (
        "Myeloid : erythroid is granulocytes and their precursors from the promyelocyte on"
        f"{_names(above)} over erythroblasts of all stages{_names(below)}. By the usual "
        "definition blasts and monocytes are not on the myeloid side"
    )
    if left_out:
        text += f"; left out here: {', '.join(label.display_name for label in left_out)}"
    return f"{text}. Laboratories differ in this."


def _names(labels: Sequence[LabelClass]) -> str:
    return f" ({', '.join(label.display_name for label in labels)})" if labels else ""
