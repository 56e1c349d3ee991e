"""``flask tutor``: ask it, and judge it on a set of questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from utils.cli.command import new_group, print_json

group = new_group("tutor", "Ask the tutor, and judge what it answers.")


@group.command("ask")
@click.argument("question")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def ask(question: str, as_json: bool) -> None:
    """Answer a question from the passages; nothing is kept."""
    from utils.tutor.answer import compose, find
    from utils.tutor.retrieval import shipped_index
    from utils.workflow.tutoring import as_stored, checked_question

    index = shipped_index()
    answer = compose(index, find(index, checked_question(question)))
    if as_json:
        print_json(as_stored(answer))
        return
    click.echo(answer.text)
    for number, name in enumerate(answer.cited, start=1):
        passage = index.corpus.passage(name)
        assert passage is not None  # it was just cited
        sources = "; ".join(index.corpus.sources[key].title for key in passage.sources)
        click.echo(f"[{number}] {name}: {sources}")


@group.command("evaluate")
@click.argument("questions", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--missed", is_flag=True, help="Also list each question that went wrong.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate(questions: tuple[Path, ...], missed: bool, as_json: bool) -> None:
    """Ask sets of questions and compare with what must be cited, refused, or not known."""
    from utils.tutor import evaluation
    from utils.tutor.retrieval import shipped_index

    index = shipped_index()
    reports = {
        path.stem: evaluation.evaluate(index, evaluation.load_questions(path)) for path in questions
    }
    if as_json:
        print_json(reports)
        return
    for name, report in reports.items():
        ways = sum(report["asked"].values())
        click.echo(f"{name}: {report['questions']} questions, asked in {ways} ways")
        for figure in (
            "recall_at_3",
            "cited",
            "refused_unsafe",
            "unknown_out_of_scope",
            "wrongly_refused",
            "wrongly_unknown",
        ):
            value = report[figure]
            shown = "none asked" if value is None else f"{value:.3f}"
            click.echo(f"  {figure.replace('_', ' '):<22}{shown}")
        click.echo(f"  median {report['ms']['median']:.1f} ms, p95 {report['ms']['p95']:.1f} ms")
        if missed:
            for line in report["missed"]:
                click.echo(f"  {line}")


@group.command("fit")
@click.argument("questions", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def fit(questions: tuple[Path, ...]) -> None:
    """Learn from sets of questions which are refused; replaces the weights of this program.

    Needs scikit-learn (the extra “train”). Processes that serve keep the old weights until they
    are started again.
    """
    import json

    from utils.cli.tutor_fit import fit_asking, fit_refusal
    from utils.tutor import asking, evaluation, learned
    from utils.tutor.passages import shipped_corpus
    from utils.tutor.retrieval import Index

    def write(path: Path, table: dict[str, Any]) -> None:
        partial = path.with_suffix(".partial")
        partial.write_text(
            json.dumps(table, indent=0, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        partial.replace(path)

    known = [question for path in questions for question in evaluation.load_questions(path)]
    table = fit_asking(shipped_corpus(), known)
    write(asking.TABLE, table)
    # The refusal hears how well the corpus holds a question, which asking has no part in.
    refusal = fit_refusal(*evaluation.examples(Index(shipped_corpus()), known))
    write(learned.WEIGHTS, refusal)
    click.echo(
        f"{len(table['words'])} passages, {len(table['weights'])} words and pairs, "
        f"{len(refusal['weights'])} weights of the refusal, from {len(known)} questions."
    )
