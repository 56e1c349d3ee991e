"""From what a person types to the words that passages are found by."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Final

import snowballstemmer

# Written in many ways; each becomes one word, in questions and passages alike.
_FORMS: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern), word)
    for pattern, word in (
        (r"\bn\s?[:/]\s?c\b(?:[ -]ratio\b)?|\bnc[ -]ratio\b", " ncratio "),
        (r"\bnucle(?:ar|us)[ -](?:to[ -])?cytoplasm(?:ic)?[ -]ratio\b", " ncratio "),
        (r"\bm\s?[:/]\s?e\b(?:[ -]ratio\b)?", " meratio "),
        (r"\bmyeloid\s?(?:[:/]|to|-)\s?erythroid\b(?:[ -]ratio\b)?", " meratio "),
        (r"\bgrad[ -]?cam\b", " gradcam "),
        (r"\bmu[ -](?:heavy[ -])?chain", " muchain "),
        (r"\b(cd|hla)[ -](\d+|dr)\b", r" \1\2 "),
        (r"\bb[ -]?(iii|ii|iv|i)\b", r" egilb\1 "),
        (r"\b(?:b|t)[ -]all\b", " lymphoblasticleukaemia "),
        (
            r"\bacute (?:b[ -]?|t[ -]?)?lympho(?:blastic|cytic|id) leuka?emia\b",
            " lymphoblasticleukaemia ",
        ),
        (r"\bacute promyelocytic leuka?emia\b", " apl "),
        (r"\bacute myeloid leuka?emia\b", " aml "),
        (r"\b(\d+)\s?%|\b(\d+) ?(?:per ?cent|pct)\b", r" \1\2 percent "),
        (r"%", " percent "),
        (r"\bout[ -]of[ -]distribution\b", " ood "),
        (r"\bq[ -]?r\b", " qr "),
    )
)  # fmt: skip
_TOKEN: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_LISTS: Final = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
_STOP: Final = frozenset(_LISTS["stop"].split())
_SAME: Final = {word: line.split()[0] for line in _LISTS["same"] for word in line.split()}
_STEMMER: Final = snowballstemmer.stemmer("english")
_SAME_STEMS: Final[dict[str, str]] = {
    _STEMMER.stemWord(word): _STEMMER.stemWord(to) for word, to in _SAME.items()
}
# Every word of the lists, for the spelling.
LISTED: Final = _STOP | frozenset(_SAME)


def plain(text: str) -> str:
    """Lower case, without accents, one space between words."""
    text = text.replace("µ", "u").replace("μ", "u").replace("ß", "ss").replace("’", "'")
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return " ".join("".join(c for c in decomposed if not unicodedata.combining(c)).split())


@lru_cache(maxsize=8192)
def stem(word: str) -> str:
    """What a word is looked up by: its stem, or that of the word that means the same.

    References
    ----------
    .. [1] Porter (2001), Snowball: a language for stemming algorithms.
    """
    stemmed: str = _STEMMER.stemWord(_SAME.get(word, word))
    return _SAME_STEMS.get(stemmed, stemmed)


def raw_words(text: str) -> list[str]:
    """Words as they were typed, in their order, each in one spelling; none is left out."""
    text = plain(text)
    text = text.replace("'s ", " ")
    for pattern, word in _FORMS:
        text = pattern.sub(word, text)
    found: list[str] = []
    for token in _TOKEN.findall(text.replace("'", "")):
        found.append(token.replace("-", ""))
        found += token.split("-") if "-" in token else []
    return found


def is_common(word: str) -> bool:
    """Whether it is one of the words that any question is made of."""
    return word in _STOP


def is_stop(word: str) -> bool:
    """Whether a word says nothing of what is asked: a common one, or a single letter."""
    return is_common(word) or (len(word) < 2 and not word.isdigit())


def content_words(text: str) -> list[str]:
    """Stemmed words that carry meaning, in their order.

    Returns
    -------
    words : list of str
    """
    return [stem(word) for word in raw_words(text) if not is_stop(word)]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that a misspelt one most likely means, or None.

    Parameters
    ----------
    word : str
        Four letters or more; the first letter is taken to be right.
    known : iterable of str

    Returns
    -------
    meant : str or None
        At an edit distance of 1, of 2 from eight letters on; a swap of neighbours is one edit. Of
        four letters none is replaced: too many words differ by one.
    """
    if len(word) < 4 or not word.isalpha():
        return None
    most = 1 if len(word) < 8 else 2
    # “Basofil” is how much of the world writes it.
    short = word.replace("ph", "f")
    best: tuple[int, str] | None = None
    for candidate in known:
        if candidate[:1] != word[:1] or len(candidate) < 4 or candidate == word:
            continue
        if len(word) == len(candidate) == 4 and sorted(word) != sorted(candidate):
            continue
        other = candidate.replace("ph", "f")
        if abs(len(other) - len(short)) > most:
            continue
        distance = edits(short, other, most)
        if distance <= most and (best is None or (distance, candidate) < best):
            best = (distance, candidate)
    return best[1] if best else None


def edits(a: str, b: str, most: int) -> int:
    """Optimal-string-alignment distance, or `most` + 1 where it is larger.

    References
    ----------
    .. [1] Damerau (1964), doi:10.1145/363958.363994
    """
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, start=1):
        after = [i] + [0] * len(b)
        for j, right in enumerate(b, start=1):
            after[j] = min(row[j] + 1, after[j - 1] + 1, row[j - 1] + (left != right))
            if i > 1 and j > 1 and left == b[j - 2] and a[i - 2] == right:
                after[j] = min(after[j], before[j - 2] + 1)
        if min(after) > most:
            return most + 1
        before, row = row, after
    return row[-1]
