"""Distances between real and synthetic pictures, where the answer is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import sqrtm

from utils.networks.gan import distances

Rows = NDArray[np.float64]


def _rows(seed: int, count: int, columns: int) -> Rows:
    return np.random.default_rng(seed).normal(size=(count, columns))


def _exactly(seed: int, count: int, mean: Rows, covariance: Rows) -> Rows:
    """Rows whose own mean and covariance are the given ones, not only those of their source."""
    rows = _rows(seed, count, len(mean))
    rows -= rows.mean(axis=0)
    white = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows.T))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def _precision(real: Rows, made: Rows) -> float:
    return distances.precision_recall(real, made)[0]


def _recall(real: Rows, made: Rows) -> float:
    return distances.precision_recall(real, made)[1]


MEASURES = [distances.frechet, distances.kernel, _precision, _recall]


# --- Space ---------------------------------------------------------------------------------


def test_training_pictures_have_mean_0_and_mean_variance_1() -> None:
    training = _rows(1, 200, 30) * np.linspace(0.5, 5, 30) + 3
    space = distances.Space.fit(training.astype(np.float32), dimensions=8)
    projected = space.project(training)
    assert projected.shape == (200, 8)
    assert projected.dtype == np.float64
    assert projected.mean(axis=0) == pytest.approx(np.zeros(8), abs=1e-5)
    variances = projected.var(axis=0)
    assert variances.mean() == pytest.approx(1, abs=1e-5)
    assert (np.diff(variances) < 0).all()
    assert space.components @ space.components.T == pytest.approx(np.eye(8), abs=1e-12)


def test_all_directions_keep_the_ratios_of_distances() -> None:
    training = _rows(2, 50, 6) * np.linspace(1, 2, 6)
    space = distances.Space.fit(training, dimensions=6)
    z = (training - training.mean(axis=0)) / training.std(axis=0)
    before = np.linalg.norm(z[1:] - z[0], axis=1)
    projected = space.project(training)
    after = np.linalg.norm(projected[1:] - projected[0], axis=1)
    assert after / before == pytest.approx(np.full(49, after[0] / before[0]))


def test_the_main_direction_is_found_and_a_dead_unit_is_harmless() -> None:
    along = np.linspace(-1, 1, 40)
    training = np.stack([along, along, -along, np.zeros(40)], axis=1)
    training[:, :3] += 0.05 * _rows(3, 40, 3)
    space = distances.Space.fit(training, dimensions=1)
    assert np.abs(space.components[0]) == pytest.approx([3**-0.5] * 3 + [0], abs=0.01)
    assert np.isfinite(space.project(training + 1)).all()


@pytest.mark.parametrize(
    ("training", "dimensions"),
    [
        (_rows(4, 8, 20), 8),  # 8 rows vary in 7 directions
        (_rows(4, 80, 6), 7),
        (np.repeat(_rows(4, 3, 20), 30, axis=0), 5),
        (np.ones((30, 5)), 1),
        (_rows(4, 80, 6), 0),
        (_rows(4, 80, 6).ravel(), 2),
        (np.full((30, 5), np.nan), 1),
    ],
)
def test_a_space_that_the_pictures_do_not_fill_is_refused(training: Rows, dimensions: int) -> None:
    with pytest.raises(ValueError, match=r"needed|asked for|table|finite"):
        distances.Space.fit(training, dimensions=dimensions)


def test_other_features_than_the_space_has_are_refused() -> None:
    space = distances.Space.fit(_rows(5, 30, 6), dimensions=2)
    with pytest.raises(ValueError, match="7 units for a space of 6"):
        space.project(_rows(5, 3, 7))


# --- Fréchet distance ----------------------------------------------------------------------


def test_frechet_of_axis_parallel_gaussians_by_hand() -> None:
    real = _exactly(1, 60, np.zeros(3), np.diag([1.0, 4.0, 9.0]))
    made = _exactly(2, 40, np.array([1.0, 0.0, -2.0]), np.diag([4.0, 4.0, 1.0]))
    # Means (1² + 2²), spreads (1 - 2)² + (2 - 2)² + (3 - 1)².
    assert distances.frechet(real, made) == pytest.approx(5 + 5, rel=1e-10)


def test_frechet_agrees_with_the_root_of_the_product() -> None:
    a, b = _rows(3, 80, 5) @ _rows(4, 5, 5), _rows(5, 90, 5) @ _rows(6, 5, 5) + 0.3
    first, second = np.cov(a.T), np.cov(b.T)
    shift = a.mean(axis=0) - b.mean(axis=0)
    root = np.real(sqrtm(first @ second))
    expected = shift @ shift + np.trace(first + second - 2 * root)
    assert distances.frechet(a, b) == pytest.approx(expected, rel=1e-9)


def test_frechet_to_itself_and_to_a_shifted_copy_without_full_rank() -> None:
    rows = _rows(7, 10, 64)
    assert distances.frechet(rows, rows) == pytest.approx(0, abs=1e-10)
    assert distances.frechet(rows, rows[::-1] + 0.5) == pytest.approx(64 * 0.25, rel=1e-9)


def test_frechet_is_never_negative() -> None:
    for seed in range(20):
        rows = _rows(seed, 12, 20) * 1e3
        assert distances.frechet(rows, rows[::-1]) >= 0


# --- Kernel distance -----------------------------------------------------------------------


def _kernel_by_loops(real: Rows, made: Rows) -> float:
    def k(x: Rows, y: Rows) -> float:
        return (sum(p * q for p, q in zip(x, y, strict=True)) / len(x) + 1) ** 3

    def others(rows: Rows) -> float:
        pairs = [k(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j]
        return sum(pairs) / len(pairs)

    across = [k(x, y) for x in real for y in made]
    return others(real) + others(made) - 2 * sum(across) / len(across)


def test_kernel_agrees_with_plain_loops() -> None:
    real, made = _rows(1, 13, 4), _rows(2, 9, 4) * 1.5 + 0.2
    assert distances.kernel(real, made) == pytest.approx(_kernel_by_loops(real, made), rel=1e-10)


def test_kernel_is_0_on_average_for_one_source_and_not_for_two() -> None:
    values = [distances.kernel(_rows(i, 20, 4), _rows(1000 + i, 30, 4)) for i in range(400)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 20
    assert min(values) < 0 < max(values)
    assert distances.kernel(_rows(1, 300, 4), _rows(2, 300, 4) + 1) > 1


# --- Precision and recall ------------------------------------------------------------------


def test_precision_and_recall_of_identical_and_of_disjoint_sets() -> None:
    rows = _rows(1, 60, 5)
    assert distances.precision_recall(rows, rows) == (1.0, 1.0)
    assert distances.precision_recall(rows, rows + 100) == (0.0, 0.0)


def test_precision_and_recall_on_a_line_by_hand() -> None:
    real = np.array([[0.0], [1.0], [3.0], [10.0]])
    made = np.array([[-0.5], [5.5], [18.0], [2.0]])
    # Balls of the real, k = 1: 0 ± 1, 1 ± 1, 3 ± 2, 10 ± 7. All but 18 lie in one.
    # Balls of the made: -0.5 ± 2.5, 5.5 ± 3.5, 18 ± 12.5, 2 ± 2.5. All real lie in one.
    assert distances.precision_recall(real, made, neighbours=1) == (0.75, 1.0)


def test_a_collapsed_generator_has_precision_and_no_recall() -> None:
    kinds = np.repeat(20.0 * np.eye(4), 50, axis=0)
    real = kinds + _rows(2, 200, 4)
    made = 20.0 * np.eye(4)[0] + 0.3 * _rows(3, 200, 4)
    precision, recall = distances.precision_recall(real, made)
    assert precision > 0.95
    assert recall < 0.1
    # And a generator of noise around everything the other way about.
    precision, recall = distances.precision_recall(real, 40 * _rows(4, 200, 4))
    assert precision < 0.1
    assert recall > 0.8


# --- All of them ---------------------------------------------------------------------------


@pytest.mark.parametrize("measure", MEASURES)
def test_order_does_not_matter_and_inputs_stay(measure: Callable[[Rows, Rows], float]) -> None:
    real = _rows(1, 40, 6).astype(np.float32)
    made = _rows(2, 30, 6).astype(np.float32) + np.float32(0.2)
    kept = real.copy(), made.copy()
    turned = np.random.default_rng(3).permutation
    assert measure(turned(real), turned(made)) == pytest.approx(measure(real, made), rel=1e-9)
    real.flags.writeable = made.flags.writeable = False
    distances.bootstrap(measure, real, made, rounds=3)
    distances.nearest(made, real)
    distances.Space.fit(real, dimensions=3).project(made)
    assert (real == kept[0]).all()
    assert (made == kept[1]).all()


@pytest.mark.parametrize(
    ("measure", "least"),
    [(distances.frechet, 2), (distances.kernel, 2), (distances.precision_recall, 4)],
)
def test_too_few_pictures_are_refused(measure: Callable[[Rows, Rows], float], least: int) -> None:
    enough, few = _rows(1, least, 3), _rows(2, least - 1, 3)
    measure(enough, enough)
    with pytest.raises(ValueError, match=f"At least {least} real pictures are needed"):
        measure(few, enough)
    with pytest.raises(ValueError, match=f"At least {least} synthetic pictures are needed"):
        measure(enough, few)


def test_features_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="5 columns, synthetic 4"):
        distances.kernel(_rows(1, 9, 5), _rows(1, 9, 4))
    with pytest.raises(ValueError, match="not all finite"):
        distances.kernel(_rows(1, 9, 5), np.full((9, 5), np.inf))
    with pytest.raises(ValueError, match="1 neighbour"):
        distances.precision_recall(_rows(1, 9, 5), _rows(2, 9, 5), neighbours=0)
    with pytest.raises(ValueError, match="1 real pictures"):
        distances.nearest(_rows(1, 3, 2), np.empty((0, 2)))


# --- Intervals -----------------------------------------------------------------------------


@pytest.mark.parametrize("measure", MEASURES)
def test_the_interval_holds_the_figure_and_comes_out_again(
    measure: Callable[[Rows, Rows], float],
) -> None:
    real, made = _rows(1, 80, 8), _rows(2, 61, 8)
    low, high = distances.bootstrap(measure, real, made, rounds=60)
    assert low < measure(real, made) < high
    assert distances.bootstrap(measure, real, made, rounds=60) == (low, high)
    assert distances.bootstrap(measure, real, made, rounds=60, seed=8) != (low, high)


def _gap(real: Rows, made: Rows) -> float:
    return float(real.mean() - made.mean())


@pytest.mark.parametrize(("n", "m"), [(200, 100), (15, 31)])
def test_the_interval_of_a_difference_of_means_is_as_wide_as_the_textbook_has_it(
    n: int, m: int
) -> None:
    real, made = _rows(1, n, 1), _rows(2, m, 1)
    low, high = distances.bootstrap(_gap, real, made, rounds=4000)
    error = np.sqrt(real.var(ddof=1) / n + made.var(ddof=1) / m)
    assert (high - low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.07)


def test_the_interval_of_the_kernel_distance_holds_the_truth() -> None:
    # Of Gaussians of unit variance around p and q, with s = p·q and d columns: E (x·y) = s,
    # E (x·y)² = s² + |p|² + |q|² + d and E (x·y)³ = s³ + 3 s (|p|² + |q|² + d + 2).
    d = 16

    def expected(p: Rows, q: Rows) -> float:
        s, both = float(p @ q), float(p @ p + q @ q) + d
        cubed = s**3 + 3 * s * (both + 2)
        return cubed / d**3 + 3 * (s**2 + both) / d**2 + 3 * s / d + 1

    p, q = np.zeros(d), np.full(d, 0.4)
    truth = expected(p, p) + expected(q, q) - 2 * expected(p, q)
    points, held = [], 0
    for i in range(100):
        real, made = _rows(i, 50, d) + p, _rows(500 + i, 50, d) + q
        points.append(distances.kernel(real, made))
        low, high = distances.bootstrap(distances.kernel, real, made, rounds=100)
        held += low <= truth <= high
    assert abs(np.mean(points) - truth) < 4 * np.std(points) / 10
    assert held >= 88


def test_whole_groups_are_drawn() -> None:
    centres = _rows(1, 20, 1)
    real = np.repeat(centres, 10, axis=0)
    made, groups = _rows(2, 400, 1), np.repeat(np.arange(20), 10)
    seen: list[Rows] = []

    def measure(a: Rows, b: Rows) -> float:
        seen.append(a)
        return _gap(a, b)

    low, high = distances.bootstrap(measure, real, made, groups=groups.tolist(), rounds=300)
    assert {len(a) for a in seen[:-1]} == {100}
    assert all((np.unique(a, return_counts=True)[1] == 10).all() for a in seen)
    error = np.sqrt(centres.var(ddof=1) / 20 + made.var(ddof=1) / 400)
    assert (high - low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.2)
    alone = distances.bootstrap(_gap, real, made, rounds=300)
    assert high - low > 2 * (alone[1] - alone[0])


def test_no_picture_is_drawn_twice() -> None:
    real, made = np.arange(31.0)[:, None], np.arange(20.0)[:, None]
    sizes = set()

    def measure(a: Rows, b: Rows) -> float:
        assert len(np.unique(a)) == len(a)
        assert len(np.unique(b)) == len(b)
        sizes.add((len(a), len(b)))
        return 0.0

    assert distances.bootstrap(measure, real, made, rounds=40) == (0.0, 0.0)
    assert sizes == {(15, 10), (16, 10), (31, 20)}


def test_the_interval_stays_within_the_range_of_the_figure() -> None:
    real, made = _rows(1, 40, 2), _rows(2, 40, 2)
    assert distances.bootstrap(distances.frechet, real, made, rounds=50)[0] < 0
    low, _ = distances.bootstrap(distances.frechet, real, made, rounds=50, within=(0, np.inf))
    assert low == 0


def test_intervals_that_cannot_be_are_refused() -> None:
    rows = _rows(1, 6, 2)
    with pytest.raises(ValueError, match="5 groups for 6"):
        distances.bootstrap(_gap, rows, rows, groups=[1, 1, 2, 2, 3])
    with pytest.raises(ValueError, match="At least 2 groups"):
        distances.bootstrap(_gap, rows, rows, groups=[1] * 6)
    with pytest.raises(ValueError, match="2 rounds"):
        distances.bootstrap(_gap, rows, rows, rounds=1)
    with pytest.raises(ValueError, match="At least 4"):
        distances.bootstrap(_precision, rows, rows)


# --- Memory --------------------------------------------------------------------------------


def test_nearest_agrees_with_all_distances_over_several_blocks() -> None:
    made, real = _rows(1, 600, 3), _rows(2, 70, 3)
    indices, far = distances.nearest(made, real)
    table = np.linalg.norm(made[:, None] - real[None], axis=2)
    assert (indices == table.argmin(axis=1)).all()
    assert far == pytest.approx(table.min(axis=1))
    assert (indices.dtype, far.dtype) == (np.int64, np.float64)


def test_copies_are_found_as_memorised() -> None:
    training, unseen = _rows(1, 200, 8), _rows(2, 150, 8)
    indices, far = distances.nearest(training[[5, 3, 199]], training)
    assert indices.tolist() == [5, 3, 199]
    assert far.tolist() == [0.0, 0.0, 0.0]
    _, between = distances.nearest(unseen, training)
    assert distances.memorised(far, between) == {"share": 1.0, "auroc": 1.0}
    # Also where the unseen pictures hold so many copies that the quantile is 0.
    between[:20] = 0
    assert distances.memorised(far, between)["share"] == 1.0


def test_new_pictures_of_the_same_source_are_not_memorised() -> None:
    training = _rows(1, 200, 8)
    _, made = distances.nearest(_rows(2, 2000, 8), training)
    _, between = distances.nearest(_rows(3, 2000, 8), training)
    found = distances.memorised(made, between)
    assert found["share"] == pytest.approx(0.05, abs=0.02)
    assert found["auroc"] == pytest.approx(0.5, abs=0.03)
    assert distances.memorised(made, between, quantile=0.5)["share"] == pytest.approx(0.5, abs=0.05)


def test_memorised_by_hand() -> None:
    found = distances.memorised(np.array([1.0, 3.0]), np.array([2.0, 3.0, 4.0]), quantile=0.25)
    # The quantile is 2.5. Of six pairs, 1 is nearer in three; 3 in one and a half.
    assert found == {"share": 0.5, "auroc": pytest.approx(4.5 / 6)}


@pytest.mark.parametrize(
    ("made", "between", "quantile"),
    [
        ([], [1.0], 0.05),
        ([1.0], [], 0.05),
        ([1.0], [np.nan], 0.05),
        ([-1.0], [1.0], 0.05),
        ([1.0], [1.0], 0.0),
    ],
)
def test_distances_that_cannot_be_are_refused(
    made: list[float], between: list[float], quantile: float
) -> None:
    with pytest.raises(ValueError, match=r"none negative|between 0 and 1"):
        distances.memorised(np.array(made), np.array(between), quantile=quantile)
