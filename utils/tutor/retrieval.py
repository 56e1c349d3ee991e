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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Final

from utils.tutor import words
from utils.tutor.asking import Asking, shipped_asking
from utils.tutor.passages import SECTION_TITLES, Corpus, Passage, shipped_corpus

_K1: Final = 1.6
_B: Final = 0.3
_TEXT, _SECTION, _TOPIC = 1.0, 3.5, 1.5
# What a recognised name adds: so much of its words' weight, and a step.
_NAMED, _NAMED_STEP = 0.4, 2.0
# What the section that is asked for adds, and the summary; a phrase, for each of its words.
_SIDE, _SUMMARY, _PHRASE = 8.0, 3.5, 2.5
_CONTEXT = 0.5
# Words that people asked for a passage with: at most so much, half of it from so many askings on.
_ASKED, _ASKED_HALF = 2.0, 0.7
# The topic that a whole question is likely to be about adds this times the root of the likelihood.
_LIKELY = 8.0
_WHOLE = 4.0
_LONGEST_PHRASE: Final = 8
_WHOLE_TITLE: Final = 3

# Words that ask for a section of a cell's topic.
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
    "confusion": frozenset({"distinguish", "similar", "resemble", "from", "between", "mistaken"}),
    "normal_share": frozenset({"share", "normal", "range", "number"}),
    "pitfalls": frozenset({"pitfall", "error", "caution", "watch", "danger"}),
}
_REFERRING: Final = frozenset(
    {"it", "its", "they", "them", "their", "that", "this", "these", "those", "ones"}
)
_TELLING: Final = ("tell a", "tell the", "tell it", "tell them", "mixed up", "mix up", "look alike")
# A question of so few words may go on with what was asked before.
_SHORT: Final = 8
_MOST_WORDS: Final = 120
_LEAST_BEGUN: Final = 5
_REMEMBERED: Final = 12
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
    spoken : tuple of str
        All words in their order, misspelt ones put right.
    context : tuple of str
        Words of the question that it goes on with.
    likely : dict of str to float
        How likely each topic is, by how people ask; they and `asking.NONE` sum to one.
    """

    words: tuple[str, ...]
    topics: tuple[str, ...] = ()
    sides: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    dangling: bool = False
    spoken: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    likely: Mapping[str, float] = field(default_factory=dict)


@dataclass
class _Entry:
    passage: Passage
    counts: dict[str, float]
    length: float
    everything: frozenset[str]


class Index:
    """All passages, ready to be searched.

    Parameters
    ----------
    corpus : Corpus
    asking : Asking, optional
        How people ask.
    """

    def __init__(self, corpus: Corpus, asking: Asking | None = None) -> None:
        self.corpus = corpus
        self.asking = asking or Asking()
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
        self._phrases = _phrases(corpus)
        self._spelling = _spelling(corpus)
        self._put_right = lru_cache(maxsize=8192)(self._meant)
        self._topic_words = {
            topic.name: frozenset(words.content_words(" ".join((topic.title, *topic.names))))
            for topic in corpus.topics.values()
        }
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
        raw = words.raw_words(question)[:_MOST_WORDS]
        spoken = [part for word in raw for part in self._put_right(word)]
        kept = [words.stem(word) for word in spoken if not words.is_stop(word)]
        found, sides = self._named(spoken), _sides(spoken)
        if len(found) > 1 and not sides and self._may_be_confused(found):
            sides = ["confusion"]
        refers = bool(_REFERRING & set(spoken)) or " ".join(spoken).startswith(_GOING_ON)
        context: tuple[str, ...] = ()
        last = next((asked for asked in reversed(before) if asked.topics), None)
        if last is not None and (refers or not found) and len(kept) <= _SHORT:
            context = (*last.words, *last.context)[:_REMEMBERED]
            sides = sides or [*last.sides]
            if not found or refers:
                found = [*last.topics, *(t for t in found if t not in last.topics)]
        return Asked(
            words=tuple(kept),
            topics=tuple(found),
            sides=tuple(sides),
            unknown=tuple(word for word in kept if not self.knows(word)),
            dangling=refers and not found and all(word in _SIDE_OF for word in kept),
            spoken=tuple(spoken),
            context=context,
            likely=self._likely(spoken, last if context else None),
        )

    def _likely(self, spoken: Sequence[str], last: Asked | None) -> Mapping[str, float]:
        # Half a question is heard together with the one that it goes on with.
        return self.asking.topics([*(last.spoken if last else ()), *spoken])

    def search(self, asked: Asked, *, most: int) -> list[Hit]:
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
        context = Counter(word for word in asked.context if word not in wanted)
        phrases = self._phrases_in(asked.spoken)
        hits = []
        for entry in self._entries:
            name = entry.passage.name
            score = self._bm25(wanted, entry) + _PHRASE * phrases.get(name, 0)
            score += _CONTEXT * self._bm25(context, entry) if context else 0.0
            if entry.passage.topic in asked.topics:
                score += self._of_topic(entry, asked)
            if asked.likely:
                score += _LIKELY * math.sqrt(asked.likely.get(entry.passage.topic, 0.0))
            if score <= 0:
                continue
            held = sum(self._weight(w) for w in wanted if w in entry.everything)
            # A phrase that names the passage is an answer, though it be of common words alone.
            held = total if phrases.get(name, 0) >= _WHOLE_TITLE else held
            # One passage that holds the whole question beats those that hold a rare word of it.
            score += _WHOLE * (held / total) ** 2
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
                score += self._weight(word) * count * (_K1 + 1) / (count + norm)
        return score

    def _of_topic(self, entry: _Entry, asked: Asked) -> float:
        """What a passage gains by its topic's name, and by the side that is asked for."""
        heard = [
            self._weight(w) for w in asked.words if w in self._topic_words[entry.passage.topic]
        ]
        score = _NAMED * sum(heard) + _NAMED_STEP
        section = entry.passage.section
        if section in asked.sides:
            return score + _SIDE
        return score + (_SUMMARY if section == "summary" else 0.0)

    def _phrases_in(self, spoken: Sequence[str]) -> dict[str, int]:
        """Passages that a run of the words names, with the length of the longest."""
        found: dict[str, int] = {}
        for length in range(2, min(_LONGEST_PHRASE, len(spoken)) + 1):
            for at in range(len(spoken) - length + 1):
                for name, weight in self._phrases.get(tuple(spoken[at : at + length]), ()):
                    found[name] = max(found.get(name, 0), weight)
        return found

    def _meant(self, word: str) -> list[str]:
        """The word that is meant; of a compound such as “ringsideroblast” its two parts."""
        if words.is_stop(word) or self.knows(words.stem(word)):
            return [word]
        near = self._spelling.get(word[:1], ())
        meant = words.nearest(word, near) or self._longer(word, near)
        if meant is not None:
            return [meant]
        for at in range(4, len(word) - 3):
            parts = [word[:at], word[at:]]
            if all(self.knows(words.stem(part)) for part in parts):
                return parts
        return [word]

    def _longer(self, word: str, near: Sequence[str]) -> str | None:
        """The commonest word that an abbreviation begins: “hyperseg”, “promonos”."""
        begun = word.removesuffix("s")
        if len(begun) < _LEAST_BEGUN:
            return None
        longer = [w for w in near if w.startswith(begun) and words.stem(w) in self._weights]
        return min(longer, key=lambda w: (self._weights[words.stem(w)], w), default=None)

    def _may_be_confused(self, topics: Sequence[str]) -> bool:
        return all(self.corpus.topics[topic].room in ("cells", "patterns") for topic in topics)

    def _named(self, spoken: Sequence[str]) -> list[str]:
        """Topics by their names, the longest first at each place."""
        stems = [words.stem(word) for word in spoken]
        found: list[str] = []
        at = 0
        while at < len(stems):
            for length in range(min(self._longest, len(stems) - at), 0, -1):
                topic = self._names.get(tuple(stems[at : at + length]))
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
        own = frozenset(counts)
        for word, times in self.asking.words.get(passage.name, {}).items():
            counts[word] += _ASKED * times / (times + _ASKED_HALF)
        return _Entry(passage, counts, float(len(text)), own)


@cache
def shipped_index() -> Index:
    """The index of the shipped corpus; built once in a process."""
    return Index(shipped_corpus(), shipped_asking())


_SIDE_OF: Final = {words.stem(word): side for side, asking in SIDES.items() for word in asking}
# Codes that are words as well name no topic.
_WORDS_TOO: Final = frozenset({"art", "oth", "mon", "early", "pre", "pro", "benign"})


def _names(corpus: Corpus) -> dict[tuple[str, ...], str]:
    names: dict[tuple[str, ...], str] = {}
    for topic in corpus.topics.values():
        codes = [code for code in topic.labels if code.casefold() not in _WORDS_TOO]
        for name in (topic.title, topic.name.replace("_", " "), *topic.names, *codes):
            for text in (name, name.replace("-", " ")):
                key = tuple(words.stem(word) for word in words.raw_words(text))
                if key and not (len(key) == 1 and words.is_stop(key[0])):
                    names.setdefault(key, topic.name)
    return names


def _phrases(corpus: Corpus) -> dict[tuple[str, ...], list[tuple[str, int]]]:
    """Titles and search words of sections, of two words and more, as they are spoken.

    Each with the passage's name and a weight: its number of words, at least three for a title.
    """
    phrases: dict[tuple[str, ...], list[tuple[str, int]]] = defaultdict(list)
    for passage in corpus.passages:
        if passage.title in SECTION_TITLES.values() or passage.section in SIDES:
            continue  # “In short” names nothing
        for text in {passage.title, *passage.words}:
            key = tuple(words.raw_words(text))
            if 2 <= len(key) <= _LONGEST_PHRASE:
                least = _WHOLE_TITLE if text == passage.title else 0
                phrases[key].append((passage.name, max(least, len(key))))
    return phrases


def _spelling(corpus: Corpus) -> dict[str, list[str]]:
    """Every word that a misspelt one may mean, by its first letter."""
    known = set(words.LISTED)
    for asking in SIDES.values():
        known |= asking
    for topic in corpus.topics.values():
        known |= set(words.raw_words(" ".join((topic.title, *topic.names))))
    for passage in corpus.passages:
        known |= set(words.raw_words(" ".join((passage.title, *passage.words, passage.text))))
    by_letter: dict[str, list[str]] = defaultdict(list)
    for word in sorted(known):
        by_letter[word[:1]].append(word)
    return by_letter


def _sides(spoken: Sequence[str]) -> list[str]:
    """Sections that the words ask for."""
    sides = [side for word in spoken if (side := _SIDE_OF.get(words.stem(word))) is not None]
    text = " ".join(spoken)
    sides += ["normal_share"] if "how many" in text or "how much" in text else []
    sides += ["confusion"] if any(phrase in text for phrase in _TELLING) else []
    return list(dict.fromkeys(sides))
