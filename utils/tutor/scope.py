"""What the tutor does not answer: a patient's diagnosis, treatment, outcome, and orders to itself.

Rules, not a network: each can be read (`scope.toml`), and what is refused can be told beforehand.
They listen for a particular person or report together with what is asked about it; a question on
the cells themselves passes.
"""

from __future__ import annotations

import base64
import binascii
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, get_args

from utils.errors import CorpusInvalid
from utils.tutor.words import nearest, plain

Refused = Literal["patient", "report", "treatment", "outcome", "orders", "person"]

SENTENCES: Final[dict[Refused, str]] = {
    "patient": (
        "I do not say what a patient has. That takes the whole picture: history, counts, flow "
        "cytometry, genetics; please ask the pathologist who is responsible for the case. I can "
        "explain cells, stages, counting rules and what this program shows."
    ),
    "report": (
        "I do not interpret a report or a result of a person. Please ask the pathologist who "
        "signed it, or the treating physician. I can explain what the terms on it mean in general."
    ),
    "treatment": (
        "I do not advise on treatment. Please ask the treating physician. I can explain how cells "
        "look, how they are counted and what this program shows."
    ),
    "outcome": (
        "I do not say how an illness will go. Please ask the treating physician. I can explain "
        "cells, stages, counting rules and what this program shows."
    ),
    "person": (
        "This sounds like a question on a person or on what to do. I do not say what somebody has, "
        "how to treat it or how it will go: please ask the pathologist or the treating physician. "
        "If you meant the cells, a rule or this program, please ask without the person."
    ),
    "orders": (
        "Instructions in a question change nothing here: I answer questions on marrow cells from "
        "my own passages and name no diagnosis. Please ask about a cell, a rule or a page."
    ),
}

RULES: Final = Path(__file__).with_name("scope.toml")
_HIDDEN: Final = re.compile(r"[A-Za-z0-9+/]{16,}={0,2}")
_SPACED: Final = re.compile(r"(?<!\w)(?:[a-z] ){3,}[a-z](?!\w)")
_MASKS: Final = str.maketrans("013457", "oieast")
# In capitals it is the leukaemia; in small letters a word of everyday.
_ALL: Final = re.compile(r"\bALL\b")


@dataclass(frozen=True)
class _Rule:
    kind: Refused
    everything: tuple[re.Pattern[str], ...]
    unless: tuple[re.Pattern[str], ...]

    def holds(self, text: str) -> bool:
        return all(p.search(text) for p in self.everything) and not any(
            p.search(text) for p in self.unless
        )


def refusal(question: str) -> Refused | None:
    """Say why a question is not answered, or None where it is.

    Parameters
    ----------
    question : str

    Returns
    -------
    kind : str or None
        A key of `SENTENCES`.
    """
    if not question.isupper():
        question = _ALL.sub(" leukaemia ", question)
    for text in (question, *_decoded(question)):
        spoken = heard(text)
        for rule in _rules():
            if rule.holds(spoken):
                return rule.kind
    return None


def oversteps(answer: str) -> bool:
    """Whether an answer says what none may: what a patient has, what to give, how it will end."""
    return _groups()["oversteps"].search(plain(_ALL.sub(" leukaemia ", answer))) is not None


def groups_in(text: str) -> list[str]:
    """Names of the groups of `scope.toml` that a question has something of.

    Parameters
    ----------
    text : str
        As `heard` gives it.
    """
    return [name for name, pattern in _groups().items() if pattern.search(text)]


def heard(text: str) -> str:
    """What a person reads in it: spaced and masked letters put together, misspelt words right."""
    text = plain(text).replace("*", "").replace("_", " ")
    text = _SPACED.sub(lambda match: match[0].replace(" ", ""), text)
    spelling = _table()["spelling"].split()

    def put_right(match: re.Match[str]) -> str:
        word = match[0]
        if not word.isdigit() and not word.isalpha() and len(word) >= 5:
            word = word.translate(_MASKS)
        return word if word in spelling else nearest(word, spelling) or word

    # “Dose” is also how “does” is misspelt.
    text = re.sub(
        r"\bdose (?=(?:the|an?|it|its|not|this|that|one|they|these|nif)\b)", "does ", text
    )
    return re.sub(r"[a-z0-9]{5,}", put_right, text)


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(RULES.read_text(encoding="utf-8"))


@cache
def _groups() -> dict[str, re.Pattern[str]]:
    groups: dict[str, str] = {}
    for name, alternatives in _table()["groups"].items():
        joined = "|".join(alternatives)
        for other, pattern in groups.items():
            joined = joined.replace(f"{{{other}}}", pattern)
        groups[name] = f"(?:{joined})"
    return {name: re.compile(rf"(?<!\w){pattern}(?!\w)") for name, pattern in groups.items()}


@cache
def _rules() -> tuple[_Rule, ...]:
    compiled, rules = _groups(), []
    for row in _table()["rule"]:
        if row["kind"] not in get_args(Refused):
            raise CorpusInvalid(f"scope.toml: no such kind of refusal: {row['kind']}.")
        rules.append(
            _Rule(
                row["kind"],
                tuple(compiled[name] for name in row["all"]),
                tuple(compiled[name] for name in row.get("unless", ())),
            )
        )
    return tuple(rules)


def _decoded(question: str) -> list[str]:
    """What stands in it in base64, if anything does."""
    found = []
    for token in _HIDDEN.findall(question):
        try:
            text = base64.b64decode(token + "=" * (-len(token) % 4), validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError):
            continue
        text = " ".join(text.split())
        if text.isprintable():
            found.append(text)
    return found
