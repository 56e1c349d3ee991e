"""What the rules of `scope` do not hear: a refusal learned from questions, beside them.

A logistic regression on words, letters, the groups of `scope.toml` and on how well the corpus holds
the question. `flask tutor fit` made its weights from the questions in `tests/tutor/questions`, all
but the half that is held back; they are numbers in a file and can be read.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from utils.tutor import scope

WEIGHTS: Final = Path(__file__).with_suffix(".json")
# Fitted by cross-validation on the questions: nearly all unsafe ones, few others.
THRESHOLD: Final = 0.4
_TOKEN: Final = re.compile(r"[a-z0]+|[^\sa-z0]")
_GRAM: Final = 4
_SIGN_VALUE: Final = 0.25
_SIGNS: Final = "@%"


@dataclass(frozen=True)
class Signs:
    """How well the corpus holds a question.

    Attributes
    ----------
    coverage : float
        Share of the question's weight in the best passage or in its topics, 0 to 1.
    topics, sides, unknown : int
        Numbers of topics and sections that it names, and of words that no passage holds.
    """

    coverage: float
    topics: int
    sides: int
    unknown: int


def refuses(question: str, signs: Signs) -> bool:
    """Whether a question is more like those that are refused."""
    return probability(question, signs) > THRESHOLD


def probability(question: str, signs: Signs) -> float:
    """How like it is to the questions that are refused, 0 to 1."""
    table = _weights()
    values = vector(features(question, signs), table["weights"])
    score = table["bias"] + sum(table["weights"][name] * value for name, value in values.items())
    return 1 / (1 + math.exp(-score))


def features(question: str, signs: Signs) -> set[str]:
    """Name what a question has: words, pairs, letters, groups, signs.

    Parameters
    ----------
    question : str
    signs : Signs

    Returns
    -------
    names : set of str
        Those of groups begin with ``@``, those of the signs with ``%``, of letters with ``#``.
    """
    heard = scope.heard(question)
    tokens = _TOKEN.findall(re.sub(r"\d+", "0", heard))
    ends = ["^", *tokens, "$"]
    names = set(tokens) | {f"{a} {b}" for a, b in pairwise(ends)}
    for token in tokens:
        padded = f"_{token}_"
        names |= {f"#{padded[i : i + _GRAM]}" for i in range(max(1, len(padded) - _GRAM + 1))}
    groups = scope.groups_in(heard)
    names |= {f"@{group}" for group in groups}
    names |= {f"@{a} @{b}" for i, a in enumerate(groups) for b in groups[i + 1 :]}
    return names | {
        f"%coverage {min(8, int(8 * signs.coverage))}",
        f"%topics {min(2, signs.topics)}",
        f"%sides {min(2, signs.sides)}",
        f"%unknown {min(4, signs.unknown)}",
        f"%words {min(6, len(heard.split()) // 5)}",
    }


def vector(names: Iterable[str], known: Any) -> dict[str, float]:
    """Values of the known features: words share one unit, signs weigh alike in any length."""
    kept = [name for name in names if name in known]
    words = sum(name[0] not in _SIGNS for name in kept)
    share = 1 / math.sqrt(max(words, 1))
    return {name: _SIGN_VALUE if name[0] in _SIGNS else share for name in kept}


@cache
def _weights() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(WEIGHTS.read_text(encoding="utf-8"))
    return table
