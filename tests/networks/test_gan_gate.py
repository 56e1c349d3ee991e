"""The gate: who is judged by what, and who may pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.networks.test_gan import drawn_fields
from utils.errors import InvalidInput

pytest.importorskip("tensorflow", reason="TensorFlow is not installed: the gate trains")

from utils.networks.gan import gate

# Of Keras' own doing, with this NumPy.
pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning")
PASSED = gate.Verdict(
    passed=True,
    real={"plain": 0.8, "stain_swap": 0.7},
    with_synthetic={"plain": 0.9, "stain_swap": 0.7},
    difference={"plain": (0.1, 0.05, 0.15), "stain_swap": (0.0, -0.1, 0.1)},
    added={"Benign": 10, "Pre": 0},
    tested=40,
    runs=9,
    weights_sha256="abc",
)


def test_only_a_passed_verdict_on_these_weights_admits(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="run `flask gan evaluate`"):
        gate.admit(tmp_path, "abc")
    gate.save(PASSED, tmp_path)
    assert gate.admit(tmp_path, "abc").passed
    with pytest.raises(InvalidInput, match="other weights"):
        gate.admit(tmp_path, "def")
    gate.save(replace(PASSED, passed=False), tmp_path)
    with pytest.raises(InvalidInput, match="no gain is shown"):
        gate.admit(tmp_path, "abc")


def test_the_verdict_says_what_was_found() -> None:
    assert "they helped" in PASSED.sentence
    harmed = replace(
        PASSED,
        passed=False,
        difference={"plain": (-0.1, -0.2, -0.05), "stain_swap": (0.0, -0.1, 0.1)},
    )
    assert "they did harm" in harmed.sentence
    assert "-0.100, 95 % -0.200 to -0.050" in harmed.sentence


def test_what_is_missing_brings_each_class_up_to_the_largest() -> None:
    targets = np.repeat([0, 1, 2], [5, 9, 2])
    assert gate.missing(targets, ["a", "b", "c"]) == {"a": 4, "b": 0, "c": 7}


def test_folds_part_no_group_and_leave_nothing_out() -> None:
    groups = [i // 4 for i in range(48)]
    targets = np.repeat([0, 1], 24)
    folds = gate._folds(groups, targets)
    assert sorted(np.concatenate(folds).tolist()) == list(range(48))
    owners = [{groups[i] for i in fold} for fold in folds]
    assert len(set().union(*owners)) == sum(map(len, owners))
    assert all(set(targets[fold]) == {0, 1} for fold in folds)


@pytest.mark.slow
def test_copies_of_the_training_pictures_do_not_pass() -> None:
    """What adds nothing must not get through: the same pictures once more."""
    train, test = drawn_fields(12), drawn_fields(9)
    groups = [i // 3 for i in range(24)]
    verdict = gate.judge(
        train, groups, test, groups[:18], train,
        weights_sha256="abc", seeds=(1,), epochs=2, rounds=60, say=lambda line: None,
    )  # fmt: skip
    assert verdict.runs == gate.FOLDS
    assert verdict.tested == 18
    mean, low, high = verdict.difference["plain"]
    assert low <= mean <= high
    assert not verdict.passed
