"""What must stand beside a result (CLINICAL.md)."""

from __future__ import annotations

import pytest

from utils.workflow import wording


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Pre-B ALL", "Pattern resembling: Pre-B ALL (image class)"),
        (
            "Hematogone-rich (class “Benign”)",
            "Pattern resembling: Hematogone-rich (class “Benign”)",
        ),
    ],
)
def test_a_result_is_a_pattern_and_never_a_diagnosis(name: str, line: str) -> None:
    assert wording.headline(name) == line


def test_abstaining_is_a_result() -> None:
    assert wording.headline(None) == "Unclassifiable — review"
    said = wording.statements(label_code=None, is_blast=False)
    assert said[0] == wording.ABSTAINING
    assert "flow cytometry" not in " ".join(said)


def test_blasts_are_confirmed_by_flow_cytometry_and_hematogones_explained() -> None:
    for code in ("Early", "Pre", "Pro"):
        said = " ".join(wording.statements(label_code=code, is_blast=True, note="Own note."))
        assert "confirm by flow cytometry" in said.lower()
        assert "Own note." in said
    benign = " ".join(wording.statements(label_code="Benign", is_blast=False, note="Own note."))
    assert "hematogone-rich" in benign
    assert "look like lymphoblasts" in benign


def test_what_the_label_set_says_is_not_said_twice() -> None:
    note = "An immunophenotypic entity; confirm by flow cytometry."
    said = wording.statements(label_code="Pre", is_blast=True, note=note)
    assert said[0] == note
    assert len(said) == 2
    note = "Hematogone-rich, not healthy."
    assert wording.statements(label_code="Benign", is_blast=False, note=note)[0] == note


@pytest.mark.parametrize("code", [None, "Benign", "Pre"])
def test_the_closed_world_is_always_said(code: str | None) -> None:
    last = wording.statements(label_code=code, is_blast=False, class_count=4)[-1]
    assert last.startswith("The network knows 4 image classes and nothing else")
    for outside in ("AML", "T-ALL", "Burkitt", "reactive lymphocytes", "metastasis"):
        assert outside in last


def test_flags_have_sentences_warnings_first_each_once() -> None:
    flags = wording.flag_texts(["duplicate", "heat_off_cells", "duplicate", "never_heard_of"])
    assert [flag.code for flag in flags] == ["heat_off_cells", "duplicate", "never_heard_of"]
    assert flags[0].title == "The network did not look at the cells"
    assert all(flag.sentence for flag in flags[:2])
    assert flags[2].title == "Never heard of", "an unknown flag is shown, not hidden"


def test_every_flag_that_the_imaging_room_gives_has_a_sentence() -> None:
    given = (
        "out_of_focus too_dark too_bright no_stain no_nucleated_cell too_small blank "
        "synthetic cmyk_converted sixteen_bit_scaled alpha_flattened grey_expanded exif_rotated "
        "profile_applied profile_broken first_frame_only low_confidence out_of_distribution"
    )
    for code in given.split():
        assert wording.flag_text(code).sentence, code


@pytest.mark.parametrize(
    ("code", "note", "text"),
    [
        ("morphology", "", "Morphology reads differently"),
        ("flow_cytometry", " CD10− ", "Flow cytometry says otherwise — CD10−"),
        ("other", "a smudge", "a smudge"),
        ("other", "", ""),
        ("unknown", "", ""),
    ],
)
def test_reasons_as_they_are_kept(code: str, note: str, text: str) -> None:
    assert wording.reason_text(code, note) == text
