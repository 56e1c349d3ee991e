"""The differential: what is in the denominator, where the blasts lie, and the ratio."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from utils.errors import InvalidInput
from utils.networks.manifest import LabelClass
from utils.settings import PROJECT_ROOT
from utils.workflow.differential import (
    DEFAULTS,
    TARGETS,
    BlastAccuracy,
    ClassRow,
    Differential,
    Proportion,
    Threshold,
    lineage_totals,
    tally,
)
from utils.workflow.proportions import cells_to_settle, judge, rogan_gladen, wilson

ACCURACY = BlastAccuracy(0.85, 0.95, sensitivity_of=160, specificity_of=800)


def make_class(code: str, lineage: str, stage: str, **values: Any) -> LabelClass:
    return LabelClass(
        **{
            "code": code,
            "display_name": f"Name of {code}",
            "short_name": code.lower(),
            "lineage": lineage,
            "stage": stage,
            "is_blast": False,
            "counts_in_differential": True,
            "colour": "#000000",
            "note": "",
        }
        | values
    )


# The classes of a whole marrow, with what stands outside the differential.
WHOLE = (
    make_class("MYELOBLAST", "myeloid", "blast", is_blast=True),
    make_class("LYMPHOBLAST", "lymphoid", "blast", is_blast=True),
    make_class("PMO", "myeloid", "promyelocyte"),
    make_class("MYB", "myeloid", "myelocyte"),
    make_class("MMZ", "myeloid", "metamyelocyte"),
    make_class("NGB", "myeloid", "band"),
    make_class("NGS", "myeloid", "segmented"),
    make_class("EOS", "myeloid", "eosinophil granulocyte, all stages"),
    make_class("BAS", "myeloid", "basophil"),
    make_class("MON", "myeloid", "mature"),
    make_class("PRM", "myeloid", "promonocyte"),
    make_class("PEB", "erythroid", "proerythroblast"),
    make_class("EBO", "erythroid", "basophilic to orthochromatic erythroblast"),
    make_class("LYT", "lymphoid", "mature"),
    make_class("MKZ", "megakaryocytic", "mature", counts_in_differential=False),
    make_class("KSC", "none", "none", counts_in_differential=False),
)
CALLS = {
    "MYELOBLAST": 10,
    "LYMPHOBLAST": 2,
    "PMO": 15,
    "MYB": 60,
    "MMZ": 70,
    "NGB": 65,
    "NGS": 80,
    "EOS": 8,
    "BAS": 2,
    "MON": 9,
    "PRM": 4,
    "PEB": 5,
    "EBO": 95,
    "LYT": 75,
    "MKZ": 7,
    "KSC": 40,
}
COUNTS = st.fixed_dictionaries({}, optional={label.code: st.integers(0, 400) for label in WHOLE})


def shipped(name: str) -> list[LabelClass]:
    path = PROJECT_ROOT / "models" / name / "labels.json"
    return [LabelClass(**label) for label in json.loads(path.read_text())]


def row(differential: Differential, code: str) -> ClassRow:
    return next(row for row in differential.rows if row.code == code)


# --- Classes and denominator ------------------------------------------------------------------


def test_the_denominator_holds_the_classes_that_count_and_no_other() -> None:
    found = tally(CALLS, WHOLE)
    assert (found.counted, found.uncounted) == (500, 47)
    assert row(found, "EBO").share == 0.19  # erythroblasts are in it
    for code in ("MKZ", "KSC"):
        out = row(found, code)
        assert (out.counts, out.share, out.low, out.high) == (False, None, None, None)
        assert out.count == CALLS[code]
    assert "Name of MKZ, Name of KSC" in found.denominator_definition


def test_each_row_says_what_the_label_set_says() -> None:
    labels = shipped("marrow7")
    found = tally({"BLA": 3, "NIF": 2}, labels)
    assert [one.code for one in found.rows] == [label.code for label in labels]
    for one, label in zip(found.rows, labels, strict=True):
        assert (one.name, one.short_name) == (label.display_name, label.short_name)
        assert (one.colour, one.counts) == (label.colour, label.counts_in_differential)
    assert [one.count for one in found.rows] == [3, 0, 0, 0, 0, 2, 0]


def test_each_share_stands_with_its_interval() -> None:
    found = tally(CALLS, WHOLE)
    for one in found.rows:
        if one.counts:
            assert one.share == CALLS[one.code] / 500
            assert (one.low, one.high) == wilson(CALLS[one.code], 500)


@hypothesis_settings(max_examples=80, deadline=None, derandomize=True)
@given(COUNTS)
def test_nothing_is_lost_and_shares_add_up(calls: dict[str, int]) -> None:
    before = dict(calls)
    found = tally(calls, WHOLE)
    assert calls == before
    assert found.counted + found.uncounted == sum(calls.values())
    shares = [one.share for one in found.rows if one.share is not None]
    assert len(shares) == (14 if found.counted else 0)
    assert not shares or sum(shares) == pytest.approx(1)
    assert sum(total.total.count for total in found.lineage_totals) == found.counted
    assert found.blasts is not None
    assert found.blasts.count == calls.get("MYELOBLAST", 0) + calls.get("LYMPHOBLAST", 0)


@hypothesis_settings(max_examples=40, deadline=None, derandomize=True)
@given(COUNTS, st.integers(0, 1000))
def test_what_does_not_count_moves_nothing(calls: dict[str, int], smudges: int) -> None:
    one, other = tally(calls, WHOLE), tally(calls | {"KSC": smudges}, WHOLE)
    assert one.blasts == other.blasts
    assert one.thresholds == other.thresholds
    assert one.lineage_totals == other.lineage_totals
    assert (one.progress, one.me_ratio) == (other.progress, other.me_ratio)


def test_a_label_set_without_erythroblasts_says_what_its_shares_lack() -> None:
    assert "erythroblasts are missing" in tally({}, shipped("marrow7")).denominator_definition
    assert "erythroblasts" not in tally({}, WHOLE).denominator_definition


def test_an_unknown_class_is_refused() -> None:
    for ask in (tally, lineage_totals):
        with pytest.raises(InvalidInput) as caught:
            ask({"BLA": 3, "XYZ": 0}, shipped("marrow7"))
        assert caught.value.code == "label_unknown"
        assert caught.value.message.endswith("; XYZ came.")


def test_a_negative_count_is_refused() -> None:
    for ask in (tally, lineage_totals):
        with pytest.raises(InvalidInput) as caught:
            ask({"BLA": 3, "NIF": -1}, shipped("marrow7"))
        assert caught.value.code == "count_invalid"


# --- Target -----------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_progress_is_towards_the_target(target: int) -> None:
    found = tally({"BLA": 30, "LYT": 70, "NIF": 900}, shipped("marrow7"), target=target)
    assert found.target == target
    assert found.progress == 100 / target


def test_progress_stops_at_the_whole() -> None:
    assert tally({"LYT": 700}, shipped("marrow7")).progress == 1.0
    assert tally({"LYT": 499}, shipped("marrow7")).progress < 1.0


def test_the_target_is_500_where_none_is_named() -> None:
    assert tally({}, WHOLE).target == 500


@pytest.mark.parametrize("target", [0, -500, 100, 499, 501])
def test_another_target_is_refused(target: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        tally({}, WHOLE, target=target)
    assert caught.value.code == "target_unknown"


# --- Blasts and thresholds --------------------------------------------------------------------


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
def test_20_percent_blasts_have_the_interval_of_the_page(
    total: int, low: float, high: float
) -> None:
    found = tally({"BLA": total // 5, "LYT": total - total // 5, "NIF": 55}, shipped("marrow7"))
    assert found.blasts is not None
    assert found.blasts.share == 0.2
    assert (round(100 * found.blasts.low, 1), round(100 * found.blasts.high, 1)) == (low, high)


def test_blasts_of_all_lineages_are_one_count() -> None:
    found = tally(CALLS, WHOLE)
    assert found.blasts == Proportion(12, 12 / 500, *wilson(12, 500))


def test_the_default_thresholds_are_those_of_the_page() -> None:
    assert [(one.share, one.name) for one in DEFAULTS] == [
        (0.20, "acute leukaemia by convention"),
        (0.25, "many ALL protocols"),
        (0.05, "after therapy: M1 <5, M2 5–25, M3 >25"),
    ]


def test_an_interval_that_contains_the_threshold_is_indeterminate() -> None:
    found = tally({"BLA": 40, "LYT": 160}, shipped("marrow7"))  # 15.0 to 26.1
    verdicts = {one.threshold: (one.verdict, one.more_cells) for one in found.thresholds}
    assert verdicts == {
        0.20: ("indeterminate", None),  # a share on the threshold: no number of cells would do
        0.25: ("indeterminate", 89),
        0.05: ("above", 0),
    }


@hypothesis_settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 600), st.integers(0, 600), st.integers(1, 99))
def test_thresholds_are_configurable(blasts: int, others: int, percent: int) -> None:
    threshold = Threshold("one of our own", percent / 100)
    found = tally({"BLA": blasts, "MON": others}, shipped("marrow7"), thresholds=(threshold,))
    (one,) = found.thresholds
    assert (one.name, one.threshold) == ("one of our own", threshold.share)
    assert one.verdict == judge(blasts, blasts + others, threshold.share)
    assert one.more_cells == cells_to_settle(blasts, blasts + others, threshold.share)


def test_a_threshold_in_percent_is_refused() -> None:
    with pytest.raises(InvalidInput):
        tally({"BLA": 1}, shipped("marrow7"), thresholds=(Threshold("20 %", 20),))


def test_a_label_set_without_blasts_has_no_share_of_them() -> None:
    found = tally({"LYT": 100}, [label for label in WHOLE if not label.is_blast], accuracy=ACCURACY)
    assert found.blasts is None
    assert found.thresholds == ()
    assert found.corrected is None


def test_blasts_that_do_not_count_are_in_no_share() -> None:
    ghost = make_class("GHOST", "none", "blast", is_blast=True, counts_in_differential=False)
    found = tally(CALLS | {"GHOST": 100}, (*WHOLE, ghost))
    assert found.blasts == tally(CALLS, WHOLE).blasts


# --- The ratio --------------------------------------------------------------------------------


def test_the_ratio_is_granulocytes_over_erythroblasts() -> None:
    found = tally(CALLS, WHOLE)
    assert (found.myeloid, found.erythroid, found.me_ratio) == (300, 100, 3.0)


@pytest.mark.parametrize("code", ["MYELOBLAST", "LYMPHOBLAST", "MON", "PRM", "LYT", "MKZ", "KSC"])
def test_blasts_monocytes_and_other_lineages_are_not_in_the_ratio(code: str) -> None:
    assert tally(CALLS | {code: 999}, WHOLE).me_ratio == 3.0


@pytest.mark.parametrize("code", ["PMO", "MYB", "MMZ", "NGB", "NGS", "EOS", "BAS"])
def test_every_granulocyte_from_the_promyelocyte_on_is_myeloid(code: str) -> None:
    assert tally(CALLS | {code: CALLS[code] + 100}, WHOLE).me_ratio == 4.0


@pytest.mark.parametrize("code", ["PEB", "EBO"])
def test_every_erythroblast_is_erythroid(code: str) -> None:
    assert tally(CALLS | {code: CALLS[code] + 50}, WHOLE).me_ratio == 2.0


def test_the_definition_names_what_is_divided_and_what_is_left_out() -> None:
    text = tally(CALLS, WHOLE).me_definition
    above, below = text.split(" over erythroblasts of all stages ")
    for code in ("PMO", "MYB", "MMZ", "NGB", "NGS", "EOS", "BAS"):
        assert f"Name of {code}" in above
    assert below.startswith("(Name of PEB, Name of EBO).")
    assert "blasts and monocytes are not on the myeloid side" in below
    left_out = below.partition("left out here: ")[2]
    assert left_out.startswith("Name of MYELOBLAST, Name of LYMPHOBLAST, Name of MON, Name of PRM.")


def test_promyelocytes_that_are_blast_equivalents_are_not_myeloid() -> None:
    labels = [
        label.model_copy(update={"is_blast": True}) if label.code == "PMO" else label
        for label in WHOLE
    ]
    found = tally(CALLS, labels)
    assert found.myeloid == 285
    assert found.blasts is not None
    assert found.blasts.count == 27


def test_what_does_not_count_is_on_neither_side() -> None:
    ghosts = (
        make_class("BARE", "myeloid", "segmented", counts_in_differential=False),
        make_class("SHED", "erythroid", "erythroblast", counts_in_differential=False),
    )
    found = tally(CALLS | {"BARE": 90, "SHED": 90}, (*WHOLE, *ghosts))
    assert (found.myeloid, found.erythroid) == (300, 100)
    assert "Name of BARE" not in found.me_definition


def test_an_erythroid_blast_is_erythroid_and_not_called_left_out() -> None:
    labels = [
        label.model_copy(update={"is_blast": True}) if label.code == "PEB" else label
        for label in WHOLE
    ]
    found = tally(CALLS, labels)
    assert found.erythroid == 100
    assert found.me_definition.count("Name of PEB") == 1


def test_marrow7_has_no_erythroid_class_and_so_no_ratio() -> None:
    found = tally({"NGS": 30, "EOS": 4, "PMO": 6, "MON": 5, "BLA": 9}, shipped("marrow7"))
    assert (found.myeloid, found.erythroid, found.me_ratio) == (40, None, None)
    assert found.me_definition.startswith("No ratio: the label set has no erythroid class.")
    assert "left out here: Blast, Monocyte." in found.me_definition


def test_all4_has_neither_side() -> None:
    found = tally({"Pre": 3}, shipped("all4"))
    assert (found.myeloid, found.erythroid, found.me_ratio) == (None, None, None)
    assert "no granulocytic and no erythroid class" in found.me_definition


def test_no_erythroblast_counted_gives_no_ratio() -> None:
    found = tally(CALLS | {"PEB": 0, "EBO": 0}, WHOLE)
    assert (found.myeloid, found.erythroid, found.me_ratio) == (300, 0, None)
    assert found.me_definition.startswith("No ratio: no erythroid cell was counted.")


def test_no_granulocyte_counted_gives_a_ratio_of_0() -> None:
    assert tally({"EBO": 20}, WHOLE).me_ratio == 0.0


# --- Lineages ---------------------------------------------------------------------------------


def test_lineage_totals_come_before_their_stages() -> None:
    totals = lineage_totals(CALLS, WHOLE)
    assert totals == tally(CALLS, WHOLE).lineage_totals
    assert [(one.lineage, one.total.count) for one in totals] == [
        ("myeloid", 323),
        ("lymphoid", 77),
        ("erythroid", 100),
    ]
    assert totals[2].total == Proportion(100, 0.2, *wilson(100, 500))
    assert [one.code for one in totals[2].rows] == ["PEB", "EBO"]
    assert totals[2].rows[1] == row(tally(CALLS, WHOLE), "EBO")


def test_a_lineage_that_does_not_count_has_no_total() -> None:
    assert {one.lineage for one in lineage_totals({"KSC": 9, "MKZ": 9}, WHOLE)} == {
        "myeloid",
        "lymphoid",
        "erythroid",
    }


# --- Corrected --------------------------------------------------------------------------------


def test_without_a_known_accuracy_nothing_is_corrected() -> None:
    assert tally(CALLS, WHOLE).corrected is None


def test_the_blasts_are_corrected_by_the_networks_accuracy() -> None:
    found = tally({"BLA": 100, "LYT": 400, "NIF": 70}, shipped("marrow7"), accuracy=ACCURACY)
    assert found.corrected == rogan_gladen(
        100,
        500,
        sensitivity=0.85,
        specificity=0.95,
        sensitivity_of=160,
        specificity_of=800,
    )
    assert found.corrected is not None
    assert found.corrected.share == pytest.approx(0.1875)
    assert found.blasts is not None
    assert found.blasts.share == 0.2  # as called: shown beside, not replaced


def test_a_correction_that_cannot_be_says_so() -> None:
    guess = BlastAccuracy(0.5, 0.5, sensitivity_of=100, specificity_of=100)
    found = tally({"BLA": 100, "LYT": 400}, shipped("marrow7"), accuracy=guess)
    assert found.corrected is not None
    assert (found.corrected.share, found.corrected.problem) == (None, "no_information")


# --- Edges ------------------------------------------------------------------------------------


@pytest.mark.parametrize("calls", [{}, {"BLA": 0}, {"NIF": 12}])
def test_no_cell_counted_gives_no_share(calls: dict[str, int]) -> None:
    found = tally(calls, shipped("marrow7"), accuracy=ACCURACY)
    assert (found.counted, found.progress) == (0, 0.0)
    assert found.blasts == Proportion(0, None, 0.0, 1.0)
    assert {(one.verdict, one.more_cells) for one in found.thresholds} == {("indeterminate", None)}
    assert row(found, "BLA").share is None
    assert (row(found, "BLA").low, row(found, "BLA").high) == (0.0, 1.0)
    assert found.corrected is not None
    assert found.corrected.problem == "nothing_counted"


def test_all_cells_blasts() -> None:
    found = tally({"BLA": 500}, shipped("marrow7"), accuracy=BlastAccuracy(1, 1, 160, 800))
    assert found.blasts is not None
    assert (found.blasts.share, found.blasts.high) == (1.0, 1.0)
    assert {one.verdict for one in found.thresholds} == {"above"}
    assert found.corrected is not None
    assert found.corrected.share == 1.0


def test_a_differential_cannot_be_changed() -> None:
    found = tally(CALLS, WHOLE)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.counted = 501  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.rows[0].count = 11  # type: ignore[misc]
