"""Synthetic fields and pictures that are no smear."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.imaging import synthesis


@pytest.mark.parametrize("stain", synthesis.STAINS)
def test_the_same_seed_draws_the_same_field(stain: str) -> None:
    one, again = synthesis.field(7, stain=stain), synthesis.field(7, stain=stain)
    np.testing.assert_array_equal(one.pixels, again.pixels)
    np.testing.assert_array_equal(one.labels, again.labels)
    assert (synthesis.field(8, stain=stain).pixels != one.pixels).any()


def test_no_global_random_state_is_used() -> None:
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    synthesis.field(1)
    for kind in synthesis.KINDS:
        synthesis.not_a_smear(kind, 1, 64)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 1_000_000),
    st.integers(40, 200),
    st.integers(40, 200),
    st.integers(0, 25),
    st.floats(0, 1),
)
def test_labels_are_the_truth(
    seed: int, height: int, width: int, cells: int, touching_share: float
) -> None:
    drawn = synthesis.field(
        seed, height=height, width=width, cells=cells, touching_share=touching_share
    )
    assert drawn.pixels.shape == (height, width, 3)
    assert drawn.pixels.dtype == np.uint8
    assert drawn.count <= cells
    np.testing.assert_array_equal(
        np.unique(drawn.labels[drawn.labels > 0]), 1 + np.arange(drawn.count)
    )
    for edge in (drawn.labels[0], drawn.labels[-1], drawn.labels[:, 0], drawn.labels[:, -1]):
        assert not edge.any()


@pytest.mark.parametrize("stain", synthesis.STAINS)
def test_nuclei_are_the_darkest_things_in_green(stain: str) -> None:
    drawn = synthesis.field(4, stain=stain)
    green = drawn.pixels[..., 1]
    assert np.median(green[drawn.labels > 0]) < np.percentile(green[drawn.labels == 0], 10)


def test_there_are_enough_kinds_of_other_pictures() -> None:
    assert len(set(synthesis.KINDS)) >= 10


@pytest.mark.parametrize("kind", synthesis.KINDS)
@pytest.mark.parametrize("size", [64, 224])
def test_other_pictures_differ_by_seed_and_by_nothing_else(kind: str, size: int) -> None:
    one = synthesis.not_a_smear(kind, 1, size)
    assert one.shape == (size, size, 3)
    assert one.dtype == np.uint8
    np.testing.assert_array_equal(one, synthesis.not_a_smear(kind, 1, size))
    assert (one != synthesis.not_a_smear(kind, 2, size)).any()


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(KeyError):
        synthesis.not_a_smear("smear", 1)
