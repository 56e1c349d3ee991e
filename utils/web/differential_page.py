"""What the page of a case's differential says: three counts of different kinds, never added."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from utils.errors import InvalidInput
from utils.records import Case, db
from utils.web.services import services
from utils.web.views import me
from utils.workflow import access, hand_counts
from utils.workflow.blast_accuracy import read_blast_accuracy
from utils.workflow.calls import BORDER_RULE, CaseCalls, calls_of_case
from utils.workflow.differential import (
    DEFAULTS,
    TARGETS,
    BlastAccuracy,
    Differential,
    Threshold,
    tally,
)

if TYPE_CHECKING:
    from utils.networks.manifest import LabelClass

PROBLEMS: Final = {
    "nothing_counted": "Nothing was counted.",
    "no_information": "The network's accuracy, as far as it was measured, tells nothing here.",
    "contradiction": "These counts do not fit the accuracy that was measured: do not rely on them.",
}
_LEAST_SCALE: Final = 0.3


@dataclass(frozen=True)
class Choice:
    """What the person chose in the address.

    Attributes
    ----------
    target : int
        One of `TARGETS`.
    threshold : float or None
        A threshold of their own, 0 to 1, both excluded.
    shown : str
        The threshold as they wrote it, percent.
    errors : dict of str to str
        By the name of the form's field; where there is one the default stands.
    """

    target: int
    threshold: float | None
    shown: str
    errors: dict[str, str]


@dataclass(frozen=True)
class Section:
    """One kind of count.

    Attributes
    ----------
    key : "confirmed", "network" or "hand"
    differential : Differential
    unknown : int
        Cells of classes that the present label set does not have: named, and in no share.
    accuracy : BlastAccuracy or None
        The network's, in its own section alone.
    """

    key: str
    differential: Differential
    unknown: int
    accuracy: BlastAccuracy | None = None

    @property
    def empty(self) -> bool:
        """Whether there is no cell at all."""
        return not (self.differential.counted or self.differential.uncounted or self.unknown)


def label_set_name() -> str:
    """Name of the network whose classes cells are counted by."""
    return services().settings.cell_network


def counting_labels() -> list[LabelClass]:
    """Give the classes that cells are counted by.

    Raises
    ------
    NetworkUnavailable
        If none are installed.
    """
    from utils.networks.registry import label_set

    return label_set(services().settings.models_dir, label_set_name())


def read_target(text: str) -> int:
    """Read the number of cells to count; empty is the first of `TARGETS`.

    Raises
    ------
    InvalidInput
        If it is none of them.
    """
    if not text:
        return TARGETS[0]
    if text not in map(str, TARGETS):
        raise InvalidInput(
            f"A target of {', '.join(map(str, TARGETS))} cells was expected.", code="target_unknown"
        )
    return int(text)


def read_threshold(text: str) -> float | None:
    """Read a threshold in percent, with a point or a comma; empty is none.

    Raises
    ------
    InvalidInput
        If it is no number between 0 and 100.
    """
    if not text:
        return None
    try:
        percent = float(text.replace(",", "."))
    except ValueError:
        percent = math.nan
    if not 0.0 < percent < 100.0:
        raise InvalidInput(
            "A threshold between 0 and 100 percent was expected.", code="threshold_invalid"
        )
    return percent / 100


def read_choice(arguments: Mapping[str, str]) -> Choice:
    """Read the form above the differential."""
    shown = arguments.get("threshold", "").strip()[:20]
    choice = Choice(TARGETS[0], None, shown, {})
    try:
        choice = replace(choice, target=read_target(arguments.get("target", "").strip()))
    except InvalidInput as error:
        choice.errors["target"] = error.message
    try:
        choice = replace(choice, threshold=read_threshold(shown))
    except InvalidInput as error:
        choice.errors["threshold"] = error.message
    return choice


def describe(case: Case, choice: Choice) -> dict[str, Any]:
    """Gather what the template expects."""
    labels, calls = counting_labels(), calls_of_case(db.session(), case)
    people = hand_counts.tally_by_person(db.session(), case, label_set=label_set_name())
    thresholds = _thresholds(choice)
    by_hand = hand_counts.tally_by_hand(db.session(), case, label_set=label_set_name())
    sections = [
        _section("confirmed", calls.confirmed, labels, choice, thresholds),
        _section("network", calls.by_network, labels, choice, thresholds, _accuracy(calls)),
        _section("hand", by_hand, labels, choice, thresholds),
    ]
    return {
        "calls": calls,
        "sections": sections,
        "people": people,
        "scale": scale_of(sections, thresholds),
        "choice": choice,
        "targets": [(target, f"{target} cells") for target in TARGETS],
        "notes": [(label.display_name, label.note) for label in labels if label.note],
        "border_rule": BORDER_RULE,
        "problems": PROBLEMS,
        "may_count": access.can_correct(me(), case),
    }


def scale_of(sections: Sequence[Section], thresholds: Sequence[Threshold]) -> float:
    """Give the one scale of all bars: the highest bound or threshold, up to the next tenth.

    Totals of lineages have no bar: most of the marrow is myeloid, and beside that the classes
    would be dots.
    """
    highest = [threshold.share for threshold in thresholds]
    for section in sections:
        if section.differential.counted:
            highest += [row.high for row in section.differential.rows if row.high is not None]
            if section.differential.blasts:
                highest.append(section.differential.blasts.high)
    return min(1.0, math.ceil(10 * max(_LEAST_SCALE, *highest) - 1e-9) / 10)


def _thresholds(choice: Choice) -> tuple[Threshold, ...]:
    chosen: tuple[Threshold, ...] = ()
    if choice.threshold is not None and choice.threshold not in {each.share for each in DEFAULTS}:
        chosen = (Threshold("your own", choice.threshold),)
    return tuple(sorted((*DEFAULTS, *chosen), key=lambda threshold: threshold.share))


def _section(
    key: str,
    counts: Mapping[str, int],
    labels: Sequence[LabelClass],
    choice: Choice,
    thresholds: Sequence[Threshold],
    accuracy: BlastAccuracy | None = None,
) -> Section:
    # An older version may have named classes that the present label set has not: they are said
    # and not guessed into one of the present ones.
    codes = {label.code for label in labels}
    known = {code: cells for code, cells in counts.items() if code in codes}
    differential = tally(
        known, labels, target=choice.target, thresholds=thresholds, accuracy=accuracy
    )
    return Section(key, differential, sum(counts.values()) - sum(known.values()), accuracy)


def _accuracy(calls: CaseCalls) -> BlastAccuracy | None:
    """The accuracy of the one version that read the cells; several have no common one."""
    if len(calls.networks) != 1:
        return None
    return read_blast_accuracy(services().settings.models_dir, *calls.networks[0])
