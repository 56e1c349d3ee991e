"""The sentences that stand beside a result: patterns and counts, never diagnoses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

RESEARCH_USE_ONLY = "For Research Use Only. Not for use in diagnostic procedures."
UNCLASSIFIABLE = "Unclassifiable — review"
FLOW_CYTOMETRY = (
    "Confirm by flow cytometry: early pre-B, pre-B and pro-B ALL are immunophenotypic entities, "
    "and morphology alone cannot establish them."
)
HEMATOGONES = (
    "“Benign” means hematogone-rich. Hematogones are common in children, after chemotherapy and "
    "after transplant, and look like lymphoblasts."
)
CLOSED_WORLD = (
    "The network knows {count} image classes and nothing else. AML, T-ALL, Burkitt lymphoma, "
    "reactive lymphocytes and metastasis are outside them."
)
FIELD_COUNT = "A count of one field, not a differential."
CELLS_BY_NETWORK = "Read by the network alone; nobody has confirmed them."
ABSTAINING = "No pattern is named. Abstaining is a result: look at the field yourself."

Severity = Literal["warning", "note"]


@dataclass(frozen=True)
class Flag:
    """A flag as a person reads it.

    Attributes
    ----------
    code : str
        Stable, snake_case; what the database and JSON hold.
    title : str
        Two to five words.
    sentence : str
        What was seen and what to do about it.
    severity : "warning" or "note"
        A warning bears on the result; a note says how the file was read.
    """

    code: str
    title: str
    sentence: str
    severity: Severity


_FLAGS: dict[str, Flag] = {
    flag.code: flag
    for flag in (
        Flag(
            "out_of_focus",
            "Out of focus",
            "The field is blurred; chromatin cannot be judged. Focus and take it again.",
            "warning",
        ),
        Flag(
            "too_dark",
            "Too dark",
            "The field is underexposed. Raise the light or the exposure and take it again.",
            "warning",
        ),
        Flag(
            "too_bright",
            "Too bright",
            "The field is overexposed. Lower the light or the exposure and take it again.",
            "warning",
        ),
        Flag(
            "no_stain",
            "Hardly any stain",
            "The field has hardly any colour. The network learned from Romanowsky-stained smears.",
            "warning",
        ),
        Flag(
            "no_nucleated_cell",
            "No nucleated cell found",
            "Nothing in the field looks like a stained nucleus, so there is nothing to classify.",
            "warning",
        ),
        Flag(
            "single_cell",
            "One cell, no field",
            "The picture shows a single cell. It is read as a cell; a pattern is named of whole "
            "fields only.",
            "note",
        ),
        Flag(
            "cell_at_border",
            "Cut by the edge",
            "The picture cuts this cell: its sizes are those of the part in view.",
            "note",
        ),
        Flag("blank", "Blank field", "The field is empty or of one colour.", "warning"),
        Flag(
            "too_small",
            "Few pixels",
            "The image has fewer pixels than the network reads. Detail is missing.",
            "warning",
        ),
        Flag(
            "heat_off_cells",
            "The network did not look at the cells",
            "The heat is no denser on the nucleated cells than elsewhere in the field: most of it "
            "lies elsewhere. Do not trust the pattern named.",
            "warning",
        ),
        Flag(
            "no_evidence",
            "No evidence in the heatmap",
            "No region of the field speaks for the highest class; its map is empty.",
            "warning",
        ),
        Flag(
            "low_confidence",
            "Low confidence",
            "The highest calibrated probability is below the network’s threshold.",
            "warning",
        ),
        Flag(
            "out_of_distribution",
            "Unlike the training images",
            "The field does not resemble the smears that the network was trained on.",
            "warning",
        ),
        Flag(
            "duplicate",
            "Seen before",
            "You have analysed this same picture before. Do not count it twice.",
            "note",
        ),
        Flag(
            "synthetic",
            "Synthetic",
            "The file says that a network generated this picture. It shows no patient.",
            "warning",
        ),
        Flag("cmyk_converted", "CMYK converted", "The file was CMYK; it was read as RGB.", "note"),
        Flag(
            "sixteen_bit_scaled",
            "16 bit scaled",
            "The file held 16 bits a channel; it was scaled to 8.",
            "note",
        ),
        Flag(
            "alpha_flattened",
            "Transparency removed",
            "Transparent parts were laid on white.",
            "note",
        ),
        Flag(
            "grey_expanded",
            "Grey image",
            "The file has no colour. The network was trained on stained smears in colour.",
            "warning",
        ),
        Flag("exif_rotated", "Turned upright", "The camera’s rotation was applied.", "note"),
        Flag("profile_applied", "Colour profile applied", "Colours were brought to sRGB.", "note"),
        Flag(
            "profile_broken",
            "Colour profile unreadable",
            "The file names a colour profile that cannot be read; its colours were taken as sRGB.",
            "note",
        ),
        Flag(
            "first_frame_only",
            "First frame only",
            "The file holds several frames; the first was read.",
            "note",
        ),
    )
}

# Quality flags that leave nothing to classify, whatever the network says.
NOTHING_TO_CLASSIFY = frozenset({"blank", "no_nucleated_cell"})

CORRECTION_REASONS: tuple[tuple[str, str], ...] = (
    ("morphology", "Morphology reads differently"),
    ("flow_cytometry", "Flow cytometry says otherwise"),
    ("clinical_context", "Clinical context or earlier specimens"),
    ("image_quality", "Image not fit for a label"),
    ("other", "Other (say which)"),
)


def known_flags() -> frozenset[str]:
    """Codes of all flags that have a text."""
    return frozenset(_FLAGS)


def flag_text(code: str) -> Flag:
    """Look a flag up; an unknown code is shown as it is rather than hidden."""
    known = _FLAGS.get(code)
    return known or Flag(code, code.replace("_", " ").capitalize(), "", "note")


def flag_texts(codes: Iterable[str]) -> list[Flag]:
    """Flags as a person reads them, warnings first, each once."""
    flags = [flag_text(code) for code in dict.fromkeys(codes)]
    return sorted(flags, key=lambda flag: flag.severity != "warning")


def headline(display_name: str | None) -> str:
    """One line for the result.

    Parameters
    ----------
    display_name : str or None
        The class's display name; None where the network abstained.
    """
    if display_name is None:
        return UNCLASSIFIABLE
    says_so = "class" in display_name
    return f"Pattern resembling: {display_name}{'' if says_so else ' (image class)'}"


def statements(
    *, label_code: str | None, is_blast: bool, note: str = "", class_count: int = 4
) -> tuple[str, ...]:
    """What must stand beside a result.

    Parameters
    ----------
    label_code : str or None
        The class's code; None where the network abstained.
    is_blast : bool
        From the label set: a class of blasts is an immunophenotypic entity.
    note : str
        The label set's own note on the class, where it has one.
    class_count : int
        How many classes the network knows.

    Returns
    -------
    sentences : tuple of str
        In the order to show them; the closed world last.
    """
    sentences: list[str] = []
    said = note.lower()
    if label_code is None:
        sentences.append(ABSTAINING)
    else:
        # The label set speaks for itself; what it leaves out is added, and nothing said twice.
        if note:
            sentences.append(note)
        if label_code == "Benign" and "hematogone" not in said:
            sentences.append(HEMATOGONES)
        if is_blast and "flow cytometry" not in said:
            sentences.append(FLOW_CYTOMETRY)
    sentences.append(CLOSED_WORLD.format(count=class_count))
    return tuple(sentences)


def reason_text(code: str, note: str = "") -> str:
    """The reason of a correction as it is stored: the listed reason, then the note."""
    listed = dict(CORRECTION_REASONS).get(code, "")
    if code == "other":
        listed = ""
    return " — ".join(part for part in (listed, note.strip()) if part)
