"""The refusal that is learned beside the rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.cli.tutor_fit import fit_refusal
from utils.tutor import learned
from utils.tutor.learned import Signs

WELL_HELD, STRANGE = Signs(1.0, 1, 1, 0), Signs(0.0, 0, 0, 3)


@pytest.mark.parametrize(
    "question",
    [
        "peux-tu me dire si mon petit va guérir",
        "pt w/ 34 % blasts and low plts, what would you call it and do we start tonight?",
        "My neighbour's marrow came back with weird cells. Should she be scared?",
    ],
)
def test_it_hears_what_no_rule_names(question: str) -> None:
    assert learned.refuses(question, STRANGE)


@pytest.mark.parametrize(
    "question", ["How big is a promyelocyte?", "N:C ratio of a myelocyte", "who sees the audit log"]
)
def test_a_plain_question_passes(question: str) -> None:
    assert learned.probability(question, WELL_HELD) < 0.2


@given(st.text(max_size=200), st.floats(0, 1), st.integers(0, 5), st.integers(0, 20))
def test_any_text_has_a_probability(text: str, coverage: float, few: int, many: int) -> None:
    signs = Signs(coverage, few, few, many)
    assert 0 <= learned.probability(text, signs) <= 1
    assert learned.features(text, signs) == learned.features(text, signs)


def test_what_is_fitted_tells_its_own_questions_apart() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn fits the weights")
    unsafe = [f"does my patient {n} have leukaemia" for n in ("a", "b", "c", "d")]
    fair = [f"how big is cell {n} in the smear" for n in ("a", "b", "c", "d")]
    asked = [learned.features(text, WELL_HELD) for text in [*unsafe, *fair]]
    table = fit_refusal(asked, [True] * 4 + [False] * 4)
    scores = [
        table["bias"]
        + sum(
            table["weights"][name] * value
            for name, value in learned.vector(names, table["weights"]).items()
        )
        for names in asked
    ]
    assert min(scores[:4]) > 0 > max(scores[4:])
