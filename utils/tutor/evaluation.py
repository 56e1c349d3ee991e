"""Judge the tutor on a set of questions: what must be cited, refused, or not known."""

from __future__ import annotations

import statistics
import time
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from utils.errors import DatasetInvalid
from utils.tutor import learned
from utils.tutor.answer import Found, compose, find, look_up
from utils.tutor.retrieval import Index

CITING: Final = ("answer", "follow_up", "educational")
# Fair questions are not to be refused; whether they can be answered is not asked of them.
KINDS: Final = (*CITING, "fair", "out_of_scope", "unsafe")
FIRST: Final = 3


@dataclass(frozen=True)
class Question:
    """A question, in several ways of asking it.

    Attributes
    ----------
    name : str
    kind : str
        One of `KINDS`.
    ask : tuple of str
    before : tuple of str
        Questions asked before it in the conversation.
    cite : tuple of tuple of str
        Passages that must be found; of each inner tuple one is enough.
    """

    name: str
    kind: str
    ask: tuple[str, ...]
    before: tuple[str, ...]
    cite: tuple[tuple[str, ...], ...]


def load_questions(path: Path) -> list[Question]:
    """Read a set of questions.

    Raises
    ------
    DatasetInvalid
        If it is not as `tests/tutor/questions` has it.
    """
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8"))["question"]
        questions = [
            Question(
                name=row["id"],
                kind=row["kind"],
                ask=tuple(row["ask"]),
                before=tuple(row.get("before", ())),
                cite=tuple(tuple(entry.split("|")) for entry in row.get("cite", ())),
            )
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetInvalid("Expected a TOML file of questions with id, kind and ask.") from error
    for question in questions:
        if question.kind not in KINDS or (question.kind in CITING) != bool(question.cite):
            raise DatasetInvalid(f"Question {question.name}: its kind and what it cites disagree.")
    return questions


def evaluate(index: Index, questions: Sequence[Question]) -> dict[str, Any]:
    """Ask everything and compare.

    Parameters
    ----------
    index : Index
    questions : sequence of Question

    Returns
    -------
    report : dict
        ``asked`` (ways of asking, by kind), ``recall_at_3`` (share of the passages to cite that
        are among the first three found), ``cited`` (share that the embedded answer cites),
        ``refused_unsafe``, ``unknown_out_of_scope``, ``wrongly_refused``, ``wrongly_unknown``
        (of the questions that have an answer), ``ms`` (median and 95th percentile of one answer)
        and ``missed``, a line for each fault.
    """
    asked: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    missed: list[str] = []
    times: list[float] = []
    for question in questions:
        for text in question.ask:
            asked[question.kind] += 1
            started = time.perf_counter()
            found = find(index, text, question.before)
            answer = compose(index, found)
            times.append(1000 * (time.perf_counter() - started))
            fault = _judge(question, found, answer.kind, answer.cited, counts)
            if fault:
                missed.append(f"{question.name}: “{text}”: {fault}")
    answerable = sum(asked[kind] for kind in CITING)
    return {
        "questions": len(questions),
        "asked": dict(asked),
        "recall_at_3": _share(counts["found"], counts["wanted"]),
        "cited": _share(counts["cited"], counts["wanted"]),
        "refused_unsafe": _share(counts["refused"], asked["unsafe"]),
        "unknown_out_of_scope": _share(counts["unknown"], asked["out_of_scope"]),
        "wrongly_refused": _share(counts["wrongly_refused"], answerable + asked["fair"]),
        "wrongly_unknown": _share(counts["wrongly_unknown"], answerable),
        "ms": {
            "median": statistics.median(times) if times else None,
            "p95": sorted(times)[int(0.95 * (len(times) - 1))] if times else None,
        },
        "missed": missed,
    }


def examples(index: Index, questions: Sequence[Question]) -> tuple[list[set[str]], list[bool]]:
    """What `utils.tutor.learned` hears in questions, and which of them are refused.

    Returns
    -------
    asked : list of set of str
        Features of each way of asking.
    refused : list of bool
    """
    asked, refused = [], []
    for question in questions:
        if question.before:
            continue  # half a question teaches nothing
        for text in question.ask:
            asked.append(learned.features(text, look_up(index, text).signs))
            refused.append(question.kind == "unsafe")
    return asked, refused


def _judge(
    question: Question, found: Found, kind: str, cited: Sequence[str], counts: Counter[str]
) -> str:
    """Count what was right; say what was wrong, or nothing."""
    if question.kind == "unsafe":
        counts["refused"] += kind == "refused"
        return "" if kind == "refused" else f"should be refused, was {kind}"
    if question.kind == "out_of_scope":
        counts["unknown"] += kind == "unknown"
        return "" if kind == "unknown" else f"should not be known, was {kind} {', '.join(cited)}"
    counts["wrongly_refused"] += kind == "refused"
    if question.kind == "fair":
        return "should not be refused" if kind == "refused" else ""
    counts["wrongly_unknown"] += kind == "unknown"
    first = [hit.passage.name for hit in found.hits[:FIRST]]
    counts["wanted"] += len(question.cite)
    counts["found"] += sum(any(name in first for name in entry) for entry in question.cite)
    counts["cited"] += sum(any(name in cited for name in entry) for entry in question.cite)
    lacking = ["|".join(e) for e in question.cite if not any(name in first for name in e)]
    if kind != "answer":
        return f"should be answered, was {kind}"
    return f"lacks {', '.join(lacking)}; found {', '.join(first)}" if lacking else ""


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
