"""How sure a proportion of counted cells is, and how many more cells would tell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Final, Literal

from utils.errors import InvalidInput

Verdict = Literal["below", "above", "indeterminate"]
Problem = Literal["nothing_counted", "no_information", "contradiction"]

CONFIDENCE: Final = 0.95


@dataclass(frozen=True)
class Corrected:
    """A proportion corrected for the errors of the one who called the cells.

    Attributes
    ----------
    share : float or None
        Corrected proportion, 0 to 1; None where `problem` says why there is none.
    low, high : float
        Its interval, 0 to 1; 0 and 1 where there is no share.
    problem : str or None
        "nothing_counted"; "no_information" where sensitivity and specificity together are no
        better than guessing, or were measured on too few cells to say; "contradiction" where
        these counts cannot come of this sensitivity and specificity at any proportion, as with
        fewer positive calls than the false ones alone would be.
    """

    share: float | None
    low: float
    high: float
    problem: Problem | None = None


def wilson(count: int, total: int, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson score interval of a proportion, without continuity correction.

    Parameters
    ----------
    count, total : int
        Cells of the kind, and cells in all.
    confidence : float
        Two-sided, 0 to 1, both excluded.

    Returns
    -------
    low, high : float
        0 to 1; 0 and 1 where nothing was counted.

    Raises
    ------
    InvalidInput
        Unless ``0 <= count <= total``, or if `confidence` is not between 0 and 1.

    References
    ----------
    .. [1] Wilson (1927), doi:10.1080/01621459.1927.10502953
    .. [2] Brown, Cai and DasGupta (2001), doi:10.1214/ss/1009213286
    """
    _check_counts(count, total)
    z = _z(confidence)
    if total == 0:
        return 0.0, 1.0
    return _bounds(count / total, total, z)


def judge(count: int, total: int, threshold: float, *, confidence: float = CONFIDENCE) -> Verdict:
    """Say where the Wilson interval lies; nothing is concluded from it.

    Parameters
    ----------
    count, total : int
    threshold : float
        Proportion, 0 to 1, both excluded.
    confidence : float

    Returns
    -------
    verdict : "below", "above" or "indeterminate"
        Indeterminate where the interval contains the threshold, its bounds included.

    Raises
    ------
    InvalidInput
        As for `wilson`, or if `threshold` is not between 0 and 1.
    """
    _check_threshold(threshold)
    low, high = wilson(count, total, confidence=confidence)
    if high < threshold:
        return "below"
    return "above" if low > threshold else "indeterminate"


def cells_to_settle(
    count: int,
    total: int,
    threshold: float,
    *,
    confidence: float = CONFIDENCE,
    most: int = 100_000,
) -> int | None:
    """How many more cells take the interval off the threshold if the proportion held.

    The proportion is held exactly, as if cells could be split: with whole cells the answer would
    jump up and down from one cell to the next.

    Parameters
    ----------
    count, total : int
    threshold : float
        Proportion, 0 to 1, both excluded.
    confidence : float
    most : int
        More cells than this are not worth naming.

    Returns
    -------
    more : int or None
        The smallest number; 0 where the interval is off the threshold already. None where it
        would take more than `most`, as at a proportion equal to the threshold, and where nothing
        was counted, so that there is no proportion to hold.

    Raises
    ------
    InvalidInput
        As for `judge`, or if `most` is negative.

    Notes
    -----
    The interval of a proportion p of n contains t where n (p - t)² <= z² t (1 - t), for the bounds
    are the roots of that equation in t. So the n sought is the first above z² t (1 - t) / (p - t)².
    """
    _check_counts(count, total)
    _check_threshold(threshold)
    if most < 0:
        raise InvalidInput(f"A number of cells from 0 was expected; {most} came.")
    z = _z(confidence)
    if total == 0:
        return None
    share = count / total
    scatter, gap = z * z * threshold * (1 - threshold), (share - threshold) ** 2
    if (total + most + 1) * gap <= scatter:
        return None

    def contains(cells: int) -> bool:
        low, high = _bounds(share, cells, z)
        return low <= threshold <= high

    # The quotient may round to the wrong side of a whole number: the interval itself decides.
    cells = max(total, math.floor(scatter / gap))
    while contains(cells):
        cells += 1
    while cells > total and not contains(cells - 1):
        cells -= 1
    return cells - total if cells - total <= most else None


def rogan_gladen(
    count: int,
    total: int,
    *,
    sensitivity: float,
    specificity: float,
    sensitivity_of: int,
    specificity_of: int,
    confidence: float = CONFIDENCE,
) -> Corrected:
    """Correct a proportion of calls for the caller's sensitivity and specificity.

    The share is that of Rogan and Gladen [1]_; the interval, of Lang and Reiczigel [2]_, carries
    the uncertainty of the count and of both measured accuracies. It takes for granted that the
    caller errs on these cells as often as on those of the validation.

    Parameters
    ----------
    count, total : int
        Cells called of the kind, and cells called in all.
    sensitivity, specificity : float
        As measured, 0 to 1. The interval was studied for 0.5 and above, at 95 %.
    sensitivity_of, specificity_of : int
        Validation cells of the kind, and of other kinds, that they were measured on.
    confidence : float

    Returns
    -------
    corrected : Corrected
        Share and interval clipped to 0 and 1; `problem` says why there is no share.

    Raises
    ------
    InvalidInput
        As for `wilson`; if an accuracy is not from 0 to 1, or was measured on no cell.

    Notes
    -----
    Equation numbers are those of [2]_. Its equation 4 is said to be printed with (1 + p)² before
    the variance of the specificity; the derivative is (1 - p), and so the R package asht
    (`prevSeSp`) has it.

    References
    ----------
    .. [1] Rogan and Gladen (1978), doi:10.1093/oxfordjournals.aje.a112510
    .. [2] Lang and Reiczigel (2014), doi:10.1016/j.prevetmed.2013.09.015
    """
    _check_counts(count, total)
    _check_accuracy("sensitivity", sensitivity, sensitivity_of)
    _check_accuracy("specificity", specificity, specificity_of)
    z = _z(confidence)
    if total == 0:
        return Corrected(None, 0.0, 1.0, "nothing_counted")
    found = _lang_reiczigel(
        count, total, (sensitivity, sensitivity_of), (specificity, specificity_of), z
    )
    if isinstance(found, str):
        return Corrected(None, 0.0, 1.0, found)
    measured = (count / total + specificity - 1) / (sensitivity + specificity - 1)  # (2)
    return Corrected(_clip(measured), _clip(found[0]), _clip(found[1]))


def _lang_reiczigel(
    count: int,
    total: int,
    sensitivity: tuple[float, int],
    specificity: tuple[float, int],
    z: float,
) -> tuple[float, float] | Literal["no_information", "contradiction"]:
    """Bounds before clipping, or why there are none; each accuracy with its number of cells."""
    # One success and one failure more in each validation, z²/2 of each in the count (6, 7).
    se, se_of = (sensitivity[0] * sensitivity[1] + 1) / (sensitivity[1] + 2), sensitivity[1] + 2
    sp, sp_of = (specificity[0] * specificity[1] + 1) / (specificity[1] + 2), specificity[1] + 2
    calls, calls_of = (count + z * z / 2) / (total + z * z), total + z * z
    youden = se + sp - 1
    if sensitivity[0] + specificity[0] <= 1 or youden <= 0:
        return "no_information"
    share = (calls + sp - 1) / youden
    se_part, sp_part = se * (1 - se) / se_of, sp * (1 - sp) / sp_of
    spread = math.sqrt(
        calls * (1 - calls) / calls_of + share**2 * se_part + (1 - share) ** 2 * sp_part
    )
    middle = share + 2 * z * z * (share * se_part - (1 - share) * sp_part)  # (17)
    low, high = middle - z * spread / youden, middle + z * spread / youden  # (16)
    return "contradiction" if high < 0 or low > 1 else (low, high)


def _bounds(share: float, total: int, z: float) -> tuple[float, float]:
    """Wilson's bounds of a proportion of `total` cells; the count need not be whole."""
    scale = 1 + z * z / total
    middle = share + z * z / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    # Where none or all are of the kind a bound is exact; rounding must not move it off.
    low = 0.0 if share == 0 else _clip((middle - half) / scale)
    return low, 1.0 if share == 1 else _clip((middle + half) / scale)


@lru_cache(maxsize=8)
def _z(confidence: float) -> float:
    """The normal quantile of a two-sided interval."""
    quantile = (1 + confidence) / 2
    if not 0.5 < quantile < 1:
        raise InvalidInput(f"A confidence between 0 and 1 was expected; {confidence} came.")
    return NormalDist().inv_cdf(quantile)


def _clip(share: float) -> float:
    return min(max(share, 0.0), 1.0)


def _check_counts(count: int, total: int) -> None:
    if not 0 <= count <= total:
        raise InvalidInput(
            f"A count from 0 to the total was expected; {count} of {total} came.",
            code="count_invalid",
        )


def _check_threshold(threshold: float) -> None:
    if not 0 < threshold < 1:
        raise InvalidInput(
            f"A threshold between 0 and 1 was expected; {threshold} came.",
            code="threshold_invalid",
        )


def _check_accuracy(name: str, accuracy: float, cells: int) -> None:
    if not 0 <= accuracy <= 1 or cells < 1:
        raise InvalidInput(
            f"A {name} from 0 to 1, measured on one cell or more, was expected; "
            f"{accuracy} on {cells} came.",
            code="accuracy_invalid",
        )
