"""The differential of a case: its cells by class, with what each share can bear.

Counts by hand, by the network and by a person who confirmed the network's are separate calls of
`tally`, shown apart; nothing here adds one to another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from utils.errors import InvalidInput
from utils.workflow.me_ratio import erythroid_classes, myeloid_erythroid, sum_of
from utils.workflow.proportions import (
    Corrected,
    Verdict,
    cells_to_settle,
    judge,
    rogan_gladen,
    wilson,
)

if TYPE_CHECKING:
    from utils.networks.manifest import LabelClass

# ICSH 2008, doi:10.1111/j.1751-553X.2008.01100.x: 500 where a percentage decides, else 300.
TARGETS: Final = (500, 300, 200, 1000)


@dataclass(frozen=True)
class Threshold:
    """A share of blasts that something hangs on.

    Attributes
    ----------
    name : str
        What hangs on it, to stand behind the number.
    share : float
        Proportion of the counted cells, 0 to 1, both excluded.
    """

    name: str
    share: float


DEFAULTS: Final = (
    Threshold("acute leukaemia by convention", 0.20),
    Threshold("many ALL protocols", 0.25),
    Threshold("after therapy: M1 <5, M2 5–25, M3 >25", 0.05),
)


@dataclass(frozen=True)
class BlastAccuracy:
    """How well a network tells blasts from the other counted cells.

    It belongs to the network's own counts; a person's are not corrected by it. Measured over the
    validation cells that the network called with a class that counts, as the differential does.
    A specificity holds for the mix of other cells that it was measured on, and no further.

    Attributes
    ----------
    sensitivity, specificity : float
        0 to 1.
    sensitivity_of, specificity_of : int
        Validation cells that are blasts, and that are not.
    """

    sensitivity: float
    specificity: float
    sensitivity_of: int
    specificity_of: int


@dataclass(frozen=True)
class Proportion:
    """A count among the counted cells.

    Attributes
    ----------
    count : int
    share : float or None
        0 to 1; None where nothing was counted.
    low, high : float
        95 % Wilson interval; 0 and 1 where nothing was counted.
    """

    count: int
    share: float | None
    low: float
    high: float


@dataclass(frozen=True)
class ClassRow:
    """One class of the label set.

    Attributes
    ----------
    code, name, short_name, colour : str
        From the label set.
    count : int
        Cells.
    share, low, high : float or None
        Of the counted cells, 0 to 1, with the 95 % Wilson interval. All None for a class that
        does not count; the share alone where nothing was counted.
    counts : bool
        Whether the class is in the denominator.
    """

    code: str
    name: str
    short_name: str
    colour: str
    count: int
    share: float | None
    low: float | None
    high: float | None
    counts: bool


@dataclass(frozen=True)
class LineageTotal:
    """The counted cells of one lineage, before its stages.

    Attributes
    ----------
    lineage : str
        As the label set names it.
    total : Proportion
    rows : tuple of ClassRow
        Its classes that count, in the order of the label set.
    """

    lineage: str
    total: Proportion
    rows: tuple[ClassRow, ...]


@dataclass(frozen=True)
class ThresholdRow:
    """Where the blasts' interval lies to a threshold.

    Attributes
    ----------
    name : str
    threshold : float
        Proportion, 0 to 1.
    verdict : "below", "above" or "indeterminate"
    more_cells : int or None
        How many more counted cells would settle it if the share held; 0 where it is settled, None
        where 100 000 would not do or nothing was counted.
    """

    name: str
    threshold: float
    verdict: Verdict
    more_cells: int | None


@dataclass(frozen=True)
class Differential:
    """Cells by class, with intervals, thresholds and ratio.

    Attributes
    ----------
    rows : tuple of ClassRow
        Every class, in the order of the label set.
    lineage_totals : tuple of LineageTotal
        The same cells by lineage; show them before the stages.
    counted : int
        The denominator: cells of classes that count.
    uncounted : int
        Cells of classes that do not.
    denominator_definition : str
        What is in the denominator and what it lacks, in sentences.
    target : int
        Cells to count.
    progress : float
        Towards the target, 0 to 1.
    blasts : Proportion or None
        All counted blast classes together; None where the label set has none.
    thresholds : tuple of ThresholdRow
        In the order given; empty where `blasts` is None.
    myeloid, erythroid : int or None
        Both sides of the ratio, cells; None where the label set has no such class.
    me_ratio : float or None
    me_definition : str
        What is divided by what, and why there is no ratio where there is none.
    corrected : Corrected or None
        The blasts' share corrected for the network's errors; None without a known accuracy or
        blast classes.
    """

    rows: tuple[ClassRow, ...]
    lineage_totals: tuple[LineageTotal, ...]
    counted: int
    uncounted: int
    denominator_definition: str
    target: int
    progress: float
    blasts: Proportion | None
    thresholds: tuple[ThresholdRow, ...]
    myeloid: int | None
    erythroid: int | None
    me_ratio: float | None
    me_definition: str
    corrected: Corrected | None


def tally(
    calls: Mapping[str, int],
    labels: Sequence[LabelClass],
    *,
    target: int = 500,
    thresholds: Sequence[Threshold] = DEFAULTS,
    accuracy: BlastAccuracy | None = None,
) -> Differential:
    """Make a differential of the calls of one kind: by hand, by the network, or confirmed.

    Parameters
    ----------
    calls : mapping of str to int
        Cells by class code; a class that is missing has none. Not modified.
    labels : sequence of LabelClass
        The label set; it says which classes count and which are blasts.
    target : int
        Cells to count, one of `TARGETS`.
    thresholds : sequence of Threshold
        For the share of blasts.
    accuracy : BlastAccuracy, optional
        The network's, for the network's own calls only.

    Returns
    -------
    differential : Differential

    Raises
    ------
    InvalidInput
        If a code is not in the label set, a count is negative, the target is none of `TARGETS`,
        or a threshold or an accuracy is out of range.
    """
    if target not in TARGETS:
        raise InvalidInput(
            f"A target of {', '.join(map(str, TARGETS))} cells was expected; {target} came.",
            code="target_unknown",
        )
    rows = _class_rows(calls, labels)
    counted = sum(row.count for row in rows if row.counts)
    blasts = _blasts(calls, labels, counted)
    myeloid, erythroid, ratio, definition = myeloid_erythroid(calls, labels)
    return Differential(
        rows=rows,
        lineage_totals=lineage_totals(calls, labels),
        counted=counted,
        uncounted=sum(row.count for row in rows if not row.counts),
        denominator_definition=_define_denominator(labels),
        target=target,
        progress=min(1.0, counted / target),
        blasts=blasts,
        thresholds=() if blasts is None else _threshold_rows(blasts.count, counted, thresholds),
        myeloid=myeloid,
        erythroid=erythroid,
        me_ratio=ratio,
        me_definition=definition,
        corrected=None if blasts is None else _correct(blasts.count, counted, accuracy),
    )


def lineage_totals(
    calls: Mapping[str, int], labels: Sequence[LabelClass]
) -> tuple[LineageTotal, ...]:
    """Add the counted cells up by lineage.

    Parameters
    ----------
    calls : mapping of str to int
        Cells by class code.
    labels : sequence of LabelClass

    Returns
    -------
    totals : tuple of LineageTotal
        In the order in which the label set names them; lineages without a class that counts are
        left out. The shares are of all counted cells.

    Raises
    ------
    InvalidInput
        If a code is not in the label set or a count is negative.
    """
    members: dict[str, list[ClassRow]] = {}
    for row, label in zip(_class_rows(calls, labels), labels, strict=True):
        if row.counts:
            members.setdefault(label.lineage, []).append(row)
    counts = {lineage: sum(row.count for row in rows) for lineage, rows in members.items()}
    counted = sum(counts.values())
    return tuple(
        LineageTotal(lineage, _proportion(counts[lineage], counted), tuple(rows))
        for lineage, rows in members.items()
    )


def _class_rows(calls: Mapping[str, int], labels: Sequence[LabelClass]) -> tuple[ClassRow, ...]:
    unknown = sorted(set(calls) - {label.code for label in labels})
    if unknown:
        known = ", ".join(label.code for label in labels)
        raise InvalidInput(
            f"Classes out of {known} were expected; {', '.join(unknown)} came.",
            code="label_unknown",
        )
    for code, count in calls.items():
        if count < 0:
            raise InvalidInput(
                f"A count from 0 was expected; {count} of class {code} came.", code="count_invalid"
            )
    counted = sum_of(calls, (label for label in labels if label.counts_in_differential))
    return tuple(_class_row(label, calls.get(label.code, 0), counted) for label in labels)


def _class_row(label: LabelClass, count: int, counted: int) -> ClassRow:
    part = _proportion(count, counted) if label.counts_in_differential else None
    return ClassRow(
        code=label.code,
        name=label.display_name,
        short_name=label.short_name,
        colour=label.colour,
        count=count,
        share=None if part is None else part.share,
        low=None if part is None else part.low,
        high=None if part is None else part.high,
        counts=label.counts_in_differential,
    )


def _proportion(count: int, counted: int) -> Proportion:
    low, high = wilson(count, counted)
    return Proportion(count, count / counted if counted else None, low, high)


def _blasts(
    calls: Mapping[str, int], labels: Sequence[LabelClass], counted: int
) -> Proportion | None:
    classes = [label for label in labels if label.is_blast and label.counts_in_differential]
    return _proportion(sum_of(calls, classes), counted) if classes else None


def _threshold_rows(
    blasts: int, counted: int, thresholds: Sequence[Threshold]
) -> tuple[ThresholdRow, ...]:
    return tuple(
        ThresholdRow(
            threshold.name,
            threshold.share,
            judge(blasts, counted, threshold.share),
            cells_to_settle(blasts, counted, threshold.share),
        )
        for threshold in thresholds
    )


def _correct(blasts: int, counted: int, accuracy: BlastAccuracy | None) -> Corrected | None:
    if accuracy is None:
        return None
    return rogan_gladen(
        blasts,
        counted,
        sensitivity=accuracy.sensitivity,
        specificity=accuracy.specificity,
        sensitivity_of=accuracy.sensitivity_of,
        specificity_of=accuracy.specificity_of,
    )


def _define_denominator(labels: Sequence[LabelClass]) -> str:
    out = [label.display_name for label in labels if not label.counts_in_differential]
    text = "Shares are of all cells of the classes that count"
    text += f"; not counted: {', '.join(out)}." if out else "."
    if not erythroid_classes(labels):
        text += (
            " The label set has no erythroid class, so these are not shares of all nucleated "
            "marrow cells: erythroblasts are missing or under another name."
        )
    return text
