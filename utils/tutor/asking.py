"""How people ask: what the questions of `tests/tutor/questions` taught about the corpus.

The words that people used for a passage, beside the passage's own; a topic for a whole question, or
none of them, by a logistic regression on words and pairs of words; and, from both and from how well
the corpus holds the question, whether there is an answer at all. `flask tutor fit` made the numbers
from all question sets but the two that are kept apart; they are numbers in a file and can be read.

References
----------
.. [1] Nogueira et al. (2019), Document expansion by query prediction, arXiv:1904.08375: here with
   questions that people asked in place of predicted ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from utils.tutor import words

TABLE: Final = Path(__file__).with_suffix(".json")
# The topic of a question that the corpus has no answer to.
NONE: Final = ""
# Signs of a question with an answer, in this order in the table's `known`.
SIGNS: Final = ("coverage", "topics", "sides", "unknown", "none", "surest")


@dataclass(frozen=True)
class Asking:
    """What was learned.

    Attributes
    ----------
    words : mapping
        Of a passage's name to the stems people asked for it with, each with how often.
    bias : mapping of str to float
        By topic.
    weights : mapping
        Of a feature to its weights by topic.
    known : mapping of str to float
        Weights of `SIGNS`, and ``bias``.
    """

    words: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    bias: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    known: Mapping[str, float] = field(default_factory=dict)

    def topics(self, spoken: Sequence[str]) -> dict[str, float]:
        """How likely each topic is, and that it is none.

        Parameters
        ----------
        spoken : sequence of str
            Words of the question in their order, misspelt ones put right.

        Returns
        -------
        shares : dict of str to float
            They sum to one; empty where nothing was learned.
        """
        if not self.bias:
            return {}
        scores = dict(self.bias)
        for name, value in vector(features(spoken), self.weights).items():
            for topic, weight in self.weights[name].items():
                scores[topic] += weight * value
        highest = max(scores.values())
        shares = {topic: math.exp(score - highest) for topic, score in scores.items()}
        total = sum(shares.values())
        return {topic: share / total for topic, share in shares.items()}

    def answerable(self, signs: Mapping[str, float]) -> float | None:
        """How likely it is that the corpus answers, 0 to 1; None where nothing was learned."""
        if not self.known:
            return None
        score = self.known["bias"] + sum(self.known[name] * signs[name] for name in SIGNS)
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, score))))


def features(spoken: Sequence[str]) -> set[str]:
    """Stems of a question, and pairs of neighbours."""
    stems = [words.stem(word) for word in spoken]
    return set(stems) | {f"{a} {b}" for a, b in pairwise(stems)}


def vector(names: set[str], known: Mapping[str, Any]) -> dict[str, float]:
    """Values of the known features: together of length one, so that long questions weigh alike."""
    kept = sorted(name for name in names if name in known)
    return dict.fromkeys(kept, 1 / math.sqrt(len(kept))) if kept else {}


def signs(
    coverage: float, topics: int, sides: int, unknown: int, shares: Mapping[str, float]
) -> dict[str, float]:
    """What tells whether the corpus answers, each about 0 to 1."""
    surest = max((share for topic, share in shares.items() if topic != NONE), default=0.0)
    values = (
        coverage,
        min(2, topics) / 2,
        min(2, sides) / 2,
        min(4, unknown) / 4,
        shares.get(NONE, 0.0),
        surest,
    )
    return dict(zip(SIGNS, values, strict=True))


@cache
def shipped_asking() -> Asking:
    """What the shipped table holds; read once in a process."""
    return Asking(**json.loads(TABLE.read_text(encoding="utf-8")))
