"""The corpus: topics, their passages, and the sources that each passage names."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from utils.errors import CorpusInvalid

CORPUS = Path(__file__).with_name("corpus")
ROOMS = ("cells", "patterns", "counting", "specimen", "images", "program")
CELL_SECTIONS = (
    "summary",
    "size",
    "nc_ratio",
    "nucleus",
    "chromatin",
    "nucleoli",
    "cytoplasm",
    "granules",
    "maturation",
    "confusion",
    "normal_share",
    "pitfalls",
)
SECTION_TITLES = {
    "summary": "In short",
    "nc_ratio": "N:C ratio",
    "normal_share": "Normal share in the marrow",
    "confusion": "What it is confused with",
}
LEAST_WORDS, MOST_WORDS = 15, 95
_SOURCES = re.compile(r"\s*\[([a-z0-9_; ]+)\]\s*$")


@dataclass(frozen=True)
class Source:
    """A reference that passages cite."""

    key: str
    title: str
    doi: str | None = None
    url: str | None = None

    @property
    def short(self) -> str:
        """First author and year, as ``Bain 2022``; the whole title where it has no year."""
        match = re.match(r"(.+?) \((\d{4})\)", self.title)
        if match is None:
            return self.title
        first, *others = match[1].split(",")
        name = re.sub(r"( [A-Z][A-Z-]{0,3})+$", "", first)
        return f"{name}{' et al.' if others else ''} {match[2]}"

    @property
    def address(self) -> str | None:
        """Where the source can be found, or None."""
        return f"https://doi.org/{self.doi}" if self.doi else self.url


@dataclass(frozen=True)
class Passage:
    """One section of one topic: the smallest thing that is cited.

    Attributes
    ----------
    topic, section : str
        Together its name, ``promyelocyte#size``.
    title : str
        Of the section.
    words : tuple of str
        What else people call what it is about.
    text : str
        One paragraph.
    sources : tuple of str
        Keys of `Source`.
    """

    topic: str
    section: str
    title: str
    words: tuple[str, ...]
    text: str
    sources: tuple[str, ...]

    @property
    def name(self) -> str:
        """As it is cited: topic and section."""
        return f"{self.topic}#{self.section}"


@dataclass(frozen=True)
class Topic:
    """One file of the corpus."""

    name: str
    room: str
    title: str
    names: tuple[str, ...]
    labels: tuple[str, ...]
    see: tuple[str, ...]
    passages: tuple[Passage, ...]

    def passage(self, section: str) -> Passage | None:
        """The section of this key, or None."""
        return next((p for p in self.passages if p.section == section), None)


@dataclass(frozen=True)
class Corpus:
    """All topics and sources, by name."""

    topics: dict[str, Topic]
    sources: dict[str, Source]

    @property
    def passages(self) -> tuple[Passage, ...]:
        """Every passage, topic by topic."""
        return tuple(p for topic in self.topics.values() for p in topic.passages)

    def passage(self, name: str) -> Passage | None:
        """The passage of a name such as ``promyelocyte#size``, or None."""
        topic, _, section = name.partition("#")
        return self.topics[topic].passage(section) if topic in self.topics else None

    def topic_of_label(self, code: str) -> Topic | None:
        """The topic that a class code of a label set means, or None."""
        return next((t for t in self.topics.values() if code in t.labels), None)


@cache
def shipped_corpus() -> Corpus:
    """The corpus of this program; read once."""
    return load_corpus(CORPUS)


def load_corpus(folder: Path) -> Corpus:
    """Read and check a corpus.

    Parameters
    ----------
    folder : Path
        As `corpus/README.md` describes it.

    Returns
    -------
    corpus : Corpus

    Raises
    ------
    CorpusInvalid
        With every fault that was found, a line each.
    """
    faults: list[str] = []
    sources = {
        key: Source(key, **fields)
        for key, fields in tomllib.loads((folder / "sources.toml").read_text("utf-8")).items()
    }
    topics: dict[str, Topic] = {}
    for room in ROOMS:
        for path in sorted((folder / room).glob("*.md")):
            try:
                topics[path.stem] = _topic(path, room)
            except CorpusInvalid as error:
                faults.append(str(error))
    corpus = Corpus(topics, sources)
    faults += _faults(corpus)
    if faults:
        raise CorpusInvalid("\n".join(faults))
    return corpus


def _topic(path: Path, room: str) -> Topic:
    text = path.read_text("utf-8")
    match = re.match(r"\+\+\+\n(.*?)\n\+\+\+\n(.*)", text, re.DOTALL)
    if match is None:
        raise CorpusInvalid(f"{path.name}: expected a head between two lines of +++.")
    try:
        head = tomllib.loads(match[1])
    except tomllib.TOMLDecodeError as error:
        raise CorpusInvalid(f"{path.name}: its head is no TOML: {error}.") from error
    unknown = set(head) - {"title", "names", "labels", "see"}
    if unknown or "title" not in head:
        raise CorpusInvalid(f"{path.name}: expected title, names, labels, see; found {set(head)}.")
    parts = re.split(r"^## (.+)$", match[2], flags=re.MULTILINE)[1:]
    passages = tuple(
        _passage(path.stem, heading, body)
        for heading, body in zip(parts[::2], parts[1::2], strict=True)
    )
    return Topic(
        name=path.stem,
        room=room,
        title=head["title"],
        names=tuple(head.get("names", ())),
        labels=tuple(head.get("labels", ())),
        see=tuple(head.get("see", ())),
        passages=passages,
    )


def _passage(topic: str, heading: str, body: str) -> Passage:
    key, title, words, *_ = [part.strip() for part in heading.split("|")] + ["", ""]
    found = _SOURCES.search(body)
    text = " ".join((body[: found.start()] if found else body).split())
    keys = tuple(k.strip() for k in found[1].split(";")) if found else ()
    return Passage(
        topic=topic,
        section=key,
        title=title or SECTION_TITLES.get(key, key.replace("_", " ").capitalize()),
        words=tuple(word.strip() for word in words.split(",") if word.strip()),
        text=text,
        sources=keys,
    )


def _faults(corpus: Corpus) -> list[str]:
    faults: list[str] = []
    owners: dict[str, str] = {}
    for topic in corpus.topics.values():
        if not re.fullmatch(r"[a-z0-9_]+", topic.name):
            faults.append(f"{topic.name}: a topic's name is lower-case letters, digits and _.")
        for name in {topic.title.casefold(), *(n.casefold() for n in topic.names), *topic.labels}:
            if owners.setdefault(name, topic.name) != topic.name:
                faults.append(f"{topic.name}: “{name}” also names {owners[name]}.")
        strangers = [other for other in topic.see if other not in corpus.topics]
        faults += [f"{topic.name}: see {other}: no such topic." for other in strangers]
        keys = [p.section for p in topic.passages]
        if topic.room == "cells" and tuple(keys[: len(CELL_SECTIONS)]) != CELL_SECTIONS:
            faults.append(f"{topic.name}: expected the sections {' '.join(CELL_SECTIONS)}.")
        if len(set(keys)) != len(keys) or not keys or keys[0] != "summary":
            faults.append(f"{topic.name}: sections are unique and begin with summary.")
        for passage in topic.passages:
            faults += [f"{passage.name}: {fault}" for fault in _passage_faults(passage, corpus)]
    return faults


def _passage_faults(passage: Passage, corpus: Corpus) -> list[str]:
    faults = []
    words = len(passage.text.split())
    if not LEAST_WORDS <= words <= MOST_WORDS:
        faults.append(f"expected {LEAST_WORDS} to {MOST_WORDS} words, found {words}.")
    if not re.fullmatch(r"[a-z0-9_]+", passage.section):
        faults.append("a section's key is lower-case letters, digits and _.")
    if not passage.sources:
        faults.append("expected its sources in brackets at the end.")
    faults += [f"no source {key}." for key in passage.sources if key not in corpus.sources]
    return faults
