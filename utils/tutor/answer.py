"""A short answer from the passages that were found, each sentence with its passage."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from utils.tutor import asking, learned, scope, words
from utils.tutor.passages import Passage
from utils.tutor.retrieval import Asked, Hit, Index

Kind = Literal["answer", "refused", "unknown"]

# Fitted on the development half of the question set (`tests/tutor/questions`).
LEAST_COVERAGE: Final = 0.55
LEAST_COVERAGE_NAMED: Final = 0.25
LEAST_COVERAGE_ASKED: Final = 0.1
# Where it was learned how people ask.
LEAST_LIKELY: Final = 0.35
MOST_PASSAGES: Final = 3
_NEAR: Final = 0.6
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+(?=[A-Z“0-9])")

UNKNOWN: Final = (
    "I don't know: nothing in my passages answers this. I know marrow cells and their stages, "
    "counting rules, stains and artefacts, B-ALL image classes, and this program's pages."
)


@dataclass(frozen=True)
class Paragraph:
    """A piece of an answer and the passages that it rests on.

    Attributes
    ----------
    text : str
    cites : tuple of int
        Numbers of passages, from 1, in the order of `Answer.cited`.
    """

    text: str
    cites: tuple[int, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What the tutor says.

    Attributes
    ----------
    kind : {"answer", "refused", "unknown"}
    paragraphs : tuple of Paragraph
    cited : tuple of str
        Names of passages.
    near : tuple of str
        Topics to read next, or that come nearest where nothing fits.
    writer : str
        ``embedded``, or the name of the language network at the endpoint.
    note : str
        One line on how it was made, where that is not as set.
    """

    kind: Kind
    paragraphs: tuple[Paragraph, ...]
    cited: tuple[str, ...] = ()
    near: tuple[str, ...] = ()
    writer: str = "embedded"
    note: str = ""

    @property
    def text(self) -> str:
        """All paragraphs, with the numbers of their passages."""
        return "\n\n".join(
            p.text + "".join(f" [{number}]" for number in p.cites) for p in self.paragraphs
        )


@dataclass(frozen=True)
class Found:
    """A question as understood, and the passages for it; none where nothing fits.

    Attributes
    ----------
    asked : Asked
    refusal : str or None
        Why it is not answered.
    hits : tuple of Hit
        The passages an answer may rest on.
    best : tuple of Hit
        The first of all, whether they fit or not.
    coverage : float
        Share of the question's weight in the best passage or in its topics, 0 to 1.
    """

    asked: Asked
    refusal: scope.Refused | None
    hits: tuple[Hit, ...]
    best: tuple[Hit, ...]
    coverage: float

    @property
    def signs(self) -> learned.Signs:
        """How well the corpus holds the question."""
        asked = self.asked
        return learned.Signs(self.coverage, len(asked.topics), len(asked.sides), len(asked.unknown))

    @property
    def remembered(self) -> Asked:
        """The question for those that follow: what it named, or what answered it."""
        if self.asked.topics or not self.hits:
            return self.asked
        return replace(self.asked, topics=(self.hits[0].passage.topic,))


def look_up(index: Index, question: str, before: Sequence[Asked] = ()) -> Found:
    """Understand a question and look its passages up, whether it may be answered or not.

    Parameters
    ----------
    index : Index
    question : str
    before : sequence of Asked
        What was asked earlier in the conversation, in order.

    Returns
    -------
    found : Found
    """
    asked = index.understand(question, before)
    hits = tuple(index.search(asked, most=MOST_PASSAGES))
    coverage = hits[0].coverage if hits else 0.0
    if asked.topics:
        coverage = max(coverage, index.coverage_of_topics(asked))
    return Found(asked, None, hits if _fits(index, asked, coverage) else (), hits, coverage)


def find(index: Index, question: str, before: Sequence[str] = ()) -> Found:
    """Find what a question may be answered from, or why it is not answered.

    Parameters
    ----------
    index : Index
    question : str
    before : sequence of str
        Earlier questions of the conversation, in order.

    Returns
    -------
    found : Found
    """
    asked: list[Asked] = []
    for earlier in before:
        asked.append(look_up(index, earlier, asked).remembered)
    found = look_up(index, question, asked)
    refusal = scope.refusal(question)
    # Half a question, of which the other half was asked before, is none that was learned from.
    if refusal is None and not found.asked.context and learned.refuses(question, found.signs):
        refusal = "person"
    return found if refusal is None else replace(found, refusal=refusal, hits=())


def compose(index: Index, found: Found) -> Answer:
    """Write the embedded answer.

    Returns
    -------
    answer : Answer
    """
    if found.refusal is not None:
        return Answer("refused", (Paragraph(scope.SENTENCES[found.refusal]),))
    if not found.hits:
        near = tuple(dict.fromkeys(hit.passage.topic for hit in found.best))
        return Answer("unknown", (Paragraph(UNKNOWN),), near=near)
    used = _used(found)
    paragraphs = tuple(
        Paragraph(_excerpt(hit.passage, found.asked, whole=number == 1), (number,))
        for number, hit in enumerate(used, start=1)
    )
    names = tuple(hit.passage.name for hit in used)
    return Answer("answer", paragraphs, names, near=read_on(index, used))


def read_on(index: Index, used: Sequence[Hit]) -> tuple[str, ...]:
    """Topics to read after some passages: those that theirs lead to."""
    topics = dict.fromkeys(hit.passage.topic for hit in used)
    further = dict.fromkeys(
        see for topic in topics for see in index.corpus.topics[topic].see if see not in topics
    )
    return tuple(further)[:5]


def _fits(index: Index, asked: Asked, coverage: float) -> bool:
    if asked.dangling or not (asked.words or asked.topics):
        return False
    likely = index.asking.answerable(signs_of(asked, coverage))
    if likely is not None:
        return likely >= LEAST_LIKELY
    if asked.topics:
        return coverage >= (LEAST_COVERAGE_ASKED if asked.sides else LEAST_COVERAGE_NAMED)
    return coverage >= LEAST_COVERAGE


def signs_of(asked: Asked, coverage: float) -> dict[str, float]:
    """What tells whether the corpus answers a question."""
    counts = (len(asked.topics), len(asked.sides), len(asked.unknown))
    return asking.signs(coverage, *counts, asked.likely)


def _used(found: Found) -> list[Hit]:
    """The passages that are written out: those near the best, each topic's side once."""
    best = found.hits[0]
    used = [best]
    for hit in found.hits[1:]:
        if hit.score < _NEAR * best.score:
            continue
        # A summary after the side that was asked for says what is known already.
        if hit.passage.section == "summary" and hit.passage.topic == best.passage.topic:
            continue
        used.append(hit)
    return used


def _excerpt(passage: Passage, asked: Asked, *, whole: bool) -> str:
    """The passage, or of a further one its sentence nearest to the question and the one before."""
    sentences = _SENTENCE.split(passage.text)
    if whole or len(sentences) <= 2:
        return passage.text
    wanted = set(asked.words)
    held = [len(wanted & set(words.content_words(sentence))) for sentence in sentences]
    best = max(range(len(sentences)), key=lambda i: (held[i], -i))
    return sentences[0] if best == 0 else f"{sentences[0]} {sentences[best]}"
