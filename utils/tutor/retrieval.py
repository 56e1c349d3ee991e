"""Find the passages that answer a question: topics by their names, words by BM25.

A question mostly names what it is about (a cell, a rule, a page) and which side of it (its size,
what it is confused with). Both are recognised; BM25 over all passages orders the rest and finds
what is asked without any name. How much of the question's weight the best passage holds decides
whether there is an answer at all.

References
----------
.. [1] Robertson and Zaragoza (2009), doi:10.1561/1500000019 (BM25 and its fields).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from utils.tutor import words
from utils.tutor.passages import Corpus, Passage, shipped_corpus

_K1: Final = 1.2
_B: Final = 0.5
_TEXT, _SECTION, _TOPIC = 1.0, 2.5, 1.5
# In units of a rare word's weight: what a recognised name or side of it adds.
_NAMED: Final = 1.6
_SIDE: Final = 1.4
_SUMMARY: Final = 0.5

# Words (stemmed) that ask for a section of a cell's topic.
SIDES: Final[dict[str, frozenset[str]]] = {
    "summary": frozenset(
        {"overview", "summary", "introduction", "basics", "appearance", "morphology"}
    ),
    "size": frozenset({"size", "small", "smaller", "smallest"}),
    "nc_ratio": frozenset({"ncratio", "ratio"}),
    "nucleus": frozenset({"nucleus", "lobe", "indentation", "shape", "eccentric"}),
    "chromatin": frozenset({"chromatin", "clump", "clumped", "condensed", "clockface"}),
    "nucleoli": frozenset({"nucleolus"}),
    "cytoplasm": frozenset({"cytoplasm", "basophilia", "vacuole", "hof", "plasma"}),
    "granules": frozenset({"granule", "azurophilic", "granulopenia"}),
    "maturation": frozenset({"mature", "before", "next", "lineage", "origin", "becomes", "become"}),
    "confusion": frozenset({"distinguish", "similar", "resemble", "from", "between"}),
    "normal_share": frozenset({"share", "normal", "range", "number"}),
    "pitfalls": frozenset({"pitfall", "error", "mistake", "trap", "caution", "watch", "danger"}),
}
_REFERRING: Final = frozenset(
    {"it", "its", "they", "them", "their", "that", "this", "these", "those", "ones"}
)
_GOING_ON: Final = (
    "and ",
    "what about",
    "how about",
    "why",
    "but ",
    "also ",
    "then ",
    "or ",
    "how so",
    "und ",
)


@dataclass(frozen=True)
class Hit:
    """A passage that was found.

    Attributes
    ----------
    passage : Passage
    score : float
    coverage : float
        Share of the question's weight that the passage holds, 0 to 1.
    """

    passage: Passage
    score: float
    coverage: float


@dataclass(frozen=True)
class Asked:
    """A question as it was understood.

    Attributes
    ----------
    words : tuple of str
        Stemmed content words, misspelt ones put right.
    topics : tuple of str
        Topics that it names, or that it refers back to.
    sides : tuple of str
        Sections that it asks for.
    unknown : tuple of str
        Words that no passage holds.
    dangling : bool
        Whether it refers to something that was not said.
    """

    words: tuple[str, ...]
    topics: tuple[str, ...] = ()
    sides: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    dangling: bool = False


@dataclass
class _Entry:
    passage: Passage
    counts: dict[str, float]
    length: float
    section_words: frozenset[str]
    everything: frozenset[str] = field(default_factory=frozenset)


class Index:
    """All passages, ready to be searched.

    Parameters
    ----------
    corpus : Corpus
    """

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self._names = _names(corpus)
        self._longest = max((len(name) for name in self._names), default=1)
        self._entries = [self._entry(passage) for passage in corpus.passages]
        seen = Counter(word for entry in self._entries for word in entry.everything)
        count = len(self._entries)
        self._weights = {
            word: math.log(1 + (count - n + 0.5) / (n + 0.5)) for word, n in seen.items()
        }
        self._strange = math.log(1 + (count + 0.5) / 0.5)
        self._mean_length = sum(entry.length for entry in self._entries) / max(count, 1)
        self._by_letter: dict[str, list[str]] = defaultdict(list)
        for word in sorted(set(self._weights) | {w for name in self._names for w in name}):
            self._by_letter[word[:1]].append(word)
        self._by_topic: dict[str, list[_Entry]] = defaultdict(list)
        for entry in self._entries:
            self._by_topic[entry.passage.topic].append(entry)

    def knows(self, word: str) -> bool:
        """Whether a stemmed word stands in a passage or a name."""
        return word in self._weights or (word,) in self._names

    def understand(self, question: str, before: Sequence[Asked] = ()) -> Asked:
        """Recognise the words, topics and sections of a question.

        Parameters
        ----------
        question : str
        before : sequence of Asked
            What was asked earlier in the conversation, in order.

        Returns
        -------
        asked : Asked
        """
        raw = words.raw_words(question)
        kept = [self._put_right(words.stem(w)) for w in raw if not words.is_stop(w)]
        found = self._named(kept)
        sides = _sides(kept, [words.stem(w) for w in raw])
        refers = bool(_REFERRING & set(raw)) or words.plain(question).startswith(_GOING_ON)
        last = next((asked for asked in reversed(before) if asked.topics), None)
        if last is not None and (refers or not found) and len(kept) <= 8:
            if not found and not sides:
                kept, sides = [*kept, *last.sides], [*last.sides]
            elif found and not sides:
                sides = [*last.sides]
            if "confusion" in sides or not found:
                found = [*last.topics, *(t for t in found if t not in last.topics)]
        unknown = tuple(word for word in kept if not self.knows(word))
        dangling = refers and not found and len(kept) <= 2
        return Asked(tuple(kept), tuple(found), tuple(sides), unknown, dangling)

    def search(self, asked: Asked, *, most: int = 6) -> list[Hit]:
        """The best passages, best first.

        Parameters
        ----------
        asked : Asked
        most : int
            Number of passages.

        Returns
        -------
        hits : list of Hit
        """
        wanted = Counter(asked.words)
        total = sum(self._weight(word) for word in wanted) or 1.0
        hits = []
        for entry in self._entries:
            score = self._bm25(wanted, entry)
            named = entry.passage.topic in asked.topics
            if named:
                score += _NAMED * self._strange / len(asked.topics) ** 0.5
                score += self._side(entry, asked)
            if score <= 0:
                continue
            held = sum(self._weight(w) for w in wanted if w in entry.everything)
            hits.append(Hit(entry.passage, score, held / total))
        hits.sort(key=lambda hit: (-hit.score, hit.passage.name))
        return hits[:most]

    def coverage_of_topics(self, asked: Asked) -> float:
        """Share of the question's weight that the passages of its topics hold together."""
        held: set[str] = set()
        for topic in asked.topics:
            for entry in self._by_topic[topic]:
                held |= entry.everything
        wanted = set(asked.words)
        total = sum(self._weight(word) for word in wanted) or 1.0
        return sum(self._weight(word) for word in wanted & held) / total

    def _weight(self, word: str) -> float:
        return self._weights.get(word, self._strange)

    def _bm25(self, wanted: Counter[str], entry: _Entry) -> float:
        norm = _K1 * (1 - _B + _B * entry.length / self._mean_length)
        score = 0.0
        for word in wanted:
            count = entry.counts.get(word, 0.0)
            if count:
                score += self._weights[word] * count * (_K1 + 1) / (count + norm)
        return score

    def _side(self, entry: _Entry, asked: Asked) -> float:
        section = entry.passage.section
        if section in asked.sides:
            return _SIDE * self._strange
        if section == "summary":
            return _SUMMARY * self._strange * (0.5 if asked.sides else 1.0)
        return 0.0

    def _put_right(self, word: str) -> str:
        if self.knows(word) or word in _ALL_SIDES:
            return word
        return words.nearest(word, self._by_letter.get(word[:1], ())) or word

    def _named(self, kept: Sequence[str]) -> list[str]:
        found: list[str] = []
        at = 0
        while at < len(kept):
            for length in range(min(self._longest, len(kept) - at), 0, -1):
                topic = self._names.get(tuple(kept[at : at + length]))
                if topic is not None:
                    if topic not in found:
                        found.append(topic)
                    at += length
                    break
            else:
                at += 1
        return found

    def _entry(self, passage: Passage) -> _Entry:
        topic = self.corpus.topics[passage.topic]
        text = words.content_words(passage.text)
        section = words.content_words(" ".join((passage.title, passage.section, *passage.words)))
        names = words.content_words(" ".join((topic.title, *topic.names, *topic.labels)))
        counts: dict[str, float] = defaultdict(float)
        for word in text:
            counts[word] += _TEXT
        for word in set(section):
            counts[word] += _SECTION
        for word in set(names):
            counts[word] += _TOPIC
        return _Entry(passage, counts, float(len(text)), frozenset(section), frozenset(counts))


@cache
def shipped_index() -> Index:
    """The index of the shipped corpus; built once in a process."""
    return Index(shipped_corpus())


_ALL_SIDES: Final = frozenset(word for side in SIDES.values() for word in side)
# Codes that are words as well: only a person who means the class writes them in capitals.
_WORDS_TOO: Final = frozenset({"art", "oth", "mon", "early", "pre", "pro", "benign"})


def _names(corpus: Corpus) -> dict[tuple[str, ...], str]:
    names: dict[tuple[str, ...], str] = {}
    for topic in corpus.topics.values():
        codes = [code for code in topic.labels if code.casefold() not in _WORDS_TOO]
        for name in (topic.title, topic.name.replace("_", " "), *topic.names, *codes):
            key = tuple(words.content_words(name))
            # Of “other cell” only “cell” would be left, and every question would name it.
            if len(key) > 1 or len(words.raw_words(name)) == 1 == len(key):
                names.setdefault(key, topic.name)
    return names


def _sides(kept: Sequence[str], stemmed: Sequence[str]) -> list[str]:
    heard = set(kept) | (set(stemmed) & {"from", "between", "before", "next"})
    sides = [side for side, asks in SIDES.items() if heard & asks]
    text = " ".join(stemmed)
    if "how many" in text and "normal_share" not in sides:
        sides.append("normal_share")
    for phrase in ("look like", "tell from", "tell it", "tell apart", "mixed up", "mix up"):
        if phrase in text and phrase != "look like" and "confusion" not in sides:
            sides.append("confusion")
    return sides
