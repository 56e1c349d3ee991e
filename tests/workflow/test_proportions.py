"""Intervals of counted cells: against the page, against SciPy, and against simulation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from utils.errors import InvalidInput
from utils.workflow.proportions import Corrected, cells_to_settle, judge, rogan_gladen, wilson

often = hypothesis_settings(max_examples=150, deadline=None, derandomize=True)
some = hypothesis_settings(max_examples=60, deadline=None, derandomize=True)
HUGE = 10**12  # validation cells so many that the accuracies are as good as known

# Counts and totals as (count, total).
COUNTS = st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
THRESHOLDS = st.integers(1, 999).map(lambda n: n / 1000)


# --- Wilson -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "low", "high"),
    [
        (100, 13.3, 28.9),
        (200, 15.0, 26.1),
        (300, 15.9, 24.9),
        (500, 16.7, 23.7),
        (1000, 17.6, 22.6),
    ],
)
def test_wilson_gives_the_bounds_of_20_percent(total: int, low: float, high: float) -> None:
    assert [round(100 * bound, 1) for bound in wilson(total // 5, total)] == [low, high]


@often
@given(COUNTS, st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99, 0.999]))
def test_wilson_is_scipys(cells: tuple[int, int], confidence: float) -> None:
    count, total = cells
    theirs = binomtest(count, total).proportion_ci(confidence, method="wilson")
    ours = wilson(count, total, confidence=confidence)
    assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@often
@given(COUNTS)
def test_wilson_holds_the_share_and_stays_within_0_and_1(cells: tuple[int, int]) -> None:
    count, total = cells
    low, high = wilson(count, total)
    assert 0 <= low <= count / total <= high <= 1
    assert low < high


@often
@given(COUNTS)
def test_wilson_of_the_others_is_the_mirror_image(cells: tuple[int, int]) -> None:
    count, total = cells
    low, high = wilson(count, total)
    assert wilson(total - count, total) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@often
@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))))
def test_wilson_rises_with_the_count(cells: tuple[int, int]) -> None:
    count, total = cells
    (low, high), (next_low, next_high) = wilson(count, total), wilson(count + 1, total)
    assert low < next_low
    assert high < next_high


@often
@given(COUNTS, st.integers(2, 10))
def test_wilson_narrows_with_the_total(cells: tuple[int, int], times: int) -> None:
    count, total = cells
    (low, high), (next_low, next_high) = wilson(count, total), wilson(count * times, total * times)
    assert low <= next_low <= next_high <= high
    assert next_high - next_low < high - low


def test_wilson_widens_with_the_confidence() -> None:
    widths = [high - low for low, high in (wilson(20, 100, confidence=c) for c in (0.5, 0.9, 0.99))]
    assert widths == sorted(widths)
    assert widths[0] < widths[1] < widths[2]


def test_wilson_of_nothing_is_everything() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("total", [1, 7, 500, 10**6])
def test_wilson_of_none_and_of_all_has_an_exact_bound(total: int) -> None:
    low, high = wilson(0, total)
    assert low == 0.0
    assert 0 < high < 1
    low, high = wilson(total, total)
    assert high == 1.0
    assert 0 < low < 1


@pytest.mark.parametrize(("count", "total"), [(-1, 10), (11, 10), (1, 0), (0, -1), (-2, -1)])
def test_counts_that_cannot_be_are_refused(count: int, total: int) -> None:
    for ask in (
        lambda: wilson(count, total),
        lambda: judge(count, total, 0.2),
        lambda: cells_to_settle(count, total, 0.2),
        lambda: correct(count, total),
    ):
        with pytest.raises(InvalidInput) as caught:
            ask()
        assert caught.value.code == "count_invalid"
        assert f"{count} of {total}" in caught.value.message


@pytest.mark.parametrize("confidence", [0, 1, -0.5, 95, math.nan, 1 - 1e-17])
def test_a_confidence_that_is_none_is_refused(confidence: float) -> None:
    with pytest.raises(InvalidInput):
        wilson(1, 2, confidence=confidence)


# --- Where the interval lies ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "total", "threshold", "verdict"),
    [
        (20, 100, 0.20, "indeterminate"),
        (60, 300, 0.25, "below"),  # 15.9 to 24.9
        (60, 300, 0.15, "above"),
        (40, 200, 0.25, "indeterminate"),  # 15.0 to 26.1
        (0, 0, 0.20, "indeterminate"),
        (0, 500, 0.05, "below"),
        (0, 10, 0.05, "indeterminate"),
        (500, 500, 0.25, "above"),
        (1, 1, 0.20, "above"),  # 20.7 to 100
        (1, 1, 0.25, "indeterminate"),
    ],
)
def test_judge_names_where_the_interval_lies(
    count: int, total: int, threshold: float, verdict: str
) -> None:
    assert judge(count, total, threshold) == verdict


@often
@given(COUNTS, THRESHOLDS)
def test_judge_agrees_with_the_interval(cells: tuple[int, int], threshold: float) -> None:
    low, high = wilson(*cells)
    verdict = judge(*cells, threshold)
    assert (verdict == "indeterminate") == (low <= threshold <= high)
    assert (verdict == "below") == (high < threshold)


def test_a_bound_on_the_threshold_is_indeterminate() -> None:
    low, high = wilson(60, 300)
    assert judge(60, 300, low) == judge(60, 300, high) == "indeterminate"
    assert judge(60, 300, math.nextafter(low, 0)) == "above"
    assert judge(60, 300, math.nextafter(high, 1)) == "below"


@pytest.mark.parametrize("threshold", [0, 1, -0.1, 20, math.nan])
def test_a_threshold_in_percent_is_refused(threshold: float) -> None:
    for ask in (judge, cells_to_settle):
        with pytest.raises(InvalidInput) as caught:
            ask(20, 100, threshold)
        assert caught.value.code == "threshold_invalid"


# --- How many more cells ----------------------------------------------------------------------


def count_on(count: int, total: int, threshold: float, most: int) -> int | None:
    """Add one cell after the other, the share held, and look at SciPy's kind of interval."""
    z = 1.9599639845400545
    share = count / total
    for more in range(most + 1):
        n = total + more
        middle = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
        if not middle - half <= threshold <= middle + half:
            return more
    return None


@some
@given(
    st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    st.sampled_from([0.05, 0.2, 0.25]) | THRESHOLDS,
)
def test_cells_to_settle_is_what_counting_on_gives(
    cells: tuple[int, int], threshold: float
) -> None:
    most = 5000
    found = cells_to_settle(*cells, threshold, most=most)
    assert found == count_on(*cells, threshold, most)


@pytest.mark.parametrize(
    ("count", "total", "threshold"),
    [(20, 100, 0.25), (11, 50, 0.2), (3, 100, 0.05), (90, 400, 0.2)],
)
def test_one_cell_fewer_would_not_settle(count: int, total: int, threshold: float) -> None:
    more = cells_to_settle(count, total, threshold)
    assert more
    # With the same share in whole cells, from the first multiple on: settled, and not before.
    step = total // math.gcd(count, total)
    for n in range(step, 2 * (total + more), step):
        settled = judge(n * count // total, n, threshold) != "indeterminate"
        assert settled == (n >= total + more)


def test_a_case_that_clinical_practice_knows() -> None:
    # 20 % of 200 cells against 25 %: 1.96² × 0.25 × 0.75 / 0.05² = 288.1, so 289 in all.
    assert cells_to_settle(40, 200, 0.25) == 89


@often
@given(COUNTS, THRESHOLDS)
def test_nothing_more_is_needed_where_it_is_settled(
    cells: tuple[int, int], threshold: float
) -> None:
    settled = judge(*cells, threshold) != "indeterminate"
    assert (cells_to_settle(*cells, threshold) == 0) == settled


@often
@given(st.integers(1, 190), st.integers(0, 189))
def test_the_nearer_the_threshold_the_more_cells(near: int, far: int) -> None:
    near, far = max(near, far), min(near, far)  # of 1000, below a threshold of 20 %
    needs = [cells_to_settle(blasts, 1000, 0.2, most=10**9) for blasts in (far, near)]
    assert needs[0] is not None
    assert needs[1] is not None
    assert needs[0] <= needs[1]


@pytest.mark.parametrize(("count", "total"), [(20, 100), (1, 5), (200, 1000)])
def test_a_share_on_the_threshold_is_never_settled(count: int, total: int) -> None:
    assert cells_to_settle(count, total, 0.2, most=10**9) is None


def test_cells_to_settle_stops_at_the_most() -> None:
    need = cells_to_settle(40, 200, 0.25)
    assert need == 89
    assert cells_to_settle(40, 200, 0.25, most=89) == 89
    assert cells_to_settle(40, 200, 0.25, most=88) is None
    assert cells_to_settle(0, 500, 0.2, most=0) == 0
    with pytest.raises(InvalidInput):
        cells_to_settle(40, 200, 0.25, most=-1)


def test_no_cell_counted_gives_no_share_to_hold() -> None:
    assert cells_to_settle(0, 0, 0.2) is None


def test_cells_to_settle_at_the_edge_of_numbers() -> None:
    assert cells_to_settle(0, 10, 1e-300) is None
    assert cells_to_settle(10, 10, math.nextafter(1, 0)) is None
    # 3.841458821 × 0.2 × 0.8 / 0.0001² = 61 463 341.1
    assert cells_to_settle(1999, 10_000, 0.2, most=10**8) == 61_463_342 - 10_000


def test_a_higher_confidence_needs_more_cells() -> None:
    needs = [cells_to_settle(40, 200, 0.25, confidence=c) for c in (0.95, 0.99)]
    assert needs[0] == 89
    # 2.5758² × 0.25 × 0.75 / 0.05² = 497.6
    assert needs[1] == 298


# --- Corrected for the network's errors -------------------------------------------------------


def correct(
    count: int,
    total: int,
    *,
    sensitivity: float = 0.85,
    specificity: float = 0.95,
    sensitivity_of: int = 160,
    specificity_of: int = 800,
    confidence: float = 0.95,
) -> Corrected:
    return rogan_gladen(
        count,
        total,
        sensitivity=sensitivity,
        specificity=specificity,
        sensitivity_of=sensitivity_of,
        specificity_of=specificity_of,
        confidence=confidence,
    )


@pytest.mark.parametrize(
    ("count", "total", "sensitivity", "specificity", "share"),
    [
        (23, 150, 0.96, 0.89, 0.051),  # the example of the R package epiR, epi.prev
        (20, 120, 0.90, 0.99, 0.17603),  # that of RSurveillance, tp
        (26, 100, 0.80, 0.90, 0.16 / 0.7),  # by hand: (0.26 + 0.9 - 1) / (0.8 + 0.9 - 1)
        (50, 100, 1.0, 1.0, 0.5),
    ],
)
def test_the_share_is_rogan_and_gladens(
    count: int, total: int, sensitivity: float, specificity: float, share: float
) -> None:
    found = correct(count, total, sensitivity=sensitivity, specificity=specificity)
    assert found.problem is None
    assert found.share == pytest.approx(share, abs=1e-4)


def test_the_interval_is_that_of_the_r_package_asht() -> None:
    # 113 of 167 called, sensitivity 21/23, specificity 12/17: a published example that follows
    # prevSeSp of asht 1.0.3 gives 0.388 to 0.854 about 0.618 (published as 1 - x: 0.146 to 0.612
    # about 0.382).
    found = correct(
        113,
        167,
        sensitivity=21 / 23,
        specificity=12 / 17,
        sensitivity_of=23,
        specificity_of=17,
    )
    assert found.share is not None
    numbers = (found.share, found.low, found.high)
    assert [round(number, 3) for number in numbers] == [0.618, 0.388, 0.854]


def test_the_interval_by_hand() -> None:
    # 30 of 100 called; 0.8 of 48 and 0.9 of 98, so that adding one success and one failure
    # leaves round numbers: se' = 39.4/50 = 0.788, sp' = 89.2/100 = 0.892, Youden 0.68.
    z2 = 1.959963984540054**2  # 3.841459
    calls = (30 + z2 / 2) / (100 + z2)  # 0.3073989
    share = (calls - 0.108) / 0.68  # 0.2932337
    shift = 2 * z2 * (share * 0.788 * 0.212 / 50 - (1 - share) * 0.892 * 0.108 / 100)  # +0.0022965
    variance = (
        calls * (1 - calls) / (100 + z2)
        + share**2 * 0.788 * 0.212 / 50
        + (1 - share) ** 2 * 0.892 * 0.108 / 100
    ) / 0.68**2
    half = math.sqrt(z2 * variance)
    found = correct(30, 100, sensitivity=0.8, specificity=0.9, sensitivity_of=48, specificity_of=98)
    assert found.share == pytest.approx(0.2 / 0.7)
    assert (found.low, found.high) == pytest.approx((share + shift - half, share + shift + half))


def test_known_accuracies_leave_only_the_count_unsure() -> None:
    # A perfect caller: Agresti and Coull's interval, about Wilson's middle and a little wider.
    found = correct(60, 300, sensitivity=1, specificity=1, sensitivity_of=HUGE, specificity_of=HUGE)
    low, high = wilson(60, 300)
    assert (found.low + found.high) / 2 == pytest.approx((low + high) / 2, abs=1e-6)
    assert high - low < found.high - found.low < 1.01 * (high - low)


@often
@given(
    COUNTS,
    st.integers(55, 100).map(lambda n: n / 100),
    st.integers(55, 100).map(lambda n: n / 100),
    st.integers(10, 2000),
    st.integers(10, 2000),
)
def test_the_interval_stays_within_0_and_1_and_holds_the_share(
    cells: tuple[int, int], sensitivity: float, specificity: float, se_of: int, sp_of: int
) -> None:
    found = correct(
        *cells,
        sensitivity=sensitivity,
        specificity=specificity,
        sensitivity_of=se_of,
        specificity_of=sp_of,
    )
    assert (found.share is None) == (found.problem is not None)
    assert 0 <= found.low <= found.high <= 1
    if found.share is None:
        assert (found.low, found.high) == (0, 1)
    else:
        assert 0 <= found.share <= 1
        assert found.low < found.high


@pytest.mark.parametrize("of", ["sensitivity_of", "specificity_of"])
def test_fewer_validation_cells_make_the_interval_wider(of: str) -> None:
    widths = [
        found.high - found.low
        for found in (correct(100, 500, **{of: cells}) for cells in (30, 100, 1000, HUGE))
    ]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 1.05 * widths[-1]


def test_more_calls_give_a_higher_share() -> None:
    found = [correct(count, 500) for count in range(30, 400, 10)]
    assert all(corrected.share is not None for corrected in found)
    for one, next_one in itertools.pairwise(found):
        assert one.share is not None
        assert next_one.share is not None
        assert one.share <= next_one.share
        assert one.low <= next_one.low
        assert one.high <= next_one.high


def test_the_share_is_clipped() -> None:
    assert correct(22, 500).share == 0.0  # 4.4 %, where 5 % would be called falsely
    assert correct(430, 500).share == 1.0


@pytest.mark.parametrize(
    ("sensitivity", "specificity"), [(0.5, 0.5), (0.1, 0.9), (0, 0), (0.3, 0.6)]
)
def test_a_caller_no_better_than_guessing_gives_no_share(
    sensitivity: float, specificity: float
) -> None:
    found = correct(100, 500, sensitivity=sensitivity, specificity=specificity)
    assert found == Corrected(None, 0.0, 1.0, "no_information")


def test_a_validation_too_small_to_say_gives_no_share() -> None:
    found = correct(100, 500, sensitivity=1, specificity=0.2, sensitivity_of=1, specificity_of=1000)
    assert found == Corrected(None, 0.0, 1.0, "no_information")


@pytest.mark.parametrize("count", [0, 500])
def test_counts_that_the_accuracy_cannot_give_are_a_contradiction(count: int) -> None:
    # 5 % of 500 would be called falsely, and 15 % of blasts missed, whatever the share.
    assert correct(count, 500) == Corrected(None, 0.0, 1.0, "contradiction")


def test_nothing_counted_gives_no_share() -> None:
    assert correct(0, 0) == Corrected(None, 0.0, 1.0, "nothing_counted")


@pytest.mark.parametrize(
    "wrong",
    [
        {"sensitivity": 1.01},
        {"sensitivity": math.nan},
        {"specificity": -0.1},
        {"specificity": 95},
        {"sensitivity_of": 0},
        {"specificity_of": -5},
    ],
)
def test_accuracies_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInput) as caught:
        correct(100, 500, **wrong)  # type: ignore[arg-type]
    assert caught.value.code == "accuracy_invalid"
    assert next(iter(wrong)).removesuffix("_of") in caught.value.message


def cover(
    share: float,
    interval: Callable[[int, int, int], tuple[float, float]],
    *,
    total: int,
    sensitivity: tuple[float, int],
    specificity: tuple[float, int],
    rounds: int = 4000,
) -> float:
    """How often an interval holds the true share: counts and validation drawn anew each time."""
    rng = np.random.default_rng(20)
    called = share * sensitivity[0] + (1 - share) * (1 - specificity[0])
    counts = rng.binomial(total, called, rounds).tolist()
    found = rng.binomial(sensitivity[1], sensitivity[0], rounds).tolist()
    spared = rng.binomial(specificity[1], specificity[0], rounds).tolist()
    held = 0
    for count, hits, passed in zip(counts, found, spared, strict=True):
        low, high = interval(count, hits, passed)
        held += low <= share <= high
    return held / rounds


@pytest.mark.parametrize(
    ("share", "total", "sensitivity", "specificity"),
    [
        (0.20, 500, (0.85, 160), (0.95, 800)),
        (0.05, 500, (0.80, 160), (0.97, 960)),
        (0.40, 300, (0.70, 40), (0.90, 60)),
        (0.60, 200, (0.90, 100), (0.95, 500)),
        (0.90, 500, (0.85, 160), (0.95, 800)),
    ],
)
def test_the_interval_covers_the_truth_and_one_that_forgets_the_validation_does_not(
    share: float, total: int, sensitivity: tuple[float, int], specificity: tuple[float, int]
) -> None:
    def carried(count: int, hits: int, passed: int, *, trust: int = 1) -> tuple[float, float]:
        found = correct(
            count,
            total,
            sensitivity=hits / sensitivity[1],
            specificity=passed / specificity[1],
            sensitivity_of=sensitivity[1] * trust,
            specificity_of=specificity[1] * trust,
        )
        return found.low, found.high

    def forgotten(count: int, hits: int, passed: int) -> tuple[float, float]:
        return carried(count, hits, passed, trust=10**9)

    def uncorrected(count: int, hits: int, passed: int) -> tuple[float, float]:
        return wilson(count, total)

    where = {"total": total, "sensitivity": sensitivity, "specificity": specificity}
    covered = cover(share, carried, **where)  # type: ignore[arg-type]
    assert 0.94 <= covered <= 0.985
    assert cover(share, forgotten, **where) < covered - 0.01  # type: ignore[arg-type]
    assert cover(share, uncorrected, **where) < 0.93  # type: ignore[arg-type]
