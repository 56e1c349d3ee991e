"""Fit what the tutor learns from questions; the only part of it that needs scikit-learn."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from utils.tutor import asking, learned
from utils.tutor.answer import look_up, signs_of
from utils.tutor.asking import NONE, SIGNS, Asking
from utils.tutor.evaluation import CITING, Question
from utils.tutor.passages import Corpus
from utils.tutor.retrieval import Asked, Index

_LEAST_WEIGHT: Final = 0.02


def fit_refusal(asked: Sequence[set[str]], refused: Sequence[bool]) -> dict[str, Any]:
    """Fit the weights; needs scikit-learn.

    Parameters
    ----------
    asked : sequence of set of str
        Features of each question.
    refused : sequence of bool

    Returns
    -------
    table : dict
        ``bias`` and ``weights``.
    """
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression

    counts = Counter(name for names in asked for name in names)
    known = {name for name, count in counts.items() if count > 1}
    maker = DictVectorizer()
    inputs = maker.fit_transform([learned.vector(sorted(names), known) for names in asked])
    fitted = LogisticRegression(C=10, max_iter=1000, class_weight="balanced")
    fitted.fit(inputs, list(refused))
    weights = zip(maker.get_feature_names_out(), fitted.coef_[0], strict=True)
    return {
        "bias": round(float(fitted.intercept_[0]), 3),
        "weights": {name: round(float(w), 3) for name, w in weights if abs(w) >= _LEAST_WEIGHT},
    }


# Weights of topics below this are left out of the table: they change nothing.
_LEAST_TOPIC_WEIGHT: Final = 0.4
# Passages teach their topic's words as well, with this weight of a question.
_PASSAGE_WEIGHT: Final = 0.5
_PARTS: Final = 4


def fit_asking(corpus: Corpus, questions: Sequence[Question]) -> dict[str, Any]:
    """Learn how people ask for passages and topics, and what has no answer.

    Parameters
    ----------
    corpus : Corpus
    questions : sequence of Question

    Returns
    -------
    table : dict
        The fields of `utils.tutor.asking.Asking`.
    """
    plain = Index(corpus)
    table = _asked(plain, questions)
    # Whether there is an answer is learned from questions that the rest has not learned from.
    signs, answered = [], []
    for part in range(_PARTS):
        rest = [q for i, q in enumerate(questions) if i % _PARTS != part]
        index = Index(corpus, Asking(**_asked(plain, rest)))
        for question in questions[part::_PARTS]:
            if question.kind not in (*CITING, "out_of_scope"):
                continue
            before: list[Asked] = []
            for earlier in question.before:
                before.append(look_up(index, earlier, before).remembered)
            for text in question.ask:
                found = look_up(index, text, before)
                signs.append(list(signs_of(found.asked, found.coverage).values()))
                answered.append(question.kind != "out_of_scope")
    return table | {"known": _known(np.array(signs), answered)}


def _known(signs: np.ndarray, answered: Sequence[bool]) -> dict[str, float]:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=100, max_iter=1000, class_weight="balanced")
    fitted.fit(signs, list(answered))
    weights = {name: round(float(w), 3) for name, w in zip(SIGNS, fitted.coef_[0], strict=True)}
    return weights | {"bias": round(float(fitted.intercept_[0]), 3)}


def _asked(plain: Index, questions: Sequence[Question]) -> dict[str, Any]:
    """Words of passages, and weights of topics."""
    times: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    rows: list[tuple[set[str], str, float]] = []
    for question in questions:
        if question.kind not in (*CITING, "out_of_scope"):
            continue
        names = [name for entry in question.cite for name in entry]
        topics = Counter(name.partition("#")[0] for name in names) or Counter({NONE: 1})
        earlier = [word for text in question.before for word in plain.understand(text).spoken]
        for text in question.ask:
            understood = plain.understand(text)
            for name in names:
                for word in set(understood.words):
                    times[name][word] += 1 / math.sqrt(len(names))
            heard = asking.features([*earlier, *understood.spoken])
            rows += [(heard, topic, n / topics.total()) for topic, n in topics.items()]
    for passage in plain.corpus.passages:
        text = f"{passage.text} {passage.title} {' '.join(passage.words)}"
        heard = asking.features(plain.understand(text).spoken)
        rows.append((heard, passage.topic, _PASSAGE_WEIGHT))
    rounded = {
        name: {word: round(n, 2) for word, n in sorted(found.items())}
        for name, found in sorted(times.items())
    }
    return {"words": rounded} | _topics(rows)


def _topics(rows: Sequence[tuple[set[str], str, float]]) -> dict[str, Any]:
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression

    counts = Counter(name for heard, _, _ in rows for name in heard)
    known = {name for name, count in counts.items() if count > 1}
    maker = DictVectorizer()
    inputs = maker.fit_transform(
        [asking.vector(heard, dict.fromkeys(known)) for heard, _, _ in rows]
    )
    fitted = LogisticRegression(C=20, max_iter=300)
    fitted.fit(inputs, [topic for _, topic, _ in rows], sample_weight=[w for _, _, w in rows])
    names = maker.get_feature_names_out()
    weights: dict[str, dict[str, float]] = {}
    for column, name in enumerate(names):
        kept = {
            str(topic): round(float(weight), 2)
            for topic, weight in zip(fitted.classes_, fitted.coef_[:, column], strict=True)
            if abs(weight) >= _LEAST_TOPIC_WEIGHT
        }
        if kept:
            weights[str(name)] = kept
    bias = zip(fitted.classes_, fitted.intercept_, strict=True)
    return {"bias": {str(t): round(float(b), 3) for t, b in bias}, "weights": weights}
